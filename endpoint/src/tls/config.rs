use std::fmt;
use std::io;
use std::sync::Arc;

use crypto::{CertificateError, CertificateFacts, read_certificate};
use openssl::error::ErrorStack;
use openssl::ssl::{
    AlpnError, Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslSessionCacheMode,
    SslVerifyMode, SslVersion, select_next_proto,
};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509StoreContextRef, X509VerifyResult};

use super::refusal::refusal_of_read;
use super::{ALPN, Expect, TlsRefused, require_role};
use crate::pki::Credentials;
use crate::unix_now;

/// [`ALPN`] as it goes over the wire, after its length.
const ALPN_OFFER: &[u8] = b"\x0aconclave/1";

/// Most intermediate certificates: with the node's own and the authority's, a chain of four.
pub(super) const MAX_INTERMEDIATES: u32 = 2;

/// What both sides of all connections of a node share: its credentials and the rules of the handshake.
///
/// Cheap to clone. Made at start and made anew when certificates are reloaded; connections that stand are not touched.
#[derive(Clone)]
pub struct TlsConfig {
    shared: Arc<Shared>,
}

struct Shared {
    context: SslContext,
    own: CertificateFacts,
}

/// The credentials cannot be used for TLS. Found at start, never while running.
#[derive(Debug, thiserror::Error)]
pub enum TlsConfigError {
    /// The node's own certificate names nobody.
    #[error("the node's own certificate is of no use: {0}")]
    Certificate(#[from] CertificateError),
    /// OpenSSL refused key, certificate or settings.
    #[error("TLS cannot be set up: {0}")]
    OpenSsl(#[from] ErrorStack),
}

impl TlsConfig {
    /// Takes over the credentials. An expired certificate is not an error here: it will be refused by others, and
    /// their refusal says so.
    pub fn new(credentials: &Credentials) -> Result<Self, TlsConfigError> {
        let shared = Shared { context: context(credentials)?, own: credentials.facts()? };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What the node's own certificate says.
    #[must_use]
    pub fn own(&self) -> &CertificateFacts {
        &self.shared.own
    }

    /// What OpenSSL's settings on this host ask of keys and signatures, by its own scale.
    pub(super) fn security_level(&self) -> u32 {
        self.shared.context.security_level()
    }

    /// Why the peer refused us, out of an error of the first read on a connection that [`super::connect`] gave.
    ///
    /// A TLS 1.3 client has finished its handshake before the server has looked at its certificate, so a refusal
    /// reaches it only here. `None` when the error has nothing to do with TLS. The alert for a certificate that is
    /// not yet valid is the one for any bad certificate, so the own clock tells the two apart.
    #[must_use]
    pub fn refusal_from_read(&self, error: &io::Error) -> Option<TlsRefused> {
        refusal_of_read(error).map(|refused| self.refine(refused))
    }

    pub(super) fn refine(&self, refused: TlsRefused) -> TlsRefused {
        refused.refined(self.shared.own.not_before > unix_now())
    }

    /// A session that checks the peer's roles as soon as its certificate is known to be the authority's.
    pub(super) fn session(&self, expect: Expect) -> Result<Ssl, ErrorStack> {
        let mut session = Ssl::new(&self.shared.context)?;
        session.set_verify_callback(verify_mode(), move |verified, chain| {
            verified && (chain.error_depth() != 0 || leaf_has_role(chain, expect))
        });
        Ok(session)
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsConfig({})", self.shared.own.identity)
    }
}

/// One context for both sides; what a server's and a client's certificate must be for is OpenSSL's default by side.
fn context(credentials: &Credentials) -> Result<SslContext, ErrorStack> {
    let mut builder = SslContextBuilder::new(SslMethod::tls())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_3))?;
    builder.set_max_proto_version(Some(SslVersion::TLS1_3))?;
    builder.set_groups_list("X25519:P-256")?;
    // Nothing is ever resumed: every connection proves both certificates again and exports a fresh secret.
    builder.set_options(SslOptions::NO_TICKET);
    builder.set_num_tickets(0)?;
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    // An asynchronous write is repeated from wherever its bytes then are.
    builder.set_mode(
        SslMode::ACCEPT_MOVING_WRITE_BUFFER | SslMode::ENABLE_PARTIAL_WRITE | SslMode::RELEASE_BUFFERS,
    );
    builder.set_verify(verify_mode());
    builder.set_verify_depth(MAX_INTERMEDIATES);
    builder.set_cert_store(only(credentials)?.build());
    builder.set_alpn_protos(ALPN_OFFER)?;
    builder.set_alpn_select_callback(|_, offered| {
        let common = select_next_proto(ALPN_OFFER, offered);
        common.map(|_| ALPN).ok_or(AlpnError::ALERT_FATAL)
    });
    builder.set_certificate(credentials.leaf())?;
    for intermediate in credentials.intermediates() {
        builder.add_extra_chain_cert(intermediate.clone())?;
    }
    builder.set_private_key(credentials.key())?;
    builder.check_private_key()?;
    Ok(builder.build())
}

/// A store of the group's authority and nothing else: the host's own list of authorities is never read.
pub(super) fn only(credentials: &Credentials) -> Result<X509StoreBuilder, ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    for authority in credentials.authorities() {
        store.add_cert(authority.clone())?;
    }
    Ok(store)
}

fn verify_mode() -> SslVerifyMode {
    SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT
}

/// A certificate that cannot be read passes here and is refused after the handshake, in words.
fn leaf_has_role(chain: &mut X509StoreContextRef, expect: Expect) -> bool {
    let der = chain.current_cert().and_then(|leaf| leaf.to_der().ok());
    let facts = der.and_then(|der| read_certificate(&der).ok());
    let refused = facts.is_some_and(|facts| require_role(&facts, expect).is_err());
    if refused {
        chain.set_error(X509VerifyResult::APPLICATION_VERIFICATION);
    }
    !refused
}
