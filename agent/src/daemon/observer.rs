//! Follows the node's events: logs them, tells them, and adds them up for `status`.

mod manager;

use std::collections::BTreeMap;
use std::sync::Arc;

use conclave::{Clock, Mode, ParticipantEvent};
use member::{Ending, MemberEvent, Move, Place};
use protocol::{Instant, Refusal, SenderId, StateId};
use serde::{Deserialize, Serialize};
use storage::Health;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::happening::{Happening, happened};
use super::{Daemon, RunningGroup};

/// What the events add up to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// The group's name.
    group: String,
    /// Where a member stands; of no meaning at a manager.
    pub(crate) standing: Standing,
    /// Where the member's subgroup lives.
    pub(crate) place: Option<Place>,
    /// Why the member is not in, or what went wrong last.
    pub(crate) reason: Option<String>,
    /// Why it looks for another manager while it still holds the keys of one.
    pub(crate) moving: Option<Move>,
    /// Names of configured managers that could not be resolved yet.
    pub(crate) unresolved: Vec<String>,
    /// Members that the manager kept when it came back.
    pub(crate) resumed: Option<u64>,
    /// Another start of this manager is at work.
    pub(crate) other_start: bool,
    /// The standby that was lost last, why, and when; `None` once one is in step.
    pub(crate) standby_lost: Option<(String, String, Instant)>,
    /// When this manager began, or a member was admitted last: a new standby needs a moment.
    pub(crate) grew: Option<Instant>,
    /// When it was noticed that the manager is silent; of no meaning once it is not.
    pub(crate) silent_since: Option<Instant>,
    /// Key updates sent, and when the last one was.
    pub(crate) rekeys: u64,
    pub(crate) last_rekey: Option<Instant>,
    /// Members admitted.
    pub(crate) admitted: u64,
    /// Members gone, by the word of [`departure_word`].
    pub(crate) departed: BTreeMap<&'static str, u64>,
    /// Nodes that were not let in (at a member: times it was not), by the word of [`refusal_word`].
    pub(crate) refused: BTreeMap<&'static str, u64>,
}

/// Where a member stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Standing {
    /// It looks for a manager that takes it.
    #[default]
    Searching,
    /// It is admitted; the next key update lets it in.
    Admitted,
    /// It holds the group key.
    Joined,
    /// It left or was put out.
    Out,
}

/// Runs until the node has ended and nothing it told is left.
pub(super) async fn run(
    daemon: Arc<Daemon>,
    group: Arc<RunningGroup>,
    mut events: broadcast::Receiver<ParticipantEvent>,
    ended: CancellationToken,
) {
    let found = group.record().found(&group.facts.store.health);
    if let Some(happening) = found {
        let _ = daemon.happenings.send(Arc::new(happening));
    }
    loop {
        let event = tokio::select! {
            biased;
            event = events.recv() => event,
            () = ended.cancelled() => return,
        };
        let happening = match event {
            Ok(event) => group.record().on_event(event),
            Err(RecvError::Lagged(count)) => {
                Some(happened!(warn, &group.facts.name, "events.missed", count = count))
            }
            Err(RecvError::Closed) => return,
        };
        if let Some(happening) = happening {
            // Nobody reading is in order.
            let _ = daemon.happenings.send(Arc::new(happening));
        }
    }
}

impl Record {
    /// Nothing has happened yet in the group of this name.
    pub(super) fn of(group: &str, unresolved: Vec<String>) -> Self {
        Self { group: group.to_owned(), unresolved, ..Self::default() }
    }

    /// What the node found where it keeps its state, if that is not as it must be.
    fn found(&self, health: &Health) -> Option<Happening> {
        let text = "nobody is kept: all members register again, and who was evicted stays out";
        let found = health.to_string();
        Some(match health {
            Health::Fresh | Health::Whole => return None,
            Health::Behind { .. } => {
                happened!(error, &self.group, "store.behind", found = found, text = text)
            }
            Health::Damaged { .. } => {
                happened!(error, &self.group, "store.damaged", found = found, text = text)
            }
        })
    }

    fn on_event(&mut self, event: ParticipantEvent) -> Option<Happening> {
        match event {
            ParticipantEvent::Manager(event) => self.on_manager(event),
            ParticipantEvent::Member(event) => self.on_member(event),
            ParticipantEvent::Became(Mode::Manager) => {
                // Nothing of what it was as a member holds any more.
                (self.standing, self.moving, self.silent_since) = (Standing::Searching, None, None);
                (self.reason, self.grew) = (None, Some(Clock.now()));
                Some(happened!(info, &self.group, "role.manager"))
            }
            ParticipantEvent::Became(Mode::Member) => {
                (self.resumed, self.other_start, self.standby_lost) = (None, false, None);
                Some(happened!(info, &self.group, "role.member"))
            }
            ParticipantEvent::Place(place) => self.listens(place),
        }
    }

    /// Where the node is to be found now; nothing to say in that.
    fn listens(&mut self, place: Place) -> Option<Happening> {
        self.place = Some(place);
        None
    }

