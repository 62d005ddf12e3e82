//! What the daemon does to its own process before it holds a key.

use nix::errno::Errno;
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};

/// The kernel refused to shut this process off from others.
#[derive(Debug, thiserror::Error)]
pub enum HardenError {
    /// The core file limit could not be set.
    #[error("cannot forbid core dumps (RLIMIT_CORE 0): {0}")]
    CoreLimit(#[source] Errno),
    /// The process could not be made undumpable.
    #[error("cannot forbid other processes to look into this one (PR_SET_DUMPABLE 0): {0}")]
    Dumpable(#[source] Errno),
}

/// Forbids core dumps and keeps other processes of the same user from reading this one's memory.
///
/// Called once, first thing in the daemon, before any key is read. Without it a crash would write group keys to disk,
/// and any program of the same user could read them by ptrace or `/proc`. Both settings are inherited by threads made
/// later and need no privilege; on error the daemon should not start.
pub fn harden() -> Result<(), HardenError> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(HardenError::CoreLimit)?;
    set_dumpable(false).map_err(HardenError::Dumpable)
}

#[cfg(test)]
mod tests {
    use nix::sys::prctl::get_dumpable;
    use nix::sys::resource::getrlimit;

    use super::*;

    #[test]
    fn a_hardened_process_dumps_no_core_and_is_not_readable() {
        harden().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_CORE).unwrap(), (0, 0));
        assert!(!get_dumpable().unwrap());
    }
}
