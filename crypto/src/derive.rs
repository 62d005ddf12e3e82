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
            hasher.finalize_xof().fill(out);
            hasher.zeroize();
        }
        Suite::Aes256Kw => hkdf_expand(&hkdf_from(key), suite, label, context, out),
    })
}

/// Hashes `parts` for the purpose `domain`.
///
/// Nothing here is secret: the result names or commits to public fields. The encoding is that of [`derive`].
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
/// Compare with [`constant_time_eq`](crate::constant_time_eq). The encoding is that of [`derive`], so the label
/// must not be one that is also derived with from the same key.
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
    sink(b"conclave ");
    sink(label.as_str().as_bytes());
    sink(&[0]);
    sink(&suite.code().to_be_bytes());
    for part in parts {
        let len = u32::try_from(part.len()).expect("invariant: a part is a field of a message, below 4 GiB");
        sink(&len.to_be_bytes());
        sink(part);
    }
}
