use std::sync::LazyLock;

use aes::{
    Aes256Enc, Block,
    cipher::{
        BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16,
    },
};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::optimization_barrier;

use crate::{
    Label, Secret, Suite, UnwrapError, WRAPPED_KEY_LEN,
    derive::{hkdf_expand, hkdf_from},
    key_unwrap, key_wrap,
};

/// The highest level a wrapped node may lie on: the counter block has five bits for it.
pub const MAX_ENTRY_LEVEL: u8 = (1 << 5) - 1;
/// The highest index a wrapped node may have: the counter block has 26 bits for it.
pub const MAX_ENTRY_INDEX: u32 = (1 << 26) - 1;

/// The initialization vector of one key update: 95 random bits, the top bit zero.
///
/// Drawn anew for each message ([`MessageXof::iv`](crate::MessageXof::iv)) and never shared between messages;
/// suite 0x0001 encrypts every entry under it, suite 0x0002 carries it and takes no notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryIv([u8; 12]);

impl EntryIv {
    /// Takes 12 bytes as an IV; the top bit, which tells one-way functions from entries, is cleared.
    #[must_use]
    pub const fn new(mut bytes: [u8; 12]) -> Self {
        bytes[0] &= 0x7f;
        Self(bytes)
    }

    /// The 12 bytes as they stand in the header.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 12] {
        &self.0
    }
}

/// A node of a key tree: its level, 0 at the leaves, and its index from the left on that level.
///
/// A node whose secret is wrapped must lie within [`MAX_ENTRY_LEVEL`] and [`MAX_ENTRY_INDEX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Distance from the leaves.
    pub level: u8,
    /// Place on the level, counted from 0.
    pub index: u32,
}

impl Position {
    /// Whether a key for this node can be wrapped: level in five bits, index in 26.
    #[must_use]
    pub const fn is_wrappable(self) -> bool {
        self.level <= MAX_ENTRY_LEVEL && self.index <= MAX_ENTRY_INDEX
    }
}

/// Which one-way function of a node secret. Their outputs are unrelated to each other and to any entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum OneWay {
    /// The node's own next secret after a join: whoever holds it steps by itself (VersaKey's revision
    /// change).
    Step = 1,
    /// The parent's new secret from this, its child's, new one: saves the entry that would have carried it.
    Chain = 2,
    /// A leaf's next secret, at the daily step of all leaves.
    LeafStep = 3,
}

/// A node secret made ready for use: its key schedule is expanded once and serves entries and one-way
/// functions. Wiped on drop; it cannot be printed.
///
/// The manager makes one for each node whose key wraps or steps in a batch, a member one for each node of its
/// path.
///
/// # Suite 0x0001
///
/// The node secret is an AES-256 key. An entry is the new secret XORed with the encryption of two counter
/// blocks; a one-way function is the encryption of two fixed blocks. The top bit keeps the two apart, and
/// within each the fields do. Big-endian, widths in bits, `half` 0 then 1:
///
/// ```text
/// entry    0 (top bit of IV) ‖ IV:95 ‖ target level:5 ‖ target index:26 ‖ half:1
/// one-way  1 ‖ kind:7 ‖ suite:16 ‖ tree:32 ‖ level:8 ‖ index:32 ‖ 0:24 ‖ half:8
/// ```
///
/// An entry so made can be altered at will, bit by bit, and says nothing of who made it: whoever unwraps must
/// have verified the message's signature first.
///
/// # Suite 0x0002
///
/// An entry is AES-256-KW under [`derive`](crate::derive())`(node secret, "entry-kek", target level:8 ‖
/// target index:32)`, a one-way function is `derive(node secret, "one-way", kind:8 ‖ tree:32 ‖ level:8 ‖
/// index:32)`.
pub struct NodeKey(Schedule);

enum Schedule {
    Ctr(AesSchedule),
    Kw(Hkdf<Sha256>),
}

impl NodeKey {
    /// Expands `secret` for use in `suite`.
    #[must_use]
    pub fn new(suite: Suite, secret: &Secret<32>) -> Self {
        Self(match suite {
            Suite::Aes256Ctr => Schedule::Ctr(AesSchedule::new(secret)),
            Suite::Aes256Kw => Schedule::Kw(hkdf_from(secret)),
        })
    }

    /// Wraps `key`, the new secret of `target`, under this node's secret and appends the entry to `out`:
    /// [`Suite::entry_len`] bytes.
    ///
    /// Under one node secret, `iv` and `target` must not come twice with different keys: the XOR of the two
    /// would be open to everyone. A fresh IV for each message and one entry for each (wrapping node, target)
    /// do that.
    ///
    /// # Panics
    ///
    /// If `target` is not [wrappable](Position::is_wrappable), since its block would be another node's. Trees
    /// are bounded long before that.
    pub fn wrap(&self, iv: &EntryIv, target: Position, key: &Secret<32>, out: &mut Vec<u8>) {
        assert!(target.is_wrappable(), "invariant: a key tree lies within the counter block's fields");
        match &self.0 {
            Schedule::Ctr(aes) => {
                let mut sealed = [0; 32];
                xor(&aes.encrypt_pair(entry_blocks(iv, target)), key.expose(), &mut sealed);
                out.extend_from_slice(&sealed);
            }
            Schedule::Kw(hkdf) => out.extend_from_slice(&key_wrap(&entry_kek(hkdf, target), key)),
        }
    }

