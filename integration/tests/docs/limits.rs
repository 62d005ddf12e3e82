//! Default times and limits of `docs/protocol.md` are those of the code.

use std::time::Duration;

use protocol::Timing;

use crate::markdown::{number, protocol_table, read};

/// A duration as a table writes it.
fn duration(text: &str) -> Duration {
    let (value, unit) = text.split_once(' ').unwrap_or_else(|| panic!("{text:?} has no unit"));
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "h" => 3_600_000,
        _ => panic!("{text:?} has an unknown unit"),
    };
    Duration::from_millis(number(value) * millis)
}

#[test]
fn the_default_times_are_those_of_the_code_in_the_order_of_the_grant() {
    let Timing {
        rekey_interval,
        alarm_interval,
        silence,
        soft_activation,
        soft_cut,
        hard_activation,
        hard_cut,
        keepalive,
        nak_wait,
        nak_round,
        refresh,
        t_hard,
    } = Timing::default();
    let code = [
        ("rekey_interval", rekey_interval),
        ("alarm_interval", alarm_interval),
        ("silence", silence),
        ("soft_activation", soft_activation),
        ("soft_cut", soft_cut),
        ("hard_activation", hard_activation),
        ("hard_cut", hard_cut),
        ("keepalive", keepalive),
        ("nak_wait", nak_wait),
        ("nak_round", nak_round),
        ("refresh", refresh),
        ("t_hard", t_hard),
    ];
    let page: Vec<_> =
        protocol_table("times").into_iter().map(|row| (row[0].clone(), duration(&row[1]))).collect();
    assert_eq!(page, code.map(|(name, time)| (name.to_owned(), time)));
}

/// What `const NAME: TYPE = EXPRESSION;` of a source file says: a number or a duration, in the words of a table.
fn constant(source: &str, name: &str) -> Option<String> {
    let (_, after) = source.split_once(&format!("const {name}: "))?;
    let (_, after) = after.split_once(" = ")?;
    let (expression, _) = after.split_once(';')?;
    let unit = |unit: &str| {
        let inner = expression.strip_prefix(&format!("Duration::from_{unit}("))?;
        inner.strip_suffix(')').map(product)
    };
    let (seconds, millis) = (unit("secs"), unit("millis"));
    Some(match (seconds, millis) {
        (Some(seconds), _) => format!("{seconds} s"),
        (_, Some(millis)) => format!("{millis} ms"),
        (None, None) => product(expression).to_string(),
    })
}

fn product(expression: &str) -> u64 {
    expression.split('*').map(|factor| number(factor.trim())).product()
}

#[test]
fn every_limit_has_the_value_it_has_in_its_file() {
    for row in protocol_table("limits") {
        let (name, value, file) = (&row[0], &row[1], &row[2]);
        let code = constant(&read(file), name).unwrap_or_else(|| panic!("{file} has no constant {name}"));
        assert_eq!(value, &code, "{name} in {file}");
    }
}

#[test]
fn the_two_ends_of_the_library_agree_on_the_longest_frame() {
    let of = |file| constant(&read(file), "MAX_FRAME");
    assert_eq!(of("endpoint/src/tls/frames.rs"), of("protocol/src/limits.rs"));
}

#[test]
fn every_limit_of_the_protocol_is_on_the_page() {
    let source = read("protocol/src/limits.rs");
    let top_level = source.lines().filter_map(|line| line.strip_prefix("pub const "));
    let names: Vec<_> = top_level.filter_map(|rest| rest.split_once(':').map(|(name, _)| name)).collect();
    let page: Vec<_> = protocol_table("limits")
        .into_iter()
        .filter(|row| row[2] == "protocol/src/limits.rs")
        .map(|row| row[0].clone())
        .collect();
    assert_eq!(page, names);
}

#[test]
fn the_sizes_named_in_prose_are_those_of_the_code() {
    let page = read("docs/protocol.md");
    let said = |text: String| assert!(page.contains(&text), "the page does not say {text:?}");
    let thousands = |n: usize| format!("{},{:03}", n / 1_000, n % 1_000);
    said(format!("at most {} bytes of UDP payload", thousands(data::MAX_DATAGRAM)));
    said(format!("carries at most {} bytes", thousands(data::MAX_PAYLOAD)));
    assert_eq!(keytree::RegNo::MAX.0, (1 << 26) - 1);
    said("at most 2^26 leaves".to_owned());
    assert!(read("gsm/src/key_manager.rs").contains("LAST_EPOCH: Epoch = Epoch((1 << 31) - 1)"));
    said("end at 2^31 − 1".to_owned());
}
