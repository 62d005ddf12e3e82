use std::fmt;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::time::Duration;

use crypto::{CertificateFacts, Secret, read_certificate};
use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::ssl::SslRef;
use protocol::Peer;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_openssl::SslStream;
use zeroize::Zeroizing;

use super::refusal::{Phase, refusal_of_handshake};
use super::{ALPN, Expect, Frames, TlsConfig, TlsRefusal, TlsRefused, frames, require_role};

/// The exporter label of the channel secret (RFC 5705, section 4, reserves the prefix for private use).
const CHANNEL_LABEL: &str = "EXPERIMENTAL-conclave channel";

/// How long a refused peer is given to take in why, before its connection is torn down.
const LINGER: Duration = Duration::from_millis(500);

/// How long nothing may be said before TCP asks whether the peer is there, how often it asks, and how many answers may
/// be missing.
const IDLE: Duration = Duration::from_secs(2);
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
const PROBES: u32 = 8;
/// How long what was sent may go unacknowledged by the peer's kernel.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// Most bytes read and thrown away meanwhile.
const MAX_LINGER_BYTES: u64 = 64 * 1_024;

/// TLS over TCP.
pub type TlsStream = SslStream<TcpStream>;

/// How long a server waits for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// For its first byte. Default 1 s: who connects and says nothing holds a place that others need. At less than a
    /// round trip nobody gets in.
    pub first_byte: Duration,
    /// For the whole handshake, first byte included. Default 3 s.
    pub whole: Duration,
}

/// A connection whose other end is certified by the group's authority and has the expected role.
pub struct Connection {
    /// The encrypted stream, before its first byte of application data.
    pub stream: TlsStream,
    /// Who is at the other end.
    pub peer: TlsPeer,
}

/// Who is at the other end of a connection, and what only the two ends know.
#[derive(Clone, Debug)]
pub struct TlsPeer {
    /// What its certificate says.
    pub facts: CertificateFacts,
    /// A secret of this one connection, bound to both certificates and equal on both ends. Every key of a registration
    /// is expanded from it; it is never sent.
    pub channel: Secret<32>,
    /// For how long its whole chain stays valid; zero if it ended meanwhile.
    pub valid_for: Duration,
    /// Its TCP address.
    pub address: SocketAddr,
}

/// Does the server's side of a handshake. Called by the listener for each connection it admits.
///
/// On `Err` the connection is closed; a client that was refused has been told why by an alert.
pub async fn accept(
    stream: TcpStream,
    config: &TlsConfig,
    expect: Expect,
    limits: HandshakeLimits,
) -> Result<Connection, TlsRefused> {
    let mut tls = prepare(stream, config, expect)?;
    let shaken = timeout(limits.whole, async {
        first_byte(tls.get_ref(), limits.first_byte).await?;
        let shaken = Pin::new(&mut tls).accept().await;
        shaken.map_err(|error| refusal_of_handshake(&error, tls.ssl().verify_result(), Phase::Accept))
    });
    let shaken = shaken.await.unwrap_or(Err(TlsRefused::by_us(TlsRefusal::Deadline)));
    conclude(shaken, tls, config, expect, Side::Server).await
}

/// Connects to a registrar and does the client's side of the handshake, all within `deadline`.
///
/// `Ok` says that the registrar is certified and has the role, not that it takes us: a refusal comes with the first
/// read ([`TlsConfig::refusal_from_read`]). Dropping the future gives the connection up.
pub async fn connect(
    to: SocketAddr,
    config: &TlsConfig,
    expect: Expect,
    deadline: Duration,
) -> Result<Connection, TlsRefused> {
    let attempt = timeout(deadline, async {
        let stream = TcpStream::connect(to).await.map_err(unreachable_peer)?;
        let mut tls = prepare(stream, config, expect)?;
        let shaken = Pin::new(&mut tls).connect().await;
        let verified = tls.ssl().verify_result();
        Ok((tls, shaken.map_err(|error| refusal_of_handshake(&error, verified, Phase::Connect))))
    });
    let (tls, shaken) = attempt.await.unwrap_or(Err(TlsRefused::by_us(TlsRefusal::Deadline)))?;
    conclude(shaken, tls, config, expect, Side::Client).await
}

impl Connection {
    /// The connection as frames, and who is at the other end.
    pub fn into_frames(self) -> (Frames, TlsPeer) {
        (frames(self.stream), self.peer)
    }
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self { first_byte: Duration::from_secs(1), whole: Duration::from_secs(3) }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({} at {})", self.peer.facts.identity, self.peer.address)
    }
}

impl From<TlsPeer> for Peer {
    fn from(peer: TlsPeer) -> Self {
        Self {
            identity: peer.facts.identity,
            roles: peer.facts.roles,
            certificate: peer.facts.fingerprint,
            valid_for: peer.valid_for,
            address: peer.address,
            channel: peer.channel,
        }
    }
}

/// Which end of the connection we are.
#[derive(Clone, Copy)]
enum Side {
    Client,
    Server,
}

fn prepare(stream: TcpStream, config: &TlsConfig, expect: Expect) -> Result<TlsStream, TlsRefused> {
    // Frames are small and answered one by one. If it cannot be set they are merely slower.
    let _ = stream.set_nodelay(true);
    notice_a_dead_peer(&stream);
    let session = config.session(expect).map_err(own_failure)?;
    SslStream::new(session, stream).map_err(own_failure)
}

