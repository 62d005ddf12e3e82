use std::path::Path;

use super::*;

const MANAGER: &str = include_str!("../../../configs/manager.toml");
const MEMBER: &str = include_str!("../../../configs/member.toml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/etc/conclave/conclave.toml"), text)
}

fn error_of(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// A manager's configuration with these lines under `[manager]`, which is line 7.
fn manager_with(lines: &str) -> String {
    format!(
        "group = \"video\"\nrole = \"manager\"\n[credentials]\ncertificate = \"c\"\nkey = \"k\"\nca = \"a\"\n\
         [manager]\n{lines}\n"
    )
}

#[test]
fn the_example_of_a_manager_is_the_defaults() {
    let config = parse(MANAGER).unwrap();
    assert_eq!(config.role, Role::Manager(Box::default()));
    assert_eq!(config.control_socket, Path::new(DEFAULT_CONTROL_SOCKET));
    assert_eq!(config.credentials.key, Path::new("/etc/conclave/pki/gsm.example-key.pem"));
    let bare = parse(&manager_with("")).unwrap();
    assert_eq!((bare.role, bare.control_socket), (config.role, config.control_socket));
}

#[test]
fn the_example_of_a_member_is_a_member() {
    let config = parse(MEMBER).unwrap();
    assert_eq!(config.role, Role::Member { gsm: vec!["gsm.example:7400".to_owned()] });
    assert_eq!((config.group.as_str(), config.interface), ("video", None));
}

#[test]
fn the_examples_show_every_key() {
    // The parser itself lists the keys it knows when it meets one it does not.
    let keys_in = |error: String| -> Vec<String> {
        let first = error.lines().next().unwrap_or_default().to_owned();
        let known = first.split("expected one of").nth(1).expect("the list of keys").to_owned();
        known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let shown = |text: &str, key: &str| {
        text.lines().any(|line| {
            let line = line.trim_start_matches("# ");
            line.split(['=', ' ']).next() == Some(key) || line.starts_with(&format!("[{key}]"))
        })
    };
    let manager = keys_in(error_of(&manager_with("colour = 1")));
    assert!(manager.len() >= 20, "{manager:?}");
    for key in manager {
        assert!(shown(MANAGER, &key), "{key}");
    }
    for key in keys_in(error_of("colour = 1")) {
        assert!(shown(MANAGER, &key) || shown(MEMBER, &key), "{key}");
    }
}

#[test]
fn an_error_names_file_line_and_column_and_marks_the_value() {
    assert_eq!(
        error_of(&manager_with("rekey_interval = \"50ms\"")),
        "/etc/conclave/conclave.toml:8:18: rekey_interval = \"50ms\" is not between 100ms and 24h\n   \
         |\n 8 | rekey_interval = \"50ms\"\n   |                  ^^^^^^"
    );
}

#[test]
fn every_wrong_value_is_found_where_it_stands() {
    for (line, place, text) in [
        ("rekey_interval = \"soon\"", "8:18", "is not a duration"),
        ("rekey_interval = 5", "8:18", "invalid type"),
        ("degree = 17", "8:10", "not between 2 and 16"),
        ("packet_size = 100", "8:15", "not between 576 and"),
        ("control_port = 0", "8:16", "not between 1 and 65535"),
        ("data_port = 7401", "8:13", "must differ"),
        ("address = \"10.1.2.3\"", "8:11", "not an IPv4 multicast address"),
        ("ttl = 300", "8:7", ""),
        ("suite = \"rot13\"", "8:9", "aes256ctr-blake3"),
        ("colour = \"red\"", "8:1", "unknown field"),
        ("silence = \"300ms\"", "8:11", "less than two alarm intervals"),
        ("access = [{ allow = \"a\", deny = \"b\" }]", "8:11", "an access rule is"),
        ("port 7400", "8:6", ""),
    ] {
        let error = error_of(&manager_with(line));
        assert!(error.starts_with(&format!("/etc/conclave/conclave.toml:{place}: ")), "{line}\n{error}");
        assert!(error.contains(text), "{line}\n{error}");
    }
}

#[test]
fn a_member_is_told_what_it_lacks() {
    let member = |lines: &str| {
        format!(
            "group = \"v\"\nrole = \"member\"\n{lines}\n[credentials]\ncertificate = \"c\"\nkey = \"k\"\nca = \"a\"\n"
        )
    };
    for (lines, place, text) in [
        ("", "2:8", "a member needs gsm"),
        ("gsm = []", "3:7", "names no manager"),
        ("gsm = [\"gsm.example\"]", "3:8", "is not host:port"),
        ("gsm = [\"a:7400\", \"::1:7400\"]", "3:18", "is not host:port"),
        ("gsm = [\"a:0\"]", "3:8", "is not host:port"),
    ] {
        let error = error_of(&member(lines));
        assert!(error.contains(&format!(".toml:{place}: ")) && error.contains(text), "{lines}\n{error}");
    }
    assert!(error_of(&format!("{}[manager]\n", member("gsm = [\"a:1\"]"))).contains("role = \"manager\""));
    assert!(parse(&member("gsm = [\"[::1]:7400\", \"gsm.example:1\"]")).is_ok());
    assert!(error_of(&member("gsm = [\"a:1\"]").replace("\"v\"", "\"\"")).contains(":1:9: group"));
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Path::new("/nowhere/conclave.toml")).unwrap_err().to_string();
    assert!(error.starts_with("cannot read /nowhere/conclave.toml: "), "{error}");
}