    /// Opens an entry that [`wrap`](Self::wrap) made for `target` under this secret and `iv`.
    ///
    /// Called for a message whose signature holds. In suite 0x0001 any 32 bytes give *some* key: that it is
    /// the manager's is known only once the message's key check agrees. On `Err` nothing of the key is given
    /// out.
    pub fn unwrap(&self, iv: &EntryIv, target: Position, sealed: &[u8]) -> Result<Secret<32>, UnwrapError> {
        if !target.is_wrappable() {
            return Err(UnwrapError::Position);
        }
        match &self.0 {
            Schedule::Ctr(aes) => {
                let sealed = sized::<32>(sealed)?;
                let stream = aes.encrypt_pair(entry_blocks(iv, target));
                Ok(Secret::filled_by(|key| xor(&stream, sealed, key)))
            }
            Schedule::Kw(hkdf) => key_unwrap(&entry_kek(hkdf, target), sized::<WRAPPED_KEY_LEN>(sealed)?),
        }
    }

    /// The one-way function `kind` of this secret, for node `at` of tree `tree`.
    ///
    /// Manager and member call it with the same fields and get the same secret. Nobody gets back from the
    /// result to this secret, nor from one function's result to another's.
    #[must_use]
    pub fn one_way(&self, kind: OneWay, tree: u32, at: Position) -> Secret<32> {
        match &self.0 {
            Schedule::Ctr(aes) => aes.encrypt_pair(one_way_blocks(kind, tree, at)),
            Schedule::Kw(hkdf) => Secret::filled_by(|out| {
                let mut fields = [0; 10];
                fields[0] = kind as u8;
                fields[1..5].copy_from_slice(&tree.to_be_bytes());
                fields[5] = at.level;
                fields[6..].copy_from_slice(&at.index.to_be_bytes());
                hkdf_expand(hkdf, Suite::Aes256Kw, Label::OneWay, &[&fields], out);
            }),
        }
    }
}

/// The schedule of a key that protects nothing: what is written over the others. The cipher crate's own wiping
/// goes byte by byte, which takes twice as long and shows in the cost of an entry.
static BLANK: LazyLock<Aes256Enc> = LazyLock::new(|| Aes256Enc::new(&[0; 32].into()));

/// The encrypting half of an AES-256 key schedule, wiped on drop.
pub(crate) struct AesSchedule(Aes256Enc);

impl AesSchedule {
    pub(crate) fn new(key: &Secret<32>) -> Self {
        Self(Aes256Enc::new(key.expose().into()))
    }

    pub(crate) fn encrypt(&self, blocks: &mut [Block]) {
        self.0.encrypt_blocks(blocks);
    }

    fn encrypt_pair(&self, blocks: [[u8; 16]; 2]) -> Secret<32> {
        let mut blocks = blocks.map(Block::from);
        self.0.encrypt_with_backend(Pair(&mut blocks));
        let pair = Secret::filled_by(|out| {
            out[..16].copy_from_slice(&blocks[0]);
            out[16..].copy_from_slice(&blocks[1]);
        });
        blocks = Default::default();
        optimization_barrier(&blocks);
        pair
    }
}

/// Encrypts two blocks side by side. The cipher crate's own batch call would first spread the round keys over
/// wide registers, which pays off from tens of blocks on.
struct Pair<'a>(&'a mut [Block; 2]);

impl BlockSizeUser for Pair<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Pair<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        for block in self.0 {
            backend.encrypt_block_inplace(block);
        }
    }
}

impl Drop for AesSchedule {
    fn drop(&mut self) {
        self.0.clone_from(&BLANK);
        optimization_barrier(&self.0);
    }
}

/// The two counter blocks of an entry in suite 0x0001; `target` is wrappable.
fn entry_blocks(iv: &EntryIv, target: Position) -> [[u8; 16]; 2] {
    let counter = u32::from(target.level) << 27 | target.index << 1;
    [counter, counter | 1].map(|counter| {
        let mut block = [0; 16];
        block[..12].copy_from_slice(&iv.0);
        block[12..].copy_from_slice(&counter.to_be_bytes());
        block
    })
}

/// The two input blocks of a one-way function in suite 0x0001.
fn one_way_blocks(kind: OneWay, tree: u32, at: Position) -> [[u8; 16]; 2] {
    let mut block = [0; 16];
    block[0] = 0x80 | kind as u8;
    block[1..3].copy_from_slice(&Suite::Aes256Ctr.code().to_be_bytes());
    block[3..7].copy_from_slice(&tree.to_be_bytes());
    block[7] = at.level;
    block[8..12].copy_from_slice(&at.index.to_be_bytes());
    let mut second = block;
    second[15] = 1;
    [block, second]
}

/// The key-encryption key of an entry in suite 0x0002.
fn entry_kek(hkdf: &Hkdf<Sha256>, target: Position) -> Secret<32> {
    let [a, b, c, d] = target.index.to_be_bytes();
    Secret::filled_by(|out| {
        hkdf_expand(hkdf, Suite::Aes256Kw, Label::EntryKek, &[&[target.level, a, b, c, d]], out);
    })
}

fn xor(stream: &Secret<32>, bytes: &[u8; 32], out: &mut [u8; 32]) {
    for (out, (a, b)) in out.iter_mut().zip(stream.expose().iter().zip(bytes)) {
        *out = a ^ b;
    }
}

fn sized<const N: usize>(sealed: &[u8]) -> Result<&[u8; N], UnwrapError> {
    sealed.try_into().map_err(|_| UnwrapError::Length { expected: N, found: sealed.len() })
}
