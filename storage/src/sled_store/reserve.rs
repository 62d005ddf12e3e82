//! Room set aside, so that a full disk can still take an eviction.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use super::files::{FILE_MODE, remove, write_whole};

/// Bytes set aside: eight of the engine's segments.
const LEN: u64 = 4 << 20;
/// Bytes that must be left beside the reserve when it is made.
const SLACK: u64 = 1 << 20;

/// A file of zeros that is given up when the disk is full, and made again when there is room.
pub(crate) struct Reserve {
    path: PathBuf,
    held: bool,
}

impl Reserve {
    pub(crate) fn new(dir: &Path) -> Self {
        let path = dir.join("reserve");
        let held = fs::metadata(&path).is_ok_and(|found| found.len() == LEN);
        Self { path, held }
    }

    /// Makes the reserve if it is missing and there is room for it. It is written out, since a sparse file holds no
    /// room. A failure leaves the store without one, as before.
    pub(crate) fn ensure(&mut self) {
        if self.held || !self.room() {
            return;
        }
        let zeros = vec![0; usize::try_from(LEN).unwrap_or(0)];
        match write_whole(&self.path, &zeros, FILE_MODE) {
            Ok(()) => self.held = true,
            Err(error) => tracing::warn!(%error, "no room can be set aside for a full disk"),
        }
    }

    /// Gives the room up; `false` if there is none to give.
    pub(crate) fn release(&mut self) -> io::Result<bool> {
        let had = self.path.exists();
        remove(&self.path)?;
        self.held = false;
        Ok(had)
    }

    fn room(&self) -> bool {
        let dir = self.path.parent().unwrap_or_else(|| Path::new("."));
        let free = statvfs(dir).map(|found| found.blocks_available().saturating_mul(found.fragment_size()));
        free.is_ok_and(|free| free >= LEN + SLACK)
    }
}
