//! The key schedule: what is derived from a root secret and from a channel secret, and in which context.
//!
//! Node secrets belong to `keytree`; {Kr} and its wrapping keys belong to `data`. Everything here names group, subgroup
//! and state or start in its context, so no key of one is a key of another.

use std::net::Ipv4Addr;

use crypto::{Label, Secret, Suite, derive, hash};
use keytree::RegNo;

use crate::ids::{GroupId, Inst, StateId, SubgroupId, organization_local};

/// The place of a subgroup in every derivation: suite, group, subgroup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Domain {
    /// The group's cipher suite.
    pub suite: Suite,
    /// The group.
    pub group: GroupId,
    /// The subgroup.
    pub subgroup: SubgroupId,
}

impl Domain {
    /// The group key of `state`: a function of the root secret *and* the state id, so it changes every epoch even
    /// where the root only stepped.
    pub fn group_key(&self, root: &Secret<32>, state: StateId) -> Secret<32> {
        self.of_state(root, Label::Group, state)
    }

    /// The key-check value of a state: tells a member that its group key is the manager's. It is public.
    pub fn key_check(&self, group_key: &Secret<32>, state: StateId) -> [u8; 8] {
        *self.of_state::<8>(group_key, Label::KeyCheck, state).expose()
    }

    /// The key of the MAC prefilter for messages sent by and to holders of `state`. It opens nothing; whoever has it
    /// can only make others check a signature. Epoch 0 has no group key, so a manager draws its prefilter key.
    pub fn prefilter(&self, group_key: &Secret<32>, state: StateId) -> Secret<32> {
        self.of_state(group_key, Label::Prefilter, state)
    }

    /// What one registration derives from its channel secret. Both ends compute it; none of it is ever sent.
    pub fn registration(&self, channel: &Secret<32>, inst: Inst, reg_no: RegNo) -> RegistrationKeys {
        RegistrationKeys {
            leaf: self.of_registration(channel, Label::Leaf, inst, reg_no),
            unicast: self.of_registration(channel, Label::Unicast, inst, reg_no),
            confirm_manager: self.of_registration(channel, Label::ConfirmManager, inst, reg_no),
            confirm_member: self.of_registration(channel, Label::ConfirmMember, inst, reg_no),
        }
    }

    /// The subgroup's multicast address where no server hands one out. Keys, not addresses, separate groups, so two
    /// that meet only cost traffic.
    pub fn local_ip(&self) -> Ipv4Addr {
        let subgroup = self.subgroup.0.to_be_bytes();
        organization_local(&hash(self.suite, Label::LocalAddress, &[self.group.as_bytes(), &subgroup]))
    }

    fn of_state<const N: usize>(&self, key: &Secret<32>, label: Label, state: StateId) -> Secret<N> {
        derive(
            self.suite,
            key,
            label,
            &[self.group.as_bytes(), &self.subgroup.0.to_be_bytes(), &state.to_bytes()],
        )
    }

    fn of_registration(&self, channel: &Secret<32>, label: Label, inst: Inst, reg_no: RegNo) -> Secret<32> {
        let subgroup = self.subgroup.0.to_be_bytes();
        let context: [&[u8]; 4] =
            [self.group.as_bytes(), &subgroup, &inst.0.to_be_bytes(), &reg_no.0.to_be_bytes()];
        derive(self.suite, channel, label, &context)
    }
}

/// The keys of one registration. One key, one use.
#[derive(Clone, Debug)]
pub struct RegistrationKeys {
    /// Opens tree entries, nothing else.
    pub leaf: Secret<32>,
    /// Seals repair and keepalives between the two.
    pub unicast: Secret<32>,
    /// The manager's half of the key confirmation.
    pub confirm_manager: Secret<32>,
    /// The member's half.
    pub confirm_member: Secret<32>,
}
