//! Other nodes of the group: certificates that a fake authority vouches for, and what their holders say.

use std::net::SocketAddr;
use std::sync::Arc;

use crypto::{
    Ed25519Signer, Ed25519Verifier, Label, Roles, Secret, Signature, Signer, Suite, Verifier, hash,
};
use member::{Candidacy, Discovery, MemberConfig};
use protocol::discovery::{Certified, Certifier, Claim, Mandate, Presence, Reply};
use protocol::{SubgroupId, Term};

use super::manager::{GROUP, Manager};
use super::node::config;

pub(crate) const DISCOVERY: ([u8; 4], u16) = ([239, 192, 7, 7], 7_401);

/// Somebody with a certificate: 32 bytes of fingerprint, whether it carries the manager role, the identity.
#[derive(Clone, Copy)]
pub(crate) struct Holder {
    pub(crate) number: u8,
    pub(crate) is_manager: bool,
}

pub(crate) const fn holder(number: u8) -> Holder {
    Holder { number, is_manager: true }
}

impl Holder {
    pub(crate) const fn fingerprint(self) -> [u8; 32] {
        [self.number; 32]
    }

    pub(crate) fn identity(self) -> String {
        format!("node-{}", self.number)
    }

    fn certificate(self) -> Vec<u8> {
        let mut bytes = self.fingerprint().to_vec();
        bytes.push(u8::from(self.is_manager));
        bytes.extend(self.identity().into_bytes());
        bytes
    }

    /// The key with which it signs as manager.
    pub(crate) fn signer(self) -> Ed25519Signer {
        Ed25519Signer::from_seed(&Secret::new([self.number ^ 0xff; 32]))
    }

    pub(crate) fn mandate(self, signer: &dyn Signer) -> Mandate {
        let key = signer.public_key();
        let signature = certificate_key(&self.fingerprint()).sign(&Mandate::message(GROUP, &key)).0.to_vec();
        Mandate { key, certificate: self.certificate(), signature }
    }

    pub(crate) fn registrar(self) -> SocketAddr {
        ([10, 0, 1, self.number], 7_400).into()
    }

    pub(crate) fn claim(self, priority: u16) -> Vec<u8> {
        let signer = self.signer();
        let claim = Claim { mandate: self.mandate(&signer), priority, registrar: self.registrar() };
        claim.encode(GROUP, &signer)
    }

    /// What it stands for election with.
    pub(crate) fn candidacy(self, priority: u16) -> Candidacy {
        let signer = self.signer();
        let mandate = self.mandate(&signer);
        Candidacy { mandate, priority, registrar: self.registrar(), signer: Box::new(signer) }
    }

    /// A node that searches, and holds this certificate.
    pub(crate) fn config(self) -> MemberConfig {
        let discovery = Discovery {
            address: DISCOVERY.into(),
            certifier: Arc::new(FakeAuthority),
            fingerprint: self.fingerprint(),
            identity: self.identity(),
        };
        MemberConfig { registrars: Vec::new(), discovery: Some(discovery), ..config() }
    }
}

/// The presence of a manager that holds the certificate `holder`.
pub(crate) fn presence(holder: Holder, manager: &mut Manager, registrars: &[SocketAddr]) -> Vec<u8> {
    let alarm = manager.alarm();
    let mandate = holder.mandate(&manager.signer);
    Presence::encode(GROUP, &mandate, registrars, &alarm, &manager.signer).unwrap()
}

/// An answer to a FIND that anybody could give.
pub(crate) fn reply(nonce: u64, subgroup: u64, registrars: Vec<SocketAddr>) -> Vec<u8> {
    let reply = Reply {
        nonce,
        subgroup: SubgroupId(subgroup),
        registrars,
        term: Term(1),
        depth: 0,
        ancestors: Vec::new(),
        load: 1,
    };
    reply.encode(GROUP)
}

/// The authority of the tests: a certificate's own key follows from its fingerprint.
pub(crate) struct FakeAuthority;

fn certificate_key(fingerprint: &[u8; 32]) -> Ed25519Signer {
    Ed25519Signer::from_seed(&Secret::new(hash(Suite::Aes256Ctr, Label::IdentityHash, &[fingerprint])))
}

impl Certifier for FakeAuthority {
    fn certify(&self, certificate: &[u8], message: &[u8], signature: &[u8]) -> Option<Certified> {
        let (fingerprint, rest) = certificate.split_first_chunk::<32>()?;
        let (role, identity) = rest.split_first()?;
        let key = certificate_key(fingerprint).public_key();
        let signature = Signature(signature.try_into().ok()?);
        let genuine = Ed25519Verifier.verify(&key, message, &signature);
        genuine.then(|| Certified {
            identity: String::from_utf8_lossy(identity).into_owned(),
            roles: Roles { member: true, manager: *role == 1, maa: false },
            fingerprint: *fingerprint,
        })
    }
}
