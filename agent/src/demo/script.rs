//! What is played: who comes, who goes, who is shut out, and when.

use std::net::SocketAddr;
use std::time::Duration;

use super::ground::{GROUP, Ground};
use super::lines::{Event, Role};
use super::manager::Operator;
use super::node::Command;
use super::stage::{Halt, Stage};

/// The manager.
pub(super) const MANAGER: &str = "manager";
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
/// Who comes after the eviction and stays.
const LATE: [&str; 2] = ["grace", "heidi"];

/// Packets a second.
const RATE: u32 = 200;
/// Packets sent before anything changes.
const QUIET: u64 = 200;
/// Packets sent under the key in force before the eviction.
const BEFORE_EVICTION: u64 = 150;
/// Packets sent from the eviction on.
const AFTER_EVICTION: u64 = 1_200;
/// Packets in all.
const PACKETS: u64 = 3_000;
/// How long anything that takes a rekey interval may take.
const SOON: Duration = Duration::from_secs(10);
/// How long the packets may take.
const STREAM: Duration = Duration::from_secs(25);
/// How long the last packets may be under way.
const LAST_PACKETS: Duration = Duration::from_secs(3);

/// A demonstration under way.
struct Play<'a> {
    stage: &'a mut Stage,
    ground: &'a Ground,
    operator: Operator,
    registrar: SocketAddr,
}

/// Plays it all, up to the moment when nothing is left to be received.
pub(super) async fn play(stage: &mut Stage, ground: &Ground) -> Result<(), Halt> {
    stage.say(Event::Prepared { group: GROUP.to_owned(), file: file_name(ground), bytes: ground.file_len });
    stage.start_manager(ground, MANAGER)?;
    stage.until("the manager to be ready", SOON, |board| board.manager_ready).await?;
    let operator = Operator::new(ground, MANAGER);
    let registrar = operator.registrar().await.map_err(|failure| stage.halt(failure))?;
    let followed = operator.follow(stage.mouth(), stage.began_us()).await;
    followed.map_err(|failure| stage.halt(failure))?;
    stage.say(Event::ManagerReady { node: MANAGER.to_owned(), registrar: registrar.to_string() });
    let mut play = Play { stage, ground, operator, registrar };
    play.gather().await?;
    play.come_and_go().await?;
    play.evict().await?;
    play.go_on().await?;
    play.end().await
}

impl Play<'_> {
    /// The first five join, and the stream begins.
    async fn gather(&mut self) -> Result<(), Halt> {
        for (name, role) in FIRST {
            self.start(name, role)?;
        }
        let names = FIRST.map(|(name, _)| name);
        self.stage.until("the first members to join", SOON, |board| board.all_joined(&names)).await?;
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
        let epoch = self.operator.rekey().await.map_err(|failure| self.stage.halt(failure))?;
        self.stage.until("the key change asked for", SOON, |board| board.epoch >= epoch).await?;
        self.packets(BEFORE_EVICTION).await
    }

    /// The adversary is shut out in the middle of the stream.
    async fn evict(&mut self) -> Result<(), Halt> {
        self.stage.say(Event::EvictRequested { node: ADVERSARY.to_owned() });
        let epoch = self.operator.evict(ADVERSARY).await.map_err(|failure| self.stage.halt(failure))?;
        self.stage.until("word of the eviction's key", SOON, |board| board.epoch >= epoch).await?;
        self.stage.say(Event::Evicted { node: ADVERSARY.to_owned(), epoch });
        self.stage.until("the evicted node to come back", SOON, |board| board.reregistered).await
    }

    /// Life goes on without it.
    async fn go_on(&mut self) -> Result<(), Halt> {
        let evicted_at = self.stage.board.sent;
        self.join(LATE[0]).await?;
        self.leave(PASSING[1]).await?;
        self.join(LATE[1]).await?;
        let enough = PACKETS.max(evicted_at + AFTER_EVICTION);
        self.stage.until("enough packets", STREAM, |board| board.sent >= enough).await
    }

    /// The stream ends, and what is under way arrives; if it does not, that is for the verdict.
    async fn end(&mut self) -> Result<(), Halt> {
        self.stage.order(SENDER, Command::Finish).await?;
        self.stage.until("the stream to end", SOON, |board| board.stream_ended.is_some()).await?;
        let listeners = [STAYING[0], STAYING[1], STAYING[2], ADVERSARY, LATE[0], LATE[1]];
        self.stage.listen(LAST_PACKETS, |board| board.all_have_the_end(&listeners)).await?;
        Ok(())
    }

    fn start(&mut self, name: &str, role: Role) -> Result<(), Halt> {
        let spec = self.ground.member(name, role, self.registrar, self.stage.began_us());
        let spec = spec.map_err(|error| self.stage.halt(error))?;
        self.stage.start(self.ground, &spec)
    }

    async fn join(&mut self, name: &str) -> Result<(), Halt> {
        self.start(name, Role::Receiver)?;
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
