//! What a member and its manager say to each other under the member's unicast key: keepalive, resync, leave,
//! probe, credential, and the revocations that one of the two does not know of.
//!
//! | field | bytes | meaning |
//! |---|---|---|
//! | envelope | 28 | kind says the direction |
//! | sender id | 8 | the member's registration, in both directions |
//! | nonce | 12 | random; AES-256-GCM |
//! | sealed | | the message; everything before is authenticated with it |
//! | tag | 16 | |

use crypto::{Aead, PublicKey, Secret, wipe};
use keytree::{PathKey, Version};
use rand_core::CryptoRng;

use crate::codec::{Malformed, Reader, Writer};
use crate::envelope::{DatagramKind, Envelope, Verified};
use crate::ids::{SenderId, StateId};
use crate::keys::Domain;
use crate::limits::{MAX_DATAGRAM, MAX_REVOCATIONS_A_PACKET};
use crate::machine::Rejected;
use crate::roster::{Credential, SignedRevocation};

/// The longest path a resync answer carries: the levels of the largest tree.
const MAX_PATH_KEYS: usize = 31;
/// Room for the longest answer: nonce, alarm, and a level, a version and a key for each level.
const MAX_PLAIN: usize = 16 + MAX_DATAGRAM + MAX_PATH_KEYS * (1 + 6 + 32);

/// From a member to its manager.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToManager {
    /// "I am here, and this is the state I hold." Every keepalive interval.
    Keepalive {
        /// Grows with every message of this registration, so that an old one cannot keep a dead member alive.
        counter: u64,
        /// The state held, if any.
        held: Option<StateId>,
    },
    /// "Two rounds of NAKs did not help: send me my path." At most once a [`crate::limits::RESYNC_INTERVAL`].
    Resync {
        /// Grows with every request of this registration, so that a recorded one brings nobody an answer; echoed by
        /// the answer.
        nonce: u64,
        /// The state held, if any.
        held: Option<StateId>,
    },
    /// "Take me out." Repeated until it is answered.
    Leave {
        /// Echoed by the answer.
        nonce: u64,
    },
    /// "I do not know everybody who was evicted." At most once a [`crate::limits::RESYNC_INTERVAL`].
    Revocations {
        /// Grows with every request of this registration; echoed by the answers.
        nonce: u64,
        /// How many of the manager's list the member has already, in the manager's order.
        from: u32,
    },
    /// "Are you there?" Before a member holds its manager for lost.
    Probe {
        /// Grows with every probe of this registration; echoed by the answer.
        nonce: u64,
    },
    /// "My credential is of the manager before you." At most once a [`crate::limits::RESYNC_INTERVAL`].
    Credential {
        /// Grows with every request of this registration; echoed by the answer.
        nonce: u64,
    },
    /// Evictions by another manager of the subgroup that this one does not know of. At most once a
    /// [`crate::limits::RESYNC_INTERVAL`], until it is taken.
    Evidence {
        /// Grows with every request of this registration; echoed by the answer.
        nonce: u64,
        /// Who signed them: a manager that was followed before.
        issuer: PublicKey,
        /// At most [`crate::limits::MAX_REVOCATIONS_A_PACKET`].
        revocations: Vec<SignedRevocation>,
    },
}

/// From a manager to one member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToMember {
    /// Everything the member needs to be where the manager is (KS 4.2).
    Resync(ResyncAnswer),
    /// The leave is durable; the member is out with the next batch.
    LeaveTaken {
        /// From the request.
        nonce: u64,
    },
    /// A part of the list of revocations; a long list takes several requests.
    Revocations {
        /// From the request.
        nonce: u64,
        /// The place of the first one in the manager's list.
        from: u32,
        /// At most [`crate::limits::MAX_REVOCATIONS_A_PACKET`]; fewer, and the list ends here.
        revocations: Vec<SignedRevocation>,
    },
    /// The manager lives.
    Alive {
        /// From the probe.
        nonce: u64,
        /// Its newest alarm, as it was sent.
        alarm: Vec<u8>,
    },
    /// The member's credential, signed by the manager it has now.
    Credential {
        /// From the request.
        nonce: u64,
        /// The credential.
        credential: Credential,
    },
    /// What the member has shown is durable.
    EvidenceTaken {
        /// From the evidence.
        nonce: u64,
    },
}

/// The answer to a resync request: installed only if the alarm verifies and the path reproduces its key check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResyncAnswer {
    /// From the request.
    pub nonce: u64,
    /// The manager's latest alarm, as it was sent.
    pub alarm: Vec<u8>,
    /// The member's path keys, lowest level first; empty while its join is not cut yet.
    pub path: Vec<PathKey>,
}

