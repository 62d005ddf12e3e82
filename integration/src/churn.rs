//! Who comes and goes: what the scenario does to nodes drawn when its time comes.

use std::time::Duration;

use crate::node::{Node, NodeId};
use crate::process::{Back, Doom};
use crate::scenario::Churn;
use crate::world::World;

impl World {
    /// The scenario acts. What only a manager does, nobody does while there is none.
    pub(crate) fn churn(&mut self, churn: Churn) {
        let managing = self.managing();
        match (churn, managing) {
            (Churn::Join | Churn::Leave | Churn::Restart | Churn::Crash | Churn::Deafen, _) => {
                self.churn_member(churn, managing);
            }
            (_, None) => {}
            (Churn::Evict, _) => self.churn_member(churn, managing),
            (Churn::Rekey, _) => self.rekey(),
            (Churn::SetInterval, _) => {
                let interval = self.dice.duration(Duration::from_millis(100), Duration::from_secs(3));
                drop(self.set_rekey_interval(interval));
            }
            (Churn::Kill, Some(managing)) => self.doom_manager(managing),
            (Churn::Copy, Some(managing)) => self.copy_store(managing),
        }
    }

    /// Something happens to a node drawn now, which is not the manager.
    fn churn_member(&mut self, churn: Churn, managing: Option<NodeId>) {
        let fits = |node: &Node| match churn {
            // A node that is still on its way out cannot be told to join yet.
            Churn::Join => {
                let out = node.member().is_none_or(|member| member.known().is_none());
                !node.wanted && !node.evicted && out
            }
            Churn::Leave | Churn::Restart | Churn::Crash => node.wanted,
            Churn::Evict | Churn::Deafen => node.member().is_some_and(|member| member.held().is_some()),
            Churn::Rekey | Churn::SetInterval | Churn::Kill | Churn::Copy => false,
        };
        // The scenario's own manager is never told to leave, not even while it is down.
        let others = self.ids().filter(|id| *id != NodeId::MANAGER && Some(*id) != managing);
        let fitting: Vec<_> = others.filter(|id| fits(&self.nodes[id.0])).collect();
        let Some(&id) = self.dice.pick(&fitting) else { return };
        match churn {
            Churn::Join => self.join(id),
            Churn::Leave => self.leave(id),
            // Whether it is still a member by then is the manager's to say.
            Churn::Evict => drop(self.evict(id)),
            Churn::Restart => self.restart(id),
            Churn::Crash => self.crash(id),
            Churn::Deafen => {
                let silence = self.scenario.timing.silence;
                let time = self.dice.duration(silence, silence * 2);
                self.deafen(id, time);
            }
            Churn::Rekey | Churn::SetInterval | Churn::Kill | Churn::Copy => {}
        }
    }

    /// For so long nothing that the manager multicasts reaches a node.
    pub fn deafen(&mut self, id: NodeId, time: Duration) {
        self.nodes[id.0].deaf_until = self.now + time;
    }

    /// The manager dies at one of the next things it does.
    fn doom_manager(&mut self, managing: NodeId) {
        let back = match self.dice.below(100) {
            0..20 => Back::Older,
            20..40 => Back::Cloned,
            _ => Back::Whole,
        };
        let down = self.dice.duration(Duration::from_millis(200), Duration::from_millis(2_500));
        let fuse = self.dice.below(60);
        self.doom(managing, Doom { fuse, down, back });
    }
}
