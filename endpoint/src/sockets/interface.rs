use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;

/// The one network interface a node joins and sends on, by name and address.
///
/// Chosen once at start and printed by `status` (`eth0 (192.0.2.7)`). IPv4 for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    name: String,
    address: IpAddr,
    loopback: bool,
}

/// No interface fits what the configuration says. The text names what there is.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// The kernel did not list its interfaces.
    #[error("cannot list the network interfaces: {0}")]
    List(#[from] nix::Error),
    /// No interface has that name or address.
    #[error("no network interface is called `{wanted}` or has that IPv4 address; there are: {present}")]
    Unknown {
        /// What the configuration says.
        wanted: String,
        /// All candidates, comma-separated.
        present: String,
    },
    /// The interface is there but cannot be used.
    #[error("network interface {interface} is {why}")]
    Unusable {
        /// The interface, as it prints.
        interface: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is no interface with an IPv4 address at all.
    #[error("no network interface is up and has an IPv4 address")]
    None,
}

impl Interface {
    /// The interface a configuration names: `eth0`, `lo` or one of its IPv4 addresses.
    ///
    /// Called once at start. An interface that is down or cannot multicast is refused, loopback excepted: there
    /// multicast works without the flag.
    pub fn resolve(wanted: &str) -> Result<Self, InterfaceError> {
        choose_named(wanted, &candidates()?)
    }

    /// The interface taken when the configuration names none: the first that is up, can multicast and is not
    /// loopback; else loopback.
    pub fn choose() -> Result<Self, InterfaceError> {
        choose_default(&candidates()?)
    }

    /// The kernel's name for it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address packets leave from and by which the kernel is told to use this interface.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether nothing sent here leaves the host.
    #[must_use]
    pub const fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// The address as the IPv4 socket options want it; `None` once there are IPv6 interfaces.
    pub(super) const fn ipv4(&self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.address)
    }
}

/// One address of one interface, as the kernel lists it.
struct Candidate {
    interface: Interface,
    up: bool,
    multicast: bool,
}

fn candidates() -> Result<Vec<Candidate>, InterfaceError> {
    Ok(getifaddrs()?.filter_map(|listed| candidate(&listed)).collect())
}

fn candidate(listed: &InterfaceAddress) -> Option<Candidate> {
    let address = listed.address.as_ref()?.as_sockaddr_in()?.ip();
    let loopback = listed.flags.contains(InterfaceFlags::IFF_LOOPBACK);
    Some(Candidate {
        interface: Interface { name: listed.interface_name.clone(), address: IpAddr::V4(address), loopback },
        up: listed.flags.contains(InterfaceFlags::IFF_UP),
        multicast: loopback || listed.flags.contains(InterfaceFlags::IFF_MULTICAST),
    })
}

fn choose_named(wanted: &str, candidates: &[Candidate]) -> Result<Interface, InterfaceError> {
    let address = wanted.parse::<IpAddr>().ok();
    let fits = |candidate: &&Candidate| {
        candidate.interface.name == wanted || Some(candidate.interface.address) == address
    };
    let Some(found) = candidates.iter().find(fits) else {
        let present: Vec<_> = candidates.iter().map(|candidate| candidate.interface.to_string()).collect();
        return Err(InterfaceError::Unknown { wanted: wanted.to_owned(), present: present.join(", ") });
    };
    let why = match found {
        Candidate { up: false, .. } => "down",
        Candidate { multicast: false, .. } => "not capable of multicast",
        _ => return Ok(found.interface.clone()),
    };
    Err(InterfaceError::Unusable { interface: found.interface.to_string(), why })
}

fn choose_default(candidates: &[Candidate]) -> Result<Interface, InterfaceError> {
    let usable = || candidates.iter().filter(|candidate| candidate.up && candidate.multicast);
    let network = usable().find(|candidate| !candidate.interface.loopback);
    let chosen = network.or_else(|| usable().next()).ok_or(InterfaceError::None)?;
    Ok(chosen.interface.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, address: [u8; 4], up: bool, multicast: bool) -> Candidate {
        let loopback = name == "lo";
        let interface = Interface { name: name.to_owned(), address: IpAddr::from(address), loopback };
        Candidate { interface, up, multicast }
    }

    fn host() -> Vec<Candidate> {
        vec![
            candidate("lo", [127, 0, 0, 1], true, true),
            candidate("wg0", [10, 9, 0, 1], true, false),
            candidate("eth0", [192, 0, 2, 7], false, true),
            candidate("eth1", [198, 51, 100, 7], true, true),
        ]
    }

    #[test]
    fn the_default_is_the_first_network_that_is_up_and_multicasts() {
        assert_eq!(choose_default(&host()).unwrap().name(), "eth1");
        assert_eq!(choose_default(&host()[..3]).unwrap().to_string(), "lo (127.0.0.1)");
        assert!(matches!(choose_default(&host()[1..3]), Err(InterfaceError::None)));
    }

    #[test]
    fn an_interface_is_named_by_name_or_by_address() {
        assert_eq!(choose_named("eth1", &host()).unwrap().to_string(), "eth1 (198.51.100.7)");
        assert_eq!(choose_named("198.51.100.7", &host()).unwrap().name(), "eth1");
    }

    #[test]
    fn an_unusable_or_unknown_interface_is_refused_and_the_text_says_why() {
        let down = choose_named("eth0", &host()).unwrap_err().to_string();
        assert_eq!(down, "network interface eth0 (192.0.2.7) is down");
        let flat = choose_named("wg0", &host()).unwrap_err().to_string();
        assert!(flat.ends_with("not capable of multicast"), "{flat}");
        let unknown = choose_named("eth9", &host()).unwrap_err().to_string();
        assert!(unknown.contains("`eth9`") && unknown.contains("lo (127.0.0.1), wg0"), "{unknown}");
    }

    #[test]
    fn the_real_loopback_is_found_both_ways() {
        let by_name = Interface::resolve("lo").unwrap();
        assert!(by_name.is_loopback());
        assert_eq!(by_name, Interface::resolve("127.0.0.1").unwrap());
        Interface::choose().unwrap();
    }
}
