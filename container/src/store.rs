//! The content store: unpacked layers by diffID and image configurations by digest, under one directory.
//!
//! ```text
//! layers/<hex>/fs/…      a rooted, read-only tree: the layer's files at their place in the image
//! images/<hex>.json      image configurations
//! tmp/<random>/          scratch directories: renamed into place when done, emptied when the store is opened
//! trash/                 what was replaced; deleted later, slowly (ext4 punishes delete-then-create)
//! ```
//! Everything is made beside its final place and renamed, so a crash leaves only scratch.

use std::path::{Path, PathBuf};

use crate::{Digest, Image, ImageConfig, layer::Owner};

#[derive(Debug, Clone)]
pub struct Store {
    _root: PathBuf,
}

#[derive(Debug, thiserror::Error)]
#[error("to be replaced by variants that say what was done to which path, with the source")]
pub struct StoreError;

/// A directory of its own on the store's file system; removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    _path: PathBuf,
}

impl Scratch {
    pub fn path(&self) -> &Path {
        todo!()
    }
    /// Keeps the directory: the caller has taken it over (or renamed it away).
    pub fn keep(self) -> PathBuf {
        todo!()
    }
}

/// What a build leaves of a layer directory.
#[derive(Debug)]
pub enum Tree<'a> {
    /// A plain directory; consumed (renamed into the store).
    Whole(&'a Path),
    /// The upper directory of an overlay over a layer already in the store. An empty one means: unchanged, nothing is
    /// read or hashed. Otherwise both are merged (hard links to the immutable lower, whiteouts and opaque directories
    /// honoured) and hashed.
    Changed { lower: Digest, upper: &'a Path },
}

impl Store {
    /// Opens or makes the store at `root`; empties `tmp` and `trash` of an earlier process.
    pub fn open(_root: &Path) -> Result<Self, StoreError> {
        todo!()
    }
    pub fn scratch(&self) -> Result<Scratch, StoreError> {
        todo!()
    }
    /// Makes `tree` a layer whose content appears at the absolute image path `at`; returns its diffID. Files get
    /// the mtime of the tar (1980-01-01T00:00:01Z), so that a run from the store equals a run from a pulled image.
    pub fn commit_layer(
        &self,
        _tree: Tree<'_>,
        _at: &str,
        _owner: Owner,
    ) -> Result<Digest, StoreError> {
        todo!()
    }
    /// Merges `upper` over `lower` (both plain directories) into the new directory `into`, without hashing: for caches.
    pub fn merge(&self, _lower: &Path, _upper: &Path, _into: &Path) -> Result<(), StoreError> {
        todo!()
    }
    /// The layer's rooted tree, to be mounted as an overlay's lower directory.
    pub fn layer(&self, _diff_id: &Digest) -> Option<PathBuf> {
        todo!()
    }
    /// Stores the configuration durably; returns the image id. The same configuration twice is one image.
    pub fn put_image(&self, _config: &ImageConfig) -> Result<Digest, StoreError> {
        todo!()
    }
    pub fn image(&self, _id: &Digest) -> Result<Image, StoreError> {
        todo!()
    }
    /// Moves `path` (a directory on the store's file system) to the trash; returns at once.
    pub fn discard(&self, _path: &Path) -> Result<(), StoreError> {
        todo!()
    }
    /// Removes every image not in `keep` and every layer that no kept image and no digest of `keep_layers` names.
    pub fn collect_garbage(
        &self,
        _keep: &[Digest],
        _keep_layers: &[Digest],
    ) -> Result<(), StoreError> {
        todo!()
    }
}
