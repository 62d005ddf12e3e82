//! RENEWAL: every leaf secret and unicast key moves to one that a former manager cannot know (DESIGN: failover).
//!
//! | field | bytes | meaning |
//! |---|---|---|
//! | envelope | 28 | |
//! | start | 16 | the manager's start from which on the new secrets count; its epoch is 0 |
//! | number | 2 | counts the renewals of the subgroup |
//! | leaf steps | 2 | of the leaf secrets that are renewed |
//! | key | 32 | fresh X25519 key of the manager |
//! | signature | 64 | by the manager, over label, suite, group, subgroup and all before |

use crypto::{ExchangePublic, ExchangeSecret, Label, PublicKey, Secret, Signature, Signer, Verifier, derive};
use keytree::Epoch;

use crate::codec::{Malformed, Reader};
use crate::envelope::{DatagramKind, Envelope};
use crate::ids::StateId;
use crate::keys::Domain;
use crate::machine::Rejected;
use crate::roster::signed;

/// A node that has held every leaf secret, as manager or standby, is out: what it knows must open nothing any more.
///
/// Multicast by the manager with the first key update of the start it names, and with the alarms after it; each member
/// mixes the agreed secret into its leaf secret and its unicast key. Who missed it hears of it by the alarm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Renewal {
    /// The start from which on the new secrets count.
    pub start: StateId,
    /// Counts the renewals of the subgroup, from 1.
    pub number: u16,
    /// How often the leaf secrets were stepped when they were renewed: a member may lag behind, and steps first.
    pub leaf_steps: u16,
    /// The manager's fresh key.
    pub key: ExchangePublic,
}

impl Renewal {
    /// The datagram, signed.
    pub fn encode(&self, domain: &Domain, signer: &dyn Signer) -> Vec<u8> {
        let mut writer = Envelope::begin(DatagramKind::Renewal, domain);
        writer.state(self.start).u16(self.number).u16(self.leaf_steps).bytes(&self.key.0);
        let signature = signer.sign(&signed_part(domain, writer.as_bytes()));
        writer.bytes(&signature.0);
        writer.into_bytes()
    }

    /// The number a datagram claims, so that a copy costs no signature check. Nothing is proven.
    pub fn claimed(domain: &Domain, datagram: &[u8]) -> Result<Self, Rejected> {
        Self::decode(domain, datagram).map(|(renewal, ..)| renewal)
    }

    pub(crate) fn open(
        datagram: &[u8],
        domain: &Domain,
        manager: &PublicKey,
        verifier: &dyn Verifier,
    ) -> Result<Option<Self>, Rejected> {
        let (renewal, content, signature) = Self::decode(domain, datagram)?;
        let genuine = verifier.verify(manager, &signed_part(domain, content), &signature);
        Ok(genuine.then_some(renewal))
    }

    fn decode<'d>(domain: &Domain, datagram: &'d [u8]) -> Result<(Self, &'d [u8], Signature), Rejected> {
        if Envelope::for_domain(datagram, domain)?.kind != DatagramKind::Renewal {
            return Err(Rejected::NotForUs);
        }
        let content_len = datagram.len().checked_sub(64).ok_or(Malformed::Truncated)?;
        let (content, signature) = datagram.split_at(content_len);
        let mut reader = Reader::new(content);
        reader.take(Envelope::LEN)?;
        let renewal = Self {
            start: reader.state()?,
            number: reader.u16()?,
            leaf_steps: reader.u16()?,
            key: ExchangePublic(reader.array()?),
        };
        reader.finish()?;
        if renewal.start.epoch != Epoch(0) || renewal.number == 0 {
            return Err(Malformed::Invalid("renewal").into());
        }
        Ok((renewal, content, Signature(Reader::new(signature).array()?)))
    }
}

impl Domain {
    /// A member's leaf secret and unicast key after the renewal `number`, from those before it; the same at both ends, by
    /// the manager's fresh key and the member's key from its JOIN.
    ///
    /// `None` if the other key is a point of small order, with which anybody could agree: the member is then put out.
    pub fn renew(
        &self,
        number: u16,
        own: &ExchangeSecret,
        theirs: &ExchangePublic,
        (leaf, unicast): (&Secret<32>, &Secret<32>),
    ) -> Option<(Secret<32>, Secret<32>)> {
        let shared = own.agree(theirs)?;
        let subgroup = self.subgroup.0.to_be_bytes();
        let of = |label, old: &Secret<32>| {
            let context: [&[u8]; 4] = [self.group.as_bytes(), &subgroup, &number.to_be_bytes(), old.expose()];
            derive(self.suite, &shared, label, &context)
        };
        Some((of(Label::RenewLeaf, leaf), of(Label::RenewUnicast, unicast)))
    }
}

fn signed_part(domain: &Domain, content: &[u8]) -> Vec<u8> {
    let mut writer = signed(Label::SignRenewal, domain);
    writer.bytes(content);
    writer.into_bytes()
}
