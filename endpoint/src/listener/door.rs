use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::AdmissionLimits;

/// Who is at the door, by source.
#[derive(Clone)]
pub(super) struct Door {
    limits: AdmissionLimits,
    sources: Arc<Mutex<BTreeMap<IpAddr, Source>>>,
}

/// One source with unfinished connections. Gone from the map with the last of them.
struct Source {
    connections: usize,
    turns: Arc<Semaphore>,
}

/// One connection's place at the door, given up when dropped.
pub(super) struct Place {
    door: Door,
    source: IpAddr,
    turns: Arc<Semaphore>,
}

impl Door {
    pub(super) fn new(limits: AdmissionLimits) -> Self {
        Self { limits, sources: Arc::default() }
    }

    /// A place for a connection from `address`; `None` when its source has as many as it may.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Place> {
        let source = source_of(address);
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = sources.entry(source).or_insert_with(|| Source {
            connections: 0,
            turns: Arc::new(Semaphore::new(self.limits.handshakes_per_source)),
        });
        if entry.connections >= self.limits.per_source {
            return None;
        }
        entry.connections += 1;
        Some(Place { door: self.clone(), source, turns: Arc::clone(&entry.turns) })
    }
}

impl Place {
    /// Waits, in the order of arrival, until the source may shake hands once more; `None` after `limit`.
    pub(super) async fn turn(&self, limit: Duration) -> Option<OwnedSemaphorePermit> {
        timeout(limit, Arc::clone(&self.turns).acquire_owned()).await.ok()?.ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut sources = self.door.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = sources.get_mut(&self.source) {
            entry.connections -= 1;
            if entry.connections == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

/// A host with IPv6 has a whole /64 of addresses to come from.
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(per_source: usize) -> Door {
        Door::new(AdmissionLimits { per_source, ..AdmissionLimits::default() })
    }

    #[test]
    fn a_source_has_so_many_places_and_gets_them_back() {
        let door = door(2);
        let (alice, bob) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let first = door.enter(alice).unwrap();
        let _second = door.enter(alice).unwrap();
        assert!(door.enter(alice).is_none());
        assert!(door.enter(bob).is_some());
        drop(first);
        assert!(door.enter(alice).is_some());
    }

    #[test]
    fn a_host_that_changes_its_ipv6_address_is_one_source() {
        let door = door(1);
        let _place = door.enter("2001:db8::1".parse().unwrap()).unwrap();
        assert!(door.enter("2001:db8::ffff:2".parse().unwrap()).is_none());
        assert!(door.enter("2001:db8:0:1::1".parse().unwrap()).is_some());
        let _mapped = door.enter("::ffff:192.0.2.1".parse().unwrap()).unwrap();
        assert!(door.enter("192.0.2.1".parse().unwrap()).is_none());
    }

    #[test]
    fn a_source_that_left_is_forgotten() {
        let door = door(1);
        drop(door.enter("192.0.2.1".parse().unwrap()));
        assert!(door.sources.lock().unwrap().is_empty());
    }
}
