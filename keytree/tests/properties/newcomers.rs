//! No joiner computes a root of an epoch before it came, from all it ever gets and all messages ever sent.

use proptest::prelude::*;

use crate::support::{Derivations, Past, cases, histories};

fn check(past: &Past, derivations: &Derivations) {
    for identity in past.hoard.keys() {
        let first = past.epochs_of(*identity).first().copied().unwrap();
        let earliest = past.roots_known_to(*identity, derivations).first().copied().unwrap();
        assert_eq!(earliest, first, "{identity} reads before it joined");
    }
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn a_joiner_never_computes_an_earlier_root_by_what_messages_announce(history in histories(80, 20)) {
        let past = Past::of(&history, 80);
        check(&past, &Derivations::announced(&past));
    }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn a_joiner_never_computes_an_earlier_root_by_force(history in histories(20, 12)) {
        let past = Past::of(&history, 20);
        check(&past, &Derivations::forced(&past));
    }
}
