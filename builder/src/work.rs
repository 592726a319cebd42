//! The directories of one build on the store's file system; all of them go when it ends, however it ends.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{PermissionsExt as _, lchown},
    path::{Path, PathBuf},
};

use container::{Store, sandbox::host_ids, store::Scratch};

use crate::{
    error::{BuildError, Doing as _},
    id::is_file_name,
    trees,
};

const PLATFORM: &str = "platform";

#[derive(Debug)]
pub(crate) struct Work {
    root: PathBuf,
    /// Until it is dropped.
    scratch: Option<Scratch>,
}

impl Work {
    pub(crate) fn open(store: &Store) -> Result<Self, BuildError> {
        let scratch = store.scratch()?;
        Ok(Self {
            root: scratch.path().to_owned(),
            scratch: Some(scratch),
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// It has been moved to where it stays.
    pub(crate) fn keep(mut self) {
        self.scratch.take().map(Scratch::keep);
    }

    /// A path of this build; nothing is there yet.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A directory into which the sandbox may write.
    pub(crate) fn writable_dir(&self, name: &str) -> Result<PathBuf, BuildError> {
        let path = self.path(name);
        make_dir(&path)?;
        give(&path)?;
        Ok(path)
    }

    /// `<platform>/env`, one file per variable, readable by the sandbox alone.
    pub(crate) fn platform(&self, env: &BTreeMap<String, String>) -> Result<PathBuf, BuildError> {
        self.env_dir(PLATFORM, env)
    }

    /// Secrets may be among it.
    pub(crate) fn remove_platform(&self) -> Result<(), BuildError> {
        let platform = self.path(PLATFORM);
        fs::remove_dir_all(&platform).doing("remove", &platform)
    }

    /// A directory with an `env` in it.
    pub(crate) fn env_dir(
        &self,
        name: &str,
        env: &BTreeMap<String, String>,
    ) -> Result<PathBuf, BuildError> {
        let platform = self.path(name);
        let dir = platform.join("env");
        make_dir(&platform)?;
        make_dir(&dir)?;
        for (name, value) in env {
            if !is_file_name(name) || name.contains('=') {
                return Err(BuildError::BadVariable(name.escape_debug().to_string()));
            }
            let path = dir.join(name);
            fs::write(&path, value).doing("write", &path)?;
        }
        set_mode(&platform, 0o700)?;
        give(&platform)?;
        Ok(platform)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(scratch) = self.scratch.take() {
            trees::remove_later(scratch.keep());
        }
    }
}

/// The app's source: a build consumes it, also one that fails.
pub(crate) struct Source<'a> {
    pub(crate) path: PathBuf,
    store: &'a Store,
}

impl<'a> Source<'a> {
    pub(crate) fn take(path: PathBuf, store: &'a Store) -> Result<Self, BuildError> {
        let source = Self { path, store };
        set_mode(&source.path, 0o755)?;
        give(&source.path)?;
        Ok(source)
    }
}

impl Drop for Source<'_> {
    fn drop(&mut self) {
        if self.path.exists() {
            // Where this fails there is no store any more to keep clean.
            _ = trees::discard(self.store, &self.path);
        }
    }
}

/// With the mode that it will have in a layer, whatever our umask.
pub(crate) fn make_dir(path: &Path) -> Result<(), BuildError> {
    fs::create_dir(path).doing("make", path)?;
    set_mode(path, 0o755)
}

pub(crate) fn write_file(path: &Path, content: impl AsRef<[u8]>) -> Result<(), BuildError> {
    fs::write(path, content).doing("write", path)?;
    set_mode(path, 0o644)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), BuildError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).doing("set the mode of", path)
}

/// Makes the sandbox's user the owner of a tree. Links themselves are changed, never what they point to.
pub(crate) fn give(path: &Path) -> Result<(), BuildError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (uid, gid) = host_ids();
    lchown(path, Some(uid), Some(gid)).doing("set the owner of", path)?;
    let is_dir = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    if is_dir {
        let entries: io::Result<Vec<_>> = fs::read_dir(path).doing("read", path)?.collect();
        for entry in entries.doing("read", path)? {
            give(&entry.path())?;
        }
    }
    Ok(())
}
