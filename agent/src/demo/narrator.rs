//! Tells a reader what happens, or prints the lines for a program.

use std::collections::{BTreeMap, BTreeSet};

use super::lines::{Event, Key, Line, Role};
use super::verdict::Verdict;
use crate::output;

/// How often the stream's progress is told, in packets.
const PROGRESS: u64 = 500;

/// Tells a demonstration: in words, on a line each, or every line as JSON.
///
/// Nobody reading any more is in order: the exit code still tells.
pub(super) struct Narrator {
    json: bool,
    /// The newest key told of; what was tried on a later one is told after it.
    key: Key,
    tried: BTreeMap<Key, Line>,
    /// Processes that were started once.
    started: BTreeSet<String>,
    sent: u64,
    /// The first key the evicted node does not know.
    shut_out: Option<Key>,
    caught: u64,
    read: u64,
}

impl Narrator {
    /// Opens the telling.
    pub(super) fn new(json: bool) -> Self {
        if !json {
            drop(output::line(OPENING));
        }
        Self {
            json,
            key: Key::default(),
            tried: BTreeMap::new(),
            started: BTreeSet::new(),
            sent: 0,
            shut_out: None,
            caught: 0,
            read: 0,
        }
    }

    /// Tells one line.
    pub(super) fn tell(&mut self, line: &Line) {
        if self.json {
            drop(output::Output::json(line));
            return;
        }
        match &line.event {
            Event::UpdateAttacked { key, .. } if *key > self.key => {
                self.tried.insert(*key, line.clone());
                return;
            }
            Event::Started { node, process, .. } if !self.started.insert(node.clone()) => {
                let words = format!("{node} is started again, as process {process}: it has its journal.");
                say(line.at_us, Some(words));
                return;
            }
            Event::Sent { first, sent_us, .. } => self.on_sent(line.at_us, first + sent_us.len() as u64),
            // The answer to its asking, from the time when it was a member.
            Event::UpdateAttacked { key, .. } if self.shut_out.is_some_and(|shut_out| *key < shut_out) => {
                return;
            }
            Event::Evicted { key, .. } => self.shut_out = Some(*key),
            Event::Intercepted { key, first, last, read, .. }
                if self.shut_out.is_some_and(|shut_out| *key >= shut_out) =>
            {
                self.caught += last - first + 1;
                self.read += if *read { last - first + 1 } else { 0 };
            }
            _ => {}
        }
        say(line.at_us, words(&line.event));
        if let Event::Rekeyed { key, .. } = &line.event {
            self.key = self.key.max(*key);
            while let Some(tried) = self.tried.first_entry().filter(|tried| *tried.key() <= self.key) {
                say(line.at_us, words(&tried.remove().event));
            }
        }
    }

    /// Tells the figures, and what is wrong with them.
    pub(super) fn close(&self, verdict: &Verdict) {
        if !self.json {
            table(verdict);
            return;
        }
        for failure in &verdict.failures {
            drop(output::Output::json(&serde_json::json!({ "failure": failure })));
        }
        drop(output::Output::json(&serde_json::json!({ "summary": verdict.summary })));
    }

    fn on_sent(&mut self, at_us: u64, sent: u64) {
        let before = std::mem::replace(&mut self.sent, sent);
        if before / PROGRESS == sent / PROGRESS {
            return;
        }
        let spied = if self.shut_out.is_some() {
            let (caught, read) = (grouped(self.caught), grouped(self.read));
            format!(" Under keys it does not know, mallory has caught {caught} of them and read {read}.")
        } else {
            String::new()
        };
        say(at_us, Some(format!("{} packets are sent.{spied}", grouped(sent / PROGRESS * PROGRESS))));
    }
}

fn say(at_us: u64, words: Option<String>) {
    if let Some(words) = words {
        drop(output::line(&format!("{:7.2} s  {words}", at_us as f64 / 1e6)));
    }
}

const OPENING: &str = "\
Conclave keeps a multicast group private while people come and go. What you see here is real: three hosts and the
members, each a process of its own on this machine, talk over loopback multicast. Nobody is told an address: the hosts
elect one of them, and it manages the group. One member sends a file to all the others. Every packet goes past every
process of this machine; only who holds the group key of the moment can read it. When somebody joins or leaves, the
manager changes that key for all who remain, and nobody may miss a packet by it. Keys are named by the manager's term
and a number. In the middle one member, mallory, is thrown out. It has kept every key it ever held, and it does not go
away. Then the manager itself is killed, and comes back; and it is killed once more, and another host takes over.
";

