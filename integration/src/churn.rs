//! Who comes and goes: what the scenario does to nodes drawn when its time comes.

use std::time::Duration;

use crate::node::Node;
use crate::scenario::Churn;
use crate::world::World;

impl World {
    /// The scenario acts on a node drawn now.
    pub(crate) fn churn(&mut self, churn: Churn) {
        let fits = |node: &Node| match churn {
            // A node that is still on its way out cannot be told to join yet.
            Churn::Join => {
                let out = node.member().is_none_or(|member| member.known().is_none());
                !node.wanted && !node.evicted && out
            }
            Churn::Leave | Churn::Restart | Churn::Crash => node.wanted,
            Churn::Evict => node.member().is_some_and(|member| member.held().is_some()),
            Churn::Rekey | Churn::SetInterval => true,
        };
        let fitting: Vec<_> = self
            .ids()
            .filter(|id| Some(*id) != self.managing())
            .filter(|id| fits(&self.nodes[id.0]))
            .collect();
        let Some(&id) = self.dice.pick(&fitting) else { return };
        match churn {
            Churn::Join => self.join(id),
            Churn::Leave => self.leave(id),
            // Whether it is still a member by then is the manager's to say.
            Churn::Evict => drop(self.evict(id)),
            Churn::Restart => self.restart(id),
            Churn::Crash => self.crash(id),
            Churn::Rekey => self.rekey(),
            Churn::SetInterval => {
                let interval = self.dice.duration(Duration::from_millis(100), Duration::from_secs(3));
                drop(self.set_rekey_interval(interval));
            }
        }
    }
}
