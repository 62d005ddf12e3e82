/// The set of algorithms a group uses: group policy, fixed when the group is made, never negotiated.
///
/// The code is in every header and enters every derivation, so material of one suite can never be taken for
/// material of another. Both suites sign with Ed25519, seal payload with AES-256-GCM and hand data keys on
/// with AES-256-KW; they differ in how tree keys are wrapped and derived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum Suite {
    /// 0x0001, the default: entries by AES-256-CTR (32 bytes, no integrity of their own: the signature over
    /// the message is what protects them), one-way functions by AES-256, the rest by BLAKE3.
    #[default]
    Aes256Ctr = 0x0001,
    /// 0x0002, conservative: entries by AES-256-KW (40 bytes, RFC 3394), the rest by HKDF, HMAC and SHA-256.
    /// About twelve times the manager's work for an entry, for those who want NIST algorithms only.
    Aes256Kw = 0x0002,
}

impl Suite {
    /// The code of this suite in headers and derivations.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The suite with this code, if there is one. An unknown suite is the sender's business: refuse the
    /// message.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        match code {
            0x0001 => Some(Self::Aes256Ctr),
            0x0002 => Some(Self::Aes256Kw),
            _ => None,
        }
    }

    /// Bytes of one sealed key tree entry.
    #[must_use]
    pub const fn entry_len(self) -> usize {
        match self {
            Self::Aes256Ctr => 32,
            Self::Aes256Kw => 40,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_suite_map_one_to_one() {
        let known: Vec<_> = (0..=u16::MAX).filter_map(Suite::from_code).collect();
        assert_eq!(known, [Suite::Aes256Ctr, Suite::Aes256Kw]);
        assert!((0..=u16::MAX).all(|code| Suite::from_code(code).is_none_or(|suite| suite.code() == code)));
    }
}
