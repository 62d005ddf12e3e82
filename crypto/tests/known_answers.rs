//! Published vectors of the primitives, our own of the key schedule, and the block formats remade with another
//! library from their description alone.

#![expect(clippy::unwrap_used, reason = "a test helper that cannot do its work fails the test")]

use crypto::{
    Aead, Ed25519Signer, Ed25519Verifier, EntryIv, ExchangePublic, ExchangeSecret, Label, MerkleTree,
    MessageXof, NodeKey, OneWay, Position, PublicKey, Secret, Signature, Signer, Suite, Verifier, derive,
    hash, key_unwrap, key_wrap, mac, merkle_leaf,
};
use hex_literal::hex;
use openssl::{
    hash::{MessageDigest, hash as openssl_hash},
    pkey::PKey,
    sign::Signer as Hmac,
    symm::{Cipher, Crypter, Mode},
};

/// 00 01 02 … 1f.
fn counting_key() -> Secret<32> {
    Secret::new(std::array::from_fn(|i| i as u8))
}

const IV: EntryIv = EntryIv::new(hex!("f0f1f2f3f4f5f6f7f8f9fafb"));
const AT: Position = Position { level: 3, index: 0x0001_2345 };
const TREE: u32 = 0x0a0b_0c0d;

fn entry(suite: Suite) -> Vec<u8> {
    let mut sealed = Vec::new();
    NodeKey::new(suite, &counting_key()).wrap(&IV, AT, &Secret::new([0x55; 32]), &mut sealed);
    sealed
}

fn stepped(suite: Suite, kind: OneWay) -> [u8; 32] {
    *NodeKey::new(suite, &counting_key()).one_way(kind, TREE, AT).expose()
}

mod published {
    use super::*;

    #[test]
    fn aes_kw_agrees_with_rfc_3394() {
        // Section 4.6: 256 bits of key data with a 256-bit KEK.
        let key = Secret::new(hex!("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f"));
        let wrapped =
            hex!("28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21");
        assert_eq!(key_wrap(&counting_key(), &key), wrapped);
        assert_eq!(key_unwrap(&counting_key(), &wrapped), Ok(key));
    }

    #[test]
    fn ed25519_agrees_with_rfc_8032() {
        // Section 7.1, tests 1 to 3.
        assert_signs(
            hex!("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"),
            hex!("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"),
            b"",
            hex!(
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
                "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
            ),
        );
        assert_signs(
            hex!("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"),
            hex!("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"),
            &hex!("72"),
            hex!(
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
            ),
        );
        assert_signs(
            hex!("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7"),
            hex!("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"),
            &hex!("af82"),
            hex!(
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
                "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
            ),
        );
    }

    fn assert_signs(seed: [u8; 32], public: [u8; 32], message: &[u8], signature: [u8; 64]) {
        let signer = Ed25519Signer::from_seed(&Secret::new(seed));
        assert_eq!(signer.public_key(), PublicKey(public));
        assert_eq!(signer.sign(message), Signature(signature));
        assert!(Ed25519Verifier.verify(&PublicKey(public), message, &Signature(signature)));
    }

