//! TAKEOVER: another node is the subgroup's manager from now on (GSM 3.5; DESIGN: failover, partition and merge).
//!
//! | field | bytes | meaning |
//! |---|---|---|
//! | envelope | 28 | |
//! | old | 16 | the newest state of the manager before that the new one knew of |
//! | start | 16 | the new manager's start; its epoch is 0 |
//! | key | 32 | the new manager's signing key |
//! | sender id | 8 | its registration |
//! | address | 7 or 19 | where it takes unicast |
//! | registrar | 7 or 19 | where nodes register with it |
//! | warrant | 1 | 1: suspected; 2: handed |
//! | suspected: credential | 105 | of the new manager, by the one before |
//! | suspected: suspicions | 2 + 209 each | at most 4 |
//! | signature | 64 | suspected: by `key`; handed: by the manager before; over label, suite, group, subgroup and all before |

use std::net::SocketAddr;

use crypto::{Label, PublicKey, Secret, Signature, Signer, Verifier};
use keytree::Epoch;

use crate::codec::{Malformed, Reader, Writer};
use crate::envelope::{DatagramKind, Envelope, Verified};
use crate::ids::{SenderId, StateId};
use crate::keys::Domain;
use crate::limits::{MAX_SUSPICIONS, MAX_TERM_JUMP, SUSPICION_SLACK};
use crate::machine::Rejected;
use crate::roster::{Credential, signed};
use crate::suspicion::Suspicion;

/// Who manages the subgroup from which state on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Office {
    /// The newest state of the manager before that the new one knew of.
    pub old: StateId,
    /// The new manager's start, at epoch 0. Nothing of an earlier state of it is ever installed.
    pub start: StateId,
    /// Its signing key.
    pub key: PublicKey,
    /// Its registration in the subgroup.
    pub sender: SenderId,
    /// Where it takes unicast.
    pub address: SocketAddr,
    /// Where nodes register with it.
    pub registrar: SocketAddr,
}

/// By what right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Warrant {
    /// The manager before is lost: members say so.
    Suspected {
        /// The new manager's credential, signed by the one before.
        credential: Credential,
        /// Of other members, each once.
        suspicions: Vec<Suspicion>,
    },
    /// The manager before says so itself.
    Handed,
}

/// A change of managers, as members and the manager before hear of it. Repeated by the new manager, for a while and
/// whenever the old one is heard.
///
/// Only [`Takeover::verify`] makes a [`Verified`] one: by it a member gives its keys into other hands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Takeover {
    /// Who, and from when on.
    pub office: Office,
    /// By what right.
    pub warrant: Warrant,
}

/// What a node knows of the manager it has, and by which it judges who may follow that one. A member takes it from its
/// gate and its newest alarm, the manager itself from its own alarm.
#[derive(Clone, Copy)]
pub struct Succession<'a> {
    /// The subgroup.
    pub domain: &'a Domain,
    /// The manager's signing key.
    pub manager: PublicKey,
    /// The key before it, as long as credentials by that one still count.
    pub former: Option<PublicKey>,
    /// The newest signed state.
    pub known: StateId,
    /// The counter of the newest alarm.
    pub counter: u64,
    /// Whom the newest alarm names as a successor in step with the manager.
    pub in_step: &'a [SenderId],
    /// Members by the newest alarm, the manager's own node included.
    pub members: u32,
    /// The newest epoch that came by an eviction: who does not hold it may have been the one.
    pub hard: Epoch,
    /// Whether the node itself heard no alarm for the silence. The manager itself says yes: others did not hear it.
    pub silent: bool,
}

impl Succession<'_> {
    /// How many members besides the successor must suspect the manager: [`required_suspicions`].
    pub const fn required(&self) -> usize {
        required_suspicions(self.members)
    }
}

/// How many members besides the successor must suspect the manager of so many members, itself among them: two, or all
/// there are if fewer.
pub const fn required_suspicions(members: u32) -> usize {
    match members.saturating_sub(2) {
        0 => 0,
        1 => 1,
        _ => 2,
    }
}

impl std::fmt::Debug for Succession<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Succession")
            .field("known", &self.known)
            .field("counter", &self.counter)
            .field("in_step", &self.in_step)
            .finish_non_exhaustive()
    }
}

impl Office {
    /// Writes it.
    pub(crate) fn encode(&self, writer: &mut Writer) {
        let Self { old, start, key, sender, address, registrar } = *self;
        writer.state(old).state(start).bytes(&key.0).sender(sender);
        writer.socket_addr(address).socket_addr(registrar);
    }

