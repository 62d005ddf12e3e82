//! Keys where they were once, or where one might think they are: the error says where to write them instead.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use toml::{Spanned, Value};

use super::fault::Fault;

/// Keys of the whole node.
const OF_THE_NODE: [&str; 7] =
    ["interface", "port", "control_port", "data_port", "control_socket", "state", "keys"];
/// Keys of a group.
const OF_A_GROUP: [&str; 22] = [
    "role",
    "gsm",
    "priority",
    "merge",
    "address",
    "ttl",
    "suite",
    "degree",
    "packet_size",
    "rekey_interval",
    "alarm_interval",
    "silence",
    "soft_activation",
    "soft_cut",
    "hard_activation",
    "hard_cut",
    "keepalive",
    "nak_wait",
    "nak_round",
    "refresh",
    "give_up_after",
    "access",
];

type Keys = BTreeMap<Spanned<String>, Value>;

#[derive(Deserialize)]
struct GroupTables {
    group: Vec<Keys>,
}

/// `Err` at the first key that stands in the wrong place. What is wrong otherwise is not found here.
pub(super) fn find(text: &str) -> Result<(), Fault> {
    let Ok(file) = toml::from_str::<Keys>(text) else { return Ok(()) };
    let in_groups = toml::from_str::<GroupTables>(text).map(|tables| tables.group).unwrap_or_default();
    let in_groups = in_groups.iter().flatten().filter_map(|(key, _)| in_a_group(key));
    let found = file.iter().filter_map(|(key, value)| at_the_top(key, value)).chain(in_groups);
    found.min_by_key(|(span, _)| span.start).map_or(Ok(()), |(span, what)| Err(Fault::new(span, what)))
}

fn at_the_top(key: &Spanned<String>, value: &Value) -> Option<(Range<usize>, String)> {
    let what = match (key.get_ref().as_str(), value) {
        ("group", Value::String(name)) => {
            format!("a group is a table now: write [[group]] and below it name = {name:?}")
        }
        ("group", Value::Table(_)) => "a node may have several groups: write [[group]]".to_owned(),
        ("manager", _) => {
            "there is no [manager] any more: write port, control_port and data_port above the first \
                           table, and the other settings below [[group]] with role = \"manager\""
                .to_owned()
        }
        (name, _) if OF_A_GROUP.contains(&name) => {
            format!("{name} belongs to a group: write it below [[group]]")
        }
        _ => return None,
    };
    Some((key.span(), what))
}

fn in_a_group(key: &Spanned<String>) -> Option<(Range<usize>, String)> {
    let name = key.get_ref().as_str();
    let what = format!("{name} is the same for every group of the node: write it above the first table");
    OF_THE_NODE.contains(&name).then(|| (key.span(), what))
}
