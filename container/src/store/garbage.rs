//! Removes what nobody needs any more, while others build.
//!
//! A layer may be committed, or found to be there already, long before an image names it, and an image before a release
//! does. So a build [holds](Store::hold) the store: what it touches in that time stays, whatever the collector is told.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Doing as _, Scratch, Store, StoreError};
use crate::{Digest, ImageConfig};

/// What has been touched while somebody holds the store.
#[derive(Debug, Default)]
pub(super) struct Uses(Mutex<Used>);

#[derive(Debug, Default)]
struct Used {
    holds: usize,
    digests: HashSet<Digest>,
}

/// From before the first layer of an image is made or looked up until its release is on record.
#[derive(Debug)]
pub struct Hold(Store);

/// What one collection has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    pub images: usize,
    pub layers: usize,
    /// On disk; a file that another layer shares counts once its last name goes.
    pub bytes: u64,
}

/// What is to stay.
#[derive(Debug, Default)]
pub struct Roots {
    /// With all their layers.
    pub images: Vec<Digest>,
    /// For example a stack's.
    pub layers: Vec<Digest>,
}

impl Uses {
    fn lock(&self) -> MutexGuard<'_, Used> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds a thing or puts it in place, while nothing is collected; after that it stays as long as somebody holds.
    pub(super) fn touch<T, E>(
        &self,
        digest: &Digest,
        find: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut used = self.lock();
        let found = find()?;
        if used.holds > 0 {
            used.digests.insert(*digest);
        }
        Ok(found)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut used = self.0.uses.lock();
        used.holds -= 1;
        if used.holds == 0 {
            used.digests.clear();
        }
    }
}

impl Store {
    /// Until this is dropped, nothing that is put into the store or looked up in it is collected.
    pub fn hold(&self) -> Hold {
        self.uses.lock().holds += 1;
        Hold(self.clone())
    }

    /// Removes every image that is neither one of the roots nor held, and every layer that no remaining image has. The
    /// roots are asked for when nothing can be put into the store.
    ///
    /// Blocks, for as long as removing takes: others are held up only while things are moved aside. When a root's
    /// configuration cannot be read nothing is removed, since nobody knows its layers.
    pub fn collect_garbage<E: From<StoreError>>(
        &self,
        roots: impl FnOnce() -> Result<Roots, E>,
    ) -> Result<Collected, E> {
        let _turn = self.removing()?;
        let aside = self.scratch()?;
        let mut collected = self.move_aside(&aside, roots)?;
        collected.bytes = bytes_freed(aside.path());
        Ok(collected)
    }

    fn move_aside<E: From<StoreError>>(
        &self,
        aside: &Scratch,
        roots: impl FnOnce() -> Result<Roots, E>,
    ) -> Result<Collected, E> {
        let used = self.uses.lock();
        let roots = roots()?;
        let mut needed: HashSet<Digest> = roots.layers.into_iter().collect();
        for image in &roots.images {
            needed.extend(self.layers_of(image)?);
        }
        let mut kept: HashSet<Digest> = roots.images.into_iter().collect();
        for image in &used.digests {
            // Most of what is used are layers.
            if self.image_file(image).exists() {
                needed.extend(self.layers_of(image)?);
            }
        }
        kept.extend(&used.digests);
        needed.extend(&used.digests);
        Ok(Collected {
            images: self.sweep("images", ".json", &kept, aside)?,
            layers: self.sweep("layers", "", &needed, aside)?,
            bytes: 0,
        })
    }

    fn layers_of(&self, image: &Digest) -> Result<Vec<Digest>, StoreError> {
        let config = ImageConfig::from_json(&self.image_json(image)?)
            .map_err(|_| StoreError::Damaged(*image))?;
        Ok(config.layers.iter().map(|layer| layer.diff_id).collect())
    }

    fn sweep(
        &self,
        folder: &str,
        suffix: &str,
        kept: &HashSet<Digest>,
        aside: &Scratch,
    ) -> Result<usize, StoreError> {
        let dir = self.root.join(folder);
        let kept: HashSet<String> = kept
            .iter()
            .map(|digest| format!("{}{suffix}", digest.hex()))
            .collect();
        let mut count = 0;
        for entry in fs::read_dir(&dir).doing("read", &dir)?.flatten() {
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| kept.contains(name)) {
                continue;
            }
            let path = entry.path();
            fs::rename(&path, aside.path().join(&name)).doing("remove", &path)?;
            count += 1;
        }
        Ok(count)
    }
}

/// Of files whose only name is below `dir`. What cannot be read is not counted.
fn bytes_freed(dir: &Path) -> u64 {
    const BLOCK_BYTES: u64 = 512;
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| -> io::Result<u64> {
        let metadata = entry.metadata()?;
        let freed = if metadata.is_dir() {
            bytes_freed(&entry.path())
        } else if metadata.nlink() > 1 {
            0
        } else {
            metadata.blocks() * BLOCK_BYTES
        };
        Ok(freed)
    };
    entries.filter_map(|entry| size(entry).ok()).sum()
}
