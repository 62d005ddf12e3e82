//! What all groups of a process share: threads, certificate, interface, one listener and two UDP sockets.

mod inbox;
mod switchboard;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::PublicKey;
use protocol::GroupId;
use protocol::discovery::{Certifier, Mandate};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use inbox::Letter;
pub use switchboard::StraySnapshot;
pub(crate) use switchboard::{Acceptor, Seat, Switchboard};

use crate::listener::{AdmissionCounters, AdmissionLimits, Listener};
use crate::pki::{Credentials, PkiError};
use crate::sockets::{Interface, InterfaceError, SocketError, UnicastSocket};
use crate::threads::Threads;
use crate::tls::{CertificateCheck, Expect, TlsConfig, TlsConfigError, sign_with_certificate_key};

/// The UDP port of control messages, and of discovery, unless configured otherwise.
pub const DEFAULT_CONTROL_PORT: u16 = 7_401;
/// The UDP port of data, unless configured otherwise.
pub const DEFAULT_DATA_PORT: u16 = 7_402;

/// Room for the longest datagram UDP carries.
const RECEIVE_BUFFER: usize = 65_536;
/// How long to wait after the kernel could not receive for a reason of its own.
const OUT_OF_ORDER: Duration = Duration::from_millis(100);

/// What a host is opened with.
#[derive(Clone)]
pub struct HostOptions {
    /// Certificate, key and authority: one certificate a process.
    pub credentials: Credentials,
    /// The network interface.
    pub interface: Interface,
    /// The TCP port of the registrar, on the interface's address; 0 lets the kernel choose. A taken port is an error,
    /// for members are told this one.
    pub port: u16,
    /// The UDP port of the control addresses, the same on all nodes of a group, and of the host's own socket beside
    /// them. 0: [`DEFAULT_CONTROL_PORT`] for the former, any free one for the latter.
    pub control_port: u16,
    /// The UDP port of the data addresses, likewise. 0: [`DEFAULT_DATA_PORT`] and any free one.
    pub data_port: u16,
}