impl ToManager {
    const KEEPALIVE: u8 = 1;
    const RESYNC: u8 = 2;
    const LEAVE: u8 = 3;
    const REVOCATIONS: u8 = 4;
    const PROBE: u8 = 5;
    const CREDENTIAL: u8 = 6;
    const EVIDENCE: u8 = 7;

    /// The datagram, sealed under the member's unicast key with a fresh random nonce.
    pub fn seal(&self, at: &Registration<'_>, rng: &mut dyn CryptoRng) -> Vec<u8> {
        let mut plain = Writer::new();
        match self {
            Self::Keepalive { counter, held } => {
                plain.u8(Self::KEEPALIVE).u64(*counter).option(held.as_ref(), put_state)
            }
            Self::Resync { nonce, held } => {
                plain.u8(Self::RESYNC).u64(*nonce).option(held.as_ref(), put_state)
            }
            Self::Leave { nonce } => plain.u8(Self::LEAVE).u64(*nonce),
            Self::Revocations { nonce, from } => plain.u8(Self::REVOCATIONS).u64(*nonce).u32(*from),
            Self::Probe { nonce } => plain.u8(Self::PROBE).u64(*nonce),
            Self::Credential { nonce } => plain.u8(Self::CREDENTIAL).u64(*nonce),
            Self::Evidence { nonce, issuer, revocations } => {
                plain.u8(Self::EVIDENCE).u64(*nonce).bytes(&issuer.0);
                plain.list(revocations, |writer, revocation| revocation.encode(writer))
            }
        };
        seal(DatagramKind::ToManager, at, plain.into_bytes(), rng)
    }

    /// Opens a datagram at the manager, which finds the registration by [`claimed_sender`].
    pub fn open(at: &Registration<'_>, datagram: &[u8]) -> Result<Verified<Self>, Rejected> {
        open(DatagramKind::ToManager, at, datagram, Self::decode)
    }

    fn decode(mut reader: Reader<'_>) -> Result<Self, Malformed> {
        let message = match reader.u8()? {
            Self::KEEPALIVE => {
                Self::Keepalive { counter: reader.u64()?, held: reader.option(Reader::state)? }
            }
            Self::RESYNC => Self::Resync { nonce: reader.u64()?, held: reader.option(Reader::state)? },
            Self::LEAVE => Self::Leave { nonce: reader.u64()? },
            Self::REVOCATIONS => Self::Revocations { nonce: reader.u64()?, from: reader.u32()? },
            Self::PROBE => Self::Probe { nonce: reader.u64()? },
            Self::CREDENTIAL => Self::Credential { nonce: reader.u64()? },
            Self::EVIDENCE => Self::Evidence {
                nonce: reader.u64()?,
                issuer: PublicKey(reader.array()?),
                revocations: read_revocations(&mut reader)?,
            },
            _ => return Err(Malformed::Invalid("unicast message")),
        };
        reader.finish()?;
        Ok(message)
    }
}

impl ToMember {
    const RESYNC: u8 = 1;
    const LEAVE_TAKEN: u8 = 2;
    const REVOCATIONS: u8 = 3;
    const ALIVE: u8 = 4;
    const CREDENTIAL: u8 = 5;
    const EVIDENCE_TAKEN: u8 = 6;

    /// The datagram, sealed under the member's unicast key with a fresh random nonce.
    pub fn seal(&self, at: &Registration<'_>, rng: &mut dyn CryptoRng) -> Vec<u8> {
        let mut plain = Writer::with_capacity(MAX_PLAIN);
        match self {
            Self::Resync(answer) => {
                plain.u8(Self::RESYNC).u64(answer.nonce).opaque(&answer.alarm);
                plain.list(&answer.path, |writer, key| {
                    writer.u8(key.level).version(key.version).secret(&key.secret);
                })
            }
            Self::LeaveTaken { nonce } => plain.u8(Self::LEAVE_TAKEN).u64(*nonce),
            Self::Revocations { nonce, from, revocations } => {
                plain.u8(Self::REVOCATIONS).u64(*nonce).u32(*from);
                plain.list(revocations, |writer, revocation| revocation.encode(writer))
            }
            Self::Alive { nonce, alarm } => plain.u8(Self::ALIVE).u64(*nonce).opaque(alarm),
            Self::Credential { nonce, credential } => {
                plain.u8(Self::CREDENTIAL).u64(*nonce);
                credential.encode(&mut plain);
                &mut plain
            }
            Self::EvidenceTaken { nonce } => plain.u8(Self::EVIDENCE_TAKEN).u64(*nonce),
        };
        seal(DatagramKind::ToMember, at, plain.into_bytes(), rng)
    }

