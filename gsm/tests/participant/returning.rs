//! A manager that is none any more, and knows every secret of the subgroup.

use std::time::Duration;

use gsm::{GsmEvent, JournalEntry};

use crate::following::{in_step, pair};

#[test]
fn a_former_manager_that_comes_back_causes_no_renewal_and_one_that_stays_away_does() {
    for returns in [true, false] {
        let (mut lan, boss, heir) = pair();
        assert!(lan.until(|lan| in_step(lan, boss, "heir")));
        let (subgroup, now) = (lan.gsm(boss).domain().subgroup, lan.now);
        let own = lan.nodes[heir].participant.member().unwrap().following().unwrap().sender;
        lan.gsm_mut(boss).hand_over(now, None).unwrap();
        lan.settle(boss);
        assert!(lan.until(|lan| lan.managers() == [heir]));
        assert_eq!((lan.gsm(heir).domain().subgroup, lan.gsm(heir).own_sender()), (subgroup, own));
        assert_eq!(lan.listed(heir), ["heir"], "the registration of the manager before ends");
        if returns {
            assert!(lan.until(|lan| lan.listed(heir) == ["boss", "heir"]));
        } else {
            lan.kill(boss);
        }
        lan.run(Duration::from_secs(35));
        let renewed = |event: &GsmEvent| matches!(event, GsmEvent::Renewed { number: 1, .. });
        assert_eq!(lan.manager_events(heir).any(renewed), !returns);
        let entries = lan.nodes[heir].records.iter().map(|(_, bytes)| JournalEntry::decode(bytes).unwrap());
        let renewals = entries.filter(|entry| matches!(entry, JournalEntry::Renewed { .. })).count();
        assert_eq!(renewals, usize::from(!returns));
        if returns {
            // It still knows what it knew.
            lan.evict(heir, "boss");
            lan.run(Duration::from_secs(1));
            assert!(lan.manager_events(heir).any(renewed));
        }
    }
}
