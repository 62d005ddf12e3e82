//! Bytes in and out: a bounded reader, a writer, and the one error a parser has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crypto::Secret;
use keytree::{Epoch, RegNo, Version};

use crate::ids::{GroupId, Inst, RosterVersion, SenderId, StateId, SubgroupId, Term};

/// Why bytes are not a message. The bytes are to blame; nothing was changed by reading them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// The message ends before the field does.
    #[error("truncated")]
    Truncated,
    /// Bytes are left after the last field.
    #[error("trailing bytes")]
    Trailing,
    /// A list or text is longer than its limit.
    #[error("{0} too long")]
    TooLong(&'static str),
    /// A field holds a value that has no meaning or is not in the one form allowed for it.
    #[error("bad {0}")]
    Invalid(&'static str),
}

/// Reads fields off the front of a message. It cannot read past the end, and [`Reader::finish`] refuses a rest.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A reader at the beginning of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// Everything that is left.
    pub const fn rest(&mut self) -> &'a [u8] {
        let rest = self.0;
        self.0 = &[];
        rest
    }

    /// How many bytes are left.
    pub const fn remaining(&self) -> usize {
        self.0.len()
    }

    /// Ends the message: bytes left over make it malformed.
    pub const fn finish(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes, big-endian, as all numbers of the protocol.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// A yes or no; any other byte than 0 and 1 is refused, so that each message has one encoding.
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Invalid("truth value")),
        }
    }

    /// A number of up to 32 bits in groups of seven, least first, in its shortest form only.
    pub fn varint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.u8()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                return Err(Malformed::Invalid("varint"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift != 0 {
                    return Err(Malformed::Invalid("varint"));
                }
                return Ok(value);
            }
        }
        Err(Malformed::Invalid("varint"))
    }

    /// A list with a 16-bit count of at most `max`; `what` names it in the error.
    pub fn list<T>(
        &mut self,
        max: usize,
        what: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = usize::from(self.u16()?);
        if count > max {
            return Err(Malformed::TooLong(what));
        }
        // Every item takes at least one byte, so a count beyond the rest never allocates.
        if count > self.remaining() {
            return Err(Malformed::Truncated);
        }
        (0..count).map(|_| item(self)).collect()
    }

    /// UTF-8 text with a 16-bit length of at most `max` bytes.
    pub fn text(&mut self, max: usize, what: &'static str) -> Result<String, Malformed> {
        let len = usize::from(self.u16()?);
        if len > max {
            return Err(Malformed::TooLong(what));
        }
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Malformed::Invalid(what))
    }

    /// Opaque bytes with a 16-bit length of at most `max`.
    pub fn opaque(&mut self, max: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let len = usize::from(self.u16()?);
        if len > max {
            return Err(Malformed::TooLong(what));
        }
        self.take(len)
    }

    /// `Some` after a 1, `None` after a 0.
    pub fn option<T>(
        &mut self,
        item: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.bool()? { item(self).map(Some) } else { Ok(None) }
    }

    /// A secret; only ever inside something sealed.
    pub fn secret(&mut self) -> Result<Secret<32>, Malformed> {
        self.array().map(Secret::new)
    }

    /// A group.
    pub fn group(&mut self) -> Result<GroupId, Malformed> {
        self.array().map(GroupId::from_bytes)
    }

    /// A subgroup.
    pub fn subgroup(&mut self) -> Result<SubgroupId, Malformed> {
        self.u64().map(SubgroupId)
    }

    /// A registration.
    pub fn sender(&mut self) -> Result<SenderId, Malformed> {
        self.u64().map(SenderId)
    }

    /// A state id.
    pub fn state(&mut self) -> Result<StateId, Malformed> {
        Ok(StateId { term: Term(self.u32()?), inst: Inst(self.u64()?), epoch: self.epoch()? })
    }

    /// An epoch.
    pub fn epoch(&mut self) -> Result<Epoch, Malformed> {
        self.u32().map(Epoch)
    }

    /// A key's version.
    pub fn version(&mut self) -> Result<Version, Malformed> {
        Ok(Version { base: self.epoch()?, steps: self.u16()? })
    }

    /// A reg-no.
    pub fn reg_no(&mut self) -> Result<RegNo, Malformed> {
        self.u32().map(RegNo)
    }

    /// A roster version.
    pub fn roster_version(&mut self) -> Result<RosterVersion, Malformed> {
        self.u32().map(RosterVersion)
    }

    /// An address and port of either family: a byte 4 or 6, the address, the port.
    pub fn socket_addr(&mut self) -> Result<SocketAddr, Malformed> {
        let ip = match self.u8()? {
            4 => IpAddr::V4(Ipv4Addr::from(self.array::<4>()?)),
            6 => IpAddr::V6(Ipv6Addr::from(self.array::<16>()?)),
            _ => return Err(Malformed::Invalid("address family")),
        };
        Ok(SocketAddr::new(ip, self.u16()?))
    }
}

