//! What a manager makes durable: one record for each start, admission, departure, eviction and key update, and for what
//! makes another node manager.
//!
//! Inner tree keys and group keys are never stored: a restart is a new term and one full key update.

use crypto::{ExchangePublic, PublicKey, Secret, wipe};
use protocol::limits::MAX_IDENTITY;
use protocol::{
    GroupId, Inst, Malformed, Reader, RegNo, Revocation, SenderId, StateId, SubgroupId, Term, Writer,
};

use crate::promised::Promised;

/// One record of a manager's journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JournalEntry {
    /// The manager started. Durable before the first packet of the term. Another subgroup than before means that
    /// nobody was kept; another signing key in the same subgroup, that the manager before is one no more.
    Started {
        /// The subgroup.
        subgroup: SubgroupId,
        /// The managership.
        term: Term,
        /// This start of it.
        inst: Inst,
        /// The registration of the manager's own node; that of the start before ends, if it is another one.
        own: SenderId,
        /// What members learn from their grants.
        promised: Box<Promised>,
    },
    /// A member was admitted. Durable before the member is told.
    Joined(Box<JoinedEntry>),
    /// A member is out for good: it left or registered again. Durable before it is told.
    Departed {
        /// The registration.
        sender: SenderId,
    },
    /// A member is out because it was not heard. Another manager of the subgroup may have heard it, so this says nothing
    /// to that one. Durable before it is told.
    Silent {
        /// The registration.
        sender: SenderId,
    },
    /// A member was evicted, and never comes back. Durable before the operator is told.
    Evicted {
        /// The registration.
        sender: SenderId,
        /// Who must not come back.
        revocation: Revocation,
    },
    /// A key update was cut. Durable before its first packet.
    Cut {
        /// The state it leads to.
        state: StateId,
        /// How often all leaf secrets were stepped by then.
        leaf_steps: u16,
    },
    /// Somebody who is not a member must never come back: at an operator's word, another manager's, or by what members
    /// showed after the store had lost it.
    Revoked {
        /// Who.
        revocation: Revocation,
    },
    /// This node is no manager any more: another one has its members.
    SteppedDown,
    /// Nothing. Asks a store that failed whether it works again.
    Probe,
    /// A member will be told everything the manager knows: it becomes a standby. Durable before it is told anything, for
    /// its end calls for a renewal.
    Trusted {
        /// The registration.
        sender: SenderId,
    },
    /// This node takes over from the manager that it followed: from here on that one's state is its own. It manages
    /// nothing before a start follows.
    TookOver {
        /// The other manager's state.
        ledger: LedgerBytes,
    },
    /// Every leaf secret and unicast key moves on by a secret that no former manager knows. Durable before the key is
    /// told. A start follows.
    Renewed {
        /// The group.
        group: GroupId,
        /// Counts the renewals of the subgroup, from 1.
        number: u16,
        /// The fresh X25519 key.
        secret: Secret<32>,
    },
}

/// A manager's whole state as a snapshot has it. It holds leaf secrets: it is never printed, and wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct LedgerBytes(Vec<u8>);

impl LedgerBytes {
    /// Takes what [`crate::Gsm::compaction`] or a manager to its standby has handed out.
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for LedgerBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LedgerBytes({} bytes)", self.0.len())
    }
}

impl Drop for LedgerBytes {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// What is kept of an admission.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinedEntry {
    /// Its leaf.
    pub reg_no: RegNo,
    /// The registration.
    pub sender: SenderId,
    /// The name in its certificate.
    pub identity: String,
    /// SHA-256 of its certificate.
    pub certificate: [u8; 32],
    /// Its signing key.
    pub signing: PublicKey,
    /// Its X25519 key.
    pub exchange: ExchangePublic,
    /// Whether it may act as manager.
    pub eligible: bool,
    /// The leaf secret.
    pub leaf: Secret<32>,
    /// The leaf steps that the secret counts from.
    pub leaf_steps: u16,
    /// The unicast key.
    pub unicast: Secret<32>,
}

impl JournalEntry {
    const STARTED: u8 = 1;
    const JOINED: u8 = 2;
    const DEPARTED: u8 = 3;
    const EVICTED: u8 = 4;
    const CUT: u8 = 5;
    const REVOKED: u8 = 6;
    const STEPPED_DOWN: u8 = 7;
    const PROBE: u8 = 8;
    const TRUSTED: u8 = 9;
    const TOOK_OVER: u8 = 10;
    const RENEWED: u8 = 11;
    const SILENT: u8 = 12;

