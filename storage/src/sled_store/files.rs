//! Files for the owner's eyes only, written whole or not at all.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::StoreError;

/// Permissions of a directory of the store.
const DIR_MODE: u32 = 0o700;
/// Permissions of a file of the store.
pub(crate) const FILE_MODE: u32 = 0o600;
/// Rights of group and others.
const FOREIGN: u32 = 0o077;

/// Puts the path into an error that has none.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Whether the medium has no room left.
pub(crate) fn is_full(error: &StoreError) -> bool {
    matches!(error, StoreError::Medium(error)
        if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
}

/// Whether an error says that the content is bad, not that the file could not be reached just now.
pub(crate) fn is_of_content(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    let wrong = [ErrorKind::InvalidData, ErrorKind::InvalidInput, ErrorKind::UnexpectedEof, ErrorKind::Other];
    error.raw_os_error() == Some(EIO) || (error.raw_os_error().is_none() && wrong.contains(&error.kind()))
}

/// Makes the directory if it is missing, and refuses one that others can look into.
pub(crate) fn private_dir(path: &Path) -> Result<(), StoreError> {
    if !path.exists() {
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(path).map_err(at(path))?;
        if let Some(parent) = path.parent().filter(|parent| *parent != Path::new("")) {
            sync_dir(parent)?;
        }
    }
    check_private(path)
}

/// Refuses a file or directory that group or others have any right to.
pub(crate) fn check_private(path: &Path) -> Result<(), StoreError> {
    let mode = fs::metadata(path).map_err(at(path))?.permissions().mode() & 0o7777;
    if mode & FOREIGN == 0 { Ok(()) } else { Err(StoreError::TooOpen { path: path.to_owned(), mode }) }
}

/// Takes away the rights of others to the files directly below `dir`. An engine makes files as the umask says.
pub(crate) fn make_private(dir: &Path) -> io::Result<()> {
    for path in entries(dir)? {
        let metadata = fs::metadata(&path).map_err(at(&path))?;
        if metadata.permissions().mode() & FOREIGN != 0 {
            let mode = if metadata.is_dir() { DIR_MODE } else { FILE_MODE };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(at(&path))?;
        }
    }
    Ok(())
}

/// The paths directly below `dir`, in order of their names.
pub(crate) fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let read = fs::read_dir(dir).map_err(at(dir))?;
    let mut paths = read.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// A path's last part, for names of our own making, which are ASCII.
pub(crate) fn name(path: &Path) -> &str {
    path.file_name().and_then(OsStr::to_str).unwrap_or_default()
}

/// Reads a private file; `None` if there is none.
pub(crate) fn read_private(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => {
            check_private(path)?;
            Ok(Some(bytes))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path)(error).into()),
    }
}

/// Writes a file so that, whatever happens meanwhile, either the old content or the new one is found under its name;
/// returns when the new one is safe.
pub(crate) fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let written = write_fresh(&fresh, bytes, mode).and_then(|()| fs::rename(&fresh, path)).map_err(at(path));
    if written.is_err() {
        // What is left of it would only take room.
        let _ = fs::remove_file(&fresh);
    }
    written?;
    path.parent().map_or(Ok(()), sync_dir)
}

fn write_fresh(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // A leftover of a crash may be read-only.
    let _ = fs::remove_file(path);
    write_new(path, bytes, mode)?.sync_all()
}

/// Writes a file that is not there yet; nothing of it is safe when this returns.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// Makes what was created, renamed or removed in `dir` survive a loss of power.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
}

/// Makes the content of the files directly in `dir` survive a loss of power.
pub(crate) fn sync_files(dir: &Path) -> io::Result<()> {
    for path in entries(dir)? {
        if path.is_file() {
            File::open(&path).and_then(|file| file.sync_all()).map_err(at(&path))?;
        }
    }
    Ok(())
}

/// Removes a file; one that is not there is in order.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

/// Takes the directory for this store alone, until the file is dropped.
pub(crate) fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    let file =
        options.write(true).create(true).truncate(false).mode(FILE_MODE).open(&path).map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(at(&path)(error).into()),
    }
}