/// What all groups of a process share. Cheap to clone; the groups started on it keep it open.
///
/// A datagram on the unicast socket and the first frame of a connection name their group, and go to that group's machine
/// alone. Multicast sockets are each group's own, for each group has its own addresses; they share the two ports.
#[derive(Clone, Debug)]
pub struct Host {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    runtimes: Runtimes,
    tls: TlsConfig,
    credentials: Credentials,
    authority: Vec<u8>,
    certifier: Arc<CertificateCheck>,
    interface: Interface,
    unicast: Arc<UnicastSocket>,
    data: Arc<UnicastSocket>,
    control_port: u16,
    data_port: u16,
    board: Arc<Switchboard>,
    registrar: Option<SocketAddr>,
    admission: Arc<AdmissionCounters>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Where what a node consists of runs.
#[derive(Clone, Debug)]
pub(crate) struct Runtimes {
    pub(crate) control: Handle,
    pub(crate) tls: Handle,
    pub(crate) links: Handle,
    pub(crate) data: Handle,
}

/// Why a host or a node could not be started. All of it is found before anything is sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The credentials are of no use.
    #[error(transparent)]
    Credentials(#[from] PkiError),
    /// TLS cannot be set up with them.
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    /// No such network interface.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// A UDP socket could not be set up.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The registrar's TCP port could not be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// This process has a node in that group.
    #[error("this process is in the group `{0}` already")]
    AlreadyServed(String),
    /// A setting is out of its range.
    #[error("{0}")]
    Setting(String),
    /// The node's state cannot be opened, so nothing is known of what it must not forget.
    #[error(transparent)]
    Store(#[from] storage::StoreError),
    /// The manager's signing key is of no use.
    #[error(transparent)]
    SigningKey(#[from] crate::state::SigningKeyError),
}

impl Host {
    /// Opens the sockets. Called once by a program, within any tokio runtime, before it starts or joins groups.
    ///
    /// Only a node certified as a manager listens for registrations: it may be none yet, and becomes one while running.
    /// A UDP port that is taken is replaced by one the kernel chooses, which the log says: several nodes on one host
    /// are in order, for nobody needs to know these ports beforehand.
    pub async fn open(threads: &Threads, options: HostOptions) -> Result<Self, StartError> {
        let HostOptions { credentials, interface, port, control_port, data_port } = options;
        let runtimes = Runtimes {
            control: threads.control(),
            tls: threads.tls(),
            links: threads.links(),
            data: threads.data(),
        };
        let tls = TlsConfig::new(&credentials)?;
        let authority = credentials.authority_key()?;
        let certifier = CertificateCheck::new(&credentials, &tls).map_err(PkiError::from)?;
        let unicast = bind(&runtimes.control, &interface, control_port)?;
        let data = bind(&runtimes.data, &interface, data_port)?;
        let listener = if tls.own().roles.manager {
            Some(listen(&runtimes.tls, SocketAddr::new(interface.address(), port), tls.clone()).await?)
        } else {
            None
        };
        let (registrar, admission) = match &listener {
            Some((listener, address)) => (Some(*address), listener.counters()),
            None => (None, Arc::default()),
        };
        let (board, stop, tasks) =
            (Arc::<Switchboard>::default(), CancellationToken::new(), TaskTracker::new());
        tasks.spawn_on(sort(Arc::clone(&unicast), Arc::clone(&board), stop.clone()), &runtimes.control);
        if let Some((listener, _)) = listener {
            tasks.spawn_on(listener.run(Arc::clone(&board), stop.clone()), &runtimes.tls);
        }
        let shared = Shared {
            runtimes,
            tls,
            credentials,
            authority,
            certifier: Arc::new(certifier),
            interface,
            unicast,
            data,
            control_port: or(control_port, DEFAULT_CONTROL_PORT),
            data_port: or(data_port, DEFAULT_DATA_PORT),
            board,
            registrar,
            admission,
            stop,
            tasks,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Where members register, in all groups this node manages; `None` if its certificate does not allow it to manage.
    #[must_use]
    pub fn registrar(&self) -> Option<SocketAddr> {
        self.shared.registrar
    }

    /// The name in the certificate.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.shared.tls.own().identity
    }

    /// What the certificate says.
    #[must_use]
    pub fn certificate(&self) -> &crypto::CertificateFacts {
        self.shared.tls.own()
    }

    /// The network interface.
    #[must_use]
    pub fn interface(&self) -> &Interface {
        &self.shared.interface
    }

    /// The address and port of the unicast control socket: what members of a managed group answer to.
    #[must_use]
    pub fn control_address(&self) -> SocketAddr {
        self.shared.unicast.address()
    }

    /// The address and port that data is sent from.
    #[must_use]
    pub fn data_address(&self) -> SocketAddr {
        self.shared.data.address()
    }

    /// The UDP port of the control addresses, and of discovery.
    #[must_use]
    pub fn control_port(&self) -> u16 {
        self.shared.control_port
    }

    /// The UDP port of the data addresses.
    #[must_use]
    pub fn data_port(&self) -> u16 {
        self.shared.data_port
    }

    /// The identifier of the group called `name` under this host's authority.
    #[must_use]
    pub fn group_id(&self, name: &str) -> GroupId {
        GroupId::derive(name, &self.shared.authority)
    }

    /// Where the nodes of `group` find each other.
    #[must_use]
    pub fn discovery_address(&self, group: GroupId) -> SocketAddr {
        SocketAddr::new(group.discovery_ip().into(), self.control_port())
    }

    /// The certificate's word that `key` is this node's for managing `group`. Called at a node's start, with the key the
    /// machine will sign with. `None` if the certificate does not allow managing, is too long for the datagrams that
    /// carry it, or has a key that OpenSSL does not sign with: the node then manages only where it is told to, and
    /// cannot stand for election.
    #[must_use]
    pub fn mandate(&self, group: GroupId, key: PublicKey) -> Option<Mandate> {
        self.registrar()?;
        let message = Mandate::message(group, &key);
        let signature = sign_with_certificate_key(&self.shared.credentials, &message)
            .inspect_err(|error| tracing::warn!(%error, "the certificate's key does not sign"));
        let certificate = self.shared.credentials.leaf().to_der().ok()?;
        let mandate = Mandate { key, certificate, signature: signature.ok()? };
        let fits = mandate.fits();
        if !fits {
            tracing::warn!(
                bytes = mandate.certificate.len(),
                "the certificate is too long to stand for election with"
            );
        }
        fits.then_some(mandate)
    }

    /// Checks the mandates of other nodes.
    #[must_use]
    pub fn certifier(&self) -> Arc<dyn Certifier> {
        Arc::clone(&self.shared.certifier) as Arc<dyn Certifier>
    }

    /// What happened at the listener's door, before any machine saw it.
    #[must_use]
    pub fn admission(&self) -> &AdmissionCounters {
        &self.shared.admission
    }

    /// Datagrams that came by the unicast socket and that no group got.
    #[must_use]
    pub fn strays(&self) -> StraySnapshot {
        self.shared.board.strays()
    }

    /// Closes the door and reads no more, then returns. Called when the groups on it have been stopped: one that still
    /// runs hears no unicast from here on. Without it the same happens when host and groups are dropped.
    pub async fn close(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    pub(crate) fn runtimes(&self) -> &Runtimes {
        &self.shared.runtimes
    }

    pub(crate) fn tls(&self) -> &TlsConfig {
        &self.shared.tls
    }

    pub(crate) fn unicast(&self) -> Arc<UnicastSocket> {
        Arc::clone(&self.shared.unicast)
    }

    pub(crate) fn data(&self) -> Arc<UnicastSocket> {
        Arc::clone(&self.shared.data)
    }

    /// Who takes connections for `group` now.
    #[cfg(test)]
    pub(crate) fn acceptor(&self, group: GroupId) -> Acceptor {
        self.shared.board.acceptor(group)
    }

    /// A place for the group called `name`; an error if this host has a node in it.
    pub(crate) fn seat(&self, name: &str) -> Result<(GroupId, Seat), StartError> {
        let group = self.group_id(name);
        let seat = self.shared.board.seat(group);
        seat.map(|seat| (group, seat)).ok_or_else(|| StartError::AlreadyServed(name.to_owned()))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

const fn or(port: u16, default: u16) -> u16 {
    if port == 0 { default } else { port }
}

/// A socket on `port` of the interface's address, or on another one when that is taken.
fn bind(runtime: &Handle, interface: &Interface, port: u16) -> Result<Arc<UnicastSocket>, SocketError> {
    let _runtime = runtime.enter();
    let bound = match UnicastSocket::bind(interface, port) {
        Err(error) if port != 0 && error.source.kind() == std::io::ErrorKind::AddrInUse => {
            let instead = UnicastSocket::bind(interface, 0)?;
            tracing::info!(
                port,
                instead = instead.address().port(),
                "the UDP port is taken: another is used"
            );
            instead
        }
        bound => bound?,
    };
    Ok(Arc::new(bound))
}

async fn listen(
    runtime: &Handle,
    address: SocketAddr,
    tls: TlsConfig,
) -> Result<(Listener, SocketAddr), StartError> {
    let bound = runtime
        .spawn(Listener::bind(address, tls, Expect::AnyRole, AdmissionLimits::default()))
        .await
        .map_err(|error| StartError::Thread(std::io::Error::other(error)))?;
    let failed = |source| StartError::Listen { address, source };
    let listener = bound.map_err(failed)?;
    let bound_to = listener.address().map_err(failed)?;
    Ok((listener, bound_to))
}

/// Hands every datagram of the unicast socket to its group, until `stop` is cancelled.
async fn sort(socket: Arc<UnicastSocket>, board: Arc<Switchboard>, stop: CancellationToken) {
    let mut buffer = vec![0; RECEIVE_BUFFER];
    let receive = async {
        loop {
            match socket.recv(&mut buffer).await {
                Ok((len, from)) => board.deliver(from, &buffer[..len]),
                Err(error) => {
                    tracing::warn!(%error, "cannot receive unicast");
                    tokio::time::sleep(OUT_OF_ORDER).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = receive => {}
    }
}