    /// Whether whoever takes over must know of it: somebody is out for good, or holds every leaf secret. If it is lost, one
    /// that is out is in again.
    pub(crate) const fn binds_a_successor(&self) -> bool {
        matches!(
            self,
            Self::Departed { .. } | Self::Evicted { .. } | Self::Revoked { .. } | Self::Trusted { .. }
        )
    }

    /// Whether a snapshot is due after it. A store keeps the newest snapshot twice: if the journal is lost, that one still
    /// knows the subgroup, whose members can be asked, and who was evicted. After a renewal the journal holds its secret
    /// beside the secrets it renewed, which is of use to a thief alone.
    pub(crate) const fn outlives_the_journal(&self) -> bool {
        matches!(
            self,
            Self::Started { .. } | Self::Evicted { .. } | Self::Revoked { .. } | Self::Renewed { .. }
        )
    }

    /// The record's bytes. They may hold a leaf secret and a unicast key: a store seals them.
    pub fn encode(&self) -> Vec<u8> {
        // All room at once: a buffer that grows leaves secrets behind where it was.
        let mut writer = Writer::with_capacity(match self {
            Self::Joined(joined) => 1 + joined.encoded_len(),
            Self::TookOver { ledger } => 1 + ledger.0.len(),
            Self::Renewed { .. } => 64,
            _ => 0,
        });
        match self {
            Self::Started { subgroup, term, inst, own, promised } => {
                writer.u8(Self::STARTED).subgroup(*subgroup).u32(term.0).u64(inst.0).sender(*own);
                promised.encode(&mut writer);
            }
            Self::Joined(joined) => {
                writer.u8(Self::JOINED);
                joined.encode(&mut writer);
            }
            Self::Departed { sender } => {
                writer.u8(Self::DEPARTED).sender(*sender);
            }
            Self::Silent { sender } => {
                writer.u8(Self::SILENT).sender(*sender);
            }
            Self::Evicted { sender, revocation } => {
                writer.u8(Self::EVICTED).sender(*sender);
                revocation.encode(&mut writer);
            }
            Self::Cut { state, leaf_steps } => {
                writer.u8(Self::CUT).state(*state).u16(*leaf_steps);
            }
            Self::Revoked { revocation } => {
                writer.u8(Self::REVOKED);
                revocation.encode(&mut writer);
            }
            Self::SteppedDown => {
                writer.u8(Self::STEPPED_DOWN);
            }
            Self::Probe => {
                writer.u8(Self::PROBE);
            }
            Self::Trusted { sender } => {
                writer.u8(Self::TRUSTED).sender(*sender);
            }
            Self::TookOver { ledger } => {
                writer.u8(Self::TOOK_OVER).bytes(&ledger.0);
            }
            Self::Renewed { group, number, secret } => {
                writer.u8(Self::RENEWED).group(*group).u16(*number).secret(secret);
            }
        }
        writer.into_bytes()
    }

    /// Reads a record back; only the store's own bytes come here, so a failure means that the store is broken.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let entry = match reader.u8()? {
            Self::STARTED => Self::Started {
                subgroup: reader.subgroup()?,
                term: Term(reader.u32()?),
                inst: Inst(reader.u64()?),
                own: reader.sender()?,
                promised: Box::new(Promised::decode(&mut reader)?),
            },
            Self::JOINED => Self::Joined(Box::new(JoinedEntry::decode(&mut reader)?)),
            Self::DEPARTED => Self::Departed { sender: reader.sender()? },
            Self::SILENT => Self::Silent { sender: reader.sender()? },
            Self::EVICTED => {
                Self::Evicted { sender: reader.sender()?, revocation: Revocation::decode(&mut reader)? }
            }
            Self::CUT => Self::Cut { state: reader.state()?, leaf_steps: reader.u16()? },
            Self::REVOKED => Self::Revoked { revocation: Revocation::decode(&mut reader)? },
            Self::STEPPED_DOWN => Self::SteppedDown,
            Self::PROBE => Self::Probe,
            Self::TRUSTED => Self::Trusted { sender: reader.sender()? },
            Self::TOOK_OVER => Self::TookOver { ledger: LedgerBytes(reader.rest().to_vec()) },
            Self::RENEWED => {
                Self::Renewed { group: reader.group()?, number: reader.u16()?, secret: reader.secret()? }
            }
            _ => return Err(Malformed::Invalid("journal entry")),
        };
        reader.finish()?;
        Ok(entry)
    }
}