    fn on_member(&mut self, event: MemberEvent) -> Option<Happening> {
        Some(match event {
            MemberEvent::Granted(place) => self.on_granted(place),
            MemberEvent::Stays(place) => return self.listens(place),
            MemberEvent::Admitted => {
                self.standing = Standing::Admitted;
                happened!(info, &self.group, "join.admitted")
            }
            MemberEvent::Installed { state, hard } => {
                self.standing = Standing::Joined;
                self.reason = None;
                self.moving = None;
                happened!(
                    info,
                    &self.group,
                    "state.installed",
                    term = state.term.0,
                    inst = format!("{:016x}", state.inst.0),
                    epoch = state.epoch.0,
                    hard = hard
                )
            }
            MemberEvent::Unreachable { registrar, why } => {
                self.failed(registrar.to_string(), why.to_string())
            }
            MemberEvent::Distrusted { registrar } => {
                self.failed(registrar.to_string(), "its grant does not hold together".to_owned())
            }
            MemberEvent::Refused { registrar, why } => self.on_refused(registrar, why),
            MemberEvent::ManagerSilent => {
                self.silent_since = Some(Clock.now());
                let text = "no sign of life from the manager: this node keeps its keys, sends and receives, and looks";
                happened!(warn, &self.group, "manager.silent", text = text)
            }
            MemberEvent::ManagerBack => {
                self.silent_since = None;
                happened!(info, &self.group, "manager.back")
            }
            MemberEvent::ManagerRestarted { state } => {
                self.silent_since = None;
                happened!(info, &self.group, "manager.restarted", term = state.term.0)
            }
            MemberEvent::ManagerLost { suspicions, known, .. } => self.on_lost(suspicions.len(), known),
            MemberEvent::ManagerChanged { by, start } => self.on_changed(by, start),
            MemberEvent::ManagerNamed { identity } => {
                if let Some(place) = &mut self.place {
                    place.manager = identity;
                }
                return None;
            }
            MemberEvent::Moving(why) => {
                self.moving = Some(why);
                happened!(warn, &self.group, "member.moving", reason = move_word(why))
            }
            MemberEvent::Standing => {
                self.reason = Some("nobody manages the group, and this node stands for election".to_owned());
                happened!(info, &self.group, "election.standing")
            }
            MemberEvent::Elected => happened!(info, &self.group, "manager.elected"),
            MemberEvent::Ended(Ending::Orphaned) => {
                self.ended(Ending::Orphaned);
                let text = "no manager was heard for give_up_after: this node gave up its keys, and searches";
                happened!(error, &self.group, "member.orphaned", text = text)
            }
            MemberEvent::Ended(how) => {
                happened!(info, &self.group, "membership.ended", how = self.ended(how))
            }
            MemberEvent::KeyRing(_) => return None,
        })
    }

    fn on_refused(&mut self, registrar: std::net::SocketAddr, why: Refusal) -> Happening {
        *self.refused.entry(refusal_word(why)).or_default() += 1;
        let (word, text) = (refusal_word(why), why.to_string());
        self.reason = Some(format!("refused by {registrar}: {text}"));
        happened!(warn, &self.group, "join.refused", registrar = registrar, reason = word, text = text)
    }

    fn on_lost(&self, others: usize, known: StateId) -> Happening {
        let text = "the manager is silent, answers nobody, and others say so too: a standby in step takes over. If none \
                    does, members keep their keys and elect another manager";
        happened!(
            warn,
            &self.group,
            "manager.lost",
            term = known.term.0,
            epoch = known.epoch.0,
            others = others,
            text = text
        )
    }

    fn on_changed(&mut self, by: SenderId, start: StateId) -> Happening {
        self.silent_since = None;
        // Its name comes with its certificate, a moment later.
        if let Some(place) = &mut self.place {
            place.manager = by.to_string();
        }
        let text =
            "another node manages the group by right: this one follows it, and does not register again";
        happened!(
            warn,
            &self.group,
            "manager.changed",
            sender = by.to_string(),
            term = start.term.0,
            text = text
        )
    }

    fn on_granted(&mut self, place: Place) -> Happening {
        let granted = happened!(
            info,
            &self.group,
            "join.granted",
            manager = place.manager.clone(),
            subgroup = place.subgroup.to_string(),
            leaf = place.reg_no.0,
            sender = place.sender.to_string(),
            control = place.control,
            data = place.data,
        );
        self.place = Some(place);
        granted
    }

    fn failed(&mut self, registrar: String, why: String) -> Happening {
        self.reason = Some(format!("{registrar}: {why}"));
        happened!(warn, &self.group, "join.failed", registrar = registrar, why = why)
    }

    fn ended(&mut self, how: Ending) -> &'static str {
        self.standing = if how == Ending::Orphaned { Standing::Searching } else { Standing::Out };
        (self.place, self.moving) = (None, None);
        let (word, text) = match how {
            Ending::Left => ("left", "it left"),
            Ending::LeftUnheard => ("left_unheard", "it left, and no manager answered"),
            Ending::PutOut => ("put_out", "the manager put it out"),
            Ending::Orphaned => ("orphaned", "no manager was heard for too long"),
        };
        self.reason.get_or_insert_with(|| text.to_owned());
        word
    }
}

/// The word of a move in events.
const fn move_word(why: Move) -> &'static str {
    match why {
        Move::SentAway => "sent_away",
        Move::ManagerLost => "manager_lost",
        Move::ManagerForgot => "manager_forgot",
        Move::OutOfReach => "out_of_reach",
        Move::NotKnown => "not_known",
    }
}

/// The word of a refusal in counters and events.
const fn refusal_word(why: Refusal) -> &'static str {
    match why {
        Refusal::NotCertified => "not_certified",
        Refusal::Denied => "denied",
        Refusal::Revoked => "revoked",
        Refusal::UnknownGroup => "unknown_group",
        Refusal::Full => "full",
        Refusal::ReadOnly => "read_only",
        Refusal::NotConfirmed => "not_confirmed",
        Refusal::NotManager => "not_manager",
    }
}
