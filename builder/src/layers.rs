//! The overlay at `/layers` during a build: every layer that is restored is a lower directory, so nothing is copied, and
//! afterwards the upper directory holds what has changed, and nothing else.
//!
//! One overlay for all, not one per layer, because buildpacks remove and recreate the directories of their layers, which
//! cannot be done with a mount point.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use container::{Digest, Mount, Store, store::StoreError};

use crate::{
    dirs::LAYERS,
    error::BuildError,
    files::{BadFile, Entry, Untrusted},
};

/// The kernel's mark of a directory that was removed and made anew, as root and as an ordinary user.
const OPAQUE: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];

/// Where the content of a restored layer lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lower {
    /// A layer of the store.
    Store(Digest),
    /// A directory of the app's cache that holds `<buildpack>/<layer>`.
    Cache(PathBuf),
}

/// What became of a layer's directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    None,
    /// Restored, and not touched.
    Unchanged(Lower),
    /// The changes, over what was restored.
    Changed(Lower, PathBuf),
    /// Made in this build.
    Whole(PathBuf),
}

pub(crate) struct Layers {
    upper: PathBuf,
    /// By directory of the buildpack and name.
    restored: BTreeMap<(String, String), Lower>,
}

impl Layers {
    pub(crate) fn new(upper: PathBuf) -> Self {
        Self {
            upper,
            restored: BTreeMap::new(),
        }
    }

    pub(crate) fn upper(&self) -> &Path {
        &self.upper
    }

    pub(crate) fn add(&mut self, buildpack: &str, layer: &str, lower: Lower) {
        let key = (buildpack.to_owned(), layer.to_owned());
        self.restored.insert(key, lower);
    }

    pub(crate) fn restored_count(&self) -> usize {
        self.restored.len()
    }

    /// `empty` is what the kernel gets as lower when there is none.
    pub(crate) fn mount(
        &self,
        store: &Store,
        work: PathBuf,
        empty: PathBuf,
    ) -> Result<Mount, StoreError> {
        let mut lowers = Vec::new();
        for lower in self.restored.values() {
            lowers.push(match lower {
                Lower::Store(digest) => store
                    .layer(digest)
                    .ok_or(StoreError::NoLayer(*digest))?
                    .join("layers"),
                Lower::Cache(dir) => dir.clone(),
            });
        }
        if lowers.is_empty() {
            lowers.push(empty);
        }
        Ok(Mount::Overlay {
            lowers,
            upper: self.upper.clone(),
            work,
            target: LAYERS.to_owned(),
        })
    }

    /// After the build, when nothing writes any more.
    pub(crate) fn content(&self, buildpack: &str, layer: &str) -> Result<Content, BuildError> {
        let upper = self.untrusted()?;
        let path = format!("{buildpack}/{layer}");
        let lower = self.restored_below(&upper, buildpack, layer)?;
        Ok(match (upper.entry(&path)?, lower) {
            (Entry::Absent, Some(lower)) => Content::Unchanged(lower),
            (Entry::Absent | Entry::Whiteout, _) => Content::None,
            (Entry::Directory, Some(lower)) => Content::Changed(lower, self.upper.join(path)),
            (Entry::Directory, None) => Content::Whole(self.upper.join(path)),
            (Entry::Other, _) => {
                return Err(BadFile::new(&upper.shown(&path), "is not a directory").into());
            }
        })
    }

    /// None when the buildpack's whole directory was removed, and perhaps made anew.
    fn restored_below(
        &self,
        upper: &Untrusted,
        buildpack: &str,
        layer: &str,
    ) -> Result<Option<Lower>, BadFile> {
        let key = (buildpack.to_owned(), layer.to_owned());
        let hidden = match upper.entry(buildpack)? {
            Entry::Absent => false,
            Entry::Directory => is_opaque(&self.upper.join(buildpack)),
            Entry::Whiteout | Entry::Other => true,
        };
        Ok(self.restored.get(&key).filter(|_| !hidden).cloned())
    }

    pub(crate) fn untrusted(&self) -> Result<Untrusted, BadFile> {
        Untrusted::open(&self.upper, LAYERS)
    }
}

fn is_opaque(dir: &Path) -> bool {
    let mut value = [0; 1];
    OPAQUE.iter().any(|name| {
        rustix::fs::lgetxattr(dir, *name, &mut value).is_ok_and(|length| value[..length] == *b"y")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_upper_directory_says_what_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let upper = dir.path().to_owned();
        for path in ["bp/changed", "bp/new", "again/restored"] {
            fs::create_dir_all(upper.join(path)).unwrap();
        }
        fs::write(upper.join("bp/file"), "").unwrap();
        std::os::unix::fs::symlink("/etc", upper.join("bp/link")).unwrap();
        std::os::unix::fs::symlink("bp", upper.join("linked")).unwrap();
        let mark = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(upper.join("again"), OPAQUE[1], b"y", mark).unwrap();
        let mut layers = Layers::new(upper.clone());
        let lower = Lower::Cache("/cache/1".into());
        for (buildpack, layer) in [
            ("bp", "kept"),
            ("bp", "changed"),
            ("again", "restored"),
            ("again", "kept"),
            ("linked", "kept"),
            ("away", "kept"),
        ] {
            layers.add(buildpack, layer, lower.clone());
        }
        let changed = Content::Changed(lower.clone(), upper.join("bp/changed"));
        for (buildpack, layer, expected) in [
            ("bp", "kept", Content::Unchanged(lower.clone())),
            ("bp", "changed", changed),
            ("bp", "new", Content::Whole(upper.join("bp/new"))),
            ("bp", "none", Content::None),
            (
                "again",
                "restored",
                Content::Whole(upper.join("again/restored")),
            ),
            ("again", "kept", Content::None),
            ("away", "kept", Content::Unchanged(lower)),
        ] {
            let found = layers.content(buildpack, layer).unwrap();
            assert_eq!(found, expected, "{buildpack}/{layer}");
        }
        for (buildpack, layer) in [("bp", "file"), ("bp", "link"), ("linked", "new")] {
            assert!(
                layers.content(buildpack, layer).is_err(),
                "{buildpack}/{layer}"
            );
        }
    }
}