    /// Reads what [`Office::encode`] wrote. A start that is no later term than the state before it is none.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let office = Self {
            old: reader.state()?,
            start: reader.state()?,
            key: PublicKey(reader.array()?),
            sender: reader.sender()?,
            address: reader.socket_addr()?,
            registrar: reader.socket_addr()?,
        };
        if office.start.epoch != Epoch(0) || office.start.term <= office.old.term {
            return Err(Malformed::Invalid("start of a takeover"));
        }
        Ok(office)
    }
}

const SUSPECTED: u8 = 1;
const HANDED: u8 = 2;

impl Takeover {
    /// The datagram of a takeover by suspicion; `signer` holds the new manager's key, which is its credential's.
    pub fn suspected(
        domain: &Domain,
        office: Office,
        credential: Credential,
        suspicions: &[Suspicion],
        signer: &dyn Signer,
    ) -> Vec<u8> {
        let suspicions = suspicions.iter().take(MAX_SUSPICIONS).copied().collect();
        Self { office, warrant: Warrant::Suspected { credential, suspicions } }.encode(domain, signer)
    }

    /// The datagram by which the manager before hands its office on; `signer` holds *its* key. Made when it is durable
    /// there that it manages no more.
    pub fn handed(domain: &Domain, office: Office, signer: &dyn Signer) -> Vec<u8> {
        Self { office, warrant: Warrant::Handed }.encode(domain, signer)
    }

    fn encode(&self, domain: &Domain, signer: &dyn Signer) -> Vec<u8> {
        let mut writer = Envelope::begin(DatagramKind::Takeover, domain);
        self.office.encode(&mut writer);
        match &self.warrant {
            Warrant::Suspected { credential, suspicions } => {
                writer.u8(SUSPECTED);
                credential.encode(&mut writer);
                writer.list(suspicions, |writer, suspicion| suspicion.write(writer));
            }
            Warrant::Handed => {
                writer.u8(HANDED);
            }
        }
        let signature = signer.sign(&signed_part(domain, writer.as_bytes()));
        writer.bytes(&signature.0);
        writer.into_bytes()
    }

    /// Reads a datagram, without believing any of it. Also tells who claims the office, so that a node knows whether it
    /// follows that one already.
    pub fn claimed(domain: &Domain, datagram: &[u8]) -> Result<Self, Rejected> {
        Self::decode(domain, datagram).map(|(takeover, ..)| takeover)
    }

