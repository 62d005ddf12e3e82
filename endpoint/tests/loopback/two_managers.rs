//! Two managers of one group that did not hear each other become one, with the members and the evictions of both.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use conclave::{Driven, Effect, Group, Mode, Participant, ParticipantEvent};
use member::MemberEvent;
use protocol::{Commit, Input, Instant, Lane, Machine, Record, Refusal, Rejected, SubgroupId, Transmit};

use crate::support::{GROUP, MANAGER, Site, event, join, joined, of_member, within};

/// A node that hears nobody on the discovery address as long as a cable is out.
struct Cut {
    node: Participant,
    out: Arc<AtomicBool>,
}

impl Machine for Cut {
    type Event = ParticipantEvent;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Rejected> {
        if matches!(input, Input::Datagram { lane: Lane::Discovery, .. }) && self.out.load(Ordering::Relaxed)
        {
            return Ok(());
        }
        self.node.handle_input(now, input)
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.node.handle_timeout(now);
    }

    fn poll_record(&mut self) -> Option<Record> {
        self.node.poll_record()
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.node.poll_transmit()
    }

    fn poll_event(&mut self) -> Option<ParticipantEvent> {
        self.node.poll_event()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.node.poll_timeout()
    }
}

impl Driven for Cut {
    fn effect(event: &ParticipantEvent) -> Effect<'_> {
        Participant::effect(event)
    }

    fn discovers_at(&self) -> Option<SocketAddr> {
        self.node.discovers_at()
    }

    fn accepts(&self) -> bool {
        self.node.accepts()
    }

    fn compaction(&mut self) -> Option<(Commit, Vec<u8>)> {
        self.node.compaction()
    }
}

impl AsMut<Participant> for Cut {
    fn as_mut(&mut self) -> &mut Participant {
        &mut self.node
    }
}

/// A manager, two members, and one that it has evicted.
struct Side {
    name: &'static str,
    manager: Group<Cut>,
    subgroup: SubgroupId,
    members: Vec<Group>,
}

impl Side {
    async fn start(site: &Site, name: &'static str, out: &Arc<AtomicBool>) -> Self {
        let host = site.host(site.credentials(&format!("{name}.example"), MANAGER)).await;
        let out = Arc::clone(out);
        let begun = Group::start_as(&host, site.manager_options(), |node| Cut { node, out }).await;
        let mut manager = begun.unwrap();
        let subgroup = within(manager.joined()).await.unwrap().subgroup;
        let mut members = Vec::new();
        for role in ["a", "b", "evicted"] {
            let mut member = site.member(&format!("{role}-{name}.example"), host.registrar().unwrap()).await;
            assert_eq!(joined(&mut member).await.subgroup, subgroup);
            members.push(member);
        }
        within(manager.handle().evict(&format!("evicted-{name}.example"))).await.unwrap();
        within(members.pop().unwrap().stop()).await;
        Self { name, manager, subgroup, members }
    }
}

#[tokio::test]
async fn two_managers_become_one() {
    let site = Site::new();
    let out = Arc::new(AtomicBool::new(true));
    let (one, two) = (Side::start(&site, "one", &out).await, Side::start(&site, "two", &out).await);
    assert_ne!(one.subgroup, two.subgroup);

    let (mut first, mut second) = (one.manager.events(), two.manager.events());
    out.store(false, Ordering::Relaxed);
    let gave_way =
        |event: &ParticipantEvent| (*event == ParticipantEvent::Became(Mode::Member)).then_some(());
    let first_gave_way = within(async {
        tokio::select! {
            () = event(&mut first, gave_way) => true,
            () = event(&mut second, gave_way) => false,
        }
    })
    .await;
    let (mut loser, mut winner) = if first_gave_way { (one, two) } else { (two, one) };
    for member in &mut loser.members {
        while joined(member).await.subgroup != winner.subgroup {
            of_member(&mut member.events(), |event| match event {
                MemberEvent::Installed { .. } => Some(()),
                _ => None,
            })
            .await;
        }
    }
    while within(loser.manager.joined()).await.unwrap().subgroup != winner.subgroup {
        tokio::task::yield_now().await;
    }
    assert_eq!(within(loser.manager.handle().mode()).await.unwrap(), Mode::Member);
    let status = within(winner.manager.handle().manager_status()).await.unwrap();
    assert_eq!((status.subgroup, status.revocations), (winner.subgroup, 2));

    let registrar = winner.manager.handle().registrar().unwrap();
    for side in [&winner, &loser] {
        let evicted = site.credentials(&format!("evicted-{}.example", side.name), crate::support::MEMBER);
        let mut again = join(&site.host(evicted).await, GROUP, registrar).await;
        let why = within(again.joined()).await.unwrap_err();
        assert!(
            matches!(why, conclave::JoinError::Refused { why: Refusal::Revoked, .. }),
            "{}: {why}",
            side.name
        );
        within(again.stop()).await;
    }
    within(loser.members[0].send(b"one group")).await.unwrap();
    assert_eq!(within(loser.members[1].recv()).await.unwrap().payload, b"one group");
    for member in &mut winner.members {
        assert_eq!(within(member.recv()).await.unwrap().payload, b"one group");
    }
    assert_eq!(within(loser.manager.recv()).await.unwrap().payload, b"one group");
    assert_eq!(within(winner.manager.recv()).await.unwrap().payload, b"one group");
}
