//! The sliding window that lets each sequence of a stream through once.

/// How far behind the highest sequence a packet may come and still be told from a repeat (as WireGuard has it).
pub(crate) const WINDOW_BITS: u64 = 8_128;

/// One word more than the window is wide, so that a word is cleared only when no bit of it is in the window.
const WORDS: usize = 128;
const WORD_BITS: u64 = 64;

/// What a window says of a sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    /// Not seen yet.
    New,
    /// Let through before.
    Before,
    /// So far behind that it cannot be told; taken for seen.
    TooOld,
}

/// Which sequences of one stream were let through: those up to `highest`, as a ring of bits.
#[derive(Clone)]
pub(crate) struct Window {
    /// One above the highest sequence let through; 0 when none was. Sequence 2⁶⁴−1 is never sent.
    end: u64,
    words: Box<[u64; WORDS]>,
}

impl Window {
    /// A window that has let nothing through.
    pub(crate) fn new() -> Self {
        Self { end: 0, words: Box::new([0; WORDS]) }
    }

    /// Whether `sequence` may be let through. Changes nothing: what is not verified is never marked.
    pub(crate) fn check(&self, sequence: u64) -> Seen {
        if sequence >= self.end {
            return if sequence == u64::MAX { Seen::TooOld } else { Seen::New };
        }
        if self.end - sequence > WINDOW_BITS {
            return Seen::TooOld;
        }
        let (word, bit) = place(sequence);
        if self.words[word] & bit == 0 { Seen::New } else { Seen::Before }
    }

    /// Marks `sequence`, which was [`Seen::New`] and is verified by now, as let through.
    pub(crate) fn mark(&mut self, sequence: u64) {
        if sequence >= self.end {
            self.slide(sequence);
            self.end = sequence.saturating_add(1);
        }
        let (word, bit) = place(sequence);
        self.words[word] |= bit;
    }

    /// Clears the words that come into the window when `sequence` becomes its highest.
    fn slide(&mut self, sequence: u64) {
        let first = self.end.div_ceil(WORD_BITS);
        let last = sequence / WORD_BITS;
        let count = (last + 1).saturating_sub(first).min(WORDS as u64);
        for word in (last + 1 - count)..=last {
            self.words[place(word * WORD_BITS).0] = 0;
        }
    }
}

/// The word and the bit of a sequence.
const fn place(sequence: u64) -> (usize, u64) {
    let word = (sequence / WORD_BITS) % WORDS as u64;
    (word as usize, 1 << (sequence % WORD_BITS))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_window_agrees_with_a_plain_set(
            start in prop_oneof![Just(0), Just(1_u64 << 40), Just(u64::MAX - 40_000)],
            steps in proptest::collection::vec((0_u64..20_000, any::<bool>()), 1..300),
        ) {
            let (mut window, mut seen) = (Window::new(), BTreeSet::new());
            for (offset, near) in steps {
                let sequence = start + if near { offset % 200 } else { offset };
                let end = seen.last().map_or(0, |highest| highest + 1);
                let expected = if seen.contains(&sequence) && end - sequence <= WINDOW_BITS {
                    Seen::Before
                } else if sequence + WINDOW_BITS < end {
                    Seen::TooOld
                } else {
                    Seen::New
                };
                prop_assert_eq!(window.check(sequence), expected);
                if expected == Seen::New {
                    window.mark(sequence);
                    seen.insert(sequence);
                }
            }
        }
    }

    #[test]
    fn a_jump_of_any_size_forgets_no_repeat() {
        for jump in
            [1, 63, 64, 65, WINDOW_BITS - 1, WINDOW_BITS, WINDOW_BITS + 1, 8_191, 8_192, 8_193, 1 << 50]
        {
            let mut window = Window::new();
            window.mark(70);
            window.mark(70 + jump);
            assert_eq!(window.check(70 + jump), Seen::Before, "jump {jump}");
            assert_ne!(window.check(70), Seen::New, "jump {jump}");
            let between = if jump > 1 { window.check(70 + jump - 1) } else { Seen::New };
            assert_eq!(between, Seen::New, "jump {jump}");
        }
    }

    #[test]
    fn the_last_sequence_is_never_taken() {
        assert_eq!(Window::new().check(u64::MAX), Seen::TooOld);
        let mut window = Window::new();
        window.mark(u64::MAX - 1);
        assert_eq!(window.check(u64::MAX - 1), Seen::Before);
    }
}
