//! The Unix socket itself: who may open it, and what happens to one that was left behind.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Type};
use tokio::net::UnixListener;

/// Owner and group may open it: the group is whom the operator lets read.
const MODE: u32 = 0o660;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;

/// The control socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketFault {
    /// A daemon listens there.
    #[error("another daemon listens on {}", .path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The path is taken by something that is not a socket.
    #[error("{} is there and is not a socket; it is not removed", .path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("cannot open the control socket {}: {source}", .path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Its answer.
        #[source]
        source: io::Error,
    },
}

/// A listening control socket.
pub(crate) struct Socket {
    listener: UnixListener,
    guard: SocketFile,
}

/// Removes the socket's file when the daemon ends.
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // If this fails the next start finds a stale socket, and removes it.
        let _ = fs::remove_file(&self.0);
    }
}

impl Socket {
    /// Listens at `path`, within a tokio runtime. Its directory is made if it is not there; a socket that nobody
    /// listens on is replaced, anything else is left alone.
    pub(crate) fn bind(path: &Path) -> Result<Self, SocketFault> {
        let failed = |source| SocketFault::Io { path: path.to_owned(), source };
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(directory).map_err(failed)?;
        // Of two daemons that start at once, one finds the other's socket and not a stale one.
        let lock = File::open(directory).map_err(failed)?;
        lock.lock().map_err(failed)?;
        remove_stale(path)?;
        let guard = SocketFile(path.to_owned());
        let listener = listen(path).map_err(failed)?;
        let listener = UnixListener::from_std(listener).map_err(failed)?;
        Ok(Self { listener, guard })
    }

    /// The listener, and what removes the file when it is dropped.
    pub(crate) fn into_parts(self) -> (UnixListener, SocketFile) {
        (self.listener, self.guard)
    }
}

/// Nobody can connect before `listen`, and by then the mode is set.
fn listen(path: &Path) -> io::Result<StdListener> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn remove_stale(path: &Path) -> Result<(), SocketFault> {
    let failed = |source| SocketFault::Io { path: path.to_owned(), source };
    match StdStream::connect(path) {
        Ok(_) => Err(SocketFault::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            use std::os::unix::fs::FileTypeExt;
            let kind = fs::symlink_metadata(path).map_err(failed)?.file_type();
            if !kind.is_socket() {
                return Err(SocketFault::NotASocket { path: path.to_owned() });
            }
            fs::remove_file(path).map_err(failed)
        }
        Err(source) => Err(failed(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_for_owner_and_group_and_gone_afterwards() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/conclave.sock");
        let socket = Socket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(Socket::bind(&path), Err(SocketFault::InUse { .. })));
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_file_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("conclave.sock");
        drop(StdListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(Socket::bind(&path).unwrap());
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketFault::NotASocket { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
