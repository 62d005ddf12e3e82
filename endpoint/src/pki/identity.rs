use std::fmt;
use std::str::FromStr;

/// Longest identity, in bytes: as long as a DNS name may be.
const MAX_IDENTITY: usize = 253;

/// The name of a node, as its certificate's subject alternative name holds it.
///
/// Parsed from text: with `@` it is an e-mail address, with `:` a URI, else a DNS name. ASCII without spaces, so that
/// what an operator sees in a list and what an access rule compares is one thing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    name: String,
    kind: Kind,
}

/// In which form the certificate holds the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Dns,
    Email,
    Uri,
}

/// Not a name a certificate can hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an identity ({why}); use a DNS name, an e-mail address or a URI")]
pub struct IdentityError {
    text: String,
    why: &'static str,
}

impl Identity {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let checked = if text.is_empty() || text.len() > MAX_IDENTITY {
            Err("1 to 253 characters")
        } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Err("it must be printable ASCII without spaces")
        } else {
            kind_of(text)
        };
        match checked {
            Ok(kind) => Ok(Self { name: spelt(text, kind), kind }),
            Err(why) => Err(IdentityError { text: text.to_owned(), why }),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn kind_of(text: &str) -> Result<Kind, &'static str> {
    if let Some((scheme, rest)) = text.split_once(':') {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        let well =
            scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(letters);
        return if well && !rest.is_empty() { Ok(Kind::Uri) } else { Err("not a URI") };
    }
    if let Some((local, domain)) = text.split_once('@') {
        return if !local.is_empty() && is_dns(domain) {
            Ok(Kind::Email)
        } else {
            Err("not an e-mail address")
        };
    }
    if is_dns(text) { Ok(Kind::Dns) } else { Err("not a DNS name") }
}

/// Names of hosts know no case: one node has one spelling, the one that is read back from its certificate.
fn spelt(text: &str, kind: Kind) -> String {
    match (kind, text.rsplit_once('@')) {
        (Kind::Dns, _) => text.to_ascii_lowercase(),
        (Kind::Email, Some((local, domain))) => format!("{local}@{}", domain.to_ascii_lowercase()),
        _ => text.to_owned(),
    }
}

fn is_dns(name: &str) -> bool {
    name.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_kinds_of_names_are_told_apart() {
        for (text, kind) in [
            ("alice", Kind::Dns),
            ("gsm-1.example.org", Kind::Dns),
            ("alice@example.org", Kind::Email),
            ("urn:uuid:1f0b", Kind::Uri),
            ("spiffe://site/alice@node", Kind::Uri),
        ] {
            assert_eq!(text.parse::<Identity>().unwrap().kind(), kind, "{text}");
        }
    }

    #[test]
    fn one_node_has_one_spelling() {
        assert_eq!("Alice.Example.ORG".parse::<Identity>().unwrap().as_str(), "alice.example.org");
        assert_eq!("Alice@Example.ORG".parse::<Identity>().unwrap().as_str(), "Alice@example.org");
        assert_eq!("urn:X:Y".parse::<Identity>().unwrap().as_str(), "urn:X:Y");
    }

    #[test]
    fn what_a_certificate_or_a_list_cannot_hold_is_refused() {
        let long = "a".repeat(254);
        for text in
            ["", " alice", "al ice", "älice", "a\nb", "a..b", "-a", "@b", "a@", ":x", "1:x", "a\0", &long]
        {
            assert!(text.parse::<Identity>().is_err(), "{text:?}");
        }
    }
}
