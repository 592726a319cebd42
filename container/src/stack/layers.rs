//! An image's layers, unpacked over each other into one tree.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs::{self, File},
    ops::Bound,
    path::{Path, PathBuf},
};

use super::{ImageSource, StackError, whiteout::Whiteout};
use crate::{
    Digest,
    store::{Doing as _, StoreError, remove_tree},
    unpack::{Bounds, UnpackError, unpack},
};

/// What every sandbox has of its own.
const LEFT_OUT: [&str; 3] = ["dev", "proc", "sys"];

pub(super) struct Layer<'a> {
    pub(super) image: &'a ImageSource,
    pub(super) blob: &'a Path,
    /// What it has to unpack to.
    pub(super) diff_id: &'a Digest,
}

/// Makes the folder `root` of them, the lowest first. When it fails, what is there is of no use.
///
/// What a layer takes away goes before what it brings, wherever its archive says so. Archives that say it in time, as nearly
/// all do, are read once. For another it is done again from the start: what it took in the tree by then cannot be told any more.
pub(super) fn unpack_layers(layers: &[Layer<'_>], root: &Path) -> Result<(), StackError> {
    fs::create_dir(root).doing("make", root)?;
    for layer in layers {
        if !layer.read_once(root)? {
            remove_tree(root).doing("remove", root)?;
            fs::create_dir(root).doing("make", root)?;
            return layers.iter().try_for_each(|layer| layer.read_twice(root));
        }
    }
    Ok(())
}

impl Layer<'_> {
    /// False when it takes away too late.
    fn read_once(&self, root: &Path) -> Result<bool, StackError> {
        let progress = RefCell::new(Progress::default());
        let unpacked = self.unpack(root, |path| progress.borrow_mut().place(path, root));
        let progress = progress.into_inner();
        if let Some(error) = progress.failed {
            return Err(error.into());
        }
        match unpacked {
            // Perhaps what is in the way is taken away further on.
            Err(StackError::Layer {
                source: UnpackError::Write { .. },
                ..
            }) => Ok(false),
            unpacked => unpacked.map(|()| !progress.is_late),
        }
    }

    fn read_twice(&self, root: &Path) -> Result<(), StackError> {
        let whiteouts = RefCell::new(vec![]);
        self.unpack(root, |path| {
            whiteouts.borrow_mut().extend(Whiteout::of(path));
            None
        })?;
        for whiteout in whiteouts.into_inner() {
            whiteout.apply(root)?;
        }
        self.unpack(root, |path| brings(path).then(|| path.to_owned()))
    }

    fn unpack(
        &self,
        root: &Path,
        place: impl Fn(&Path) -> Option<PathBuf>,
    ) -> Result<(), StackError> {
        let blob = File::open(self.blob).doing("open", self.blob)?;
        let found = unpack(blob, root, Bounds::default(), place);
        let found = found.map_err(|source| StackError::Layer {
            image: self.image.to_string(),
            source,
        })?;
        if found == *self.diff_id {
            return Ok(());
        }
        let promised = self.diff_id;
        Err(StackError::Bad {
            image: self.image.to_string(),
            why: format!("a layer unpacks to {found}, and {promised} was promised"),
        })
    }
}

fn brings(path: &Path) -> bool {
    let inside = |dir| path.starts_with(dir) && path != Path::new(dir);
    !LEFT_OUT.into_iter().any(inside) && Whiteout::of(path).is_none()
}

/// Through a layer that is read once.
#[derive(Default)]
struct Progress {
    /// Also what its hard links are of, which has to be there when all that goes is gone.
    brought: BTreeSet<PathBuf>,
    is_late: bool,
    failed: Option<StoreError>,
}

impl Progress {
    /// Where the entry goes; of what takes away, that it has.
    fn place(&mut self, path: &Path, root: &Path) -> Option<PathBuf> {
        if self.is_late || self.failed.is_some() {
            return None;
        }
        if let Some(whiteout) = Whiteout::of(path) {
            self.is_late = self.has_brought(&whiteout);
            if !self.is_late {
                self.failed = whiteout.apply(root).err();
            }
            return None;
        }
        brings(path).then(|| {
            self.brought.insert(path.to_owned());
            path.to_owned()
        })
    }

