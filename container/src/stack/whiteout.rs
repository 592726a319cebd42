//! What a layer takes away from those below it (image-spec layer.md, "Whiteouts").

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use crate::store::{Doing as _, StoreError};

const PREFIX: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whiteout {
    /// A file, or a folder with all that is in it.
    Gone(PathBuf),
    /// All that is in a folder.
    Emptied(PathBuf),
}

impl Whiteout {
    /// Of a plain relative path.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let (name, parent) = (path.file_name()?.to_str()?, path.parent()?);
        if name == OPAQUE {
            return Some(Self::Emptied(parent.to_owned()));
        }
        let name = name.strip_prefix(PREFIX)?;
        // Of other marks of this kind nobody knows the meaning.
        let is_plain = !name.starts_with(PREFIX) && !matches!(name, "" | "." | "..");
        Some(Self::Gone(parent.join(name))).filter(|_| is_plain)
    }

    /// In a tree that nobody else changes meanwhile. Nothing is followed: what a link leads to is not the layer's.
    pub(super) fn apply(&self, root: &Path) -> Result<(), StoreError> {
        let (Self::Gone(path) | Self::Emptied(path)) = self;
        let parents = match self {
            Self::Gone(path) => path.parent().unwrap_or(path),
            Self::Emptied(path) => path,
        };
        if !has_real_dir(root, parents) {
            return Ok(());
        }
        let path = root.join(path);
        let removed = match self {
            Self::Gone(_) => remove(&path),
            Self::Emptied(_) => fs::read_dir(&path).and_then(|entries| {
                for entry in entries {
                    remove(&entry?.path())?;
                }
                Ok(())
            }),
        };
        removed.doing("remove", &path)
    }
}

/// Through no link.
pub(super) fn has_real_dir(root: &Path, below: &Path) -> bool {
    let mut path = root.to_owned();
    below.components().all(|part| {
        path.push(part);
        let is_dir = || fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
        matches!(part, Component::Normal(_)) && is_dir()
    })
}

/// Also when it is not there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_told_from_files() {
        let gone = |path: &str| Some(Whiteout::Gone(path.into()));
        for (path, expected) in [
            ("a/.wh.b", gone("a/b")),
            (".wh.b", gone("b")),
            ("a/.wh..wh..opq", Some(Whiteout::Emptied("a".into()))),
            (".wh..wh..opq", Some(Whiteout::Emptied("".into()))),
            ("a/.wh..wh.plnk", None),
            ("a/.wh.", None),
            ("a/.wh...", None),
            ("a/wh.b", None),
        ] {
            assert_eq!(Whiteout::of(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn nothing_outside_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        let (root, outside) = (temp.path().join("root"), temp.path().join("outside"));
        for dir in [&root.join("a/deep"), &outside] {
            fs::create_dir_all(dir).unwrap();
            fs::write(dir.join("file"), "").unwrap();
        }
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        for path in ["link/.wh.file", "link/.wh..wh..opq", "none/.wh.x", ".wh.y"] {
            Whiteout::of(Path::new(path)).unwrap().apply(&root).unwrap();
        }
        assert!(outside.join("file").exists() && root.join("link").exists());
        for (path, left) in [(".wh.link", 1), ("a/.wh.deep", 1), (".wh..wh..opq", 0)] {
            Whiteout::of(Path::new(path)).unwrap().apply(&root).unwrap();
            assert_eq!(fs::read_dir(&root).unwrap().count(), left, "{path}");
        }
        assert!(outside.join("file").exists());
    }
}
