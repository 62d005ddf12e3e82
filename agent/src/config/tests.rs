use std::path::Path;

use super::*;

const NODE: &str = include_str!("../../../configs/node.toml");
const MEMBER: &str = include_str!("../../../configs/member.toml");
const TWO_GROUPS: &str = include_str!("../../../configs/two-groups.toml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/etc/conclave/conclave.toml"), text)
}

fn error_of(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// A node in one group, with `node` on line 1 and `group` below the group's name, on line 8.
fn written(node: &str, group: &str) -> String {
    format!(
        "{node}\n[credentials]\ncertificate = \"c\"\nkey = \"k\"\nca = \"a\"\n[[group]]\nname = \"video\"\n{group}\n"
    )
}

fn with(group: &str) -> String {
    written("", group)
}

/// The error of such a node stands at this line and column and says this.
fn expect(text: &str, place: &str, said: &str) {
    let error = error_of(text);
    assert!(error.starts_with(&format!("/etc/conclave/conclave.toml:{place}: ")), "{text}\n{error}");
    assert!(error.contains(said), "{text}\n{error}");
}

fn group_of(config: Config) -> GroupConfig {
    let [group] = config.groups.try_into().unwrap();
    group
}

#[test]
fn the_example_of_a_node_is_the_defaults() {
    let config = parse(NODE).unwrap();
    assert_eq!(parse(MEMBER).unwrap(), config);
    assert_eq!((config.ports, config.interface.as_ref()), (Ports::default(), None));
    assert_eq!(config.control_socket, Path::new(DEFAULT_CONTROL_SOCKET));
    assert_eq!(
        (config.state.as_path(), config.keys.as_path()),
        (DEFAULT_STATE.as_ref(), DEFAULT_KEYS.as_ref())
    );
    assert_eq!(config.credentials.key, Path::new("/etc/conclave/pki/host7.example-key.pem"));
    let group = group_of(config);
    assert_eq!((group.role, group.priority, group.merge), (Role::Auto, 100, true));
    assert_eq!((group.gsm, group.settings), (Vec::new(), Settings::default()));
}

#[test]
fn a_node_may_have_several_groups() {
    let groups = parse(TWO_GROUPS).unwrap().groups;
    let [video, telemetry] = &groups[..] else { panic!("{groups:?}") };
    assert_eq!((video.name.as_str(), video.role), ("video", Role::Member));
    assert_eq!(video.gsm, ["gsm.example:7400", "192.0.2.7:7400"]);
    assert_eq!((telemetry.name.as_str(), telemetry.role), ("telemetry", Role::Manager));
    assert_eq!(telemetry.settings.timing.rekey_interval.as_secs(), 30);
    let twice = format!("{}[[group]]\nname = \"video\"\n", with(""));
    expect(&twice, "10:8", "there is a group \"video\" above already");
}

#[test]
fn the_example_shows_every_key() {
    // The parser itself lists the keys it knows when it meets one it does not.
    let keys_in = |error: String| -> Vec<String> {
        let first = error.lines().next().unwrap_or_default().to_owned();
        let known = first.split("expected one of").nth(1).expect("the list of keys").to_owned();
        known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let shown = |key: &str| {
        NODE.lines().any(|line| {
            let line = line.trim_start_matches("# ").trim_start_matches('[');
            line.split(['=', ' ', ']']).next() == Some(key)
        })
    };
    let (of_a_group, of_the_node) =
        (keys_in(error_of(&with("colour = 1"))), keys_in(error_of(&written("colour = 1", ""))));
    assert!(of_a_group.len() >= 23 && of_the_node.len() >= 9, "{of_a_group:?} {of_the_node:?}");
    for key in of_a_group.iter().chain(&of_the_node) {
        assert!(shown(key), "{key}");
    }
    // And each is told apart from the other kind where it stands in the wrong place.
    for key in of_a_group.iter().filter(|key| *key != "name") {
        expect(&written(&format!("{key} = 1"), ""), "1:1", &format!("{key} belongs to a group: "));
    }
    for key in of_the_node.iter().filter(|key| !["group", "credentials"].contains(&key.as_str())) {
        expect(&with(&format!("{key} = 1")), "8:1", &format!("{key} is the same for every group"));
    }
}

#[test]
fn who_writes_it_as_it_was_is_told_how_it_is_now() {
    let old = "group = \"video\"\nrole = \"manager\"\n[manager]\nport = 0\n";
    expect(old, "1:1", "write [[group]] and below it name = \"video\"");
    expect(&old.replace("group = \"video\"", ""), "2:1", "role belongs to a group");
    expect(
        "interface = \"lo\"\n[manager]\nport = 0\n",
        "2:2",
        "write port, control_port and data_port above",
    );
    expect("[group]\nname = \"video\"\n", "1:2", "write [[group]]");
    expect("gsm = [\"a:1\"]\n", "1:1", "gsm belongs to a group");
}

#[test]
fn an_error_names_file_line_and_column_and_marks_the_value() {
    assert_eq!(
        error_of(&with("rekey_interval = \"50ms\"")),
        "/etc/conclave/conclave.toml:8:18: rekey_interval = \"50ms\" is not between 100ms and 24h\n   \
         |\n 8 | rekey_interval = \"50ms\"\n   |                  ^^^^^^"
    );
}

#[test]
fn every_wrong_value_of_a_group_is_found_where_it_stands() {
    for (line, place, text) in [
        ("rekey_interval = \"soon\"", "8:18", "is not a duration"),
        ("rekey_interval = 5", "8:18", "invalid type"),
        ("degree = 17", "8:10", "not between 2 and 16"),
        ("packet_size = 100", "8:15", "not between 576 and"),
        ("address = \"10.1.2.3\"", "8:11", "not an IPv4 multicast address"),
        ("ttl = 300", "8:7", "300"),
        ("priority = -1", "8:12", "-1"),
        ("merge = \"no\"", "8:9", "invalid type"),
        ("suite = \"rot13\"", "8:9", "aes256ctr-blake3"),
        ("role = \"boss\"", "8:8", "expected one of `auto`, `member`, `manager`"),
        ("colour = \"red\"", "8:1", "unknown field"),
        ("silence = \"300ms\"", "8:11", "less than two alarm intervals"),
        ("give_up_after = \"2s\"", "8:17", "is less than silence"),
        ("give_up_after = \"48h\"", "8:17", "is not between 1s and 24h"),
        ("access = [{ allow = \"a\", deny = \"b\" }]", "8:11", "an access rule is"),
        ("gsm = []", "8:7", "names no manager"),
        ("gsm = [\"gsm.example\"]", "8:8", "is not host:port"),
        ("gsm = [\"a:7400\", \"::1:7400\"]", "8:18", "is not host:port"),
        ("gsm = [\"a:0\"]", "8:8", "is not host:port"),
        ("colour 7400", "8:8", "expected"),
    ] {
        expect(&with(line), place, text);
    }
    expect(&with("").replace("\"video\"", "\"\""), "7:8", "name = \"\" is not a name");
    assert!(parse(&with("gsm = [\"[::1]:7400\", \"gsm.example:1\"]")).is_ok());
}

#[test]
fn every_wrong_value_of_the_node_is_found_where_it_stands() {
    for (line, place, text) in [
        ("control_port = 0", "1:16", "not between 1 and 65535"),
        ("data_port = 7401", "1:13", "must differ"),
        ("port = 70000", "1:8", "70000"),
        ("colour = \"red\"", "1:1", "unknown field"),
        ("state = \"/etc/conclave/keys\"", "1:9", "neither inside the other"),
        ("state = \"/etc/conclave\"", "1:9", "neither inside the other"),
        ("keys = \"/var/lib/conclave/./keys\"", "1:8", "neither inside the other"),
        ("keys = \"../../var/lib/conclave\"", "1:8", "neither inside the other"),
    ] {
        expect(&written(line, ""), place, text);
    }
    assert!(parse(&written("state = \"state\"", "")).is_ok());
    let none = with("").replace("[[group]]\nname = \"video\"", "");
    expect(&none, "1:1", "write [[group]]");
}

#[test]
fn what_has_no_effect_under_its_role_is_a_mistake() {
    for (role, line, text) in [
        ("manager", "gsm = [\"a:1\"]", "gsm is for members"),
        ("manager", "priority = 1", "stands for no election"),
        ("member", "priority = 1", "priority is for who may manage"),
        ("member", "merge = true", "merge is for who may manage"),
        ("member", "rekey_interval = \"5s\"", "rekey_interval is for who may manage"),
        ("member", "access = [{ allow = \"a\" }]", "access is for who may manage"),
    ] {
        let error = error_of(&with(&format!("role = \"{role}\"\n{line}")));
        assert!(
            error.starts_with("/etc/conclave/conclave.toml:9:") && error.contains(text),
            "{line}\n{error}"
        );
    }
    for line in ["gsm = [\"a:1\"]", "priority = 65535", "rekey_interval = \"1s\""] {
        assert!(parse(&with(line)).is_ok(), "{line}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Path::new("/nowhere/conclave.toml")).unwrap_err().to_string();
    assert!(error.starts_with("cannot read /nowhere/conclave.toml: "), "{error}");
}
