//! A message ends where it ends: not a byte earlier, not a byte later.

use proptest::prelude::*;

use super::arbitrary::cases;
use super::kinds::{is_prefix, messages, reencode};

proptest! {
    #![proptest_config(cases(192))]

    #[test]
    fn every_truncation_is_refused((kind, bytes) in messages()) {
        // A grant with all revocations has 33,000 bytes: its end and a sample of the rest will do.
        let step = bytes.len() / 2_000 + 1;
        let lens = (0..bytes.len()).filter(|len| len % step == 0 || bytes.len() - len < 300);
        for len in lens {
            prop_assert_eq!(reencode(kind, &bytes[..len]), None, "{:?} of {} cut to {}", kind, bytes.len(), len);
        }
    }

    #[test]
    fn every_trailing_byte_is_refused((kind, bytes) in messages(), trail in prop::collection::vec(any::<u8>(), 1..40)) {
        prop_assume!(!is_prefix(kind));
        prop_assert_eq!(reencode(kind, &[&bytes[..], &trail[..1]].concat()), None, "{:?} and one byte", kind);
        prop_assert_eq!(reencode(kind, &[&bytes[..], &trail].concat()), None, "{:?} and {:?}", kind, trail);
    }
}