    fn decode<'d>(domain: &Domain, datagram: &'d [u8]) -> Result<(Self, &'d [u8], Signature), Rejected> {
        if Envelope::for_domain(datagram, domain)?.kind != DatagramKind::Takeover {
            return Err(Rejected::NotForUs);
        }
        let content_len = datagram.len().checked_sub(64).ok_or(Malformed::Truncated)?;
        let (content, signature) = datagram.split_at(content_len);
        let mut reader = Reader::new(content);
        reader.take(Envelope::LEN)?;
        let takeover = Self::read(&mut reader)?;
        reader.finish()?;
        Ok((takeover, content, Signature(Reader::new(signature).array()?)))
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let office = Office::read(reader)?;
        let warrant = match reader.u8()? {
            SUSPECTED => Warrant::Suspected {
                credential: Credential::decode(reader)?,
                suspicions: reader.list(MAX_SUSPICIONS, "suspicions", Suspicion::read)?,
            },
            HANDED => Warrant::Handed,
            _ => return Err(Malformed::Invalid("warrant")),
        };
        Ok(Self { office, warrant })
    }

    /// Verifies a takeover from the manager that `succession` tells of.
    ///
    /// A handed one needs that manager's signature. A suspected one needs, besides the new manager's own signature and a
    /// credential that makes it eligible: the node's own silence, a place among the successors in step, and
    /// [`Succession::required`] suspicions by other members of this very start, about as new as the newest alarm and by
    /// holders of a state no older than the newest eviction. `prefilter_of` finds their states' prefilter keys;
    /// `spend(n)` asks the caller's budget for `n` signature checks, after everything that is cheap.
    ///
    /// A wrong yes hands the subgroup to an insider; a wrong no costs a registration.
    pub fn verify<'k>(
        datagram: &[u8],
        succession: &Succession<'_>,
        verifier: &dyn Verifier,
        prefilter_of: impl Fn(Epoch) -> Option<&'k Secret<32>>,
        spend: impl FnOnce(u32) -> bool,
    ) -> Result<Verified<Self>, Rejected> {
        let vouched = |suspicion: &Suspicion| {
            prefilter_of(suspicion.state.epoch)
                .is_some_and(|prefilter| suspicion.mac_holds(succession.domain, prefilter))
        };
        Self::judge(datagram, succession, verifier, vouched, spend)
    }

    /// The same at the manager that is taken over from, also after a restart, when it has no keys of its states any more:
    /// the word of who is a member by its own list counts, whichever state it holds.
    ///
    /// A wrong yes silences a living manager; a wrong no leaves two managers until they merge.
    pub fn verify_as_manager(
        datagram: &[u8],
        succession: &Succession<'_>,
        verifier: &dyn Verifier,
        is_member: impl Fn(SenderId) -> bool,
        spend: impl FnOnce(u32) -> bool,
    ) -> Result<Verified<Self>, Rejected> {
        let vouched = |suspicion: &Suspicion| is_member(suspicion.credential.sender);
        Self::judge(datagram, succession, verifier, vouched, spend)
    }

    fn judge(
        datagram: &[u8],
        succession: &Succession<'_>,
        verifier: &dyn Verifier,
        vouched: impl Fn(&Suspicion) -> bool,
        spend: impl FnOnce(u32) -> bool,
    ) -> Result<Verified<Self>, Rejected> {
        let domain = succession.domain;
        let (takeover, content, signature) = Self::decode(domain, datagram)?;
        let Office { start, key, sender, .. } = takeover.office;
        let jump = start.term.0.saturating_sub(succession.known.term.0);
        if jump == 0 || jump > MAX_TERM_JUMP {
            return Err(Rejected::Stale);
        }
        let by = match &takeover.warrant {
            Warrant::Handed => {
                if !spend(1) {
                    return Err(Rejected::OverBudget);
                }
                succession.manager
            }
            Warrant::Suspected { credential, suspicions } => {
                if (credential.key, credential.sender) != (key, sender) || !credential.eligible {
                    return Err(Rejected::Malformed);
                }
                if !succession.silent || !succession.in_step.contains(&sender) {
                    return Err(Rejected::OutOfPlace);
                }
                let counted = counted(succession, sender, suspicions, &vouched)?;
                if !spend(2 + 2 * u32::try_from(counted.len()).unwrap_or(u32::MAX)) {
                    return Err(Rejected::OverBudget);
                }
                let genuine = issued(credential, succession, verifier)
                    && counted.iter().all(|suspicion| is_genuine(suspicion, succession, verifier));
                if !genuine {
                    return Err(Rejected::NotAuthentic);
                }
                key
            }
        };
        if verifier.verify(&by, &signed_part(domain, content), &signature) {
            Ok(Verified::new(takeover))
        } else {
            Err(Rejected::NotAuthentic)
        }
    }
}

/// The suspicions that would count if they are genuine, as many as are required: `Err` if there are fewer.
fn counted<'s>(
    succession: &Succession<'_>,
    successor: SenderId,
    suspicions: &'s [Suspicion],
    vouched: &impl Fn(&Suspicion) -> bool,
) -> Result<Vec<&'s Suspicion>, Rejected> {
    let mut counted: Vec<&Suspicion> = Vec::new();
    for suspicion in suspicions {
        let sender = suspicion.credential.sender;
        let again = counted.iter().any(|other| other.credential.sender == sender);
        if again || sender == successor || !is_current(suspicion, succession) {
            continue;
        }
        if vouched(suspicion) {
            counted.push(suspicion);
        }
    }
    counted.truncate(succession.required());
    if counted.len() < succession.required() { Err(Rejected::OutOfPlace) } else { Ok(counted) }
}

/// Whether a suspicion is about the manager's present start, no older than its newest alarms and evictions.
pub(crate) fn is_current(suspicion: &Suspicion, succession: &Succession<'_>) -> bool {
    suspicion.state.same_start(succession.known)
        && suspicion.state.epoch >= succession.hard
        && suspicion.counter.saturating_add(SUSPICION_SLACK) >= succession.counter
}

/// Whether the credential's issuer is the manager, or the one before it while that one's still count. Costs one check,
/// or two.
fn issued(credential: &Credential, succession: &Succession<'_>, verifier: &dyn Verifier) -> bool {
    credential.verify(succession.domain, &succession.manager, verifier)
        || succession.former.is_some_and(|former| credential.verify(succession.domain, &former, verifier))
}

/// Whether a suspicion whose MAC holds was signed by a holder of a credential.
pub(crate) fn is_genuine(
    suspicion: &Suspicion,
    succession: &Succession<'_>,
    verifier: &dyn Verifier,
) -> bool {
    issued(&suspicion.credential, succession, verifier)
        && suspicion.signature_holds(succession.domain, verifier)
}

fn signed_part(domain: &Domain, content: &[u8]) -> Vec<u8> {
    let mut writer = signed(Label::SignTakeover, domain);
    writer.bytes(content);
    writer.into_bytes()
}