    /// Something of what the mark takes from the layers below.
    fn has_brought(&self, whiteout: &Whiteout) -> bool {
        let (from, top) = match whiteout {
            Whiteout::Gone(path) => (Bound::Included(path.as_path()), path),
            Whiteout::Emptied(path) => (Bound::Excluded(path.as_path()), path),
        };
        // In their order, what is in a folder follows it.
        let next = self
            .brought
            .range::<Path, _>((from, Bound::Unbounded))
            .next();
        next.is_some_and(|path| path.starts_with(top))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Entry = (&'static str, tar::EntryType, &'static str);

    const FILE: tar::EntryType = tar::EntryType::Regular;
    const DIR: tar::EntryType = tar::EntryType::Directory;
    const SYMLINK: tar::EntryType = tar::EntryType::Symlink;
    const LINK: tar::EntryType = tar::EntryType::Link;

    fn archive(entries: &[Entry]) -> Vec<u8> {
        let mut bytes = vec![];
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            header.set_size(0);
            match *kind {
                FILE => header.set_size(content.len() as u64),
                _ => header.set_link_name_literal(content).unwrap(),
            }
            header.set_cksum();
            bytes.extend_from_slice(header.as_bytes());
            if *kind == FILE {
                bytes.extend_from_slice(content.as_bytes());
            }
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes
    }

    fn tree(root: &Path, below: &Path, into: &mut Vec<String>) {
        let entries = fs::read_dir(root.join(below)).unwrap().flatten();
        let mut names: Vec<_> = entries.map(|entry| below.join(entry.file_name())).collect();
        names.sort();
        for path in names {
            let kind = fs::symlink_metadata(root.join(&path)).unwrap();
            if kind.is_dir() {
                into.push(format!("{}/", path.display()));
                tree(root, &path, into);
            } else if kind.is_file() {
                let content = fs::read_to_string(root.join(&path)).unwrap();
                into.push(format!("{}={content}", path.display()));
            } else {
                into.push(format!("{}>", path.display()));
            }
        }
    }

    /// Whether each was read once, and what is in the tree.
    fn unpacked(layers: &[&[Entry]]) -> (bool, Result<String, StackError>) {
        let temp = tempfile::tempdir().unwrap();
        let image = ImageSource::Layout(temp.path().into());
        let made = layers.iter().enumerate().map(|(number, entries)| {
            let (path, bytes) = (temp.path().join(number.to_string()), archive(entries));
            fs::write(&path, &bytes).unwrap();
            (path, Digest::of(&bytes))
        });
        let made: Vec<_> = made.collect();
        let layer = |(blob, diff_id)| Layer {
            image: &image,
            blob,
            diff_id,
        };
        let layers: Vec<_> = made.iter().map(|(blob, id)| layer((blob, id))).collect();
        let [once, all] = ["once", "all"].map(|name| temp.path().join(name));
        fs::create_dir(&once).unwrap();
        let read_once = |layer: &Layer<'_>| layer.read_once(&once).unwrap();
        let is_once = layers.iter().all(read_once);
        let found = unpack_layers(&layers, &all).map(|()| {
            let mut found = vec![];
            tree(&all, Path::new(""), &mut found);
            found.join(" ")
        });
        (is_once, found)
    }

    #[test]
    fn what_a_layer_takes_away_goes_before_what_it_brings() {
        let below: &[Entry] = &[
            ("a/", DIR, ""),
            ("a/old", FILE, "1"),
            ("b", FILE, "1"),
            ("l", SYMLINK, "a"),
        ];
        let kept = "b=1 l>";
        for (above, is_once, expected) in [
            (
                &[("a/.wh.old", FILE, ""), ("a/new", FILE, "2")][..],
                true,
                format!("a/ a/new=2 {kept}"),
            ),
            (
                &[("a/new", FILE, "2"), ("a/.wh.old", FILE, "")],
                true,
                format!("a/ a/new=2 {kept}"),
            ),
            (
                &[
                    ("a/", DIR, ""),
                    ("a/.wh..wh..opq", FILE, ""),
                    ("a/new", FILE, "2"),
                ],
                true,
                format!("a/ a/new=2 {kept}"),
            ),
            (
                &[
                    ("a/new", FILE, "2"),
                    ("c", FILE, "2"),
                    (".wh.b", FILE, ""),
                    ("a/more", FILE, "2"),
                ],
                true,
                "a/ a/more=2 a/new=2 a/old=1 c=2 l>".to_owned(),
            ),
            // Late.
            (
                &[("a/new", FILE, "2"), ("a/.wh..wh..opq", FILE, "")],
                false,
                format!("a/ a/new=2 {kept}"),
            ),
            (
                &[("a/new", FILE, "2"), (".wh.a", FILE, "")],
                false,
                format!("a/ a/new=2 {kept}"),
            ),
            (
                &[("b", FILE, "2"), (".wh.b", FILE, "")],
                false,
                "a/ a/old=1 b=2 l>".to_owned(),
            ),
            (
                &[("b/in", FILE, "2"), (".wh.b", FILE, "")],
                false,
                "a/ a/old=1 b/ b/in=2 l>".to_owned(),
            ),
            (
                &[("l/in", FILE, "2"), (".wh.l", FILE, "")],
                false,
                "a/ a/old=1 b=1 l/ l/in=2".to_owned(),
            ),
            (
                &[("n", FILE, "2"), (".wh..wh..opq", FILE, "")],
                false,
                "n=2".to_owned(),
            ),
            // A link to a file of a layer below.
            (
                &[("h", LINK, "b")],
                true,
                "a/ a/old=1 b=1 h=1 l>".to_owned(),
            ),
        ] {
            let (was_once, found) = unpacked(&[below, above]);
            assert_eq!((was_once, found.unwrap()), (is_once, expected), "{above:?}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_however_it_is_read() {
        let below: &[Entry] = &[("b", FILE, "1"), ("l", SYMLINK, "/etc")];
        for above in [
            &[("l/in", FILE, "2")][..],
            // There is nothing to link to any more.
            &[("h", LINK, "b"), (".wh.b", FILE, "")],
        ] {
            let error = unpacked(&[below, above]).1.unwrap_err();
            assert!(matches!(error, StackError::Layer { .. }), "{error}");
        }
    }
}
