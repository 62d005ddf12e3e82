//! No coalition of people who are not members of an epoch computes its root, whatever they held before or get
//! later, and whatever was ever sent.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::support::{Derivations, Past, cases, histories};

/// Nobody outside computes a root. Everybody inside does, from the first leaf secret alone and the messages, so the
/// derivations tried are at least those that members use.
fn check(past: &Past, derivations: &Derivations) {
    assert_eq!(past.roots_outsiders_know(derivations), []);
    let mut first: BTreeMap<u32, [u8; 32]> = BTreeMap::new();
    for ((identity, _), leaf) in &past.leaves {
        first.entry(*identity).or_insert(*leaf);
    }
    for (identity, leaf) in first {
        let known = derivations.closure([leaf]);
        let epochs = past.epochs_of(identity);
        for record in &past.records {
            let inside = epochs.contains(&record.epoch);
            assert_eq!(known.contains(record.root_secret.expose()), inside, "{identity} {}", record.epoch);
        }
    }
}

proptest! {
    #![proptest_config(cases(192))]

    #[test]
    fn outsiders_never_compute_a_root_by_what_messages_announce(history in histories(120, 20)) {
        let past = Past::of(&history, 120);
        check(&past, &Derivations::announced(&past));
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn outsiders_never_compute_a_root_by_force(history in histories(24, 12)) {
        let past = Past::of(&history, 24);
        check(&past, &Derivations::forced(&past));
    }
}
