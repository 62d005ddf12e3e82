//! What a manager tells.

use conclave::Clock;
use gsm::{Departure, GsmEvent};

use super::super::happening::{Happening, happened};
use super::{Record, refusal_word};

impl Record {
    pub(super) fn on_manager(&mut self, event: GsmEvent) -> Option<Happening> {
        Some(match event {
            GsmEvent::Admitted { identity, reg_no, sender } => {
                self.admitted += 1;
                self.grew = Some(Clock.now());
                happened!(
                    info,
                    &self.group,
                    "member.admitted",
                    identity = identity,
                    leaf = reg_no.0,
                    sender = sender.to_string()
                )
            }
            GsmEvent::Refused { identity, address, why } => {
                *self.refused.entry(refusal_word(why)).or_default() += 1;
                let (word, text) = (refusal_word(why), why.to_string());
                happened!(
                    warn,
                    &self.group,
                    "join.refused",
                    identity = identity,
                    address = address,
                    reason = word,
                    text = text
                )
            }
            GsmEvent::Departed { identity, sender, why } => {
                *self.departed.entry(departure_word(why)).or_default() += 1;
                self.on_departed(identity, &sender.to_string(), why)
            }
            GsmEvent::Rekeyed(summary) => {
                self.rekeys += 1;
                self.other_start = false;
                self.last_rekey = Some(Clock.now());
                happened!(
                    info,
                    &self.group,
                    "group.rekeyed",
                    term = summary.state.term.0,
                    epoch = summary.state.epoch.0,
                    hard = summary.hard,
                    joins = summary.joins,
                    leaves = summary.leaves,
                    entries = summary.entries,
                    packets = summary.packets,
                    bytes = summary.bytes,
                )
            }
            GsmEvent::KeyRing(_) => return None,
            other => self.on_past(other)?,
        })
    }

    /// What a manager says of its store, and of what was before it started.
    fn on_past(&mut self, event: GsmEvent) -> Option<Happening> {
        Some(match event {
            GsmEvent::ReadOnly => {
                let text =
                    "the store takes no records: nobody is admitted until it does; members keep their keys";
                happened!(error, &self.group, "store.read_only", text = text)
            }
            GsmEvent::Writable => happened!(info, &self.group, "store.writable"),
            GsmEvent::Resumed { members, term } => {
                self.resumed = Some(members as u64);
                happened!(info, &self.group, "manager.resumed", members = members, term = term.0)
            }
            GsmEvent::StartedOver { members } => {
                let text = "addresses, times, suite, degree or signing key are not what members were promised: \
                            it is a new subgroup, and all register again";
                happened!(warn, &self.group, "manager.started_over", members = members, text = text)
            }
            GsmEvent::RolledBack { held, seen, revocations } => {
                let text = "the journal is older than what members know, or damaged: all register again, and who was \
                            evicted stays out. Was an old copy of the state put back?";
                happened!(
                    error,
                    &self.group,
                    "group.rolled_back",
                    held = held.map(|state| state.to_string()).unwrap_or_default(),
                    seen = seen.map(|state| state.to_string()).unwrap_or_default(),
                    revocations = revocations,
                    text = text,
                )
            }
            GsmEvent::OtherStart { state } => {
                self.other_start = true;
                let text = "another process manages with this node's key and journal: a copy of this host or of its \
                            state. This one stays silent while it hears the other";
                happened!(error, &self.group, "manager.other_start", state = state.to_string(), text = text)
            }
            GsmEvent::Revoked { .. } => happened!(info, &self.group, "member.revoked"),
            other => return self.on_standby(other),
        })
    }

