//! The lines of a demonstration, sorted by what they are about.

use std::collections::{BTreeMap, BTreeSet};

use crate::demo::lines::{Event, Key, Line, Role};

/// The lines of a demonstration, sorted by what they are about.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) broken: Vec<String>,
    pub(super) over_at: Option<u64>,
    pub(super) admitted: u64,
    pub(super) left: u64,
    pub(super) evicted: u64,
    pub(super) bytes_sent: u64,
    pub(super) rekeys: BTreeMap<Key, Rekey>,
    /// By number.
    pub(super) sent: BTreeMap<u64, SentPacket>,
    pub(super) received: BTreeMap<String, Reception>,
    /// Key updates the adversary attacked, and whether it opened them.
    pub(super) attacks: BTreeMap<Key, bool>,
    pub(super) asked: Asked,
    /// When the evicted node tried to register again, and whether it was let in.
    pub(super) reregistered: Vec<(u64, bool)>,
    /// Whom, and when.
    pub(super) evict_requested: Option<(String, u64)>,
    /// When a host was started for the first time, and when nodes were elected.
    pub(super) hosts_began: Option<u64>,
    pub(super) elected: Vec<u64>,
    /// Who was started, registered or admitted, and when.
    pub(super) started: Vec<(String, u64)>,
    pub(super) registered: Vec<(String, u64)>,
    pub(super) admissions: Vec<(String, u64)>,
    /// Which manager was killed, and when.
    pub(super) killed: Option<(String, u64)>,
    /// When it was back, with how many members, and in which term.
    pub(super) resumed: Option<(u64, u64, u32)>,
    /// Which manager was killed for good, and when.
    pub(super) lost: Option<(String, u64)>,
    /// The term with which a standby took over.
    pub(super) succeeded: Option<u32>,
    /// The keys under which each member read a greeting.
    pub(super) greeted: BTreeMap<String, BTreeSet<Key>>,
    /// The first key each member held, and when it held it.
    pub(super) joined: BTreeMap<String, (Key, u64)>,
    /// Who asked to leave, and when.
    pub(super) leaving: BTreeMap<String, u64>,
    sent_twice: bool,
    announced: Option<u64>,
    sender: Option<String>,
    stream_began: Option<u64>,
    adversaries: BTreeSet<String>,
    seen: BTreeSet<u64>,
    read: BTreeSet<u64>,
    /// Packets of other streams that the adversary read, by the key they claimed to be under.
    read_of_others: BTreeMap<Key, u64>,
}

/// One key update.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rekey {
    pub(super) bytes: u64,
    at_us: u64,
    hard: bool,
}

/// One packet of the stream, as it was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentPacket {
    pub(super) number: u64,
    pub(super) key: Key,
    pub(super) sent_us: u64,
}

/// What one member received.
#[derive(Debug, Default)]
pub(super) struct Reception {
    /// For each number, the keys under which it was delivered: one, or something is wrong.
    pub(super) packets: BTreeMap<u64, Vec<Key>>,
    pub(super) wrong: u64,
}

/// What the adversary asked for and got.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    pub(super) naks: u64,
    pub(super) resyncs: u64,
    pub(super) answers: u64,
}

/// Packets not received, by the switch they could have fallen to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Losses {
    pub(super) soft: u64,
    pub(super) hard: u64,
    pub(super) restart: u64,
    pub(super) failover: u64,
}

/// What the evicted node caught and read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Interception {
    pub(super) read_before: u64,
    pub(super) seen_after: u64,
    pub(super) read_after: u64,
}

impl Record {
    pub(super) fn of(lines: &[Line]) -> Self {
        let mut record = Self::default();
        for line in lines {
            record.take_membership(line);
            record.take_managers(line);
            record.take_stream(line);
            record.take_adversary(line);
        }
        record
    }

    fn take_membership(&mut self, line: &Line) {
        match &line.event {
            Event::Started { node, role: Role::Adversary, .. } => {
                self.adversaries.insert(node.clone());
            }
            Event::Admitted { node } => {
                self.admitted += 1;
                self.admissions.push((node.clone(), line.at_us));
            }
            Event::Registered { node } => self.registered.push((node.clone(), line.at_us)),
            Event::Joined { node, key } => {
                self.joined.entry(node.clone()).or_insert((*key, line.at_us));
            }
            Event::LeaveRequested { node } => {
                self.leaving.entry(node.clone()).or_insert(line.at_us);
            }
            Event::Left { acknowledged: true, .. } => self.left += 1,
            Event::Left { node, acknowledged: false } => {
                self.broken.push(format!("{node} left and the manager did not say so"));
            }
            Event::EvictRequested { node } => {
                self.evict_requested.get_or_insert_with(|| (node.clone(), line.at_us));
            }
            Event::Evicted { .. } => self.evicted += 1,
            Event::Broken { why } => self.broken.push(why.clone()),
            Event::Over {} => self.over_at = Some(line.at_us),
            _ => {}
        }
    }

