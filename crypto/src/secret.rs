use std::fmt;

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, optimization_barrier};

/// `N` bytes that must not become known: a key, or material for one.
///
/// Every key of the project lives in this type. It prints as `Secret<32>(..)`, compares in constant time, is
/// wiped when dropped, and deliberately has no `Display`, no order, no hash and no serialization: whoever
/// wants the bytes writes [`expose`](Self::expose), which is easy to search for.
///
/// Moving a value can leave its old bytes behind on the stack; long-lived secrets should stay where they are.
#[derive(Clone)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// Takes `bytes` as a secret. The caller's copy, if it keeps one, is the caller's to wipe.
    #[must_use]
    pub const fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// Takes a slice as a secret; `None` unless it is exactly `N` bytes long.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Draws a fresh secret from `rng`, which the caller was handed at construction.
    #[must_use]
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut secret = Self([0; N]);
        rng.fill_bytes(&mut secret.0);
        secret
    }

    /// The bytes themselves, for a cryptographic call or a sealed message; never for a log or an error.
    #[must_use]
    pub const fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// A zeroed secret to be filled in place, so that no second copy of its bytes is made.
    pub(crate) fn filled_by(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut secret = Self([0; N]);
        fill(&mut secret.0);
        secret
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        constant_time_eq(&self.0, &other.0)
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret<{N}>(..)")
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        // A whole-array store behind a barrier: byte-wise volatile stores would cost more than the one-way
        // step that made the key, and a large tree drops tens of thousands of these in one batch.
        self.0 = [0; N];
        optimization_barrier(&self.0);
    }
}

impl<const N: usize> ZeroizeOnDrop for Secret<N> {}

/// Wipes a buffer that held secret bytes on their way into or out of a sealed message.
pub fn wipe(bytes: &mut [u8]) {
    bytes.zeroize();
}

/// Compares two byte strings in time that depends on their lengths only.
///
/// For MACs, key checks and every other comparison with a value an attacker may send repeatedly. Strings of
/// different length are unequal.
#[must_use]
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_prints_bytes() {
        let secret = Secret::new([0xab; 32]);
        assert_eq!(format!("{secret:?}"), "Secret<32>(..)");
        assert_eq!(format!("{:#?}", Some(Secret::new([171u8; 2]))), "Some(\n    Secret<2>(..),\n)");
    }

    #[test]
    fn from_slice_takes_only_the_exact_length() {
        assert!(Secret::<32>::from_slice(&[0; 31]).is_none());
        assert!(Secret::<32>::from_slice(&[0; 33]).is_none());
        assert_eq!(Secret::<32>::from_slice(&[7; 32]), Some(Secret::new([7; 32])));
    }

    #[test]
    fn a_secret_equals_its_clone_and_nothing_that_differs_in_one_bit() {
        let secret = Secret::new([0x5a; 16]);
        assert_eq!(secret, secret.clone());
        for bit in 0..128 {
            let mut bytes = *secret.expose();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(secret, Secret::new(bytes));
        }
    }

    #[test]
    fn strings_of_different_length_are_unequal() {
        assert!(!constant_time_eq(b"abc", b"abcd"));
        assert!(constant_time_eq(b"abc", b"abc"));
        assert!(constant_time_eq(b"", b""));
    }
}
