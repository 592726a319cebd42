//! A folder of one's own for as long as something is being made in it.

use std::{
    fs::{self, DirBuilder, File},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use container::store::remove_tree;
use rustix::fs::{FlockOperation, flock};

use super::{BackupError, Doing as _};

/// Removed when dropped; when its maker is killed, by the next one who claims it.
pub(super) struct Workplace {
    path: PathBuf,
    _lock: File,
}

impl Workplace {
    pub(super) fn claim(path: PathBuf) -> Result<Self, BackupError> {
        if let Ok(left) = File::open(&path) {
            lock(&left, &path)?;
            remove_tree(&path).doing("remove", &path)?;
        }
        let mut private = DirBuilder::new();
        private.mode(0o700).create(&path).doing("make", &path)?;
        let _lock = File::open(&path).doing("open", &path)?;
        lock(&_lock, &path)?;
        Ok(Self { path, _lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// It becomes `to`, which is absent or an empty folder.
    pub(super) fn become_folder(mut self, to: &Path) -> Result<(), BackupError> {
        fs::rename(&self.path, to).doing("make", to)?;
        self.path = PathBuf::new();
        let parent = to.parent().unwrap_or(Path::new("/"));
        File::open(parent)
            .and_then(|parent| parent.sync_all())
            .doing("sync", parent)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            // What cannot be removed now is tried again by the next claim.
            _ = remove_tree(&self.path);
        }
    }
}

fn lock(dir: &File, path: &Path) -> Result<(), BackupError> {
    flock(dir, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| BackupError::Busy(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_nothing_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("work");
        // As a killed one leaves it.
        fs::create_dir_all(path.join("left")).unwrap();
        let place = Workplace::claim(path.clone()).unwrap();
        assert!(!place.path().join("left").exists());
        assert!(matches!(
            Workplace::claim(path.clone()),
            Err(BackupError::Busy(_))
        ));
        drop(place);
        assert!(!path.exists());
        let place = Workplace::claim(path.clone()).unwrap();
        fs::write(place.path().join("file"), "x").unwrap();
        place.become_folder(&dir.path().join("data")).unwrap();
        assert!(dir.path().join("data/file").exists() && !path.exists());
    }
}
