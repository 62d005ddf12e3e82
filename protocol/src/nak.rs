//! The NAK (GSM 3.6): a member says on the control address which key update it lacks. The manager answers, members that
//! lack the same keep silent, and other members answer if it goes on.
//!
//! | field | bytes | meaning |
//! |---|---|---|
//! | envelope | 28 | |
//! | wanted | 16 | the state whose key update is missing |
//! | held | 4 | epoch of the state the asker holds; its prefilter key makes the MAC |
//! | reg-no | 4 | who asks, so that a manager knows which packet serves it |
//! | block | 2 | the FEC block that serves the asker, 65,535 when it does not know which |
//! | missing | 8 | the packets it lacks of that block, by position; all ones when it does not know |
//! | loss | 1 | how many of 100 alarms it loses; 255 when it heard too few to say |
//! | nonce | 8 | random, so that no two NAKs are byte-equal |
//! | MAC | 16 | prefilter, under the key of `held`, over everything before |

use crypto::{Label, Secret, constant_time_eq, mac};
use keytree::{Epoch, RegNo};

use crate::codec::{Malformed, Reader};
use crate::envelope::{DatagramKind, Envelope, Verified};
use crate::ids::StateId;
use crate::keys::Domain;
use crate::machine::Rejected;

/// "I do not know which block serves me", in [`Nak::block`].
pub const ANY_BLOCK: u16 = u16::MAX;
/// The same, in [`Nak::missing`].
pub const ALL_MISSING: u64 = u64::MAX;
/// "I cannot say yet", in [`Nak::loss`].
pub const UNKNOWN_LOSS: u8 = u8::MAX;
const MAC_LEN: usize = 16;

/// A request for a lost key update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Nak {
    /// The state whose key update is missing.
    pub wanted: StateId,
    /// The epoch the asker holds.
    pub held: Epoch,
    /// Who asks.
    pub reg_no: RegNo,
    /// The FEC block, or [`ANY_BLOCK`].
    pub block: u16,
    /// The packets missing in it, a bit for each position, or [`ALL_MISSING`].
    pub missing: u64,
    /// How many of 100 alarms the asker loses, or [`UNKNOWN_LOSS`]. The manager takes from it how much parity it sends
    /// along with the next key updates; who lies about it causes more of that, up to a bound.
    pub loss: u8,
    /// Random.
    pub nonce: u64,
}

impl Nak {
    /// The datagram, with the MAC under the prefilter key of the state held.
    pub fn encode(&self, domain: &Domain, prefilter: &Secret<32>) -> Vec<u8> {
        let mut writer = Envelope::begin(DatagramKind::Nak, domain);
        writer.state(self.wanted).epoch(self.held).reg_no(self.reg_no);
        writer.u16(self.block).u64(self.missing).u8(self.loss).u64(self.nonce);
        let tag = mac(domain.suite, prefilter, Label::NakMac, &[writer.as_bytes()]);
        writer.bytes(&tag);
        writer.into_bytes()
    }

    /// Reads a datagram whose envelope was checked.
    pub(crate) fn decode(datagram: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(datagram);
        reader.take(Envelope::LEN)?;
        let nak = Self {
            wanted: reader.state()?,
            held: reader.epoch()?,
            reg_no: reader.reg_no()?,
            block: reader.u16()?,
            missing: reader.u64()?,
            loss: reader.u8()?,
            nonce: reader.u64()?,
        };
        reader.take(MAC_LEN)?;
        reader.finish()?;
        if nak.loss > 100 && nak.loss != UNKNOWN_LOSS {
            return Err(Malformed::Invalid("loss"));
        }
        Ok(nak)
    }

    /// Reads a NAK and checks its MAC under the key that `prefilter_of` finds for the epoch it was made in.
    ///
    /// Any holder of that state's prefilter key can make one; it moves no state and costs at most a repair within the
    /// epoch's cap.
    pub fn verify<'k>(
        datagram: &[u8],
        domain: &Domain,
        prefilter_of: impl FnOnce(Epoch) -> Option<&'k Secret<32>>,
    ) -> Result<Verified<Self>, Rejected> {
        if Envelope::for_domain(datagram, domain)?.kind != DatagramKind::Nak {
            return Err(Rejected::NotForUs);
        }
        let nak = Self::decode(datagram)?;
        let key = prefilter_of(nak.held).ok_or(Rejected::Stale)?;
        let (content, tag) = datagram.split_at(datagram.len() - MAC_LEN);
        if !constant_time_eq(&mac(domain.suite, key, Label::NakMac, &[content]), tag) {
            return Err(Rejected::BadMac);
        }
        Ok(Verified::new(nak))
    }
}
