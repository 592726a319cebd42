//! The content store: unpacked layers by diffID and image configurations by digest, under one directory.
//!
//! ```text
//! layers/<hex>/…         a rooted, read-only tree: the layer's files at their place in the image
//! images/<hex>.json      image configurations
//! tmp/<pid>-<n>/         scratch directories: renamed into place when done, gone when the store is opened again
//! ```
//! Everything is made beside its final place and renamed, so a crash leaves only scratch.

mod copy;
mod garbage;
mod merge;
mod source;

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Component, Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

pub use self::copy::{Kept, original_owner};
use self::garbage::Uses;
pub use self::garbage::{Collected, Hold, Roots};
pub(crate) use self::source::Source;
use crate::{
    Digest, Image, ImageConfig,
    layer::{self, Form, LayerSource, MTIME, Owner},
};

#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    uses: Arc<Uses>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("there is no image {0} in the store")]
    NoImage(Digest),
    #[error("there is no layer {0} in the store")]
    NoLayer(Digest),
    #[error("the configuration of image {0} is damaged")]
    Damaged(Digest),
    #[error("stack `{0}` is not known; `host` is the one there is")]
    NoStack(String),
    #[error("the store is being backed up, or tidied already; try again when that has ended")]
    Kept,
    #[error("{0}")]
    Refused(String),
}

/// Says what was being done to which path.
pub(crate) trait Doing<T> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|error| StoreError::Io {
            action,
            path: path.to_owned(),
            source: error.into(),
        })
    }
}

/// A directory of its own on the store's file system; removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the directory: the caller has taken it over.
    pub fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            remove_later(std::mem::take(&mut self.path));
        }
    }
}

/// What a build leaves of a layer directory.
#[derive(Debug)]
pub enum Tree<'a> {
    /// A plain directory; consumed (renamed into the store).
    Whole(&'a Path),
    /// The upper directory of an overlay over a layer already in the store. An empty one means unchanged: nothing is
    /// read or hashed. Otherwise both are merged (hard links to the immutable lower) and hashed.
    Changed { lower: Digest, upper: &'a Path },
}

impl Store {
    /// Opens or makes the store at `root`; what an earlier process left half done is removed in the background.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let tmp = root.join("tmp");
        if tmp.exists() {
            // A pid may come again before the last one's directory is gone; a time does not.
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let old = root.join(format!("tmp-old-{}-{}", now.as_nanos(), std::process::id()));
            fs::rename(&tmp, &old).doing("move aside", &tmp)?;
        }
        for dir in ["layers", "images", "tmp"] {
            let path = root.join(dir);
            fs::create_dir_all(&path).doing("make", &path)?;
        }
        // Apps' sources are nobody else's business on this machine.
        fs::set_permissions(root, fs::Permissions::from_mode(0o700))
            .doing("set the mode of", root)?;
        for entry in fs::read_dir(root).doing("read", root)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("tmp-old-") {
                remove_later(entry.path());
            }
        }
        Ok(Self::reader(root))
    }

    /// A store that another process has open: to read from, nothing is tidied.
    pub fn reader(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            uses: Arc::default(),
        }
    }

    pub fn scratch(&self) -> Result<Scratch, StoreError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = self.root.join("tmp").join(name);
        fs::create_dir(&path).doing("make", &path)?;
        Ok(Scratch { path })
    }

    /// Removes all scratch at once, for a program that ends: what is removed later would stay. Nothing may be in use.
    pub fn clear_scratch(&self) {
        let left = fs::read_dir(self.root.join("tmp")).into_iter().flatten();
        for entry in left.flatten() {
            // What stays goes when the store is opened again.
            _ = remove_tree(&entry.path());
        }
    }

    /// Makes `tree` a layer whose content appears at the absolute image path `at`; returns its diffID. Files get the
    /// mtime of the tar, so that a run from the store equals a run from a pulled image.
    pub fn commit_layer(
        &self,
        tree: Tree<'_>,
        at: &str,
        owner: Owner,
        form: Form,
    ) -> Result<Digest, StoreError> {
        let below = below_root(at)?;
        let scratch = self.scratch()?;
        let place = scratch.path().join("fs").join(below);
        make_parents(scratch.path(), &place)?;
        match tree {
            Tree::Whole(dir) => {
                if place.exists() {
                    fs::remove_dir(&place).doing("remove", &place)?;
                }
                fs::rename(dir, &place).doing("move into the store", dir)?;
            }
            Tree::Changed { lower, upper } => {
                let tree = self.layer(&lower).ok_or(StoreError::NoLayer(lower))?;
                if merge::is_unchanged(upper)? {
                    return Ok(lower);
                }
                merge::merge(&tree.join(below), upper, &place)?;
            }
        }
        let source = LayerSource {
            dir: &place,
            at,
            owner,
            form,
        };
        let diff_id = layer::diff_id(&source).doing("hash", &place)?;
        let fixed = self.root.join("layers").join(diff_id.hex());
        if self.layer(&diff_id).is_some() {
            return Ok(diff_id);
        }
        let made = scratch.path().join("fs");
        Source::of(&source).note(&made);
        set_mtimes(&made)?;
        sync(scratch.path())?;
        self.uses
            .touch(&diff_id, || match fs::rename(&made, &fixed) {
                // Somebody else has just committed the same.
                Err(_) if fixed.exists() => Ok(()),
                result => result.doing("move into the store", &made),
            })?;
        sync_dir(&self.root.join("layers"))?;
        Ok(diff_id)
    }

    /// Merges `upper` over `lower` into the new directory `into`, without hashing: for caches.
    pub fn merge(&self, lower: &Path, upper: &Path, into: &Path) -> Result<(), StoreError> {
        merge::merge(lower, upper, into)
    }

    /// Whether an overlay's upper directory holds no change.
    pub fn is_unchanged(&self, upper: &Path) -> Result<bool, StoreError> {
        merge::is_unchanged(upper)
    }

    /// The layer's rooted tree, to be mounted as an overlay's lower directory.
    pub fn layer(&self, diff_id: &Digest) -> Option<PathBuf> {
        let path = self.root.join("layers").join(diff_id.hex());
        let find = || path.is_dir().then_some(path).ok_or(());
        self.uses.touch(diff_id, find).ok()
    }

    /// Stores the configuration durably; returns the image id. The same configuration twice is one image.
    pub fn put_image(&self, config: &ImageConfig) -> Result<Digest, StoreError> {
        let path = self.root.join("images");
        let json = config
            .to_json()
            .map_err(io::Error::from)
            .doing("write to", &path)?;
        let id = Digest::of(&json);
        let scratch = self.scratch()?;
        let made = scratch.path().join("config.json");
        fs::write(&made, &json).doing("write", &made)?;
        fs::File::open(&made)
            .and_then(|file| file.sync_all())
            .doing("write", &made)?;
        let fixed = self.image_file(&id);
        let put = || fs::rename(&made, &fixed).doing("write", &fixed);
        self.uses.touch(&id, put)?;
        sync_dir(&path)?;
        Ok(id)
    }

    pub fn image(&self, id: &Digest) -> Result<Image, StoreError> {
        let json = self.uses.touch(id, || self.image_json(id))?;
        Ok(Image {
            id: *id,
            config: ImageConfig::from_json(&json).map_err(|_| StoreError::Damaged(*id))?,
        })
    }

    /// For example to tell whether a release can be gone back to.
    pub fn has_image(&self, id: &Digest) -> bool {
        self.image_file(id).exists()
    }

    pub(crate) fn image_json(&self, id: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.image_file(id);
        let json = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NoImage(*id));
            }
            result => result.doing("read", &path)?,
        };
        if Digest::of(&json) == *id {
            Ok(json)
        } else {
            Err(StoreError::Damaged(*id))
        }
    }

    fn image_file(&self, id: &Digest) -> PathBuf {
        self.root.join("images").join(format!("{}.json", id.hex()))
    }

    /// Moves `path`, a directory on the store's file system, out of the way at once and removes it later.
    pub fn discard(&self, path: &Path) -> Result<(), StoreError> {
        let scratch = self.scratch()?;
        fs::rename(path, scratch.path().join("discarded")).doing("discard", path)
    }
}

