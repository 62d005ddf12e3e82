//! What a demonstration stands on: a directory of its own with an authority, certificates, the file and the hosts'
//! configurations and state. All of it goes when the demonstration ends well.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use conclave::{Authority, IdentityError, IssueRequest, KeyKind, PkiError};
use crypto::Roles;
use tempfile::TempDir;

use super::lines::Role;
use super::node::NodeSpec;
use super::stream::MAX_FILE;

/// The group's name.
pub(super) const GROUP: &str = "demo";
/// What identities end on; a node's short name is what stands before it.
const DOMAIN: &str = ".demo";
/// How long the certificates are valid.
const LIFETIME: Duration = Duration::from_secs(3_600);
/// How long joins and leaves are gathered, so short that there is something to see.
const REKEY_INTERVAL: &str = "1s";

/// The directory of a demonstration.
pub(super) struct Ground {
    directory: TempDir,
    authority: Authority,
    ca: PathBuf,
    /// The file to be sent, and its length.
    pub(super) file: PathBuf,
    pub(super) file_len: u64,
}

/// The ground cannot be laid: no room, no permission, no working OpenSSL.
#[derive(Debug, thiserror::Error)]
pub(super) enum GroundError {
    #[error("cannot prepare the demonstration's directory: {0}")]
    Directory(#[from] io::Error),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl Ground {
    /// Makes the directory, the authority, and the file: the beginning of the program's own executable.
    pub(super) fn lay() -> Result<Self, GroundError> {
        let directory = tempfile::Builder::new().prefix("conclave-demo-").tempdir()?;
        let authority = Authority::create("Conclave demonstration", KeyKind::default(), LIFETIME)?;
        let ca = directory.path().join("ca-cert.pem");
        std::fs::write(&ca, authority.certificate_pem()?)?;
        let file = directory.path().join("conclave");
        let mut executable = File::open(std::env::current_exe()?)?.take(MAX_FILE);
        let file_len = io::copy(&mut executable, &mut File::create(&file)?)?;
        Ok(Self { directory, authority, ca, file, file_len })
    }

    /// Issues a member's certificate and says what its process is started with.
    pub(super) fn member(&self, name: &str, role: Role, began_us: u64) -> Result<NodeSpec, GroundError> {
        let (certificate, key) = self.issue(name, Roles { member: true, manager: false, maa: false })?;
        Ok(NodeSpec {
            name: name.to_owned(),
            role,
            group: GROUP.to_owned(),
            certificate,
            key,
            ca: self.ca.clone(),
            file: self.file.clone(),
            began_us,
        })
    }

    /// Issues the certificate of a host that may manage the group, and writes its configuration: nobody's address is in
    /// it.
    pub(super) fn host(&self, name: &str) -> Result<(), GroundError> {
        let (certificate, key) = self.issue(name, Roles { member: true, manager: true, maa: false })?;
        let text = format!(
            "interface = \"lo\"\nport = 0\ncontrol_socket = {:?}\nstate = \"{name}/state\"\nkeys = \"{name}/keys\"\n\n\
             [credentials]\ncertificate = {certificate:?}\nkey = {key:?}\nca = {:?}\n\n\
             [[group]]\nname = {GROUP:?}\nrekey_interval = {REKEY_INTERVAL:?}\n",
            self.control_socket(name),
            self.ca,
        );
        std::fs::write(self.config(name), text)?;
        Ok(())
    }

    /// A host's configuration.
    pub(super) fn config(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.toml"))
    }

    /// Where a host's daemon listens for its operator.
    pub(super) fn control_socket(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.sock"))
    }

    /// Where a process' error output goes.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.log"))
    }

    /// Leaves the directory where it is, for somebody to look into.
    pub(super) fn keep(self) -> PathBuf {
        self.directory.keep()
    }

    fn issue(&self, name: &str, roles: Roles) -> Result<(PathBuf, PathBuf), GroundError> {
        let request = IssueRequest::new(identity(name).parse()?, roles, LIFETIME);
        let issued = self.authority.issue(&request)?;
        let certificate = self.directory.path().join(format!("{name}-cert.pem"));
        let key = self.directory.path().join(format!("{name}-key.pem"));
        // Not as an authority saves what it issues: waiting for the disk in mid-play would hold the play up, and none
        // of this has to survive it.
        std::fs::write(&certificate, issued.certificate_pem()?)?;
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&key)?
            .write_all(&issued.key_pem()?)?;
        Ok((certificate, key))
    }
}

/// The name in a node's certificate.
pub(super) fn identity(name: &str) -> String {
    format!("{name}{DOMAIN}")
}

/// The short name of a node, from the name in its certificate.
pub(super) fn short_name(identity: &str) -> &str {
    identity.strip_suffix(DOMAIN).unwrap_or(identity)
}
