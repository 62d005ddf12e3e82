//! Waking a flush that waits for nothing.
//!
//! When the write of a batch's first few bytes fails, sled keeps the error and wakes nobody. A flush that waits already
//! then waits for ever, and all commits of the process with it, since a flush holds a lock that they share. Whoever
//! writes next wakes it. So while a commit takes long something is written beside it that needs neither that lock nor
//! the disk: a tree that nobody uses is made or removed.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use sled::Db;

use super::engine::guarded;

/// After how long a commit is first taken for one that may hang; after twice as long the next time, and so on.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(16);
/// The tree's name.
const TREE: &str = "waking";

/// Runs `commit`, which must not panic, and wakes it now and then if it does not end.
pub(crate) fn woken<T>(db: &Db, commit: impl FnOnce() -> T) -> T {
    let (ended, changed) = (Mutex::new(false), Condvar::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut wait = FIRST;
            let mut guard = ended.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                let waited = changed.wait_timeout_while(guard, wait, |ended| !*ended);
                guard = waited.unwrap_or_else(PoisonError::into_inner).0;
                if *guard {
                    return;
                }
                drop(guard);
                write(db);
                wait = (wait * 2).min(LONGEST);
                guard = ended.lock().unwrap_or_else(PoisonError::into_inner);
            }
        });
        let result = commit();
        *ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
        result
    })
}

/// Whether it succeeds is nobody's concern: that it fails is what wakes the flush.
fn write(db: &Db) {
    let _ = guarded(|| {
        if !db.drop_tree(TREE)? {
            db.open_tree(TREE)?;
        }
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_takes_long_is_woken_by_writes_beside_it_and_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let db = sled::Config::new().path(dir.path().join("db")).flush_every_ms(None).open().unwrap();
        db.insert(b"key", b"value").unwrap();
        woken(&db, || while !db.tree_names().iter().any(|name| **name == *TREE.as_bytes()) {});
        woken(&db, || while db.tree_names().iter().any(|name| **name == *TREE.as_bytes()) {});
        assert_eq!((db.len(), db.get(b"key").unwrap().as_deref()), (1, Some(b"value".as_slice())));
    }
}
