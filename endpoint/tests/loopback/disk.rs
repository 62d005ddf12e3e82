//! The two directories of a manager's state, and what happens to them while it is stopped.

use std::fs;
use std::path::{Path, PathBuf};

use conclave::{Group, GroupOptions, Host, StartError, State};
use storage::StoreError;

use crate::support::{Site, within};

/// The two directories of a manager's state.
pub(crate) struct Disk {
    place: tempfile::TempDir,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self { place: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.place.path().join("data")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.place.path().join("keys")
    }

    /// Starts the site's manager with this state.
    pub(crate) async fn manager(&self, site: &Site, host: &Host) -> Group {
        loop {
            let state = State::Directory { data: self.data(), keys: self.keys() };
            let options = GroupOptions { state, ..site.manager_options() };
            match within(Group::start(host, options)).await {
                Ok(manager) => return manager,
                // The one before was dropped and is still writing, as a process that is being killed.
                Err(StartError::Store(StoreError::Locked { .. }) | StartError::AlreadyServed(_)) => {
                    tokio::task::yield_now().await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// A copy of one of the directories as it is now.
    pub(crate) fn copy(directory: &Path) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_all(directory, copy.path());
        copy
    }

    /// Puts a copy back in the place of what is there now.
    pub(crate) fn put_back(copy: &Path, directory: &Path) {
        fs::remove_dir_all(directory).unwrap();
        fs::create_dir(directory).unwrap();
        copy_all(copy, directory);
    }

    /// All files of the data directory, in order of their paths.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        find(&self.data(), &mut files);
        files.sort();
        files
    }
}

/// Permissions go along, as with `cp -a`.
fn copy_all(from: &Path, to: &Path) {
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir(&copy).unwrap();
            copy_all(&path, &copy);
        } else {
            fs::copy(&path, &copy).unwrap();
        }
    }
}

fn find(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, files);
        } else {
            files.push(path);
        }
    }
}
