use aes::Block;
use zeroize::optimization_barrier;

use crate::{EntryIv, Label, Secret, Suite, derive, node_key::AesSchedule};

/// Blocks made at a time: as many as the widest of the cipher's implementations takes at once.
const BUFFERED_BLOCKS: usize = 64;
const BLOCK_LEN: usize = 16;
const BUFFER_LEN: usize = BUFFERED_BLOCKS * BLOCK_LEN;

/// All randomness of one message: its IV and every fresh node secret, in order, without bound.
///
/// The manager makes one for each key update, from 32 bytes of the system's generator drawn for it and a
/// context that says which update it is: state id, boot time, hash of the marked batch. So a manager that was
/// cloned or rolled back, even together with the state of its generator, cannot give the same secrets to
/// another content.
///
/// The stream is AES-256 in counter mode, a 128-bit big-endian counter from zero, under [`derive()`]`(seed,
/// "message-seed", context)`; it is the same for both suites but for that key. State and buffer are wiped on
/// drop.
pub struct MessageXof {
    aes: AesSchedule,
    counter: u128,
    buffer: [Block; BUFFERED_BLOCKS],
    /// Bytes of `buffer` already given out.
    used: usize,
}

impl MessageXof {
    /// Starts the stream of one message.
    #[must_use]
    pub fn new(suite: Suite, seed: &Secret<32>, context: &[&[u8]]) -> Self {
        let key = derive(suite, seed, Label::MessageSeed, context);
        Self {
            aes: AesSchedule::new(&key),
            counter: 0,
            buffer: [Block::default(); BUFFERED_BLOCKS],
            used: BUFFER_LEN,
        }
    }

    /// Fills `out` with the next bytes of the stream.
    pub fn fill(&mut self, out: &mut [u8]) {
        let mut rest = out;
        while !rest.is_empty() {
            if self.used == BUFFER_LEN {
                self.refill();
            }
            let ready = &Block::slice_as_flattened(&self.buffer)[self.used..];
            let (now, later) = rest.split_at_mut(rest.len().min(ready.len()));
            now.copy_from_slice(&ready[..now.len()]);
            self.used += now.len();
            rest = later;
        }
    }

    /// The next 32 bytes, as a key.
    #[must_use]
    pub fn secret(&mut self) -> Secret<32> {
        Secret::filled_by(|out| self.fill(out))
    }

    /// The next 12 bytes, as an IV. Draw it once, before the secrets.
    #[must_use]
    pub fn iv(&mut self) -> EntryIv {
        let mut bytes = [0; 12];
        self.fill(&mut bytes);
        EntryIv::new(bytes)
    }

    fn refill(&mut self) {
        for block in &mut self.buffer {
            *block = self.counter.to_be_bytes().into();
            self.counter += 1;
        }
        self.aes.encrypt(&mut self.buffer);
        self.used = 0;
    }
}

impl Drop for MessageXof {
    fn drop(&mut self) {
        self.buffer = [Block::default(); BUFFERED_BLOCKS];
        optimization_barrier(&self.buffer);
    }
}