    fn take_managers(&mut self, line: &Line) {
        match &line.event {
            Event::Started { node, role, .. } => {
                self.started.push((node.clone(), line.at_us));
                if *role == Role::Host {
                    self.hosts_began = Some(self.hosts_began.map_or(line.at_us, |at| at.min(line.at_us)));
                }
            }
            Event::Elected { .. } => self.elected.push(line.at_us),
            Event::Rekeyed { key, hard, bytes, .. } => {
                let rekey = Rekey { bytes: *bytes as u64, at_us: line.at_us, hard: *hard };
                self.rekeys.insert(*key, rekey);
            }
            Event::Killed { node } => self.killed = Some((node.clone(), line.at_us)),
            Event::Resumed { members, term, .. } => self.resumed = Some((line.at_us, *members, *term)),
            Event::Greeted { node, key } => {
                self.greeted.entry(node.clone()).or_default().insert(*key);
            }
            Event::Lost { node } => self.lost = Some((node.clone(), line.at_us)),
            Event::Succeeded { term, .. } => self.succeeded = Some(*term),
            _ => {}
        }
    }

    fn take_stream(&mut self, line: &Line) {
        match &line.event {
            Event::StreamBegan { node, .. } => {
                self.sender = Some(node.clone());
                self.stream_began = Some(line.at_us);
            }
            Event::StreamEnded { packets, .. } => self.announced = Some(*packets),
            Event::Sent { key, first, sent_us, bytes, .. } => {
                self.bytes_sent += bytes;
                for (number, sent_us) in (*first..).zip(sent_us) {
                    let packet = SentPacket { number, key: *key, sent_us: *sent_us };
                    self.sent_twice |= self.sent.insert(number, packet).is_some();
                }
            }
            Event::Received { node, key, first, last, wrong } => {
                let reception = self.received.entry(node.clone()).or_default();
                reception.wrong += wrong;
                for number in *first..=*last {
                    reception.packets.entry(number).or_default().push(*key);
                }
            }
            _ => {}
        }
    }

    fn take_adversary(&mut self, line: &Line) {
        match &line.event {
            Event::Intercepted { key, first, last, file: false, read: true, .. } => {
                *self.read_of_others.entry(*key).or_default() += last - first + 1;
            }
            Event::Intercepted { file: false, .. } => {}
            Event::Intercepted { first, last, read, .. } => {
                self.seen.extend(*first..=*last);
                if *read {
                    self.read.extend(*first..=*last);
                }
            }
            Event::UpdateAttacked { key, opened, .. } => {
                *self.attacks.entry(*key).or_default() |= opened;
            }
            Event::Asked { naks, resyncs, answers, .. } => {
                self.asked.naks = self.asked.naks.max(*naks);
                self.asked.resyncs = self.asked.resyncs.max(*resyncs);
                self.asked.answers = self.asked.answers.max(*answers);
            }
            Event::Reregistered { admitted, .. } => {
                self.reregistered.push((line.at_us, *admitted));
            }
            _ => {}
        }
    }

    /// The key that shut the evicted node out.
    pub(super) fn hard_key(&self) -> Option<Key> {
        self.rekeys.iter().find(|(_, rekey)| rekey.hard).map(|(key, _)| *key)
    }

    /// The first packet under the hard key, or under a later one.
    pub(super) fn switch(&self) -> Option<SentPacket> {
        let hard = self.hard_key()?;
        self.sent.values().find(|packet| packet.key >= hard).copied()
    }

    /// Members that were in when the stream began.
    pub(super) fn members_at_stream_start(&self) -> u64 {
        let began = self.stream_began.unwrap_or(0);
        self.joined.values().filter(|(_, at)| *at <= began).count() as u64
    }

    /// The members that should have received every packet: in from before the stream until after it, the sender
    /// excepted.
    pub(super) fn entitled(&self) -> Vec<&str> {
        let Some(began) = self.stream_began else { return Vec::new() };
        let stayed = |node: &str| {
            self.sender.as_deref() != Some(node) && !self.leaving.contains_key(node) && !self.is_evicted(node)
        };
        let early = self.joined.iter().filter(|(_, (_, at))| *at <= began);
        early.map(|(node, _)| node.as_str()).filter(|node| stayed(node)).collect()
    }

