//! A directory of a phase's own, gone when it ends.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::failure::{Doing as _, Failure};

/// Names that somebody else has taken already; a directory of old phases is unlikely to hold more in a row.
const TRIES_MAX: u32 = 1000;

#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    /// Where the machine has its temporary files (`TMPDIR`).
    pub(crate) fn new() -> Result<Self, Failure> {
        Self::below(&std::env::temp_dir())
    }

    pub(crate) fn below(dir: &Path) -> Result<Self, Failure> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut tries = 0;
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(format!(".lifecycle-{}-{number}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(error)
                    if error.kind() == std::io::ErrorKind::AlreadyExists && tries < TRIES_MAX =>
                {
                    tries += 1;
                }
                result => return result.failing("make", &path).map(|()| Self(path)),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // It may have been renamed to its final place.
        _ = fs::remove_dir_all(&self.0);
    }
}
