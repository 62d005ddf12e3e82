//! Who comes and goes, and what breaks: what the scenario does to nodes drawn when its time comes.

use std::time::Duration;

use crate::network::Cut;
use crate::node::{Node, NodeId};
use crate::process::{Back, Doom, MIN_DOWN};
use crate::scenario::Churn;
use crate::world::World;

impl World {
    /// The scenario acts. What only a manager does, nobody does while there is none; nobody asks a process that is stopped.
    pub(crate) fn churn(&mut self, churn: Churn) {
        let managers = self.managers();
        let awake: Vec<_> =
            managers.iter().copied().filter(|id| self.nodes[id.0].backlog.is_none()).collect();
        let manager = self.dice.pick(&awake).copied();
        match (churn, manager) {
            (Churn::Join | Churn::Leave | Churn::Restart | Churn::Crash | Churn::Deafen, _) => {
                self.churn_member(churn, &managers);
            }
            (Churn::Split, _) => self.split(&managers),
            (Churn::Pause, _) => self.pause_one(&managers),
            (_, None) => {}
            (Churn::Evict, _) => self.churn_member(churn, &managers),
            (Churn::Rekey, Some(manager)) => self.rekey_by(manager),
            (Churn::SetInterval, Some(manager)) => {
                let interval = self.dice.duration(Duration::from_millis(100), Duration::from_secs(3));
                drop(self.set_interval_by(manager, interval));
            }
            (Churn::Kill, Some(manager)) => self.doom_manager(manager),
            (Churn::KillForGood, Some(manager)) => self.kill_for_good(manager),
            (Churn::Copy, Some(manager)) => self.copy_store(manager),
            (Churn::BreakStore, Some(manager)) => {
                let time = self.dice.duration(Duration::from_millis(500), Duration::from_secs(30));
                self.break_store(manager, time);
            }
        }
    }

    /// Something happens to a node drawn now, which is not a manager.
    fn churn_member(&mut self, churn: Churn, managers: &[NodeId]) {
        let fits = |node: &Node| match churn {
            // A node that is still on its way out cannot be told to join yet.
            Churn::Join => {
                let out = node.member().is_none_or(|member| member.known().is_none());
                !node.wanted && !node.evicted && out
            }
            Churn::Leave | Churn::Restart | Churn::Crash => node.wanted && node.backlog.is_none(),
            _ => node.member().is_some_and(|member| member.held().is_some()),
        };
        // Neither a manager nor who was set up as one is told to leave, not even while it is down.
        let set_up = if self.scenario.elects { 0 } else { self.scenario.lans };
        let others = self.ids().filter(|id| id.0 >= set_up.max(1) && !managers.contains(id));
        let goes = matches!(churn, Churn::Leave | Churn::Crash | Churn::Evict);
        let stays = |id: &NodeId| goes && self.may_manage(*id) && !self.may_be_succeeded(*id);
        let fitting: Vec<_> = others.filter(|id| fits(&self.nodes[id.0]) && !stays(id)).collect();
        let Some(&id) = self.dice.pick(&fitting) else { return };
        match churn {
            Churn::Join => self.join(id),
            Churn::Leave => self.leave(id),
            // Whether it is still a member by then is the manager's to say.
            Churn::Evict => drop(self.evict(id)),
            Churn::Restart => self.restart(id),
            Churn::Crash => self.crash(id),
            _ => {
                let silence = self.scenario.timing.silence;
                let time = self.dice.duration(silence, silence * 2);
                self.deafen(id, time);
            }
        }
    }

    /// For so long nothing that the manager multicasts reaches a node.
    pub fn deafen(&mut self, id: NodeId, time: Duration) {
        self.nodes[id.0].deaf_until = self.now + time;
    }

    /// The network is cut: a manager from all others, some from the rest, or a few; for long or short, or again and again.
    fn split(&mut self, managers: &[NodeId]) {
        let share = *self.dice.pick(&[50, 200, 500]).unwrap_or(&500);
        let mut side: Vec<_> = self.ids().map(|_| false).collect();
        if self.dice.chance(300)
            && let Some(manager) = self.dice.pick(managers)
        {
            side[manager.0] = true;
        } else {
            side.iter_mut().for_each(|near| *near = self.dice.chance(share));
        }
        let one_way = self.dice.chance(300);
        if self.dice.chance(500) {
            side.iter_mut().for_each(|near| *near = !*near);
        }
        let flaps = self.dice.chance(250);
        let period = self.dice.duration(Duration::from_millis(300), Duration::from_secs(3));
        let time = self.time_out_of_order();
        self.cut(Cut { side, one_way }, time, flaps.then_some(period));
    }

    /// Half of those that are stopped manage.
    fn pause_one(&mut self, managers: &[NodeId]) {
        let all: Vec<_> = self.ids().collect();
        let from = if self.dice.chance(500) { managers } else { &all };
        if let Some(&id) = self.dice.pick(from) {
            let time = self.time_out_of_order();
            self.pause(id, time);
        }
    }

    /// A tenth of a second to a minute, shorter ones more often.
    fn time_out_of_order(&mut self) -> Duration {
        let most = *self.dice.pick(&[1, 5, 5, 20, 60]).unwrap_or(&5);
        self.dice.duration(Duration::from_millis(100), Duration::from_secs(most))
    }

    /// A manager dies at one of the next things it does.
    fn doom_manager(&mut self, manager: NodeId) {
        let back = match self.dice.below(100) {
            0..15 => Back::Older,
            15..30 => Back::Cloned,
            30..35 => Back::Empty,
            _ => Back::Whole,
        };
        let down = self.dice.duration(MIN_DOWN, Duration::from_millis(2_500));
        let (fuse, again) = (self.dice.below(60), self.dice.chance(250));
        self.doom(manager, Doom { fuse, down, back: Some(back), again });
    }

    /// A manager dies and stays dead, if another node may take its place.
    fn kill_for_good(&mut self, manager: NodeId) {
        if self.may_be_succeeded(manager) {
            let fuse = self.dice.below(60);
            self.doom(manager, Doom { fuse, down: Duration::ZERO, back: None, again: false });
        }
    }

    /// Whether another node of its LAN may manage in a node's place. Of a LAN where nobody may, nothing could be asked but
    /// that its members keep their keys until they are too old: so the last one that may is neither taken out nor killed.
    fn may_be_succeeded(&self, id: NodeId) -> bool {
        let home = self.network.lans_of(id)[0];
        self.ids()
            .any(|other| other != id && self.network.lans_of(other)[0] == home && self.may_manage(other))
    }

    /// Whether a node runs that may manage, and goes on to.
    fn may_manage(&self, id: NodeId) -> bool {
        let node = &self.nodes[id.0];
        let dies = node.doom.is_some_and(|doom| doom.back.is_none());
        node.roles.manager && node.wanted && node.process.is_up() && !dies
    }
}
