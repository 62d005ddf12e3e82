use std::fmt;

use crypto::{EntryIv, NodeKey, OneWay, Secret, Suite};

use crate::plan::slice;
use crate::step::step;
use crate::{
    Change, Degree, Entry, Epoch, MAX_NODE_STEPS, NodeId, RegNo, RekeyView, Target, TreeId, Version,
};

/// No tree is higher: 2^26 leaves at degree 2.
const MAX_HEIGHT: u8 = 26;

/// The keys one member holds: its leaf secret and, once it is admitted, the keys from its leaf to the root.
///
/// Keys below the root may lag behind the manager's by steps: the member takes them when an entry names the later
/// version, so an epoch that only stepped needs no message at all beyond the root's version.
#[derive(Clone)]
pub struct KeyPath {
    suite: Suite,
    tree: TreeId,
    degree: Degree,
    reg_no: RegNo,
    /// The epoch last applied or installed.
    epoch: Epoch,
    leaf: Held,
    /// Level 1 first, root last; `None` where nothing was learned yet.
    keys: Vec<Option<Held>>,
}

/// One key of a path above the leaf, as a unicast resync carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathKey {
    /// 1 .. = height.
    pub level: u8,
    /// Which of the node's keys it is.
    pub version: Version,
    /// The key.
    pub secret: Secret<32>,
}

#[derive(Clone)]
struct Held {
    version: Version,
    secret: Secret<32>,
}

/// Why a path did not follow. The path is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The message does not lead past the epoch held. Drop it.
    #[error("leads to epoch {given}, already at {held}")]
    Stale {
        /// The epoch held.
        held: Epoch,
        /// The epoch the message leads to.
        given: Epoch,
    },
    /// The message names an earlier step of a key than the one held: an alarm overtook it. Drop it.
    #[error("names {named} of level {}, already at {held}", .node.level)]
    Behind {
        /// Whose key.
        node: NodeId,
        /// The version held.
        held: Version,
        /// The version named.
        named: Version,
    },
    /// The message needs a key this member missed: ask for repair. For a leaf (level 0) only registering again
    /// helps.
    #[error("needs {named} of level {}", .node.level)]
    NeedsRepair {
        /// Whose key.
        node: NodeId,
        /// The version held, if any.
        held: Option<Version>,
        /// The version named.
        named: Version,
    },
    /// A key on this path was made anew without an entry for this member. So it looks to a member that was removed;
    /// also if a packet meant for other members is applied.
    #[error("no entry leads to level {}", .node.level)]
    NoEntry {
        /// Whose new key stays out of reach.
        node: NodeId,
    },
    /// The manager wrote what no plan holds, or the codec took what it should have refused.
    #[error("malformed target at level {}", .node.level)]
    Malformed {
        /// The target at fault.
        node: NodeId,
    },
    /// A height below the one held, above what 2^26 leaves need, or other than the number of keys installed.
    #[error("height {given} does not follow on {held}")]
    Height {
        /// The height held.
        held: u8,
        /// The height named.
        given: u8,
    },
    /// An entry does not open (suite 0x0002 only; the other shows in the key check).
    #[error("the entry for level {} does not open", .node.level)]
    Unwrap {
        /// The node whose key it should hold.
        node: NodeId,
    },
    /// The caller refused the root key that came out: the key check does not match.
    #[error("the root key is not the manager's")]
    Refused,
}

impl KeyPath {
    /// The path of a member that holds nothing but its leaf secret, `leaf_steps` being the count its grant told.
    pub fn new(
        suite: Suite,
        tree: TreeId,
        degree: Degree,
        reg_no: RegNo,
        leaf: Secret<32>,
        leaf_steps: u16,
    ) -> Self {
        let leaf = Held { version: Version::leaf(leaf_steps), secret: leaf };
        Self { suite, tree, degree, reg_no, epoch: Epoch(0), leaf, keys: Vec::new() }
    }

    /// Follows one key update; called for each verified one, in any order. Like [`apply_if`](Self::apply_if) with
    /// nothing to check, so a wrong entry may leave a path that fits nobody's until the next repair: for callers
    /// that compare the root themselves before they use it.
    pub fn apply(&mut self, view: &RekeyView<'_>) -> Result<(), PathError> {
        self.apply_if(view, |_, _| true)
    }