    /// Opens a datagram at the member.
    pub fn open(at: &Registration<'_>, datagram: &[u8]) -> Result<Verified<Self>, Rejected> {
        open(DatagramKind::ToMember, at, datagram, Self::decode)
    }

    fn decode(mut reader: Reader<'_>) -> Result<Self, Malformed> {
        let message = match reader.u8()? {
            Self::RESYNC => Self::Resync(ResyncAnswer {
                nonce: reader.u64()?,
                alarm: reader.opaque(MAX_DATAGRAM, "alarm")?.to_vec(),
                path: reader.list(MAX_PATH_KEYS, "path", |reader| {
                    let level = reader.u8()?;
                    let version: Version = reader.version()?;
                    Ok(PathKey { level, version, secret: reader.secret()? })
                })?,
            }),
            Self::LEAVE_TAKEN => Self::LeaveTaken { nonce: reader.u64()? },
            Self::REVOCATIONS => Self::Revocations {
                nonce: reader.u64()?,
                from: reader.u32()?,
                revocations: read_revocations(&mut reader)?,
            },
            Self::ALIVE => {
                Self::Alive { nonce: reader.u64()?, alarm: reader.opaque(MAX_DATAGRAM, "alarm")?.to_vec() }
            }
            Self::CREDENTIAL => {
                Self::Credential { nonce: reader.u64()?, credential: Credential::decode(&mut reader)? }
            }
            Self::EVIDENCE_TAKEN => Self::EvidenceTaken { nonce: reader.u64()? },
            _ => return Err(Malformed::Invalid("unicast message")),
        };
        reader.finish()?;
        Ok(message)
    }
}

/// Whose unicast key seals a message, and where it belongs.
#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    /// The subgroup.
    pub domain: &'a Domain,
    /// The member's registration.
    pub sender: SenderId,
    /// Its unicast key.
    pub key: &'a Secret<32>,
}

/// The registration a sealed datagram claims to belong to, so that a manager finds the key. Nothing is proven yet.
pub fn claimed_sender(datagram: &[u8]) -> Result<SenderId, Rejected> {
    let mut reader = Reader::new(datagram);
    reader.take(Envelope::LEN)?;
    Ok(reader.sender()?)
}

const NONCE_LEN: usize = 12;

fn read_revocations(reader: &mut Reader<'_>) -> Result<Vec<SignedRevocation>, Malformed> {
    reader.list(MAX_REVOCATIONS_A_PACKET, "revocations", SignedRevocation::decode)
}

fn put_state(writer: &mut Writer, state: &StateId) {
    writer.state(*state);
}

fn seal(kind: DatagramKind, at: &Registration<'_>, mut plain: Vec<u8>, rng: &mut dyn CryptoRng) -> Vec<u8> {
    let mut nonce = [0; NONCE_LEN];
    rng.fill_bytes(&mut nonce);
    let mut writer = Envelope::begin(kind, at.domain);
    writer.sender(at.sender).bytes(&nonce);
    let mut sealed = Vec::new();
    Aead::new().seal(at.key, &nonce, writer.as_bytes(), &plain, &mut sealed);
    wipe(&mut plain);
    writer.bytes(&sealed);
    writer.into_bytes()
}

fn open<M>(
    kind: DatagramKind,
    at: &Registration<'_>,
    datagram: &[u8],
    decode: impl FnOnce(Reader<'_>) -> Result<M, Malformed>,
) -> Result<Verified<M>, Rejected> {
    if Envelope::for_domain(datagram, at.domain)?.kind != kind {
        return Err(Rejected::NotForUs);
    }
    let mut reader = Reader::new(datagram);
    reader.take(Envelope::LEN)?;
    if reader.sender()? != at.sender {
        return Err(Rejected::NotForUs);
    }
    let nonce = reader.array::<NONCE_LEN>()?;
    let aad_len = datagram.len() - reader.remaining();
    let mut plain = Vec::with_capacity(reader.remaining());
    Aead::new()
        .open(at.key, &nonce, &datagram[..aad_len], reader.rest(), &mut plain)
        .map_err(|_| Rejected::NotAuthentic)?;
    let message = decode(Reader::new(&plain));
    wipe(&mut plain);
    Ok(Verified::new(message?))
}
