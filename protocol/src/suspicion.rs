//! SUSPICION: a member says, signed, that it holds its manager for lost (DESIGN: failover; attack A27).
//!
//! | field | bytes | meaning |
//! |---|---|---|
//! | envelope | 28 | |
//! | state | 16 | the newest state the member holds; its prefilter key makes the MAC |
//! | counter | 8 | of the newest alarm it verified |
//! | credential | 105 | the member's |
//! | signature | 64 | by the credential's key, over label, suite, group, subgroup, state, counter, sender id |
//! | MAC | 16 | prefilter, over everything before |

use crypto::{Label, Secret, Signature, Signer, Verifier, constant_time_eq, mac};
use keytree::Epoch;

use crate::codec::{Malformed, Reader, Writer};
use crate::envelope::{DatagramKind, Envelope, Verified};
use crate::ids::StateId;
use crate::keys::Domain;
use crate::machine::Rejected;
use crate::roster::{Credential, signed};

const MAC_LEN: usize = 16;

/// One member's word that its manager is lost: it heard no alarm for the silence and no answer to its probe.
///
/// Multicast on the control address, where the manager, if it lives, answers it with an alarm. A successor that takes
/// over shows some of them. The MAC keeps out who does not hold the state any more: the word of one that was evicted
/// counts for nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Suspicion {
    /// The newest state the member holds: it names the start of the manager that is suspected.
    pub state: StateId,
    /// The counter of the newest alarm the member verified, so that the word does not outlive the next alarm by much.
    pub counter: u64,
    /// Who says so.
    pub credential: Credential,
    signature: Signature,
    mac: [u8; MAC_LEN],
}

impl Suspicion {
    /// Makes one. `prefilter` is the key of `state`, `signer` holds the credential's key.
    pub fn sign(
        domain: &Domain,
        (state, counter): (StateId, u64),
        credential: Credential,
        prefilter: &Secret<32>,
        signer: &dyn Signer,
    ) -> Self {
        let signature = signer.sign(&Self::message(domain, state, counter, &credential));
        let mut suspicion = Self { state, counter, credential, signature, mac: [0; MAC_LEN] };
        suspicion.mac = suspicion.tag(domain, prefilter);
        suspicion
    }

    /// The datagram.
    pub fn encode(&self, domain: &Domain) -> Vec<u8> {
        let mut writer = Envelope::begin(DatagramKind::Suspicion, domain);
        self.write(&mut writer);
        writer.into_bytes()
    }

    /// Who claims what, so that a copy costs no signature check. Nothing is proven.
    pub fn claimed(domain: &Domain, datagram: &[u8]) -> Result<Self, Rejected> {
        Self::decode(domain, datagram)
    }

    /// Reads a datagram, without believing it.
    pub(crate) fn decode(domain: &Domain, datagram: &[u8]) -> Result<Self, Rejected> {
        if Envelope::for_domain(datagram, domain)?.kind != DatagramKind::Suspicion {
            return Err(Rejected::NotForUs);
        }
        let mut reader = Reader::new(datagram);
        reader.take(Envelope::LEN)?;
        let suspicion = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(suspicion)
    }

    /// What a suspicion is to the manager that is suspected: a holder of `state` did not hear it. Only the MAC is
    /// checked, for all that follows is an alarm ahead of its time, under a budget of the caller's.
    pub fn heard<'k>(
        datagram: &[u8],
        domain: &Domain,
        prefilter_of: impl FnOnce(Epoch) -> Option<&'k Secret<32>>,
    ) -> Result<Verified<StateId>, Rejected> {
        let suspicion = Self::decode(domain, datagram)?;
        let key = prefilter_of(suspicion.state.epoch).ok_or(Rejected::Stale)?;
        if !suspicion.mac_holds(domain, key) {
            return Err(Rejected::BadMac);
        }
        Ok(Verified::new(suspicion.state))
    }

    /// Whether the MAC was made with `prefilter`.
    pub(crate) fn mac_holds(&self, domain: &Domain, prefilter: &Secret<32>) -> bool {
        constant_time_eq(&self.tag(domain, prefilter), &self.mac)
    }

    /// Whether the holder of the credential's key signed it; whether the credential is genuine is another question.
    pub(crate) fn signature_holds(&self, domain: &Domain, verifier: &dyn Verifier) -> bool {
        let message = Self::message(domain, self.state, self.counter, &self.credential);
        verifier.verify(&self.credential.key, &message, &self.signature)
    }

    fn tag(&self, domain: &Domain, prefilter: &Secret<32>) -> [u8; MAC_LEN] {
        let mut writer = Envelope::begin(DatagramKind::Suspicion, domain);
        self.write_signed(&mut writer);
        mac(domain.suite, prefilter, Label::SuspicionMac, &[writer.as_bytes()])
    }

    fn write_signed(&self, writer: &mut Writer) {
        writer.state(self.state).u64(self.counter);
        self.credential.encode(writer);
        writer.bytes(&self.signature.0);
    }

    /// Writes what follows the envelope; a takeover encloses it.
    pub(crate) fn write(&self, writer: &mut Writer) {
        self.write_signed(writer);
        writer.bytes(&self.mac);
    }

    /// Reads what [`Suspicion::write`] wrote.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            state: reader.state()?,
            counter: reader.u64()?,
            credential: Credential::decode(reader)?,
            signature: Signature(reader.array()?),
            mac: reader.array()?,
        })
    }

    fn message(domain: &Domain, state: StateId, counter: u64, credential: &Credential) -> Vec<u8> {
        let mut writer = signed(Label::SignSuspicion, domain);
        writer.state(state).u64(counter).sender(credential.sender);
        writer.into_bytes()
    }
}
