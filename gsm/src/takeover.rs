//! STUB

use crypto::Signer;
use member::Seat;
use protocol::{Credential, Instant, StateId, Suspicion};
use rand_core::CryptoRng;

use crate::config::GsmConfig;
use crate::gsm::Gsm;
use crate::remembered::{Journal, Ledger, Remembered};

pub(crate) enum Claim {
    Suspected { credential: Credential, suspicions: Vec<Suspicion> },
    Handed { datagram: Vec<u8> },
}

pub(crate) struct Inheritance {
    pub(crate) journal: Journal,
    pub(crate) before: Option<Remembered>,
    pub(crate) held: Ledger,
    pub(crate) seat: Seat,
    pub(crate) claim: Claim,
    pub(crate) start: Option<StateId>,
}

impl Gsm {
    pub(crate) fn succeed(
        now: Instant,
        config: GsmConfig,
        signer: Box<dyn Signer>,
        rng: Box<dyn CryptoRng + Send>,
        inheritance: Inheritance,
    ) -> Self {
        Self::start(now, config, signer, rng, inheritance.journal)
    }
}