    /// Who would take over, and who did.
    fn on_standby(&mut self, event: GsmEvent) -> Option<Happening> {
        Some(match event {
            GsmEvent::StandbyInStep { identity, sender } => {
                self.standby_lost = None;
                let text = "it holds all that was acknowledged, and takes over if this manager is lost";
                happened!(
                    info,
                    &self.group,
                    "standby.in_step",
                    identity = identity,
                    sender = sender.to_string(),
                    text = text
                )
            }
            GsmEvent::StandbyLost { identity, sender, why } => {
                let why = why.to_string();
                self.standby_lost = Some((identity.clone(), why.clone(), Clock.now()));
                let text = "it would not take over: nothing waits for it until it has caught up";
                happened!(
                    warn,
                    &self.group,
                    "standby.lost",
                    identity = identity,
                    sender = sender.to_string(),
                    reason = why,
                    text = text
                )
            }
            GsmEvent::HandedOver { identity, sender } => {
                let text = "it manages the group from now on; nobody registers again";
                happened!(
                    info,
                    &self.group,
                    "manager.handed_over",
                    identity = identity,
                    sender = sender.to_string(),
                    text = text
                )
            }
            GsmEvent::NotHandedOver { identity, why } => {
                let why = why.to_string();
                let text = "the standby did not take over: this node goes on managing";
                happened!(
                    warn,
                    &self.group,
                    "manager.not_handed_over",
                    identity = identity,
                    reason = why,
                    text = text
                )
            }
            other => return self.on_office(other),
        })
    }

    /// This node manages the group from now on, or the group has new secrets.
    fn on_office(&mut self, event: GsmEvent) -> Option<Happening> {
        Some(match event {
            GsmEvent::TookOffice { members, term, handed } => {
                // There was a standby, and it is in office now: the group has none until another one is in step.
                let before = ("the manager before".to_owned(), "not back yet".to_owned(), Clock.now());
                self.standby_lost.get_or_insert(before);
                let text = "this node manages the group now, with the members it had: nobody registers again";
                happened!(
                    warn,
                    &self.group,
                    "manager.took_office",
                    members = members,
                    term = term.0,
                    handed = handed,
                    text = text
                )
            }
            GsmEvent::Renewed { number, term, why } => {
                let text = "a node that has held every key is out: all keys that it could know are replaced";
                happened!(
                    info,
                    &self.group,
                    "group.renewed",
                    number = number,
                    term = term.0,
                    identity = why,
                    text = text
                )
            }
            other => return self.on_merging(other),
        })
    }

    /// What happened between this manager and another one of the group.
    fn on_merging(&self, event: GsmEvent) -> Option<Happening> {
        Some(match event {
            GsmEvent::OtherManager { identity, subgroup, merges } => {
                let text = if merges {
                    "a second manager of the group is on this LAN: the two become one"
                } else {
                    "a second manager of the group is on this LAN, and merge = false keeps the two apart"
                };
                happened!(
                    warn,
                    &self.group,
                    "manager.other",
                    identity = identity,
                    subgroup = subgroup.to_string(),
                    merges = merges,
                    text = text
                )
            }
            GsmEvent::NotMerged { identity, why } => {
                let why = why.to_string();
                happened!(warn, &self.group, "manager.not_merged", identity = identity, reason = why)
            }
            GsmEvent::TookOver { identity, subgroup } => {
                let subgroup = subgroup.to_string();
                happened!(info, &self.group, "manager.took_over", identity = identity, subgroup = subgroup)
            }
            GsmEvent::SteppedDown { to, identity, subgroup } => {
                let text = "it gave way to the other manager, and is a member of it now";
                happened!(
                    info,
                    &self.group,
                    "manager.stepped_down",
                    identity = identity,
                    registrar = to,
                    subgroup = subgroup.to_string(),
                    text = text
                )
            }
            _ => return None,
        })
    }

    fn on_departed(&mut self, identity: String, sender: &str, why: Departure) -> Happening {
        // Who left in order or was put out is not missed.
        if matches!(why, Departure::Left | Departure::Evicted) {
            self.standby_lost = self.standby_lost.take().filter(|(lost, ..)| *lost != identity);
        }
        match why {
            Departure::Left => {
                happened!(info, &self.group, "member.left", identity = identity, sender = sender)
            }
            Departure::Silent => {
                happened!(info, &self.group, "member.silent", identity = identity, sender = sender)
            }
            Departure::Replaced => {
                happened!(info, &self.group, "member.replaced", identity = identity, sender = sender)
            }
            Departure::Evicted => {
                happened!(info, &self.group, "member.evicted", identity = identity, sender = sender)
            }
        }
    }
}

/// The word of a departure in counters.
const fn departure_word(why: Departure) -> &'static str {
    match why {
        Departure::Left => "left",
        Departure::Silent => "silent",
        Departure::Replaced => "replaced",
        Departure::Evicted => "evicted",
    }
}
