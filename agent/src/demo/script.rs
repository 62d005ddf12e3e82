//! What is played: who comes, who goes, who is shut out, who is killed, who takes over, and when.

use std::time::Duration;

use super::board::Board;
use super::ground::{GROUP, Ground};
use super::host::Operator;
use super::lines::{Event, Role};
use super::node::Command;
use super::stage::{Halt, Stage};
use super::stream::Content;

/// Hosts that may manage the group.
const HOSTS: [&str; 3] = ["host1", "host2", "host3"];
/// Who sends the file.
const SENDER: &str = "alice";
/// Who is in from the beginning to the end.
const STAYING: [&str; 3] = ["bob", "carol", "dave"];
/// Who is evicted.
const ADVERSARY: &str = "mallory";
/// The first members.
const FIRST: [(&str, Role); 5] = [
    (SENDER, Role::Sender),
    (STAYING[0], Role::Receiver),
    (STAYING[1], Role::Receiver),
    (STAYING[2], Role::Receiver),
    (ADVERSARY, Role::Adversary),
];
/// Who comes and goes while the file is sent.
const PASSING: [&str; 2] = ["erin", "frank"];
/// Who comes after the eviction and stays, and who comes when a standby manages the group.
const LATE: [&str; 2] = ["grace", "heidi"];

/// Packets a second.
const RATE: u32 = 200;
/// Packets sent before anything changes.
const QUIET: u64 = 200;
/// Packets sent under the key in force before the eviction.
const BEFORE_EVICTION: u64 = 150;
/// Packets sent before the killed manager is started again. A standby takes over after three seconds of silence, so these
/// and a start have to be quicker.
const WITHOUT_MANAGER: u64 = 100;
/// Packets sent from the takeover on.
const AFTER_FAILOVER: u64 = 300;
/// Packets in all.
const PACKETS: u64 = 3_000;
/// How long anything that takes a rekey interval or an election may take.
const SOON: Duration = Duration::from_secs(10);
/// How long the first members may take: the group has no manager when they begin.
const BEGINNING: Duration = Duration::from_secs(15);
/// How long the packets may take.
const STREAM: Duration = Duration::from_secs(25);
/// How long the last packets may be under way.
const LAST_PACKETS: Duration = Duration::from_secs(3);

/// A demonstration under way.
struct Play<'a> {
    stage: &'a mut Stage,
    ground: &'a Ground,
    /// The host that manages the group, and its operator's end.
    manager: String,
    operator: Operator,
    /// Hosts whose nodes receive the file from its beginning on.
    listening: Vec<String>,
}

/// Plays it all, up to the moment when nothing is left to be received.
pub(super) async fn play(stage: &mut Stage, ground: &Ground) -> Result<(), Halt> {
    stage.say(Event::Prepared { group: GROUP.to_owned(), file: file_name(ground), bytes: ground.file_len });
    let manager = begin(stage, ground).await?;
    let operator = Operator::new(ground, &manager);
    let listening = HOSTS.iter().filter(|host| **host != manager).map(|host| (*host).to_owned()).collect();
    let mut play = Play { stage, ground, manager, operator, listening };
    play.gather().await?;
    play.come_and_go().await?;
    play.evict().await?;
    play.join(LATE[0]).await?;
    play.leave(PASSING[1]).await?;
    play.restart().await?;
    play.fail_over().await?;
    play.go_on().await?;
    play.end().await
}

/// Starts the hosts and the first members, all at once, none of them knowing an address. Returns the host that is
/// elected.
async fn begin(stage: &mut Stage, ground: &Ground) -> Result<String, Halt> {
    let mut members = Vec::new();
    for host in HOSTS {
        ground.host(host).map_err(|error| stage.halt(error))?;
    }
    for (name, role) in FIRST {
        let spec = ground.member(name, role, stage.began_us());
        members.push(spec.map_err(|error| stage.halt(error))?);
    }
    for host in HOSTS {
        stage.start_host(ground, host)?;
    }
    for spec in &members {
        stage.start(ground, spec)?;
    }
    let all_up = |board: &Board| HOSTS.iter().all(|host| board.ready.contains(*host));
    stage.until("the hosts' daemons to be ready", SOON, all_up).await?;
    stage.until("one of the hosts to be elected", SOON, |board| board.manager.is_some()).await?;
    stage.board.manager.clone().ok_or(Halt)
}