/// A connection on which nothing is said for hours must not outlive the host at its other end. At 20 % loss each way
/// the chance that a live one is taken for dead is 1 in 3,000 for each idle period.
fn notice_a_dead_peer(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new().with_time(IDLE).with_interval(PROBE_INTERVAL).with_retries(PROBES);
    // If they cannot be set, what the machine waits for still has its deadlines.
    let _ = socket.set_tcp_keepalive(&probes);
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
}

/// Takes a connection from the runtime it was made on to this one, which from then on is the one that polls it. Called
/// before anybody waits on it. On `Err` it stays where it was.
#[expect(clippy::disallowed_types, reason = "the driver owns sockets; this one changes its runtime")]
pub(crate) fn move_to(frames: &mut Frames, runtime: &Handle) -> std::io::Result<()> {
    let _within = runtime.enter();
    let tcp = frames.get_mut().get_mut();
    let again = std::net::TcpStream::from(tcp.as_fd().try_clone_to_owned()?);
    *tcp = TcpStream::from_std(again)?;
    Ok(())
}

async fn first_byte(stream: &TcpStream, limit: Duration) -> Result<(), TlsRefused> {
    match timeout(limit, stream.peek(&mut [0])).await {
        Err(_) => Err(TlsRefused::by_us(TlsRefusal::Deadline)),
        Ok(Ok(1)) => Ok(()),
        Ok(_) => Err(TlsRefused::by_peer(TlsRefusal::Closed)),
    }
}

/// Looks at who is there once the handshake is done; parts in order from whom it was not done with.
async fn conclude(
    shaken: Result<(), TlsRefused>,
    mut stream: TlsStream,
    config: &TlsConfig,
    expect: Expect,
    side: Side,
) -> Result<Connection, TlsRefused> {
    match shaken.and_then(|()| look_at(&stream, config, expect, side)) {
        Ok(peer) => Ok(Connection { stream, peer }),
        Err(refused) => {
            part_from(&mut stream, &refused).await;
            Err(config.refine(refused))
        }
    }
}

/// Lets a refused peer read the alert: closing with its bytes unread would reset the connection and lose it.
async fn part_from(stream: &mut TlsStream, refused: &TlsRefused) {
    if matches!(refused.why, TlsRefusal::Deadline | TlsRefusal::Closed | TlsRefusal::Unreachable(_)) {
        return;
    }
    let farewell = async {
        let tcp = stream.get_mut();
        tcp.shutdown().await?;
        tokio::io::copy(&mut tcp.take(MAX_LINGER_BYTES), &mut tokio::io::sink()).await
    };
    // The connection is given up in any case.
    let _ = timeout(LINGER, farewell).await;
}

fn look_at(
    stream: &TlsStream,
    config: &TlsConfig,
    expect: Expect,
    side: Side,
) -> Result<TlsPeer, TlsRefused> {
    let session = stream.ssl();
    if session.selected_alpn_protocol() != Some(ALPN) {
        return Err(TlsRefused::by_us(TlsRefusal::NoAlpn));
    }
    let shown = session.peer_certificate().ok_or(TlsRefused::by_us(TlsRefusal::NoCertificate))?;
    let facts = read_certificate(&shown.to_der().map_err(own_failure)?)
        .map_err(|error| TlsRefused::by_us(TlsRefusal::Other(error.to_string())))?;
    require_role(&facts, expect).map_err(TlsRefused::by_us)?;
    let own = config.own().fingerprint;
    let (client, server) = match side {
        Side::Client => (own, facts.fingerprint),
        Side::Server => (facts.fingerprint, own),
    };
    Ok(TlsPeer {
        channel: channel_secret(session, client, server).map_err(own_failure)?,
        valid_for: valid_for(session).map_err(own_failure)?,
        address: stream.get_ref().peer_addr().map_err(|_| TlsRefused::by_peer(TlsRefusal::Closed))?,
        facts,
    })
}

/// The RFC 8446 exporter over both certificates: a man in the middle with other certificates has another secret.
fn channel_secret(session: &SslRef, client: [u8; 32], server: [u8; 32]) -> Result<Secret<32>, ErrorStack> {
    let mut context = [0; 64];
    context[..32].copy_from_slice(&client);
    context[32..].copy_from_slice(&server);
    let mut secret = Zeroizing::new([0; 32]);
    session.export_keying_material(&mut *secret, CHANNEL_LABEL, Some(&context))?;
    Ok(Secret::new(*secret))
}

/// Until the first certificate of the verified chain ends.
fn valid_for(session: &SslRef) -> Result<Duration, ErrorStack> {
    let now = Asn1Time::days_from_now(0)?;
    let mut least = Duration::MAX;
    for certificate in session.verified_chain().into_iter().flatten() {
        let left = now.diff(certificate.not_after())?;
        let seconds = i64::from(left.days) * 86_400 + i64::from(left.secs);
        least = least.min(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    }
    Ok(least)
}

fn unreachable_peer(error: std::io::Error) -> TlsRefused {
    TlsRefused::by_peer(TlsRefusal::Unreachable(error.to_string()))
}

fn own_failure(error: ErrorStack) -> TlsRefused {
    TlsRefused::by_us(TlsRefusal::Other(error.to_string()))
}
