//! The access list: being certified is not being authorised (GSM 2.1).

/// Who may register, by patterns over identities: the first rule that matches decides.
///
/// A pattern is an identity in which `*` stands for any run of characters, and `?` for one. Case does not matter, as in
/// DNS names. An empty list allows everyone the authority certified as a member; a list with any rule denies who
/// matches none, so a forgotten rule locks out and does not let in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AccessList {
    rules: Vec<AccessRule>,
}

/// One line of an access list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessRule {
    /// Whether who matches is let in.
    pub allow: bool,
    /// The pattern, in lower case.
    pub pattern: String,
}

impl AccessList {
    /// A list of these rules, in this order.
    pub fn new(rules: impl IntoIterator<Item = AccessRule>) -> Self {
        let rules = rules.into_iter().map(|rule| AccessRule { pattern: rule.pattern.to_lowercase(), ..rule });
        Self { rules: rules.collect() }
    }

    /// Whether a node of this identity may register.
    pub fn allows(&self, identity: &str) -> bool {
        let identity = identity.to_lowercase();
        match self.rules.iter().find(|rule| matches(rule.pattern.as_bytes(), identity.as_bytes())) {
            Some(rule) => rule.allow,
            None => self.rules.is_empty(),
        }
    }
}

/// Whether `text` matches `pattern`, in time proportional to the product of their lengths at worst.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut place) = (0, 0);
    // Where the last star was, and how much of the text it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while place < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(b'?') => (at, place) = (at + 1, place + 1),
            Some(literal) if *literal == text[place] => (at, place) = (at + 1, place + 1),
            _ => {
                let Some((star_at, taken)) = star else { return false };
                star = Some((star_at, taken + 1));
                (at, place) = (star_at + 1, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(rules: &[(bool, &str)]) -> AccessList {
        AccessList::new(
            rules.iter().map(|(allow, pattern)| AccessRule { allow: *allow, pattern: (*pattern).into() }),
        )
    }

    #[test]
    fn the_first_matching_rule_decides() {
        let rules = list(&[(false, "intruder.*"), (true, "*.paris.example"), (true, "host?.lyon.example")]);
        assert!(rules.allows("studio.paris.example"));
        assert!(rules.allows("HOST7.lyon.example"));
        assert!(!rules.allows("intruder.paris.example"));
        assert!(!rules.allows("host77.lyon.example"));
    }

    #[test]
    fn an_empty_list_allows_and_a_list_denies_who_matches_nothing() {
        assert!(AccessList::default().allows("anyone"));
        assert!(!list(&[(true, "a")]).allows("b"));
        assert!(list(&[(false, "a"), (true, "*")]).allows("b"));
    }
}
