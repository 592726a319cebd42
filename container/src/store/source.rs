//! How a layer of the store became its diffID. The tree itself does not say, so it is noted on the tree's top directory, as an
//! extended attribute: it comes and goes with the tree. Where there is none (a file system without them, a copy that was
//! restored) others have to find out.

use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, lgetxattr, lsetxattr};
use serde::{Deserialize, Serialize};

use crate::layer::{Form, LayerSource, Owner};

const NAME: &str = "user.slipway.source";
/// Paths of images are shorter.
const BYTES_MAX: usize = 4096;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    /// Of the layer's files in the image, from its root.
    pub(crate) at: String,
    uid: u32,
    gid: u32,
    /// Everything by its full path: [`Form::App`].
    is_app: bool,
}

impl Source {
    pub(crate) fn new(at: &str, owner: Owner, form: Form) -> Self {
        Self {
            at: at.to_owned(),
            uid: owner.uid,
            gid: owner.gid,
            is_app: form == Form::App,
        }
    }

    pub(super) fn of(source: &LayerSource<'_>) -> Self {
        Self::new(source.at, source.owner, source.form)
    }

    /// What cannot be noted is found out when it is needed.
    pub(super) fn note(&self, tree: &Path) {
        if let Ok(json) = serde_json::to_vec(self) {
            _ = lsetxattr(tree, NAME, &json, XattrFlags::empty());
        }
    }

    pub(crate) fn noted(tree: &Path) -> Option<Self> {
        let mut json = [0; BYTES_MAX];
        let length = lgetxattr(tree, NAME, &mut json).ok()?;
        let noted: Self = serde_json::from_slice(&json[..length]).ok()?;
        super::below_root(&noted.at).is_ok().then_some(noted)
    }

    /// Where the files are.
    pub(crate) fn dir(&self, tree: &Path) -> PathBuf {
        tree.join(self.at.trim_start_matches('/'))
    }

    pub(crate) fn layer<'a>(&'a self, dir: &'a Path) -> LayerSource<'a> {
        LayerSource {
            dir,
            at: &self.at,
            owner: Owner {
                uid: self.uid,
                gid: self.gid,
            },
            form: if self.is_app { Form::App } else { Form::Dir },
        }
    }
}