    /// What the entitled members missed. Every packet falls to exactly one of the four.
    pub(super) fn losses(&self) -> Losses {
        let mut losses = Losses::default();
        for node in self.entitled() {
            let reception = self.received.get(node);
            let missed = |packet: &&SentPacket| {
                !reception.is_some_and(|reception| reception.packets.contains_key(&packet.number))
            };
            for packet in self.sent.values().filter(missed) {
                match packet {
                    packet if self.falls_to_failover(packet) => losses.failover += 1,
                    packet if self.falls_to_restart(packet) => losses.restart += 1,
                    packet if self.falls_to_eviction(packet) => losses.hard += 1,
                    _ => losses.soft += 1,
                }
            }
        }
        losses
    }

    /// Sent under the hard key, or under an older one since the eviction was requested.
    fn falls_to_eviction(&self, packet: &SentPacket) -> bool {
        let Some(hard) = self.hard_key() else { return false };
        let requested = self.evict_requested.as_ref().map_or(u64::MAX, |(_, at)| *at);
        packet.key == hard || (packet.key < hard && packet.sent_us >= requested)
    }

    /// What the evicted node caught and read, before and from the switch on.
    pub(super) fn interception(&self, switch: Option<u64>) -> Interception {
        let switch = switch.unwrap_or(u64::MAX);
        let hard = self.hard_key().unwrap_or_default();
        let others: u64 = self.read_of_others.range(hard..).map(|(_, read)| read).sum();
        Interception {
            read_before: self.read.range(..switch).count() as u64,
            seen_after: self.seen.range(switch..).count() as u64,
            read_after: self.read.range(switch..).count() as u64 + others,
        }
    }

    /// Key updates between the first packet and the last.
    pub(super) fn rekeys_during_stream(&self) -> u64 {
        let first = self.sent.values().next().map_or(u64::MAX, |packet| packet.sent_us);
        let last = self.sent.values().next_back().map_or(0, |packet| packet.sent_us);
        let during = |rekey: &&Rekey| (first..=last).contains(&rekey.at_us);
        self.rekeys.values().filter(during).count() as u64
    }

    /// Whether the sender sent each number once, from 0 on, as many as it says.
    pub(super) fn stream_is_whole(&self) -> bool {
        let count = self.sent.len() as u64;
        let ends = self.sent.keys().next_back().map_or(0, |last| last + 1);
        !self.sent_twice && ends == count && self.announced == Some(count)
    }

    /// How many packets from this number on the evicted node caught.
    pub(super) fn seen_from(&self, number: u64) -> u64 {
        self.seen.range(number..).count() as u64
    }

    /// Deliveries that nobody sent under that number and key.
    pub(super) fn strange(&self, reception: &Reception) -> u64 {
        let sent_like =
            |number: &u64, key: &Key| self.sent.get(number).is_some_and(|packet| packet.key == *key);
        let all =
            reception.packets.iter().flat_map(|(number, keys)| keys.iter().map(move |key| (number, key)));
        all.filter(|(number, key)| !sent_like(number, key)).count() as u64
    }

    /// Packets a member read that were sent under a key from before its join.
    pub(super) fn read_of_the_past(&self, node: &str, reception: &Reception) -> u64 {
        let never = Key { term: u32::MAX, epoch: u32::MAX };
        let first = self.joined.get(node).map_or(never, |(key, _)| *key);
        reception.packets.values().flatten().filter(|key| **key < first).count() as u64
    }

    /// Packets missed by a member that came later or left earlier: from the first under its first key on, until it
    /// left. When exactly a leaving member stops is its own affair, so there only gaps count.
    pub(super) fn gaps_of_passing_member(&self, node: &str, reception: &Reception) -> u64 {
        let Some((first_key, _)) = self.joined.get(node) else { return 0 };
        if self.entitled().contains(&node) || self.is_evicted(node) {
            return 0;
        }
        let last_received = reception.packets.keys().next_back().copied().unwrap_or(0);
        let until = if self.leaving.contains_key(node) { last_received } else { u64::MAX };
        let due = self.sent.values().filter(|packet| packet.key >= *first_key && packet.number <= until);
        due.filter(|packet| !reception.packets.contains_key(&packet.number)).count() as u64
    }

    pub(super) fn is_evicted(&self, node: &str) -> bool {
        let evicted = self.evict_requested.as_ref().is_some_and(|(evicted, _)| evicted == node);
        evicted || self.adversaries.contains(node)
    }
}