/// Appends fields to a message; the counterpart of [`Reader`], field by field.
///
/// Encoding never fails: what is encoded was checked when it was made. A list over its reader's limit is our own bug
/// and is cut off by a debug assertion in the message that owns it.
#[derive(Clone, Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty message.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// An empty message with room for `capacity` bytes: one that holds secrets must not grow, for the buffer it grows
    /// out of is freed as it is.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// The message as written so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The finished message.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// See [`Reader::u8`].
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    /// See [`Reader::u16`].
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// See [`Reader::u32`].
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// See [`Reader::u64`].
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// See [`Reader::bool`].
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.u8(u8::from(value))
    }

    /// See [`Reader::varint`].
    pub fn varint(&mut self, mut value: u32) -> &mut Self {
        while value >= 0x80 {
            self.u8(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.u8(value.to_le_bytes()[0])
    }

    /// See [`Reader::list`].
    pub fn list<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) -> &mut Self {
        self.u16(length(items.len()));
        items.iter().for_each(|one| item(self, one));
        self
    }

    /// See [`Reader::text`].
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.opaque(text.as_bytes())
    }

    /// See [`Reader::opaque`].
    pub fn opaque(&mut self, bytes: &[u8]) -> &mut Self {
        self.u16(length(bytes.len())).bytes(bytes)
    }

    /// See [`Reader::option`].
    pub fn option<T>(&mut self, value: Option<&T>, item: impl FnOnce(&mut Self, &T)) -> &mut Self {
        self.bool(value.is_some());
        if let Some(value) = value {
            item(self, value);
        }
        self
    }

    /// See [`Reader::secret`].
    pub fn secret(&mut self, secret: &Secret<32>) -> &mut Self {
        self.bytes(secret.expose())
    }

    /// See [`Reader::group`].
    pub fn group(&mut self, group: GroupId) -> &mut Self {
        self.bytes(group.as_bytes())
    }

    /// See [`Reader::subgroup`].
    pub fn subgroup(&mut self, subgroup: SubgroupId) -> &mut Self {
        self.u64(subgroup.0)
    }

    /// See [`Reader::sender`].
    pub fn sender(&mut self, sender: SenderId) -> &mut Self {
        self.u64(sender.0)
    }

    /// See [`Reader::state`].
    pub fn state(&mut self, state: StateId) -> &mut Self {
        self.bytes(&state.to_bytes())
    }

    /// See [`Reader::epoch`].
    pub fn epoch(&mut self, epoch: Epoch) -> &mut Self {
        self.u32(epoch.0)
    }

    /// See [`Reader::version`].
    pub fn version(&mut self, version: Version) -> &mut Self {
        self.epoch(version.base).u16(version.steps)
    }

    /// See [`Reader::reg_no`].
    pub fn reg_no(&mut self, reg_no: RegNo) -> &mut Self {
        self.u32(reg_no.0)
    }

    /// See [`Reader::roster_version`].
    pub fn roster_version(&mut self, version: RosterVersion) -> &mut Self {
        self.u32(version.0)
    }

    /// See [`Reader::socket_addr`].
    pub fn socket_addr(&mut self, addr: SocketAddr) -> &mut Self {
        match addr.ip() {
            IpAddr::V4(ip) => self.u8(4).bytes(&ip.octets()),
            IpAddr::V6(ip) => self.u8(6).bytes(&ip.octets()),
        };
        self.u16(addr.port())
    }
}

/// A list's count on the wire. Every list has a limit far below 65,536; one beyond is a bug of the encoder's caller.
fn length(len: usize) -> u16 {
    u16::try_from(len).expect("invariant: every list of the protocol is limited below 65,536 items")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_varint_reads_back_and_has_one_form(value: u32, junk: [u8; 6]) {
            let mut writer = Writer::new();
            writer.varint(value);
            prop_assert_eq!(Reader::new(writer.as_bytes()).varint(), Ok(value));
            let mut reader = Reader::new(&junk);
            if let Ok(read) = reader.varint() {
                let mut again = Writer::new();
                again.varint(read);
                prop_assert_eq!(again.as_bytes(), &junk[..6 - reader.remaining()]);
            }
        }

        #[test]
        fn an_address_of_either_family_reads_back(v6: [u8; 16], v4: [u8; 4], port: u16) {
            for ip in [IpAddr::from(v6), IpAddr::from(v4)] {
                let mut writer = Writer::new();
                writer.socket_addr(SocketAddr::new(ip, port));
                let mut reader = Reader::new(writer.as_bytes());
                prop_assert_eq!(reader.socket_addr(), Ok(SocketAddr::new(ip, port)));
                prop_assert_eq!(reader.finish(), Ok(()));
            }
        }
    }

    #[test]
    fn a_list_that_claims_more_items_than_bytes_allocates_nothing() {
        let bytes = [0xff, 0xff, 1, 2];
        assert_eq!(Reader::new(&bytes).list(1 << 20, "items", Reader::u8), Err(Malformed::Truncated));
        assert_eq!(Reader::new(&bytes).list(10, "items", Reader::u8), Err(Malformed::TooLong("items")));
    }
}