    /// Follows one key update if the root key that comes out is the manager's, as `accept` finds by the key check.
    ///
    /// Skipped epochs do no harm as long as they only stepped this member's keys; otherwise
    /// [`PathError::NeedsRepair`] says which key is missing. On `Err` the path is unchanged. Costs one unwrap or
    /// derivation for each changed node on the path, and one for each step taken.
    pub fn apply_if(
        &mut self,
        view: &RekeyView<'_>,
        accept: impl FnOnce(Version, &Secret<32>) -> bool,
    ) -> Result<(), PathError> {
        if view.epoch <= self.epoch {
            return Err(PathError::Stale { held: self.epoch, given: view.epoch });
        }
        self.check_height(view.height)?;
        let own = self.own_targets(view)?;
        let leaf_at = self.node(0);
        let mut leaf = self.forward(leaf_at, Some(&self.leaf), Version::leaf(view.leaf_steps))?;
        let mut keys: Vec<Option<Held>> = Vec::with_capacity(usize::from(view.height));
        for (level, target) in (1..=view.height).zip(own) {
            let below = keys.last_mut().map_or(Some(&mut leaf), Option::as_mut);
            let held = self.held(level);
            let key = match target {
                Some(target) => self.renew(view, target, held, below)?,
                None => held.cloned(),
            };
            keys.push(key);
        }
        let root = self.forward(self.node(view.height), keys.last().and_then(Option::as_ref), view.root)?;
        if !accept(root.version, &root.secret) {
            return Err(PathError::Refused);
        }
        keys.pop();
        keys.push(Some(root));
        (self.epoch, self.leaf, self.keys) = (view.epoch, leaf, keys);
        Ok(())
    }

    /// Takes the steps to a root version that a verified alarm names; a member does so when it missed an epoch that
    /// only stepped. On `Err` the path is unchanged.
    pub fn step_root(&mut self, named: Version) -> Result<(), PathError> {
        let root =
            self.forward(self.node(self.height()), self.keys.last().and_then(Option::as_ref), named)?;
        self.keys.pop();
        self.keys.push(Some(root));
        Ok(())
    }

    /// Takes over the keys of a unicast resync, as of `epoch`; the caller has checked that the last of them, the
    /// root key, reproduces the key check of a verified alarm.
    ///
    /// `keys` must be those of level 1 to `height`, ascending. On `Err` the path is unchanged.
    pub fn install(&mut self, height: u8, epoch: Epoch, keys: Vec<PathKey>) -> Result<(), PathError> {
        if epoch < self.epoch {
            return Err(PathError::Stale { held: self.epoch, given: epoch });
        }
        self.check_height(height)?;
        if keys.len() != usize::from(height) || (1..).zip(&keys).any(|(level, key)| key.level != level) {
            return Err(PathError::Height { held: self.height(), given: height });
        }
        self.epoch = epoch;
        self.keys =
            keys.into_iter().map(|key| Some(Held { version: key.version, secret: key.secret })).collect();
        Ok(())
    }

    /// Drops everything above the leaf and starts at epoch 0 again: for a new manager term, whose epochs and
    /// therefore versions mean other keys.
    pub fn forget(&mut self) {
        self.epoch = Epoch(0);
        self.keys.clear();
    }

    /// The leaf secret as of `leaf_steps` steps, from which a renewal makes another one. Costs a derivation for each step
    /// that this member lags behind; an earlier step than the one held is [`PathError::Behind`].
    pub fn leaf_at(&self, leaf_steps: u16) -> Result<Secret<32>, PathError> {
        self.forward(self.node(0), Some(&self.leaf), Version::leaf(leaf_steps)).map(|leaf| leaf.secret)
    }

    /// This path with another leaf secret, as of `leaf_steps` steps, and with nothing above it: what is there will be
    /// sealed under this one.
    #[must_use]
    pub fn renewed(&self, leaf: Secret<32>, leaf_steps: u16) -> Self {
        Self::new(self.suite, self.tree, self.degree, self.reg_no, leaf, leaf_steps)
    }

    /// This member's leaf.
    pub fn reg_no(&self) -> RegNo {
        self.reg_no
    }

    /// The degree of the tree, for the arithmetic of positions.
    pub fn degree(&self) -> Degree {
        self.degree
    }

    /// The epoch last applied or installed; 0 before any.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The level of the root as far as this member knows; 0 before it knows any.
    pub fn height(&self) -> u8 {
        self.keys.len() as u8
    }

    /// The leaf steps taken.
    pub fn leaf_steps(&self) -> u16 {
        self.leaf.version.steps
    }

    /// The root key; `None` before the first key update.
    pub fn root(&self) -> Option<(Version, &Secret<32>)> {
        let root = self.keys.last()?.as_ref()?;
        Some((root.version, &root.secret))
    }

    /// Everything held, leaf first: for tests that play a member who hoards.
    pub fn keys(&self) -> impl Iterator<Item = (NodeId, Version, &Secret<32>)> {
        let above = (1..).zip(&self.keys).filter_map(|(level, key)| Some((level, key.as_ref()?)));
        std::iter::once((0, &self.leaf))
            .chain(above)
            .map(|(level, key)| (self.node(level), key.version, &key.secret))
    }

    fn node(&self, level: u8) -> NodeId {
        self.degree.ancestor(self.reg_no, level)
    }

