//! The manager's signing key, which members follow over all restarts.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crypto::{Ed25519Signer, Secret, wipe};

use crate::node::system_randomness;

/// The file's name in a group's keys directory.
const FILE: &str = "signing.key";
/// Rights of group and others.
const FOREIGN: u32 = 0o077;

/// Why the manager's signing key cannot be used. It is never replaced by a new one: members follow this one alone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningKeyError {
    /// Somebody else on this machine could sign as this manager.
    #[error("{} can be read by others (mode {mode:04o}): take that right away, `chmod go= {}`", path.display(), path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is no key.
    #[error(
        "{} has {len} bytes, and a signing key has 32: restore the file, or remove it to have all members register again",
        path.display()
    )]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Its length.
        len: usize,
    },
    /// It cannot be read or made.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
}

/// Reads the key of a keys directory, or makes it where there is none; then it is safe on the disk before it signs.
pub(super) fn read_or_make(keys: &Path) -> Result<Ed25519Signer, SigningKeyError> {
    let path = keys.join(FILE);
    let at = |source| SigningKeyError::File { path: path.clone(), source };
    let mode = match fs::metadata(&path) {
        Ok(metadata) => metadata.permissions().mode() & 0o7777,
        Err(error) if error.kind() == ErrorKind::NotFound => return make(&path).map_err(at),
        Err(error) => return Err(at(error)),
    };
    if mode & FOREIGN != 0 {
        return Err(SigningKeyError::TooOpen { path, mode });
    }
    let mut bytes = fs::read(&path).map_err(at)?;
    let seed = Secret::from_slice(&bytes);
    wipe(&mut bytes);
    seed.map(|seed| Ed25519Signer::from_seed(&seed))
        .ok_or_else(|| SigningKeyError::WrongSize { len: bytes.len(), path: path.clone() })
}

/// Makes the file so that it is there whole or not at all.
fn make(path: &Path) -> std::io::Result<Ed25519Signer> {
    let seed = Secret::random(&mut *system_randomness());
    let fresh = path.with_extension("new");
    // What a crash left there was never used.
    let _ = fs::remove_file(&fresh);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(seed.expose())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(Ed25519Signer::from_seed(&seed))
}

#[cfg(test)]
mod tests {
    use crypto::Signer;

    use super::*;

    #[test]
    fn the_key_is_made_once_for_its_owner_alone_and_read_from_then_on() {
        let keys = tempfile::tempdir().unwrap();
        let made = read_or_make(keys.path()).unwrap().public_key();
        let mode = fs::metadata(keys.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(read_or_make(keys.path()).unwrap().public_key(), made);
        assert_eq!(fs::read_dir(keys.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused_and_stays_as_it_is() {
        let keys = tempfile::tempdir().unwrap();
        let path = keys.path().join(FILE);
        read_or_make(keys.path()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = read_or_make(keys.path()).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("chmod go="), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for len in [0, 31, 33] {
            fs::write(&path, vec![7; len]).unwrap();
            let error = read_or_make(keys.path()).map(|_| ()).unwrap_err();
            assert!(matches!(error, SigningKeyError::WrongSize { len: told, .. } if told == len), "{error}");
            assert_eq!(fs::read(&path).unwrap(), vec![7; len]);
        }
    }

    #[test]
    fn a_leftover_of_a_crash_is_not_taken_for_the_key() {
        let keys = tempfile::tempdir().unwrap();
        fs::write(keys.path().join("signing.new"), [1; 7]).unwrap();
        read_or_make(keys.path()).unwrap();
        assert_eq!(fs::read(keys.path().join(FILE)).unwrap().len(), 32);
    }
}
