//! What a certificate allows its holder to be: private object identifiers in its extended key usage.
//!
//! The arc is one of those everybody may take without asking anyone, a random UUID under 2.25 (ITU-T X.667).
//! Any CA that can put object identifiers into the extended key usage serves.

use x509_parser::der_parser::Oid;

/// The UUID of the arc, 24cfe4aa-b573-42f5-b955-ec1706917f7f.
const ROLE_UUID: u128 = 0x24cf_e4aa_b573_42f5_b955_ec17_0691_7f7f;
/// Bytes of a role's object identifier: one for 2.25, 18 for the UUID's 126 bits in sevens, one for the role.
const ROLE_OID_LEN: usize = 20;

/// The arc under which the roles stand.
pub const ROLE_ARC: &str = "2.25.48931651212307070205351064889382240127";
/// The holder may be a member, or a GSM in its parent's subgroup.
pub const ROLE_MEMBER: &str = "2.25.48931651212307070205351064889382240127.1";
/// The holder may act as manager of a subgroup.
pub const ROLE_MANAGER: &str = "2.25.48931651212307070205351064889382240127.2";
/// The holder may hand out multicast addresses.
pub const ROLE_MAA: &str = "2.25.48931651212307070205351064889382240127.3";

/// The roles a certificate names. None of them lets anyone in by itself: the registrar's rules come after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// May register as a member.
    pub member: bool,
    /// May act as manager: stand for election, succeed, hold a subgroup's keys.
    pub manager: bool,
    /// May serve multicast addresses.
    pub maa: bool,
}

impl Roles {
    /// The roles among `oids`; identifiers of no concern here are passed over.
    pub(crate) fn among(oids: &[Oid<'_>]) -> Self {
        let named = |role| oids.iter().any(|oid| oid.as_bytes() == role_oid(role));
        Self { member: named(1), manager: named(2), maa: named(3) }
    }
}

/// The object identifier of role number `role`, as its DER content. Compared as bytes because the UUID does
/// not fit the 64-bit arcs that parsers give back.
const fn role_oid(role: u8) -> [u8; ROLE_OID_LEN] {
    let mut bytes = [0; ROLE_OID_LEN];
    bytes[0] = 2 * 40 + 25;
    let mut rest = ROLE_UUID;
    let mut at = ROLE_OID_LEN - 2;
    while at > 0 {
        let more = if at == ROLE_OID_LEN - 2 { 0 } else { 0x80 };
        bytes[at] = (rest & 0x7f) as u8 | more;
        rest >>= 7;
        at -= 1;
    }
    bytes[ROLE_OID_LEN - 1] = role;
    bytes
}
