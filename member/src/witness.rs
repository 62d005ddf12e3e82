//! What a member says for its manager while that is silent: to newcomers that a state is held, and to the manager that
//! comes back what it last said.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use protocol::discovery::{Find, Held};
use protocol::limits::{MAX_REVOCATIONS_A_PACKET, REPLIES_PER_SECOND, REPLY_DELAY};
use protocol::{Answer, Budget, Domain, Inst, Instant, Question, Rejected, SignedRevocation, Transmit};
use rand_core::CryptoRng;

use crate::registration::jitter;

/// The longest random wait before a question is answered, so that those asked do not all speak at once.
const ANSWER_DELAY: Duration = Duration::from_millis(100);
/// Starts whose question was answered and is not answered again: a manager asks three times, and who recorded its
/// question gains nothing.
const MAX_ANSWERED: usize = 64;
/// Questions of different starts answered a second, and at once. Recorded ones of earlier starts are answered once each,
/// so they do not keep the one that matters from its answer (attack A35).
const ANSWERS: (u32, u32) = (2, 8);
/// Datagrams of one answer.
const MAX_ANSWER: usize = 32;
/// Revocations in all of them.
pub(crate) const MAX_ANSWERED_REVOCATIONS: usize = MAX_ANSWER * MAX_REVOCATIONS_A_PACKET;
/// Answers to FIND one source address gets in a second, and at once: several nodes may share a host.
const REPLIES_A_SOURCE: (u32, u32) = (10, 20);
/// Source addresses whose answers are counted; others share what is left to all.
const MAX_SOURCES: usize = 256;
/// Of how many members all answer a FIND; of more, about so many do.
const ENOUGH_ANSWERS: u64 = 64;
/// Datagrams that wait to be sent.
const MAX_WAITING: usize = 256;

/// A member's answers on behalf of its silent manager. Whether it is silent the caller knows.
#[derive(Debug)]
pub(crate) struct Witness {
    waiting: Vec<(Instant, Transmit)>,
    replies: Budget,
    sources: BTreeMap<IpAddr, Budget>,
    answered: VecDeque<Inst>,
    answers: Budget,
}

impl Witness {
    pub(crate) const fn new() -> Self {
        Self {
            waiting: Vec::new(),
            replies: Budget::new(REPLIES_PER_SECOND, REPLIES_PER_SECOND),
            sources: BTreeMap::new(),
            answered: VecDeque::new(),
            answers: Budget::new(ANSWERS.0, ANSWERS.1),
        }
    }

    /// Somebody looks for a manager: shows it `held`, the last presence, after a random wait. `leaves` is the room of
    /// the key tree: in a large subgroup not everybody answers.
    pub(crate) fn on_find(
        &mut self,
        now: Instant,
        from: SocketAddr,
        find: &Find,
        (held, leaves): (&[u8], u64),
        encode: impl FnOnce(&Held) -> Vec<u8>,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Rejected> {
        if rng.next_u64() % leaves.max(1) >= ENOUGH_ANSWERS {
            return Err(Rejected::NotForUs);
        }
        if self.waiting.len() >= MAX_WAITING || !self.may_reply(now, from.ip()) {
            return Err(Rejected::OverBudget);
        }
        let held = Held { nonce: find.nonce, presence: held.to_vec() };
        let bytes = encode(&held);
        self.waiting.push((now + jitter(rng, REPLY_DELAY), Transmit::Unicast { to: from, bytes }));
        Ok(())
    }

    /// Whether that start's question is still to be answered. Asked before the question's signature is looked at, so that a
    /// recorded one costs nothing.
    pub(crate) fn may_answer(&self, asker: Inst) -> bool {
        !self.answered.contains(&asker)
    }

    /// The own manager asks what it last said. It gets `alarm`, and the revocations in as many datagrams as it takes.
    pub(crate) fn on_question(
        &mut self,
        now: Instant,
        question: &Question,
        domain: &Domain,
        (alarm, revocations): (&[u8], &[SignedRevocation]),
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Rejected> {
        if !self.answers.take(now) {
            return Err(Rejected::OverBudget);
        }
        self.answered.push_back(question.inst);
        if self.answered.len() > MAX_ANSWERED {
            self.answered.pop_front();
        }
        let asked = question.share == u16::MAX || rng.next_u64() % 65_536 < u64::from(question.share);
        if !asked {
            return Ok(());
        }
        let at = now + jitter(rng, ANSWER_DELAY);
        // One datagram even without revocations: the alarm is what matters most.
        let pages = revocations.chunks(MAX_REVOCATIONS_A_PACKET).take(MAX_ANSWER);
        let pages = pages.chain(revocations.is_empty().then_some([].as_slice()));
        for page in pages {
            let bytes = Answer::encode(domain, question.nonce, alarm, page);
            self.waiting.push((at, Transmit::Unicast { to: question.answer_to, bytes }));
        }
        Ok(())
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.waiting.iter().map(|(at, _)| *at).min()
    }

    /// What is to be sent at `now`.
    pub(crate) fn on_due(&mut self, now: Instant) -> Vec<Transmit> {
        self.waiting.extract_if(.., |(at, _)| *at <= now).map(|(_, transmit)| transmit).collect()
    }

    fn may_reply(&mut self, now: Instant, source: IpAddr) -> bool {
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&source) {
            self.sources.pop_first();
        }
        let (rate, burst) = REPLIES_A_SOURCE;
        let of_source = self.sources.entry(source).or_insert_with(|| Budget::new(rate, burst));
        of_source.take(now) && self.replies.take(now)
    }
}
