//! All randomness of a run: streams of numbers that depend on the seed and on what they are for, and on nothing else.

use std::time::Duration;

use crypto::{Label, Secret, Suite, hash};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// One stream of randomness of a run.
///
/// Streams are told apart by a name and a number, so drawing more in one place (another fault, another node) moves
/// nothing elsewhere, and a seed goes on meaning nearly the same run while the simulation grows.
#[derive(Clone, Debug)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream called `name`, number `number`, of the run `seed`.
    pub fn new(seed: u64, name: &str, number: u64) -> Self {
        Self(Self::generator(seed, name, number))
    }

    /// The generator behind such a stream, to be handed to a machine.
    pub fn generator(seed: u64, name: &str, number: u64) -> ChaCha8Rng {
        let parts: [&[u8]; 3] = [&seed.to_be_bytes(), name.as_bytes(), &number.to_be_bytes()];
        ChaCha8Rng::from_seed(hash(Suite::Aes256Ctr, Label::MessageSeed, &parts))
    }

    /// A number below `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64().checked_rem(end).unwrap_or_default()
    }

    /// A number from `first` to `last`, both included.
    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last.saturating_sub(first) + 1)
    }

    /// Whether something that happens `per_mille` times in a thousand happens now.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.below(1_000) < u64::from(per_mille)
    }

    /// A duration from `least` to `most`, in whole microseconds.
    pub fn duration(&mut self, least: Duration, most: Duration) -> Duration {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.between(micros(least), micros(most)))
    }

    /// One of `items`; `None` when there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(usize::try_from(self.below(items.len() as u64)).unwrap_or_default())
    }

    /// 32 random bytes.
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// 32 random bytes, as a key.
    pub fn secret(&mut self) -> Secret<32> {
        Secret::new(self.bytes())
    }
}
