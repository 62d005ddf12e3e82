//! Members come, go and are evicted all the time: real nodes in this process, with an operator beside them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use conclave::{
    Authority, Credentials, Group, GroupOptions, Host, HostOptions, Interface, IssueRequest, JoinError, Part,
    Threads,
};
use crypto::Roles;
use protocol::{Epoch, Refusal, Term};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::Manager;
use crate::chance::Chance;
use crate::ledger::Ledger;
use crate::support::{conclave, within};

/// Between two things that somebody begins to do.
const PACE: Duration = Duration::from_millis(40);
/// With fewer members there are only joins, with more there are none.
const FEWEST: usize = 6;
const MOST: usize = 24;
/// Nodes that are on their way in or out at the same time.
const BUSY: usize = 16;

/// The churn, until it is finished.
pub(crate) struct Churn {
    stop: watch::Sender<bool>,
    task: JoinHandle<BTreeMap<String, Member>>,
    /// Nodes run on these as long as there are any.
    threads: Arc<Threads>,
}

/// A node that is in.
struct Member {
    group: Group,
    credentials: Credentials,
}

/// What everybody needs.
#[derive(Clone)]
struct Ground {
    threads: Arc<Threads>,
    registrar: SocketAddr,
    socket: PathBuf,
    serving: watch::Receiver<bool>,
    ledger: Ledger,
}

impl Churn {
    pub(crate) fn start(manager: &Manager, ledger: &Ledger, chance: Chance) -> Self {
        let authority = Authority::load(Path::new(&manager.site.path("ca"))).unwrap();
        let ground = Ground {
            threads: Arc::new(Threads::start().unwrap()),
            registrar: manager.registrar,
            socket: manager.daemon.socket.clone(),
            serving: manager.serving.subscribe(),
            ledger: ledger.clone(),
        };
        let (stop, stopped) = watch::channel(false);
        let threads = Arc::clone(&ground.threads);
        Self { stop, threads, task: tokio::spawn(run(ground, authority, chance, stopped)) }
    }

    /// Lets what has begun come to its end, and sees that everybody who is in holds the manager's key.
    pub(crate) async fn finish(self, manager: &Manager) {
        self.stop.send_replace(true);
        let members = within(self.task).await.unwrap();
        let state = manager.daemon.ask(&["rekey"]).await.json()["state"].clone();
        let number = |name: &str| u32::try_from(state[name].as_u64().unwrap()).unwrap();
        let newest = (Term(number("term")), Epoch(number("epoch")));
        println!("members_at_the_end {}", members.len());
        for member in members.values() {
            within(async {
                let mut keys = member.group.handle().keys();
                loop {
                    let held = member.group.handle().status().await.unwrap().held;
                    if held.is_some_and(|held| (held.term, held.epoch) >= newest) {
                        return;
                    }
                    keys.changed().await.unwrap();
                }
            })
            .await;
        }
        drop((members, self.threads));
    }
}

async fn run(
    ground: Ground,
    authority: Authority,
    mut chance: Chance,
    mut stop: watch::Receiver<bool>,
) -> BTreeMap<String, Member> {
    let mut members = BTreeMap::<String, Member>::new();
    let mut under_way = JoinSet::new();
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;
    loop {
        tokio::select! {
            _ = pace.tick(), if under_way.len() < BUSY => {}
            Some(joined) = under_way.join_next() => {
                members.extend(joined.unwrap());
                continue;
            }
            _ = stop.wait_for(|stop| *stop) => break,
        }
        let joins = match members.len() + under_way.len() {
            few if few < FEWEST => true,
            many if many >= MOST => false,
            _ => chance.below(2) == 0,
        };
        if joins {
            number += 1;
            under_way.spawn(ground.clone().join(format!("n{number}.example"), &authority));
        } else if !members.is_empty() {
            let which = usize::try_from(chance.below(members.len() as u64)).unwrap();
            let name = members.keys().nth(which).unwrap().clone();
            let member = members.remove(&name).unwrap();
            ground.ledger.asked_out(&name);
            if chance.below(2) == 0 {
                under_way.spawn(ground.clone().leave(name, member));
            } else {
                under_way.spawn(ground.clone().evict(name, member));
            }
        }
    }
    while let Some(joined) = under_way.join_next().await {
        members.extend(joined.unwrap());
    }
    members
}

impl Ground {
    async fn node(&self, credentials: Credentials) -> Group {
        let interface = Interface::resolve("lo").unwrap();
        let options = HostOptions { credentials, interface, port: 0, control_port: 0, data_port: 0 };
        let host = Host::open(&self.threads, options).await.unwrap();
        let options =
            GroupOptions { part: Part::Member, gsm: vec![self.registrar], ..GroupOptions::named("video") };
        Group::start(&host, options).await.unwrap()
    }

    /// A new node, until it is in.
    fn join(
        self,
        name: String,
        authority: &Authority,
    ) -> impl Future<Output = Option<(String, Member)>> + use<> {
        let roles = Roles { member: true, manager: false, maa: false };
        let request = IssueRequest::new(name.parse().unwrap(), roles, Duration::from_secs(3_600));
        let credentials = authority.issue(&request).unwrap().into_credentials();
        async move {
            let mut group = self.node(credentials.clone()).await;
            tokio::spawn(self.ledger.clone().follow(name.clone(), group.events_from_start()));
            loop {
                match group.joined().await {
                    Ok(_) => return Some((name, Member { group, credentials })),
                    Err(error) if passing(&error) => {}
                    Err(error) => self.ledger.fault(format!("{name} cannot join: {error}")),
                }
            }
        }
    }

    /// Leaves. Nobody hears it if the manager stays away for too long; then all is open.
    async fn leave(self, name: String, member: Member) -> Option<(String, Member)> {
        if member.group.leave().await {
            self.ledger.out(&name);
        }
        None
    }

    /// Is evicted. A kill may swallow the operator's answer; then all is open, but who was evicted tries again.
    async fn evict(mut self, name: String, member: Member) -> Option<(String, Member)> {
        self.serving.wait_for(|serving| *serving).await.unwrap();
        let socket = self.socket.to_str().unwrap();
        let asked = conclave(&["--socket", socket, "--json", "evict", &name], b"").await;
        member.group.stop().await;
        if asked.code == 0 {
            let done: Value = asked.parsed();
            assert_eq!(done["identity"], name.as_str());
            self.ledger.out(&name);
            self.try_again(&name, member.credentials).await;
        }
        None
    }

    /// Somebody evicted tries again until it has its answer.
    async fn try_again(&self, name: &str, credentials: Credentials) {
        let mut group = self.node(credentials).await;
        let outcome = loop {
            match group.joined().await {
                Err(error) if passing(&error) => {}
                outcome => break outcome,
            }
        };
        match outcome {
            Err(JoinError::Refused { why: Refusal::Revoked, .. }) => self.ledger.refused(),
            other => self.ledger.fault(format!("{name} was evicted and heard: {other:?}")),
        }
        group.stop().await;
    }
}

/// Nobody listens while the manager is down, who asks as it goes down hears no answer, and one that has just started takes
/// nobody yet: the node goes on asking.
const fn passing(error: &JoinError) -> bool {
    match error {
        JoinError::Unreachable { .. } => true,
        JoinError::Refused { why, .. } => !why.is_final(),
        _ => false,
    }
}
