//! The logical key hierarchy of one subgroup, with batch rekeying.
//!
//! A manager holds a [`KeyTree`]: a tree of secrets whose leaves are the members' leaf secrets and whose root is
//! what the group key is derived from. A member holds its [`KeyPath`]: its own leaf and the keys above it. All
//! joins and leaves of one rekey interval form a [`Batch`]; [`KeyTree::stage`] turns it into a [`StagedRekey`]
//! without touching the tree, the caller makes that durable and multicasts its [`Target`]s and [`Entry`]s, and
//! [`KeyTree::merge`] makes it the tree's new state. Members follow with [`KeyPath::apply`].
//!
//! What a batch does to a node ([`Change`]):
//!
//! - every ancestor of a leaf that left is **replaced**: fresh random key, one entry for each occupied child;
//! - every other ancestor of a leaf that joined is **stepped** by a one-way function: who holds it follows without
//!   a message, and entries go only toward the joiners;
//! - a node that had no key is **fresh**: random, one entry for each occupied child.
//!
//! A replaced node above a replaced or fresh inner node is **chained**: its key is derived from that child's, which
//! saves one entry. Because a key that an ex-member ever held is never stepped, no set of ex-members can compute a
//! later root; because a step is one-way, no joiner can compute an earlier one.
//!
//! This crate is pure: no clock, no randomness of its own (it draws from the [`crypto::MessageXof`] it is handed),
//! no input or output, and no knowledge of groups, packets or signatures. Whoever feeds a member's path must have
//! verified the manager's signature first.
//!
//! Papers: Wong, Gouda, Lam, "Secure Group Communications Using Key Graphs" (key trees, user-oriented entries);
//! Waldvogel et al., "VersaKey" (key versions and one-way revisions on join); batches per interval as in the GSM
//! paper, section 3.5.

mod batch;
mod ids;
mod level;
mod mark;
mod path;
mod plan;
mod stage;
mod step;
mod tree;

pub use batch::{Batch, BatchError, Join};
pub use crypto::Position as NodeId;
pub use ids::{Degree, Epoch, MAX_NODE_STEPS, MAX_ROOT_STEPS, RegNo, TreeId, Version};
pub use path::{KeyPath, PathError, PathKey};
pub use plan::{Change, Entry, RekeyView, Sealed, StagedRekey, Target};
pub use step::step_leaf;
pub use tree::{KeyTree, StaleStage};
