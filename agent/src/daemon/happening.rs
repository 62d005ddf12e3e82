//! Something that happened, under a fixed name: a line in the log and an object in `events`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Map, Value};

/// One event as `GET /v1/events` tells it. Names and fields stay as they are; fields may be added.
///
/// At a manager: `group.rekeyed` `group.rolled_back` `member.admitted` `member.left` `member.silent` `member.replaced`
/// `member.evicted` `member.revoked` `join.refused` `manager.resumed` `manager.started_over` `manager.other_start`
/// `manager.other` `manager.not_merged` `manager.took_over` `manager.stepped_down` `manager.handed_over`
/// `manager.not_handed_over` `standby.in_step` `standby.lost` `group.renewed` `store.read_only` `store.writable`. At a
/// member: `join.granted` `join.admitted` `join.refused` `join.failed` `state.installed` `manager.silent` `manager.back`
/// `manager.restarted` `manager.lost` `manager.changed` `member.moving` `member.orphaned` `membership.ended`; at one that
/// may manage also `election.standing` `manager.elected`. At both: `role.manager` and `role.member`, at the start and
/// whenever the role changes; `store.behind` and `store.damaged`, at the start; `events.missed`, where so much happened at
/// once that some of it is not told.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Happening {
    /// Its name.
    event: &'static str,
    /// In which group.
    pub(crate) group: String,
    /// Seconds since 1970.
    time: f64,
    /// What it is about.
    #[serde(flatten)]
    fields: Map<String, Value>,
}

impl Happening {
    /// Something that happens now.
    pub(super) fn now(
        event: &'static str,
        group: &str,
        fields: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Self {
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { event, group: group.to_owned(), time: wall_clock(), fields }
    }
}

/// Logs an event and makes the object that `events` tells, from one list of fields: both always say the same. Every
/// field is both `Display` and `Serialize`; none of those types can print a key.
macro_rules! happened {
    ($level:ident, $group:expr, $event:literal $(, $field:ident = $value:expr)* $(,)?) => {{
        $(let $field = &$value;)*
        tracing::$level!(target: "conclave", group = %$group, $($field = %$field,)* $event);
        $crate::daemon::happening::Happening::now($event, $group, [$((stringify!($field), ::serde_json::json!($field))),*])
    }};
}

pub(super) use happened;

#[expect(clippy::disallowed_methods, reason = "a time for operators to read; nothing is decided by it")]
fn wall_clock() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