    fn held(&self, level: u8) -> Option<&Held> {
        self.keys.get(usize::from(level) - 1)?.as_ref()
    }

    fn check_height(&self, given: u8) -> Result<(), PathError> {
        let lowest = self.height().max(self.degree.height_for(self.reg_no));
        if (lowest..=MAX_HEIGHT).contains(&given) {
            Ok(())
        } else {
            Err(PathError::Height { held: self.height(), given })
        }
    }

    /// The targets on this member's path, from level 1 up.
    fn own_targets<'a>(
        &self,
        view: &RekeyView<'a>,
    ) -> Result<[Option<&'a Target>; MAX_HEIGHT as usize], PathError> {
        let mut path = [self.node(0); MAX_HEIGHT as usize + 1];
        for level in 1..=usize::from(view.height) {
            path[level] = self.degree.parent(path[level - 1]);
        }
        let mut own = [None; MAX_HEIGHT as usize];
        for target in view.targets {
            let node = target.node;
            if node.level == 0 || node.level > view.height {
                return Err(PathError::Malformed { node });
            }
            let level = usize::from(node.level);
            if path[level] == node && own[level - 1].replace(target).is_some() {
                return Err(PathError::Malformed { node });
            }
        }
        Ok(own)
    }

    /// This member's key of a changed node: by its own step, by the entry for its child, or by the chain.
    fn renew(
        &self,
        view: &RekeyView<'_>,
        target: &Target,
        held: Option<&Held>,
        below: Option<&mut Held>,
    ) -> Result<Option<Held>, PathError> {
        let node = target.node;
        let entries = checked(target, view)?;
        if target.change == Change::Step
            && let Ok(stepped) = self.forward(node, held, target.version)
        {
            return Ok(Some(stepped));
        }
        let child = self.node(node.level - 1);
        let slot = self.degree.slot(child);
        if let Some(entry) = entries.iter().find(|entry| entry.child == slot) {
            return self.open(view.iv, target, entry, below).map(Some);
        }
        if target.chained_from == Some(slot) {
            let made = Version::made(view.epoch);
            let below = below.filter(|key| key.version == made);
            let below = below.ok_or(PathError::NeedsRepair { node: child, held: None, named: made })?;
            let key = NodeKey::new(self.suite, &below.secret);
            let secret = key.one_way(OneWay::Chain, self.tree.0, node);
            return Ok(Some(Held { version: target.version, secret }));
        }
        match target.change {
            // It cannot follow, but whether it needs this key shows where an entry or the root names it.
            Change::Step => Ok(held.cloned()),
            Change::Replace | Change::Fresh => Err(PathError::NoEntry { node }),
        }
    }

    fn open(
        &self,
        iv: &EntryIv,
        target: &Target,
        entry: &Entry,
        below: Option<&mut Held>,
    ) -> Result<Held, PathError> {
        let node = target.node;
        let wrapping = self.forward(self.node(node.level - 1), below.as_deref(), entry.wrapping)?;
        let secret = NodeKey::new(self.suite, &wrapping.secret)
            .unwrap(iv, node, entry.sealed.as_slice())
            .map_err(|_| PathError::Unwrap { node })?;
        if let Some(below) = below {
            *below = wrapping;
        }
        Ok(Held { version: target.version, secret })
    }

    /// A held key moved on to the version named.
    fn forward(&self, node: NodeId, held: Option<&Held>, named: Version) -> Result<Held, PathError> {
        let needs_repair = PathError::NeedsRepair { node, held: held.map(|key| key.version), named };
        let key = held.ok_or(needs_repair)?;
        match key.version.steps_to(named) {
            Some(steps) if steps <= MAX_NODE_STEPS => {
                let secret = step(self.suite, self.tree, node, &key.secret, steps);
                Ok(Held { version: named, secret })
            }
            None if key.version.base == named.base => {
                Err(PathError::Behind { node, held: key.version, named })
            }
            _ => Err(needs_repair),
        }
    }
}

impl fmt::Debug for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPath")
            .field("reg_no", &self.reg_no)
            .field("epoch", &self.epoch)
            .field("height", &self.height())
            .field("root", &self.root().map(|(version, _)| version))
            .finish_non_exhaustive()
    }
}

/// The entries of a target, if it says what a plan of this epoch can say.
fn checked<'a>(target: &Target, view: &RekeyView<'a>) -> Result<&'a [Entry], PathError> {
    let made = Version::made(view.epoch);
    let sound = match target.change {
        Change::Replace => target.version == made && (target.chained_from.is_none() || target.node.level > 1),
        Change::Fresh => target.version == made && target.chained_from.is_none(),
        Change::Step => {
            target.version.base < view.epoch && target.version.steps > 0 && target.chained_from.is_none()
        }
    };
    let entries = slice(view.entries, &target.entries).filter(|_| sound);
    entries.ok_or(PathError::Malformed { node: target.node })
}