/// An image path relative to the image's root. It is made of names that others chose, so nothing but names may be in it.
fn below_root(at: &str) -> Result<&Path, StoreError> {
    let below = at.strip_prefix('/').map(Path::new);
    let plain = |below: &&Path| {
        below
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
    };
    below
        .filter(plain)
        .ok_or_else(|| StoreError::Refused(format!("`{at}` is no plain absolute path")))
}

/// Up to but without `place`, with the mode that their headers will say, whatever the umask is.
fn make_parents(root: &Path, place: &Path) -> Result<(), StoreError> {
    let mut missing: Vec<&Path> = place
        .ancestors()
        .skip(1)
        .take_while(|path| *path != root)
        .collect();
    missing.reverse();
    for dir in missing {
        fs::create_dir(dir).doing("make", dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
            .doing("set the mode of", dir)?;
    }
    Ok(())
}

/// One directory to remove may hold a hundred thousand files: never in the way of a deploy.
fn remove_later(path: PathBuf) {
    // What cannot be removed now is tried again when the store is opened.
    std::thread::spawn(move || remove_tree(&path));
}

/// Also of folders that nobody may write to.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    fs::remove_dir_all(path).or_else(|_| {
        make_writable(path);
        fs::remove_dir_all(path)
    })
}

/// Some package caches are read-only directories, which only root may empty as they are.
fn make_writable(dir: &Path) {
    _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_writable(&entry.path());
        }
    }
}

fn set_mtimes(dir: &Path) -> Result<(), StoreError> {
    let at = Timespec {
        tv_sec: i64::try_from(MTIME).unwrap_or(0),
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: at,
        last_modification: at,
    };
    for entry in fs::read_dir(dir).doing("read", dir)? {
        let entry = entry.doing("read", dir)?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            set_mtimes(&entry.path())?;
        }
        utimensat(CWD, entry.path(), &times, AtFlags::SYMLINK_NOFOLLOW)
            .doing("set the time of", &entry.path())?;
    }
    Ok(())
}

/// One syncfs for the whole tree costs less than an fsync per file, and a layer may never be named before it is whole.
fn sync(path: &Path) -> Result<(), StoreError> {
    let dir = fs::File::open(path).doing("open", path)?;
    rustix::fs::syncfs(&dir).doing("sync", path)
}

/// Makes a rename durable.
fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    fs::File::open(dir)
        .and_then(|file| file.sync_all())
        .doing("sync", dir)
}
