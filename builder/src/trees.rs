//! Trees that a build has left: of any depth, and with directories that an ordinary user may neither read nor write.
//! What follows a tree all the way down by calling itself ends the whole process at some depth, so nothing here does.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    thread,
};

use container::{Store, store::StoreError};

use crate::files::BadFile;

/// Deeper trees have paths that no program could open (PATH_MAX), and do not become layers.
const DEPTH_MAX: usize = 512;

/// A path of this length may still get one more name (PATH_MAX is 4096, NAME_MAX 255).
const PATH_BYTES_AT_ONCE: usize = 3000;
const LEVELS_AT_ONCE: usize = 100;

/// Moves a tree out of the way at once and removes it later.
pub(crate) fn discard(store: &Store, tree: &Path) -> Result<(), StoreError> {
    let scratch = store.scratch()?;
    match fs::rename(tree, scratch.path().join("discarded")) {
        Ok(()) => remove_later(scratch.keep()),
        Err(_) => remove_later(tree.to_owned()),
    }
    Ok(())
}

/// What cannot be removed is left to the next start of the store.
pub(crate) fn remove_later(tree: PathBuf) {
    thread::spawn(move || remove(&tree));
}

/// Goes down some levels at a time. What lies deeper is lifted to a place beside the tree, and comes later.
fn remove(top: &Path) -> io::Result<()> {
    let mut removal = Removal {
        top,
        lifted_count: 0,
    };
    removal.remove_dir(top, 0)?;
    let mut removed_count = 0;
    while removed_count < removal.lifted_count {
        removal.remove_dir(&removal.lifted(removed_count), 0)?;
        removed_count += 1;
    }
    Ok(())
}

struct Removal<'a> {
    top: &'a Path,
    lifted_count: u64,
}

impl Removal<'_> {
    fn remove_dir(&mut self, dir: &Path, level: usize) -> io::Result<()> {
        make_ours(dir)?;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let path = entry.path();
            if !entry.file_type()?.is_dir() {
                fs::remove_file(path)?;
            } else if level < LEVELS_AT_ONCE && path.as_os_str().len() < PATH_BYTES_AT_ONCE {
                self.remove_dir(&path, level + 1)?;
            } else {
                // One that may not be written cannot be moved either.
                make_ours(&path)?;
                fs::rename(&path, self.lifted(self.lifted_count))?;
                self.lifted_count += 1;
            }
        }
        fs::remove_dir(dir)
    }

    /// Where no entry of the tree can have the name.
    fn lifted(&self, number: u64) -> PathBuf {
        let mut name = self.top.as_os_str().to_owned();
        name.push(format!(".{number}"));
        name.into()
    }
}

/// Overlayfs leaves directories without any permission, and builds read-only ones.
fn make_ours(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

/// `shown` is what the tree is called in the error.
pub(crate) fn check_depth(tree: &Path, shown: &str) -> Result<(), BadFile> {
    let mut pile = vec![(tree.to_owned(), 0)];
    while let Some((dir, depth)) = pile.pop() {
        if depth > DEPTH_MAX {
            let what = format!("has directories more than {DEPTH_MAX} levels deep");
            return Err(BadFile::new(shown, what));
        }
        // What cannot be read is said by whoever needs its content.
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                pile.push((entry.path(), depth + 1));
            }
        }
    }
    Ok(())
}

/// What a tree takes on the disk; counted no further than it exceeds `most`.
pub(crate) fn bytes(tree: &Path, most: u64) -> u64 {
    const BLOCK_BYTES: u64 = 512;
    let mut pile = vec![tree.to_owned()];
    let mut bytes = 0;
    while let (Some(dir), true) = (pile.pop(), bytes <= most) {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            bytes += metadata.blocks() * BLOCK_BYTES;
            if metadata.is_dir() {
                pile.push(entry.path());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_permissions_and_links_do_not_matter() {
        let temp = tempfile::tempdir().unwrap();
        let (top, outside) = (temp.path().join("tree"), temp.path().join("outside"));
        fs::create_dir_all(top.join("a/b/c")).unwrap();
        fs::create_dir_all(outside.join("d")).unwrap();
        std::os::unix::fs::symlink(&outside, top.join("a/link")).unwrap();
        fs::write(top.join("a/b/c/file"), "").unwrap();
        for (path, mode) in [("a/b/c", 0o000), ("a/b", 0o500), ("a", 0o555)] {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(top.join(path), mode).unwrap();
        }
        remove(&top).unwrap();
        let left: Vec<_> = fs::read_dir(temp.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(outside.join("d").is_dir());
    }

    #[test]
    fn what_is_too_deep_for_a_path_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        let top = temp.path().join("tree");
        fs::create_dir(&top).unwrap();
        for name in ["d", &"long".repeat(60)] {
            let script =
                "cd \"$0\" && for n in {1..300}; do mkdir \"$1\" && cd \"$1\" && touch file; done";
            let status = std::process::Command::new("bash")
                .args(["-c", script])
                .args([top.as_os_str(), name.as_ref()])
                .status()
                .unwrap();
            assert!(status.success());
        }
        remove(&top).unwrap();
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    }

    #[test]
    fn deep_trees_are_told_from_others() {
        let temp = tempfile::tempdir().unwrap();
        let mut path = temp.path().to_owned();
        path.extend(vec!["d"; DEPTH_MAX]);
        fs::create_dir_all(&path).unwrap();
        assert!(check_depth(temp.path(), "x").is_ok());
        fs::create_dir(path.join("d")).unwrap();
        let error = check_depth(temp.path(), "/workspace").unwrap_err();
        assert_eq!(
            error.to_string(),
            "/workspace: has directories more than 512 levels deep"
        );
    }
}