/// What is said about an event, if it is for readers.
fn words(event: &Event) -> Option<String> {
    Some(match event {
        Event::Prepared { group, file, bytes } => format!(
            "A certificate authority is made for group \"{group}\". The file to be sent is {file}, this program \
             ({} bytes).",
            grouped(*bytes)
        ),
        Event::Started { node, process, role } => {
            format!("{node} starts as process {process}{}.", part(*role))
        }
        Event::Elected { node } => {
            format!(
                "{node} is ELECTED. It manages the group from now on, and registers members over mutual TLS."
            )
        }
        Event::Rekeyed { key, hard, joins, leaves, entries, packets, bytes } => format!(
            "KEY {key}: {}the manager changes the group key ({joins} in, {leaves} out): {entries} wrapped keys, \
             {bytes} bytes in {packets} packet{}.",
            if *hard { "at once, " } else { "" },
            if *packets == 1 { "" } else { "s" }
        ),
        Event::StreamBegan { node, rate } => format!("{node} begins to send, {rate} packets a second."),
        Event::RekeyRequested {} => "The operator asks for another key (conclave rekey).".to_owned(),
        Event::EvictRequested { node } => {
            format!(
                "The operator throws {node} out (conclave evict). Its process lives on, with all its keys."
            )
        }
        Event::Evicted { node, key } => {
            format!("{node} is out for good. In a moment key {key} is in use, and {node} does not know it.")
        }
        Event::Killed { node } => {
            format!("{node}, the manager, is KILLED (kill -9). Everyone goes on with the key they have.")
        }
        Event::Resumed { node, members, term } => format!(
            "{node} is back and begins term {term}. Its journal names {members} members; they are in, as before."
        ),
        Event::Admitted { .. }
        | Event::Joined { .. }
        | Event::StandsBy { .. }
        | Event::Lost { .. }
        | Event::Succeeded { .. }
        | Event::Greeting { .. }
        | Event::Greeted { .. } => return more_words(event),
        Event::UpdateAttacked { node, key, secrets, attempts, opened: false } => format!(
            "{node} tries its {secrets} secrets on the key update to key {key}, {} attempts: nothing opens.",
            grouped(*attempts as u64)
        ),
        Event::Asked { node, naks, resyncs: 1, .. } => format!(
            "{node} asks the manager for the key update it \"lost\", in {naks} ways, and for its keys; it goes on asking."
        ),
        Event::Reregistered { node, admitted: false, why } => {
            format!("{node} registers again, with its genuine certificate: {why}.")
        }
        Event::Reregistered { node, admitted: true, .. } => format!("{node} registers again and is let in!"),
        Event::LeaveRequested { node } => format!("{node} asks to leave."),
        Event::Left { node, acknowledged: true } => format!("{node} has left."),
        Event::Left { node, acknowledged: false } => format!("{node} left, and the manager said nothing."),
        Event::StreamEnded { node, packets } => format!("{node} has sent its last packet, number {packets}."),
        Event::Broken { why } => format!("BROKEN: {why}."),
        Event::Departed { .. }
        | Event::Registered { .. }
        | Event::Installed { .. }
        | Event::Sent { .. }
        | Event::Received { .. }
        | Event::Intercepted { .. }
        | Event::UpdateAttacked { .. }
        | Event::Asked { .. }
        | Event::Over {} => return None,
    })
}

/// The same of who comes in, and of the failover at the end.
fn more_words(event: &Event) -> Option<String> {
    Some(match event {
        Event::Admitted { node } => format!("{node} has proved who it is and is admitted."),
        Event::Joined { node, key } => {
            format!("{node} holds the group key: it is in, from key {key} on.")
        }
        Event::StandsBy { node } => {
            format!("{node} STANDS BY: it holds all that the manager acknowledged, and would take over.")
        }
        Event::Lost { node } => {
            format!(
                "{node}, the manager, is KILLED again, and stays dead. Everyone goes on with the key they have."
            )
        }
        Event::Succeeded { node, term } => format!(
            "{node} TAKES OVER and begins term {term}: members agree that the manager is lost. Nobody registers again."
        ),
        Event::Greeting { node } => {
            format!("{node} says to the group that there is a manager again (conclave send).")
        }
        Event::Greeted { node, key } => format!("{node} reads it, under key {key}."),
        _ => return None,
    })
}

const fn part(role: Role) -> &'static str {
    match role {
        Role::Host => ", a host that may manage the group",
        Role::Sender => ", the member that sends",
        Role::Receiver => "",
        Role::Adversary => ", a member that keeps every key it sees",
    }
}

fn table(verdict: &Verdict) {
    let summary = &verdict.summary;
    let rows: Vec<[String; 4]> = verdict
        .conditions
        .iter()
        .map(|condition| {
            let ok = if condition.holds() { "ok" } else { "NO" };
            let figure = match condition.figure {
                u64::MAX => "never".to_owned(),
                figure => grouped(figure),
            };
            [condition.meaning.to_owned(), figure, condition.limit.to_string(), ok.to_owned()]
        })
        .collect();
    drop(output::line(""));
    let form = output::Output { json: false, headers: true };
    drop(form.table(["what was shown", "figure", "must be", ""], &rows));
    let closing = format!(
        "\n{} bytes of the file went through {} group keys, and changing them took {} bytes. {} came, {} left, {} was \
         thrown out, in {:.1} s.",
        grouped(summary.bytes_sent),
        summary.epochs,
        grouped(summary.key_update_bytes),
        summary.joins,
        summary.leaves,
        summary.evictions,
        summary.elapsed_ms as f64 / 1e3,
    );
    drop(output::line(&closing));
    for failure in &verdict.failures {
        drop(output::line(&format!("FAILED: {failure}")));
    }
    if verdict.failures.is_empty() {
        drop(output::line(
            "Nobody who stayed missed a packet or had to register again, and who was thrown out read none.",
        ));
    }
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = digits[..first].to_owned();
    for group in digits.as_bytes()[first..].chunks(3) {
        if !text.is_empty() {
            text.push(',');
        }
        text.extend(group.iter().copied().map(char::from));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_stand_apart() {
        let texts = [0, 7, 999, 1_000, 12_345, 6_000_000].map(grouped);
        assert_eq!(texts, ["0", "7", "999", "1,000", "12,345", "6,000,000"]);
    }
}
