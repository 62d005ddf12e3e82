//! What was acknowledged, node by node, and what the manager makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use conclave::ParticipantEvent;
use member::{Ending, MemberEvent};
use serde_json::Value;
use tokio::sync::broadcast;

/// What was acknowledged, for everybody to write down. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Ledger {
    book: Arc<Mutex<Book>>,
}

/// All that was written down so far.
#[derive(Clone, Default)]
pub(crate) struct Book {
    nodes: BTreeMap<String, Node>,
    lost: BTreeSet<String>,
    registered_again: BTreeSet<String>,
    faults: Vec<String>,
    compared: u64,
    refused: u64,
}

/// What was acknowledged to, or of, one node.
#[derive(Clone, Default, Debug)]
struct Node {
    /// Its registration: where it was granted a place last.
    sender: String,
    admitted: bool,
    /// Somebody asked for it to be out: whether it still is in is open until that is acknowledged.
    asked_out: bool,
    out: bool,
}

impl Ledger {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    /// Everything written down until now.
    pub(crate) fn clone_now(&self) -> Book {
        self.book().clone()
    }

    /// Writes down what happens to a node, until it stops.
    pub(crate) async fn follow(self, name: String, mut events: broadcast::Receiver<ParticipantEvent>) {
        while let Ok(event) = events.recv().await {
            if let ParticipantEvent::Member(event) = event {
                self.book().note(&name, event);
            }
        }
    }

    /// From now on it is open whether the node is in.
    pub(crate) fn asked_out(&self, name: &str) {
        self.book().nodes.get_mut(name).unwrap().asked_out = true;
    }

    /// The manager's word that the node is out.
    pub(crate) fn out(&self, name: &str) {
        self.book().nodes.get_mut(name).unwrap().out = true;
    }

    /// Somebody evicted tried again and was refused.
    pub(crate) fn refused(&self) {
        self.book().refused += 1;
    }

    pub(crate) fn fault(&self, what: String) {
        self.book().faults.push(what);
    }

    /// Compares what was acknowledged `before` with the members that the manager has listed since.
    pub(crate) fn compare(&self, before: &Book, listed: &Value) {
        let listed: Vec<(&str, &str, &str)> = listed["members"]
            .as_array()
            .unwrap()
            .iter()
            .map(|member| {
                ["identity", "sender", "standing"].map(|field| member[field].as_str().unwrap()).into()
            })
            .collect();
        let mut book = self.book();
        book.compared += 1;
        for (name, then) in &before.nodes {
            let here = listed.iter().find(|(identity, sender, standing)| {
                identity == name && *sender == then.sender && *standing != "leaving"
            });
            let should_be_in = then.admitted && !book.nodes[name].asked_out;
            if (should_be_in && here.is_none()) || (then.out && here.is_some()) {
                let what = format!("{name}: {then:?} and listed as {here:?}");
                book.lost.insert(name.clone());
                book.faults.push(what);
            }
        }
    }

    /// How many acknowledgements there were, and what became of them.
    pub(crate) fn print(&self) {
        let book = self.book();
        let count = |of: fn(&Node) -> bool| book.nodes.values().filter(|node| of(node)).count();
        let (joins, outs) = (count(|node| node.admitted), count(|node| node.out));
        println!("joins_acknowledged {joins}");
        println!("leaves_and_evictions_acknowledged {outs}");
        println!("acknowledged {}", joins + outs);
        println!("compared {}", book.compared);
        println!("evicted_refused {}", book.refused);
        println!("acknowledged_lost {}", book.lost.len());
        println!("registered_again {}", book.registered_again.len());
    }

    /// Everything that must not have happened.
    pub(crate) fn verdict(&self) -> Vec<String> {
        self.book().faults.clone()
    }
}

impl Book {
    fn note(&mut self, name: &str, event: MemberEvent) {
        let node = self.nodes.entry(name.to_owned()).or_default();
        match event {
            MemberEvent::Granted(place) => {
                if node.admitted && !node.asked_out {
                    self.registered_again.insert(name.to_owned());
                    self.faults.push(format!("{name} registers again"));
                }
                let node = self.nodes.entry(name.to_owned()).or_default();
                node.sender = place.sender.to_string();
            }
            MemberEvent::Admitted => node.admitted = true,
            MemberEvent::Moving(why) if !node.asked_out => {
                self.faults.push(format!("{name} moves: {why:?}"));
            }
            MemberEvent::Ended(how) if !node.asked_out || how == Ending::Orphaned => {
                self.faults.push(format!("{name} has ended: {how:?}"));
            }
            _ => {}
        }
    }
}
