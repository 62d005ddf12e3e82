use blake3::Hasher;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use crate::{Label, Secret, Suite};

/// Derives `N` bytes for one purpose from a key that is itself uniformly random.
///
/// `label` says what the result is for, `context` what it belongs to; every part is bound in with its length,
/// and so is the suite. `N` is not bound in: a label is used with one `N` only. The encoding is at the
/// [crate's front page](crate#the-key-schedule).
#[must_use]
pub fn derive<const N: usize>(suite: Suite, key: &Secret<32>, label: Label, context: &[&[u8]]) -> Secret<N> {
    const { assert!(N <= 255 * 32, "HKDF-Expand gives at most 255 blocks") };
    Secret::filled_by(|out| match suite {
        Suite::Aes256Ctr => {
            let mut hasher = Hasher::new_keyed(key.expose());
            encode(suite, label, context, |bytes| {
                hasher.update(bytes);
            });
            let mut reader = hasher.finalize_xof();
            reader.fill(out);
            reader.zeroize();
            hasher.zeroize();
        }
        Suite::Aes256Kw => hkdf_expand(&hkdf_from(key), suite, label, context, out),
    })
}

/// Hashes `parts` for the purpose `domain`.
///
/// Nothing here is secret: the result names or commits to public fields. The encoding is that of
/// [`derive()`].
#[must_use]
pub fn hash(suite: Suite, domain: Label, parts: &[&[u8]]) -> [u8; 32] {
    match suite {
        Suite::Aes256Ctr => {
            let mut hasher = Hasher::new();
            encode(suite, domain, parts, |bytes| {
                hasher.update(bytes);
            });
            hasher.finalize().into()
        }
        Suite::Aes256Kw => {
            let mut hasher = Sha256::new();
            encode(suite, domain, parts, |bytes| hasher.update(bytes));
            hasher.finalize().into()
        }
    }
}

/// A 16-byte MAC over `parts` under a key that is used for this kind of MAC and nothing else.
///
/// Compare with [`constant_time_eq`](crate::constant_time_eq). The encoding is that of [`derive()`], so the
/// label must not be one that is also derived with from the same key.
#[must_use]
pub fn mac(suite: Suite, key: &Secret<32>, label: Label, parts: &[&[u8]]) -> [u8; 16] {
    let full: [u8; 32] = match suite {
        Suite::Aes256Ctr => {
            let mut hasher = Hasher::new_keyed(key.expose());
            encode(suite, label, parts, |bytes| {
                hasher.update(bytes);
            });
            let full = hasher.finalize().into();
            hasher.zeroize();
            full
        }
        Suite::Aes256Kw => {
            let mut hmac = <Hmac<Sha256> as KeyInit>::new_from_slice(key.expose())
                .expect("invariant: HMAC takes a key of any length");
            encode(suite, label, parts, |bytes| hmac.update(bytes));
            hmac.finalize().into_bytes().into()
        }
    };
    let mut short = [0; 16];
    short.copy_from_slice(&full[..16]);
    short
}

/// HKDF (RFC 5869) with `key` as its pseudorandom key: Extract is not needed for a key that is uniform.
pub(crate) fn hkdf_from(key: &Secret<32>) -> Hkdf<Sha256> {
    Hkdf::from_prk(key.expose()).expect("invariant: 32 bytes are a whole SHA-256 output")
}

/// HKDF-Expand with the project's encoding as info; for suite 0x0002 and for a schedule kept by the caller.
pub(crate) fn hkdf_expand(
    hkdf: &Hkdf<Sha256>,
    suite: Suite,
    label: Label,
    context: &[&[u8]],
    out: &mut [u8],
) {
    let mut info = Vec::with_capacity(64);
    encode(suite, label, context, |bytes| info.extend_from_slice(bytes));
    hkdf.expand(&info, out).expect("invariant: at most 255 blocks, checked by the caller's type");
}

/// Writes the encoding of label, suite and parts into `sink`, piece by piece.
pub(crate) fn encode(suite: Suite, label: Label, parts: &[&[u8]], mut sink: impl FnMut(&[u8])) {
    encode_prefix(suite, label, &mut sink);
    encode_parts(parts, sink);
}

/// The part of the encoding that says what it is for.
pub(crate) fn encode_prefix(suite: Suite, label: Label, mut sink: impl FnMut(&[u8])) {
    sink(b"conclave ");
    sink(label.as_str().as_bytes());
    sink(&[0]);
    sink(&suite.code().to_be_bytes());
}

/// Each part with its length before it, so that no byte can move from one part to the next unnoticed.
pub(crate) fn encode_parts(parts: &[&[u8]], mut sink: impl FnMut(&[u8])) {
    for part in parts {
        let len = u32::try_from(part.len()).expect("invariant: a part is a field of a message, below 4 GiB");
        sink(&len.to_be_bytes());
        sink(part);
    }
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;

    #[test]
    fn hkdf_expand_agrees_with_rfc_5869() {
        // Appendix A.1.
        let prk = Secret::new(hex!("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"));
        let mut okm = [0; 42];
        hkdf_from(&prk).expand(&hex!("f0f1f2f3f4f5f6f7f8f9"), &mut okm).unwrap();
        assert_eq!(
            okm,
            hex!(
                "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
                "34007208d5b887185865"
            )
        );
        // Appendix A.2, its PRK and an info of 80 bytes.
        let prk = Secret::new(hex!("06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244"));
        let info: Vec<u8> = (0xb0..=0xff).collect();
        let mut okm = [0; 82];
        hkdf_from(&prk).expand(&info, &mut okm).unwrap();
        assert_eq!(
            okm,
            hex!(
                "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
                "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
                "cc30c58179ec3e87c14c01d5c1f3434f1d87"
            )
        );
    }

    #[test]
    fn keyed_blake3_agrees_with_its_official_vectors() {
        let cases: [(usize, [u8; 32]); 4] = [
            (0, hex!("92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26")),
            (1, hex!("6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b")),
            (1024, hex!("75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4")),
            (1025, hex!("357dc55de0c7e382c900fd6e320acc04146be01db6a8ce7210b7189bd664ea69")),
        ];
        for (len, expected) in cases {
            let input: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let mut hasher = Hasher::new_keyed(b"whats the Elvish word for friend");
            hasher.update(&input);
            assert_eq!(*hasher.finalize().as_bytes(), expected, "input of {len} bytes");
        }
    }

    #[test]
    fn the_encoding_is_the_one_published() {
        let mut bytes = Vec::new();
        encode(Suite::Aes256Kw, Label::KrWrap, &[b"ab", b"", b"c"], |piece| bytes.extend_from_slice(piece));
        assert_eq!(bytes, b"conclave kr-wrap\0\x00\x02\x00\x00\x00\x02ab\x00\x00\x00\x00\x00\x00\x00\x01c");
    }
}
