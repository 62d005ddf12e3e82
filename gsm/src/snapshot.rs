//! The snapshot: what all records up to one amount to, in bytes, so that the store may drop them.
//!
//! | field | bytes | meaning |
//! |---|---|---|
//! | version | 1 | of this format: 2 |
//! | term | 4 | the highest |
//! | start | 1 or more | a 1, subgroup, inst, own registration and what members were promised; a 0 for a manager that stepped down |
//! | leaf steps | 2 | how often all leaf secrets were stepped |
//! | last cut | 1 or 17 | its state, if there was one |
//! | evictions | 1 | 1 if somebody was evicted since, and 2 more if that cut shuts somebody out and may not have gone out |
//! | revocations | 4 + 64 each | in the order in which they came |
//! | members | 4 + entry each | as their admissions are recorded, leaf secrets stepped and renewed up to date |
//! | departed | 4 + 8 each | the newest registrations that ended |
//! | renewals | 2 | how often the leaf secrets were renewed |
//! | trusted | 4 + 8 each | members that have held every leaf secret |
//! | exposed | 4 + 32 each | identities that did and are no members any more |
//! | former | 4 + 98 each | former managers: key, identity, certificate, whether they know the leaf secrets, whether they are away |
//! | taken | 1 | whether it is another manager's state and no start has followed |

use protocol::limits::{MAX_DEPARTED, MAX_REVOCATIONS};
use protocol::{Inst, Malformed, Reader, RegNo, Revocation, Term, Writer};

use crate::journal::JoinedEntry;
use crate::promised::Promised;
use crate::remembered::{Ledger, Start, Trusted, bounded, count};

const VERSION: u8 = 2;
/// Room for all but the lists.
const FIXED: usize = 256;

impl Ledger {
    /// The snapshot. It holds leaf secrets: the caller wipes it once it is sealed.
    pub(crate) fn encode(&self) -> Vec<u8> {
        // All room at once: a buffer that grows leaves secrets behind where it was.
        let members: usize = self.members.values().map(JoinedEntry::encoded_len).sum();
        let lists = 64 * self.revocations.list.len() + 8 * self.departed.len() + self.trusted.encoded_len();
        let mut writer = Writer::with_capacity(FIXED + lists + members);
        writer.u8(VERSION).u32(self.term.0);
        writer.option(self.start.as_ref(), |writer, start| {
            writer.subgroup(start.subgroup).u64(start.inst.0).sender(start.own);
            start.promised.encode(writer);
        });
        writer.u16(self.leaf_steps);
        writer.option(self.cut.as_ref(), |writer, state| {
            writer.state(*state);
        });
        writer.u8(u8::from(self.uncut_eviction) | u8::from(self.unheard_eviction) << 1);
        writer.u32(count(self.revocations.list.len()));
        self.revocations.list.iter().for_each(|revocation| revocation.encode(&mut writer));
        writer.u32(count(self.members.len()));
        self.members.values().for_each(|member| member.encode(&mut writer));
        writer.u32(count(self.departed.len()));
        self.departed.iter().for_each(|sender| {
            writer.sender(*sender);
        });
        writer.u16(self.renewals);
        self.trusted.encode(&mut writer);
        writer.bool(self.taken);
        writer.into_bytes()
    }

    /// Reads a snapshot; only the store's own bytes come here.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return Err(Malformed::Invalid("snapshot version"));
        }
        let term = Term(reader.u32()?);
        let start = reader.option(|reader| {
            let (subgroup, inst) = (reader.subgroup()?, Inst(reader.u64()?));
            let own = reader.sender()?;
            Ok(Start { subgroup, inst, own, promised: Promised::decode(reader)? })
        })?;
        let leaf_steps = reader.u16()?;
        let cut = reader.option(Reader::state)?;
        let evictions = reader.u8()?;
        if evictions > 3 {
            return Err(Malformed::Invalid("evictions"));
        }
        let (uncut_eviction, unheard_eviction) = (evictions & 1 != 0, evictions & 2 != 0);
        let mut ledger =
            Self { term, start, leaf_steps, cut, uncut_eviction, unheard_eviction, ..Self::default() };
        for _ in 0..bounded(reader.u32()?, MAX_REVOCATIONS, "revocations")? {
            ledger.revocations.add(Revocation::decode(&mut reader)?);
        }
        for _ in 0..bounded(reader.u32()?, RegNo::MAX.0 as usize + 1, "members")? {
            let member = JoinedEntry::decode(&mut reader)?;
            ledger.joined(member).map_err(|_| Malformed::Invalid("member"))?;
        }
        for _ in 0..bounded(reader.u32()?, MAX_DEPARTED, "departures")? {
            ledger.departed.push_back(reader.sender()?);
        }
        ledger.renewals = reader.u16()?;
        ledger.trusted = Trusted::decode(&mut reader)?;
        ledger.taken = reader.bool()?;
        reader.finish()?;
        Ok(ledger)
    }
}
