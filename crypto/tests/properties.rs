//! What holds for every input: inverses, separation, refusal of whatever was altered.

use crypto::{
    Aead, Ed25519Signer, Ed25519Verifier, EntryIv, ExchangePublic, ExchangeSecret, Label, MAX_ENTRY_INDEX,
    MAX_ENTRY_LEVEL, MessageXof, NodeKey, OneWay, Position, PublicKey, Secret, Signature, Signer, Suite,
    TAG_LEN, UnwrapError, Verifier, derive, hash, key_unwrap, key_wrap, mac,
};
use proptest::prelude::*;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

const SUITES: [Suite; 2] = [Suite::Aes256Ctr, Suite::Aes256Kw];
const KINDS: [OneWay; 3] = [OneWay::Step, OneWay::Chain, OneWay::LeafStep];

fn secret() -> impl Strategy<Value = Secret<32>> {
    any::<[u8; 32]>().prop_map(Secret::new)
}

fn suite() -> impl Strategy<Value = Suite> {
    prop::sample::select(&SUITES)
}

fn position() -> impl Strategy<Value = Position> {
    (0..=MAX_ENTRY_LEVEL, 0..=MAX_ENTRY_INDEX).prop_map(|(level, index)| Position { level, index })
}

fn iv() -> impl Strategy<Value = EntryIv> {
    any::<[u8; 12]>().prop_map(EntryIv::new)
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

fn sealed_entry(suite: Suite, kek: &Secret<32>, iv: &EntryIv, at: Position, key: &Secret<32>) -> Vec<u8> {
    let mut sealed = Vec::new();
    NodeKey::new(suite, kek).wrap(iv, at, key, &mut sealed);
    sealed
}

/// The key stream of suite 0x0001: an entry for the key of zeroes.
fn key_stream(kek: &Secret<32>, iv: &EntryIv, at: Position) -> Vec<u8> {
    sealed_entry(Suite::Aes256Ctr, kek, iv, at, &Secret::new([0; 32]))
}

fn flip(bytes: &mut [u8], bit: usize) {
    bytes[bit / 8 % bytes.len()] ^= 1 << (bit % 8);
}

fn sealed_text(key: &Secret<32>, nonce: &[u8; 12], aad: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::new();
    Aead::new().seal(key, nonce, aad, plain, &mut sealed);
    sealed
}

proptest! {
    #[test]
    fn unwrapping_inverts_wrapping(suite in suite(), kek in secret(), key in secret(), iv in iv(), at in position()) {
        let mut sealed = vec![0xee];
        let node = NodeKey::new(suite, &kek);
        node.wrap(&iv, at, &key, &mut sealed);
        prop_assert_eq!((sealed.len(), sealed[0]), (1 + suite.entry_len(), 0xee), "appended");
        prop_assert_eq!(node.unwrap(&iv, at, &sealed[1..]), Ok(key));
    }

    #[test]
    fn an_entry_of_the_wrong_length_is_refused(suite in suite(), sealed in bytes(80)) {
        prop_assume!(sealed.len() != suite.entry_len());
        let node = NodeKey::new(suite, &Secret::new([1; 32]));
        let refused = node.unwrap(&EntryIv::new([0; 12]), Position::default(), &sealed);
        prop_assert_eq!(refused, Err(UnwrapError::Length { expected: suite.entry_len(), found: sealed.len() }));
    }

    #[test]
    fn a_target_outside_the_counter_block_is_refused(suite in suite(), level in any::<u8>(), index in any::<u32>()) {
        let at = Position { level, index };
        prop_assume!(!at.is_wrappable());
        let sealed = vec![0; suite.entry_len()];
        let refused = NodeKey::new(suite, &Secret::new([1; 32])).unwrap(&EntryIv::new([0; 12]), at, &sealed);
        prop_assert_eq!(refused, Err(UnwrapError::Position));
    }

    #[test]
    fn a_key_wrapped_by_aes_kw_opens_only_as_it_is(
        kek in secret(), key in secret(), iv in iv(), at in position(), bit in 0usize..320
    ) {
        let mut entry = sealed_entry(Suite::Aes256Kw, &kek, &iv, at, &key);
        flip(&mut entry, bit);
        let node = NodeKey::new(Suite::Aes256Kw, &kek);
        prop_assert_eq!(node.unwrap(&iv, at, &entry), Err(UnwrapError::Integrity));

        let mut wrapped = key_wrap(&kek, &key);
        prop_assert_eq!(key_unwrap(&kek, &wrapped), Ok(key.clone()));
        flip(&mut wrapped, bit);
        prop_assert_eq!(key_unwrap(&kek, &wrapped), Err(UnwrapError::Integrity));
    }

    #[test]
    fn an_entry_of_one_node_does_not_open_as_anothers(
        suite in suite(), kek in secret(), key in secret(), iv in iv(), at in position(), other in position()
    ) {
        prop_assume!(at != other);
        let sealed = sealed_entry(suite, &kek, &iv, at, &key);
        prop_assert_ne!(NodeKey::new(suite, &kek).unwrap(&iv, other, &sealed), Ok(key));
    }

    #[test]
    fn entry_keystream_never_meets_a_one_way_output(
        kek in secret(), iv in iv(), at in position(), tree in any::<u32>(), from in position()
    ) {
        let stream = key_stream(&kek, &iv, at);
        let node = NodeKey::new(Suite::Aes256Ctr, &kek);
        for kind in KINDS {
            let stepped = node.one_way(kind, tree, from);
            for (a, b) in [(0, 0), (0, 16), (16, 0), (16, 16)] {
                prop_assert_ne!(&stream[a..a + 16], &stepped.expose()[b..b + 16]);
            }
        }
    }

    #[test]
    fn one_way_functions_of_different_fields_are_different(
        suite in suite(), key in secret(),
        a in (0usize..3, any::<u32>(), any::<u8>(), any::<u32>()),
        b in (0usize..3, any::<u32>(), any::<u8>(), any::<u32>()),
        same in 0usize..4,
    ) {
        // Three of the four fields equal: the hardest case.
        let mut near = a;
        match same {
            0 => near.0 = b.0,
            1 => near.1 = b.1,
            2 => near.2 = b.2,
            _ => near.3 = b.3,
        }
        let node = NodeKey::new(suite, &key);
        let apply = |(kind, tree, level, index): (usize, _, _, _)| {
            node.one_way(KINDS[kind], tree, Position { level, index })
        };
        prop_assert_eq!(a == near, apply(a) == apply(near));
        prop_assert_eq!(a == b, apply(a) == apply(b));
        prop_assert_ne!(apply(a), key.clone());
    }

    #[test]
    fn derivation_keeps_labels_suites_and_parts_apart(
        key in secret(), suite in suite(), text in bytes(40), cut in any::<prop::sample::Index>(),
        moved in any::<prop::sample::Index>(),
    ) {
        let (cut, moved) = (cut.index(text.len() + 1), moved.index(text.len() + 1));
        let parts = |at: usize| [&text[..at], &text[at..]];
        let one: Secret<32> = derive(suite, &key, Label::Kr, &parts(cut));
        prop_assert_eq!(cut == moved, one == derive(suite, &key, Label::Kr, &parts(moved)));
        prop_assert_ne!(&one, &derive(suite, &key, Label::Kr, &[&text]));
        prop_assert_ne!(&one, &derive(suite, &key, Label::KrWrap, &parts(cut)));
        for other in SUITES.into_iter().filter(|other| *other != suite) {
            prop_assert_ne!(&one, &derive(other, &key, Label::Kr, &parts(cut)));
        }
        let digest = |at| hash(suite, Label::BatchHash, &parts(at));
        prop_assert_eq!(cut == moved, digest(cut) == digest(moved));
        let tag = |at| mac(suite, &key, Label::PrefilterMac, &parts(at));
        prop_assert_eq!(cut == moved, tag(cut) == tag(moved));
        prop_assert_ne!(tag(cut), mac(suite, &key, Label::ConfirmMac, &parts(cut)));
    }

    #[test]
    fn a_message_stream_does_not_depend_on_how_it_is_drawn(
        suite in suite(), seed in secret(), lens in prop::collection::vec(0usize..700, 0..12)
    ) {
        let mut whole = vec![0; lens.iter().sum()];
        MessageXof::new(suite, &seed, &[b"update"]).fill(&mut whole);
        let mut xof = MessageXof::new(suite, &seed, &[b"update"]);
        let mut pieces = Vec::new();
        for len in lens {
            let mut piece = vec![0; len];
            xof.fill(&mut piece);
            pieces.extend(piece);
        }
        prop_assert_eq!(whole, pieces);
    }

    #[test]
    fn a_cloned_manager_with_another_content_draws_other_secrets(suite in suite(), seed in secret(), a in bytes(9)) {
        let first = |context: &[&[u8]]| MessageXof::new(suite, &seed, context).secret();
        prop_assert_ne!(first(&[&a, b"batch"]), first(&[&a, b"other"]));
        let mut xof = MessageXof::new(suite, &seed, &[&a]);
        prop_assert_eq!(xof.iv().as_bytes()[0] & 0x80, 0);
        prop_assert_ne!(xof.secret(), xof.secret());
    }

    #[test]
    fn opening_inverts_sealing(key in secret(), nonce in any::<[u8; 12]>(), aad in bytes(40), plain in bytes(200)) {
        let sealed = sealed_text(&key, &nonce, &aad, &plain);
        prop_assert_eq!(sealed.len(), plain.len() + TAG_LEN);
        let mut out = b"before".to_vec();
        prop_assert!(Aead::new().open(&key, &nonce, &aad, &sealed, &mut out).is_ok());
        prop_assert_eq!(out, [b"before", &plain[..]].concat());
    }

    #[test]
    fn nothing_altered_opens_and_nothing_is_left_behind(
        key in secret(), nonce in any::<[u8; 12]>(), aad in bytes(40), plain in bytes(200), bit in any::<usize>(),
        what in 0usize..4,
    ) {
        prop_assume!(what != 1 || !aad.is_empty());
        let mut sealed = sealed_text(&key, &nonce, &aad, &plain);
        let (mut other_key, mut other_nonce, mut other_aad) = (*key.expose(), nonce, aad.clone());
        match what {
            0 => flip(&mut other_key, bit),
            1 => flip(&mut other_aad, bit),
            2 => flip(&mut other_nonce, bit),
            _ => flip(&mut sealed, bit),
        }
        let mut out = b"before".to_vec();
        let mut aead = Aead::new();
        prop_assert!(aead.open(&Secret::new(other_key), &other_nonce, &other_aad, &sealed, &mut out).is_err());
        prop_assert_eq!(&out, b"before");
    }

    #[test]
    fn a_context_used_again_seals_and_opens_like_a_new_one(
        keys in prop::collection::vec(0u8..3, 1..12), plain in bytes(60), forged in any::<bool>()
    ) {
        let mut aead = Aead::new();
        for (count, key) in keys.into_iter().enumerate() {
            let (key, nonce) = (Secret::new([key; 32]), [count as u8; 12]);
            let (mut sealed, mut opened) = (Vec::new(), Vec::new());
            aead.seal(&key, &nonce, b"header", &plain, &mut sealed);
            prop_assert_eq!(&sealed, &sealed_text(&key, &nonce, b"header", &plain));
            if forged {
                prop_assert!(aead.open(&key, &nonce, b"forged", &sealed, &mut opened).is_err());
            }
            prop_assert!(aead.open(&key, &nonce, b"header", &sealed, &mut opened).is_ok());
            prop_assert_eq!(&opened, &plain);
        }
    }

    #[test]
    fn random_bytes_never_open(key in secret(), sealed in bytes(80)) {
        prop_assert!(Aead::new().open(&key, &[0; 12], b"", &sealed, &mut Vec::new()).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_signature_holds_for_its_key_and_message_only(seed in secret(), message in bytes(90), bit in any::<usize>()) {
        let signer = Ed25519Signer::from_seed(&seed);
        let (key, signature) = (signer.public_key(), signer.sign(&message));
        prop_assert!(Ed25519Verifier.verify(&key, &message, &signature));

        let mut other = signature.0;
        flip(&mut other, bit);
        prop_assert!(!Ed25519Verifier.verify(&key, &message, &Signature(other)));
        let mut other = key.0;
        flip(&mut other, bit);
        prop_assert!(!Ed25519Verifier.verify(&PublicKey(other), &message, &signature));
        let mut other = [&message[..], &[0]].concat();
        prop_assert!(!Ed25519Verifier.verify(&key, &other, &signature));
        other.truncate(message.len());
        if !message.is_empty() {
            flip(&mut other, bit);
            prop_assert!(!Ed25519Verifier.verify(&key, &other, &signature));
        }
    }

    #[test]
    fn both_ends_agree_on_the_same_secret(a in secret(), b in secret()) {
        let (a, b) = (ExchangeSecret::from_bytes(a), ExchangeSecret::from_bytes(b));
        prop_assert_eq!(a.agree(&b.public_key()), b.agree(&a.public_key()));
        prop_assert!(a.agree(&b.public_key()).is_some());
    }
}

#[test]
fn a_public_key_that_fixes_the_secret_is_refused() {
    let mut low_order = [[0; 32]; 3];
    low_order[1][0] = 1;
    // 2^255 - 18: the point 1 again, not reduced.
    low_order[2] = [0xff; 32];
    low_order[2][0] = 0xee;
    low_order[2][31] = 0x7f;
    let ours = ExchangeSecret::from_bytes(Secret::new([7; 32]));
    assert!(low_order.iter().all(|point| ours.agree(&ExchangePublic(*point)).is_none()));
}

#[test]
fn the_key_that_would_sign_for_everything_is_refused() {
    // The neutral point as key and nonce, zero as scalar: lax verification takes it for any message.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut signature = [0; 64];
    signature[0] = 1;
    assert!(!Ed25519Verifier.verify(&PublicKey(neutral), b"anything", &Signature(signature)));
}

#[test]
fn a_scalar_that_is_not_reduced_is_no_second_form_of_a_signature() {
    /// The order of the base point, little-endian.
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let signer = Ed25519Signer::from_seed(&Secret::new([3; 32]));
    let mut signature = signer.sign(b"alarm");
    let mut carry = 0;
    for (byte, order) in signature.0[32..].iter_mut().zip(ORDER) {
        carry += u16::from(*byte) + u16::from(order);
        *byte = carry as u8;
        carry >>= 8;
    }
    assert_eq!(carry, 0);
    assert!(!Ed25519Verifier.verify(&signer.public_key(), b"alarm", &signature));
}

#[test]
#[should_panic(expected = "invariant")]
fn wrapping_outside_the_counter_block_is_a_bug_not_a_repeated_keystream() {
    let at = Position { level: 0, index: MAX_ENTRY_INDEX + 1 };
    NodeKey::new(Suite::Aes256Ctr, &Secret::new([1; 32])).wrap(
        &EntryIv::new([0; 12]),
        at,
        &Secret::new([2; 32]),
        &mut Vec::new(),
    );
}

#[test]
fn random_secrets_come_from_the_generator_handed_in() {
    let draw = |seed| Secret::<32>::random(&mut ChaCha8Rng::seed_from_u64(seed));
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}
