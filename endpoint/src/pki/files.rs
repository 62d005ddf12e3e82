//! Files that hold keys and certificates: written whole or not at all, never over another, keys for the owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::PkiError;

/// Who may read a file that is written.
#[derive(Clone, Copy)]
pub(super) enum Access {
    /// Certificates: 0644.
    Everyone,
    /// Keys: 0600.
    Owner,
}

/// Largest file read: a chain of certificates is a few thousand bytes.
const MAX_FILE: u64 = 1 << 20;

/// Writes a new file: complete and on disk when this returns, absent otherwise. An existing file is an error.
pub(super) fn write_new(path: &Path, bytes: &[u8], access: Access) -> Result<(), PkiError> {
    place(path, bytes, access).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => PkiError::Exists { path: path.to_owned() },
        _ => PkiError::Write { path: path.to_owned(), source },
    })
}

/// Fails if any of the files exists, so that a pair is not left half written.
pub(super) fn refuse_existing<const N: usize>(paths: [&Path; N]) -> Result<(), PkiError> {
    match paths.into_iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => Err(PkiError::Exists { path: path.to_owned() }),
        None => Ok(()),
    }
}

/// Reads a file that anyone may read.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, PkiError> {
    let mut bytes = Vec::new();
    let opened = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
    opened.map_err(|source| PkiError::Read { path: path.to_owned(), source })?;
    Ok(bytes)
}

/// Reads a key file, if nobody but its owner can read or change it.
///
/// The check is on the open file, so it cannot be exchanged in between.
pub(super) fn read_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    let failed = |source| PkiError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(PkiError::KeyExposed { path: path.to_owned(), mode });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The temporary file of one write; gone when the write is over, whichever way.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        // If this fails there is a stray file, of the right mode, that nothing reads.
        let _ = fs::remove_file(&self.0);
    }
}

fn place(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let mode = match access {
        Access::Everyone => 0o644,
        Access::Owner => 0o600,
    };
    let tag = getrandom::u64().map_err(io::Error::other)?;
    let draft = Draft(directory.join(format!(".{name}.{tag:016x}")));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft.0)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    // A rename would replace what is there; a link fails instead.
    fs::hard_link(&draft.0, path)?;
    File::open(directory)?.sync_all()
}