impl Play<'_> {
    /// The first members and the other hosts are in, and the stream begins.
    async fn gather(&mut self) -> Result<(), Halt> {
        let mut names = self.listening.clone();
        names.extend(FIRST.map(|(name, _)| name.to_owned()));
        self.stage.until("the first members to join", BEGINNING, |board| board.all_joined(&names)).await?;
        for host in self.listening.clone() {
            let content = Content::read(&self.ground.file).map_err(|error| self.stage.halt(error))?;
            let (mouth, began_us) = (self.stage.mouth(), self.stage.began_us());
            let listened = Operator::new(self.ground, &host).listen(content, mouth, began_us).await;
            listened.map_err(|failure| self.stage.halt(failure))?;
        }
        self.stage.order(SENDER, Command::Stream { rate: RATE }).await?;
        self.stage.until("the stream to begin", SOON, |board| board.sent >= QUIET).await
    }

    /// Two join, the first of them leaves, and the operator has the key changed.
    async fn come_and_go(&mut self) -> Result<(), Halt> {
        for name in PASSING {
            self.join(name).await?;
        }
        self.leave(PASSING[0]).await?;
        self.stage.say(Event::RekeyRequested {});
        let key = self.operator.rekey().await.map_err(|failure| self.stage.halt(failure))?;
        self.stage.until("the key change asked for", SOON, |board| board.key >= key).await?;
        self.packets(BEFORE_EVICTION).await
    }

    /// The adversary is shut out in the middle of the stream.
    async fn evict(&mut self) -> Result<(), Halt> {
        self.stage.say(Event::EvictRequested { node: ADVERSARY.to_owned() });
        let key = self.operator.evict(ADVERSARY).await.map_err(|failure| self.stage.halt(failure))?;
        self.stage.until("word of the eviction's key", SOON, |board| board.key >= key).await?;
        self.stage.say(Event::Evicted { node: ADVERSARY.to_owned(), key });
        self.stage.until("the evicted node to come back", SOON, |board| board.visits > 0).await
    }

    /// The manager's process is killed in the middle of the stream, and started again after a moment. It says something
    /// to the group when it is back, so that the sender of the file has something to read, too.
    async fn restart(&mut self) -> Result<(), Halt> {
        let visits = self.stage.board.visits;
        self.stage.say(Event::Killed { node: self.manager.clone() });
        self.stage.kill(&self.manager).await?;
        self.packets(WITHOUT_MANAGER).await?;
        self.stage.start_host(self.ground, &self.manager)?;
        let manager = self.manager.clone();
        self.stage.until("the manager to be up again", SOON, |board| board.ready.contains(&manager)).await?;
        self.stage.until("the manager to be back", SOON, |board| board.resumed.is_some()).await?;
        let term = self.stage.board.resumed.unwrap_or(u32::MAX);
        self.stage.until("its new key", SOON, |board| board.key.term >= term).await?;
        self.stage.say(Event::Greeting { node: manager });
        self.operator.greet().await.map_err(|failure| self.stage.halt(failure))?;
        let mut live = self.listening.clone();
        live.extend([SENDER, STAYING[0], STAYING[1], STAYING[2], LATE[0]].map(str::to_owned));
        self.stage.until("all to read again", SOON, |board| board.all_read_in(term, &live)).await?;
        self.stage.until("the evicted node to try again", SOON, |board| board.visits > visits).await
    }

    /// The manager is killed again, and stays dead: a standby takes over. The dead host is started again, and is a member.
    async fn fail_over(&mut self) -> Result<(), Halt> {
        self.stage.until("a standby to be in step", SOON, |board| !board.standing_by.is_empty()).await?;
        let (visits, dead) = (self.stage.board.visits, self.manager.clone());
        self.stage.say(Event::Lost { node: dead.clone() });
        self.stage.kill(&dead).await?;
        self.stage.until("a standby to take over", SOON, |board| board.succeeded.is_some()).await?;
        let term = self.stage.board.succeeded.unwrap_or(u32::MAX);
        self.stage.until("its new key", SOON, |board| board.key.term >= term).await?;
        self.manager = self.stage.board.manager.clone().ok_or(Halt)?;
        self.operator = Operator::new(self.ground, &self.manager);
        let mut live = self.listening.clone();
        live.extend([STAYING[0], STAYING[1], STAYING[2], LATE[0]].map(str::to_owned));
        self.stage.until("all to read again", SOON, |board| board.all_read_in(term, &live)).await?;
        // Its members kept sending under the key they had, and so did its own node: now the new one is in use.
        self.stage.say(Event::Greeting { node: self.manager.clone() });
        self.operator.greet().await.map_err(|failure| self.stage.halt(failure))?;
        let sender = [SENDER.to_owned()];
        self.stage.until("the sender to read it", SOON, |board| board.all_read_in(term, &sender)).await?;
        self.stage.start_host(self.ground, &dead)?;
        let back = format!("{dead} to be a member");
        self.stage.until(&back, SOON, |board| board.joined.contains(&dead)).await?;
        self.stage.until("the evicted node to try again", SOON, |board| board.visits > visits).await
    }

    /// Life goes on.
    async fn go_on(&mut self) -> Result<(), Halt> {
        let taken_over_at = self.stage.board.sent;
        self.join(LATE[1]).await?;
        let enough = PACKETS.max(taken_over_at + AFTER_FAILOVER);
        self.stage.until("enough packets", STREAM, |board| board.sent >= enough).await
    }

    /// The stream ends, and what is under way arrives; if it does not, that is for the verdict.
    async fn end(&mut self) -> Result<(), Halt> {
        self.stage.order(SENDER, Command::Finish).await?;
        self.stage.until("the stream to end", SOON, |board| board.stream_ended.is_some()).await?;
        let mut listeners = self.listening.clone();
        listeners.extend(STAYING.map(str::to_owned));
        listeners.extend([ADVERSARY, LATE[0], LATE[1]].map(str::to_owned));
        self.stage.listen(LAST_PACKETS, |board| board.all_have_the_end(&listeners)).await?;
        Ok(())
    }

    async fn join(&mut self, name: &str) -> Result<(), Halt> {
        let spec = self.ground.member(name, Role::Receiver, self.stage.began_us());
        let spec = spec.map_err(|error| self.stage.halt(error))?;
        self.stage.start(self.ground, &spec)?;
        let what = format!("{name} to join");
        self.stage.until(&what, SOON, |board| board.joined.contains(name)).await
    }

    /// Waits until the member is gone and the key is changed.
    async fn leave(&mut self, name: &str) -> Result<(), Halt> {
        let cut = self.stage.board.leaves_cut;
        self.stage.say(Event::LeaveRequested { node: name.to_owned() });
        self.stage.order(name, Command::Leave).await?;
        let what = format!("{name} to leave");
        self.stage.until(&what, SOON, |board| board.left.contains(name) && board.leaves_cut > cut).await
    }

    async fn packets(&mut self, more: u64) -> Result<(), Halt> {
        let enough = self.stage.board.sent + more;
        self.stage.until("more packets", STREAM, |board| board.sent >= enough).await
    }
}

fn file_name(ground: &Ground) -> String {
    ground.file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
