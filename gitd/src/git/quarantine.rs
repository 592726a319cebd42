//! Where a pack waits until it is known to be good: `objects/incoming-*`, which no reader looks into.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use super::Repo;

const PREFIX: &str = "incoming-";
/// Packs never change.
const READ_ONLY: u32 = 0o444;

/// Removed, with what is in it, when dropped.
#[derive(Debug)]
pub(crate) struct Quarantine {
    path: PathBuf,
    /// `objects/pack`, where its pack goes in the end.
    destination: PathBuf,
}

/// A pack and its index.
#[derive(Debug, Clone)]
pub(crate) struct PackFiles {
    pub(crate) pack: PathBuf,
    pub(crate) index: PathBuf,
}

impl Quarantine {
    pub(crate) fn new(repo: &Repo) -> io::Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let objects = repo.objects_dir();
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = objects.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self {
            path,
            destination: objects.join("pack"),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the pack part of the repository: durable, and the index last, because it is what readers look for.
    pub(crate) fn release(self, files: &PackFiles) -> io::Result<()> {
        for file in [&files.pack, &files.index] {
            fs::set_permissions(file, Permissions::from_mode(READ_ONLY))?;
            File::open(file)?.sync_all()?;
        }
        for file in [&files.pack, &files.index] {
            let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?;
            fs::rename(file, self.destination.join(name))?;
        }
        File::open(&self.destination)?.sync_all()
    }
}

impl Drop for Quarantine {
    fn drop(&mut self) {
        // What remains is removed at the next start.
        _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes quarantines of a process that was killed.
pub(crate) fn remove_stale(objects: &Path) {
    let Ok(entries) = fs::read_dir(objects) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stays_of_a_dropped_or_stale_quarantine() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let repo = Repo::init(dir.path().join("1.git"), "main").expect("made");
        let quarantine = Quarantine::new(&repo).expect("made");
        fs::write(quarantine.path().join("tmp_pack"), "x").expect("writes");
        let path = quarantine.path().to_owned();
        drop(quarantine);
        assert!(!path.exists());

        fs::create_dir(&path).expect("as a killed process leaves it");
        fs::write(path.join("tmp_pack"), "x").expect("writes");
        repo.clean();
        assert!(!path.exists());
        assert!(repo.objects_dir().join("pack").exists());
    }
}
