//! What a copy of the store is made of, while others build and collect garbage, and what a copied one needs to be one.

use std::{
    fs::{self, File},
    path::Path,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::{Doing as _, Store, StoreError, set_mtimes, sync};
use crate::{
    Digest, ImageConfig,
    layer::{Owner, Plan},
    sandbox::{SANDBOX_ID, host_ids},
};

const ROOT: Owner = Owner { uid: 0, gid: 0 };
const SANDBOX: Owner = Owner {
    uid: SANDBOX_ID,
    gid: SANDBOX_ID,
};

/// While it is there, no process removes an image or a layer. The kernel gives it back, also after a crash.
#[derive(Debug)]
pub struct Kept {
    _lock: Locked,
}

/// Given up by name, not by closing: a process that is being forked at this moment has the descriptor for a while, too.
#[derive(Debug)]
pub(super) struct Locked(File);

impl Drop for Locked {
    fn drop(&mut self) {
        _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl Store {
    /// Waits while garbage is being collected.
    pub fn keep(&self) -> Result<Kept, StoreError> {
        let root = self.lock_of_removal()?;
        flock(&root, FlockOperation::LockShared).doing("lock", &self.root)?;
        Ok(Kept {
            _lock: Locked(root),
        })
    }

    /// The turn of whoever removes something.
    pub(super) fn removing(&self) -> Result<Locked, StoreError> {
        let root = self.lock_of_removal()?;
        match flock(&root, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(StoreError::Kept),
            result => result.doing("lock", &self.root).map(|()| Locked(root)),
        }
    }

    /// The root itself: a file of its own could belong to another user than who opens it next.
    fn lock_of_removal(&self) -> Result<File, StoreError> {
        File::open(&self.root).doing("open", &self.root)
    }

    /// The layers of an image, from the bottom up, that are there.
    pub fn layers_present(&self, image: &Digest) -> Result<Vec<Digest>, StoreError> {
        let config = ImageConfig::from_json(&self.image_json(image)?)
            .map_err(|_| StoreError::Damaged(*image))?;
        let layers = config.layers.iter().map(|layer| layer.diff_id);
        Ok(layers.filter(|layer| self.layer(layer).is_some()).collect())
    }

    /// The image's configuration, where it belongs in a store whose root is called `root`.
    pub fn plan_image(&self, image: &Digest, root: &Path) -> Result<Plan, StoreError> {
        self.plan(&self.image_file(image), root)
    }

    pub fn plan_layer(&self, layer: &Digest, root: &Path) -> Result<Plan, StoreError> {
        let path = self.layer(layer).ok_or(StoreError::NoLayer(*layer))?;
        self.plan(&path, root)
    }

    fn plan(&self, path: &Path, root: &Path) -> Result<Plan, StoreError> {
        let mut plan = Plan::default();
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        plan.settled_tree(path, &root.join(below), &copied_owner)
            .doing("read", path)?;
        Ok(plan)
    }

    /// After its folders have been copied into place by others: times as they were, and all of it on disk.
    pub fn settle(root: &Path) -> Result<(), StoreError> {
        let layers = root.join("layers");
        if layers.exists() {
            for layer in fs::read_dir(&layers).doing("read", &layers)? {
                set_mtimes(&layer.doing("read", &layers)?.path())?;
            }
        }
        sync(root)
    }
}

/// Which host uid stands for a sandbox depends on who runs us, so a copy says what it is inside.
fn copied_owner(owner: Owner) -> Owner {
    if owner.uid == host_ids().0 {
        SANDBOX
    } else {
        ROOT
    }
}

/// What [`Store::plan_layer`] has written, on this host.
pub fn original_owner(copied: Owner) -> Owner {
    if copied != SANDBOX {
        return ROOT;
    }
    let (uid, gid) = host_ids();
    Owner { uid, gid }
}