impl JoinedEntry {
    /// Bytes of an entry with an empty identity.
    const FIXED_LEN: usize = 4 + 8 + 2 + 32 + 32 + 32 + 1 + 32 + 2 + 32;

    /// How long the entry is when encoded.
    pub(crate) const fn encoded_len(&self) -> usize {
        Self::FIXED_LEN + self.identity.len()
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.reg_no(self.reg_no).sender(self.sender).text(&self.identity);
        writer.bytes(&self.certificate).bytes(&self.signing.0).bytes(&self.exchange.0);
        writer.bool(self.eligible).secret(&self.leaf).u16(self.leaf_steps).secret(&self.unicast);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            reg_no: reader.reg_no()?,
            sender: reader.sender()?,
            identity: reader.text(MAX_IDENTITY, "identity")?,
            certificate: reader.array()?,
            signing: PublicKey(reader.array()?),
            exchange: ExchangePublic(reader.array()?),
            eligible: reader.bool()?,
            leaf: reader.secret()?,
            leaf_steps: reader.u16()?,
            unicast: reader.secret()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use crypto::Suite;
    use keytree::{Degree, Epoch};

    use super::*;

    fn promised() -> Box<Promised> {
        Box::new(Promised {
            suite: Suite::Aes256Kw,
            degree: Degree::default(),
            control: ([239, 192, 1, 2], 7_401).into(),
            data: ([239, 192, 1, 2], 7_402).into(),
            manager: PublicKey([8; 32]),
            times: std::array::from_fn(|place| place as u32),
        })
    }

    #[test]
    fn every_entry_reads_back_and_nothing_shorter_or_longer_does() {
        let state = StateId { term: Term(1), inst: Inst(7), epoch: Epoch(3) };
        let revocation = Revocation { identity: [1; 32], certificate: [2; 32] };
        let joined = JoinedEntry {
            reg_no: RegNo(5),
            sender: SenderId(9),
            // The longest a certificate can name: what is written must be read back after a restart.
            identity: "x".repeat(512),
            certificate: [3; 32],
            signing: PublicKey([4; 32]),
            exchange: ExchangePublic([5; 32]),
            eligible: true,
            leaf: Secret::new([6; 32]),
            leaf_steps: 2,
            unicast: Secret::new([7; 32]),
        };
        let entries = [
            JournalEntry::Started {
                subgroup: SubgroupId(1),
                term: Term(2),
                inst: Inst(3),
                own: SenderId(4),
                promised: promised(),
            },
            JournalEntry::Joined(Box::new(joined)),
            JournalEntry::Departed { sender: SenderId(1) },
            JournalEntry::Silent { sender: SenderId(1) },
            JournalEntry::Evicted { sender: SenderId(1), revocation },
            JournalEntry::Cut { state, leaf_steps: 4 },
            JournalEntry::Revoked { revocation },
            JournalEntry::SteppedDown,
            JournalEntry::Probe,
            JournalEntry::Trusted { sender: SenderId(3) },
            JournalEntry::Renewed {
                group: GroupId::from_bytes([4; 16]),
                number: 2,
                secret: Secret::new([9; 32]),
            },
        ];
        for entry in entries {
            let bytes = entry.encode();
            assert_eq!(JournalEntry::decode(&bytes), Ok(entry));
            assert!((0..bytes.len()).all(|len| JournalEntry::decode(&bytes[..len]).is_err()));
            assert_eq!(JournalEntry::decode(&[&bytes[..], &[0]].concat()), Err(Malformed::Trailing));
        }
    }

    #[test]
    fn a_state_that_was_taken_over_reads_back_and_is_never_printed() {
        let entry = JournalEntry::TookOver { ledger: LedgerBytes::new(vec![0x77; 300]) };
        assert_eq!(JournalEntry::decode(&entry.encode()), Ok(entry.clone()));
        assert!(!format!("{entry:?}").contains("119"), "{entry:?}");
    }
}