    #[test]
    fn x25519_agrees_with_rfc_7748() {
        // Section 6.1.
        let alice = hex!("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let bob = hex!("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        let [alice, bob] = [alice, bob].map(|key| ExchangeSecret::from_bytes(Secret::new(key)));
        let alice_public = hex!("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        let bob_public = hex!("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        assert_eq!(alice.public_key(), ExchangePublic(alice_public));
        assert_eq!(bob.public_key(), ExchangePublic(bob_public));
        let shared = Secret::new(hex!("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"));
        assert_eq!(alice.agree(&ExchangePublic(bob_public)), Some(shared.clone()));
        assert_eq!(bob.agree(&ExchangePublic(alice_public)), Some(shared));
    }

    #[test]
    fn aes_256_gcm_agrees_with_its_authors_vectors() {
        // McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, test cases 13 to 16.
        assert_seals([0; 32], [0; 12], b"", b"", b"", hex!("530f8afbc74536b9a963b4f1c4cb738b"));
        let cipher = hex!("cea7403d4d606b6e074ec5d3baf39d18");
        assert_seals([0; 32], [0; 12], b"", &[0; 16], &cipher, hex!("d0d1c8a799996bf0265b98b5d48ab919"));

        let key = hex!("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
        let nonce = hex!("cafebabefacedbaddecaf888");
        let plain = hex!(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
        );
        let cipher = hex!(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
            "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
        );
        assert_seals(key, nonce, b"", &plain, &cipher, hex!("b094dac5d93471bdec1a502270e3cc6c"));
        let aad = hex!("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let tag = hex!("76fc6ece0f4e1768cddf8853bb2d551b");
        assert_seals(key, nonce, &aad, &plain[..60], &cipher[..60], tag);
    }

    fn assert_seals(key: [u8; 32], nonce: [u8; 12], aad: &[u8], plain: &[u8], cipher: &[u8], tag: [u8; 16]) {
        let (mut aead, key) = (Aead::new(), Secret::new(key));
        let (mut sealed, mut opened) = (Vec::new(), Vec::new());
        aead.seal(&key, &nonce, aad, plain, &mut sealed);
        assert_eq!(sealed, [cipher, &tag].concat());
        assert_eq!(aead.open(&key, &nonce, aad, &sealed, &mut opened), Ok(()));
        assert_eq!(opened, plain);
    }
}

/// The formats of the documentation, rebuilt with OpenSSL.
mod remade {
    use super::*;

    const PREFIX_1: &[u8] = b"conclave kr-wrap\0\x00\x01";
    const PREFIX_2: &[u8] = b"conclave kr-wrap\0\x00\x02";
    const PARTS: &[u8] = b"\0\0\0\x05group\0\0\0\0";

    fn aes(cipher: Cipher, key: &[u8; 32], iv: Option<&[u8]>, input: &[u8]) -> Vec<u8> {
        let mut crypter = Crypter::new(cipher, Mode::Encrypt, key, iv).unwrap();
        crypter.pad(false);
        let mut out = vec![0; input.len() + 16];
        let len = crypter.update(input, &mut out).unwrap();
        out.truncate(len);
        out
    }

    fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
        let key = PKey::hmac(key).unwrap();
        Hmac::new(MessageDigest::sha256(), &key).unwrap().sign_oneshot_to_vec(message).unwrap()
    }

    #[test]
    fn entries_of_suite_1_are_aes_ctr_from_the_target() {
        let counter = 3u32 << 27 | 0x0001_2345 << 1;
        let block = [&hex!("70f1f2f3f4f5f6f7f8f9fafb")[..], &counter.to_be_bytes()].concat();
        assert_eq!(
            entry(Suite::Aes256Ctr),
            aes(Cipher::aes_256_ctr(), counting_key().expose(), Some(&block), &[0x55; 32])
        );
    }

    #[test]
    fn one_way_functions_of_suite_1_are_two_aes_blocks() {
        for (kind, code) in [(OneWay::Step, "81"), (OneWay::Chain, "82"), (OneWay::LeafStep, "83")] {
            let fields = hex!("0001" "0a0b0c0d" "03" "00012345" "000000");
            let code = u8::from_str_radix(code, 16).unwrap();
            let blocks = [&[code][..], &fields, &[0], &[code], &fields, &[1]].concat();
            let made = aes(Cipher::aes_256_ecb(), counting_key().expose(), None, &blocks);
            assert_eq!(stepped(Suite::Aes256Ctr, kind)[..], made);
        }
    }

    #[test]
    fn suite_2_is_hkdf_and_aes_kw() {
        let expand = |info: &[&[u8]]| hmac(counting_key().expose(), &[&info.concat()[..], &[1]].concat());
        let fields = hex!("0000000a" "02" "0a0b0c0d" "03" "00012345");
        assert_eq!(
            stepped(Suite::Aes256Kw, OneWay::Chain)[..],
            expand(&[b"conclave one-way\0\x00\x02", &fields])
        );
        let kek = expand(&[b"conclave entry-kek\0\x00\x02", &hex!("00000005" "03" "00012345")]);
        let kek = Secret::from_slice(&kek).unwrap();
        assert_eq!(entry(Suite::Aes256Kw), key_wrap(&kek, &Secret::new([0x55; 32])));
        let derived: Secret<32> = derive(Suite::Aes256Kw, &counting_key(), Label::KrWrap, &[b"group", b""]);
        assert_eq!(derived.expose()[..], expand(&[PREFIX_2, PARTS]));
    }

    #[test]
    fn suite_2_hashes_by_sha_256_and_hmac() {
        let encoding = [PREFIX_2, PARTS].concat();
        let parts: [&[u8]; 2] = [b"group", b""];
        let digest = openssl_hash(MessageDigest::sha256(), &encoding).unwrap();
        assert_eq!(hash(Suite::Aes256Kw, Label::KrWrap, &parts)[..], digest[..]);
        let tag = mac(Suite::Aes256Kw, &counting_key(), Label::KrWrap, &parts);
        assert_eq!(tag[..], hmac(counting_key().expose(), &encoding)[..16]);
    }

    #[test]
    fn suite_1_hashes_by_blake3() {
        let encoding = [PREFIX_1, PARTS].concat();
        let parts: [&[u8]; 2] = [b"group", b""];
        assert_eq!(hash(Suite::Aes256Ctr, Label::KrWrap, &parts), *blake3::hash(&encoding).as_bytes());
        let keyed = blake3::keyed_hash(counting_key().expose(), &encoding);
        let derived: Secret<32> = derive(Suite::Aes256Ctr, &counting_key(), Label::KrWrap, &parts);
        assert_eq!(derived.expose(), keyed.as_bytes());
        assert_eq!(mac(Suite::Aes256Ctr, &counting_key(), Label::KrWrap, &parts)[..], keyed.as_bytes()[..16]);
        let long: Secret<100> = derive(Suite::Aes256Ctr, &counting_key(), Label::KrWrap, &parts);
        assert_eq!(long.expose()[..32], keyed.as_bytes()[..]);
    }

    #[test]
    fn a_message_stream_is_aes_ctr_from_zero() {
        for suite in [Suite::Aes256Ctr, Suite::Aes256Kw] {
            let key: Secret<32> = derive(suite, &counting_key(), Label::MessageSeed, &[b"state"]);
            let mut stream = [0; 3000];
            MessageXof::new(suite, &counting_key(), &[b"state"]).fill(&mut stream);
            let made = aes(Cipher::aes_256_ctr(), key.expose(), Some(&[0; 16]), &[0; 3000]);
            assert_eq!(stream[..], made);
        }
    }

    #[test]
    fn a_merkle_leaf_binds_index_and_total() {
        let bytes = b"conclave merkle\0\x00\x02\x00\0\0\0\x07\0\0\0\x09\0\0\0\x03abc";
        let digest = openssl_hash(MessageDigest::sha256(), bytes).unwrap();
        assert_eq!(merkle_leaf(Suite::Aes256Kw, 7, 9, &[b"abc"]).0[..], digest[..16]);
    }
}

/// Our own vectors: whoever changes one changes the protocol.
mod ours {
    use super::*;

    /// The vectors' names with their values, in the order of the tests below.
    fn vectors(suite: Suite) -> Vec<(&'static str, String)> {
        let parts: [&[u8]; 2] = [b"one", b"two"];
        let key = counting_key();
        let group: Secret<32> = derive(suite, &key, Label::Group, &parts);
        let check: Secret<16> = derive(suite, &key, Label::KeyCheck, &[]);
        let mut xof = MessageXof::new(suite, &key, &parts);
        let leaves = (0..3).map(|index| merkle_leaf(suite, index, 3, &[])).collect();
        [
            ("derive Group", group.expose().to_vec()),
            ("derive KeyCheck", check.expose().to_vec()),
            ("hash", hash(suite, Label::GroupId, &parts).to_vec()),
            ("mac", mac(suite, &key, Label::PrefilterMac, &parts).to_vec()),
            ("entry", entry(suite)),
            ("step", stepped(suite, OneWay::Step).to_vec()),
            ("chain", stepped(suite, OneWay::Chain).to_vec()),
            ("leaf step", stepped(suite, OneWay::LeafStep).to_vec()),
            ("iv", xof.iv().as_bytes().to_vec()),
            ("secret", xof.secret().expose().to_vec()),
            ("merkle leaf", merkle_leaf(suite, 1, 3, &parts).0.to_vec()),
            ("merkle root", MerkleTree::new(suite, leaves).root().0.to_vec()),
        ]
        .map(|(name, bytes)| (name, bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
        .to_vec()
    }

    fn assert_vectors(suite: Suite, expected: [(&str, &str); 12]) {
        for ((name, made), (expected_name, expected)) in vectors(suite).into_iter().zip(expected) {
            assert_eq!((name, made.as_str()), (expected_name, expected), "{suite:?}");
        }
    }

    #[test]
    fn suite_1_key_schedule() {
        assert_vectors(
            Suite::Aes256Ctr,
            [
                ("derive Group", "29b1d95aa5c13b246f595960c62fe07446a7a41b20f2d7517afce46b56b18f98"),
                ("derive KeyCheck", "d8a18716edfc29f2d53b1a4cfc768ad2"),
                ("hash", "77a0ea1507833e65a991608c115039a2f229d7ab81024601405f16650b842ccf"),
                ("mac", "687799fd6d0dcfb19bce69cdb6590797"),
                ("entry", "a95042b35f7a430a2921ac3840ddbeb927e8ff182a7968f7b44ce74112f1e375"),
                ("step", "c5d218ce27e89bab7cc5a2179699c94facede09062a46fe76004f4ee18abb461"),
                ("chain", "6107092e86e2cedcbc0d2f3980fb01891e71d2c8d94bd7f522c2d43ac9c1f241"),
                ("leaf step", "c549e00aee335d372a0ff762fab2e4108fe7a940be6094be0caf730b1f2f5000"),
                ("iv", "55541bf99a687eb833ab47d3"),
                ("secret", "70adba78dd7d2a5e7b5689c1a393f3fe3814d5bca42b583f94187f7bb04952ea"),
                ("merkle leaf", "47a77f1aed5c5468841794d76ccfd279"),
                ("merkle root", "263a9104d16f3e938280400994f96b38"),
            ],
        );
    }

    #[test]
    fn suite_2_key_schedule() {
        assert_vectors(
            Suite::Aes256Kw,
            [
                ("derive Group", "7cbe137a35c99f2f31c4432495c18a5cd7bb603b0167788d0297472671202cfb"),
                ("derive KeyCheck", "2757a9982f9d5228e6148ae01b2e168a"),
                ("hash", "ecab8b45aa8316521deaae14b14b6503deeb1c526d5350f5b654bd9b958f3711"),
                ("mac", "dec7ec10a0120ffa0ce1e768f173fa27"),
                ("entry", "d65def60e37ec72e00a471a5e7e63ef7f991375d3cf76cc2119ced2028f2f16419b7ac796779b8b5"),
                ("step", "25f01aacd7fab6a47901678da32ec1dbee6401ebf426138544350c88977988dc"),
                ("chain", "028123690f4b0bbeda40dfd61668bdae3d37c55ffdbf1e47bb5f0ec78bbd4fa4"),
                ("leaf step", "9dd6d14afde8b7450bc17d5db991fafc41ba69d9e48f17cc05d706fba029b131"),
                ("iv", "16c18c088ea2f33a2c1bd2bc"),
                ("secret", "0543a8b3c0a42b6a2c163f3c95954d2576865d4bf9672e565f83a55406946e10"),
                ("merkle leaf", "0226e8785d62d33a7d2f8626fdb2439b"),
                ("merkle root", "8142590fa23e653a3a7a49a56dceac08"),
            ],
        );
    }
}
