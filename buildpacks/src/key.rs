//! Keys: a digest over everything that a layer's contents depend on. The same key means that nothing has to be run.

use std::{
    fs, io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::error::{IoContext, IoError};

/// Folders that never belong to an app's source, whatever their name says there.
const NOT_SOURCE: [&str; 3] = [".git", "node_modules", "__pycache__"];

#[derive(Default)]
pub(crate) struct Key(Sha256);

impl Key {
    pub(crate) fn new(what: &str) -> Key {
        Key::default().with(what, b"")
    }

    /// Name and bytes go in with their lengths, so that no two lists of parts give the same key.
    pub(crate) fn with(mut self, name: &str, bytes: impl AsRef<[u8]>) -> Key {
        for part in [name.as_bytes(), bytes.as_ref()] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
        self
    }

    /// The bytes of a file, or that there is none.
    pub(crate) fn with_file(self, path: &Path) -> Result<Key, IoError> {
        let name = path.to_string_lossy();
        match fs::read(path) {
            Ok(bytes) => Ok(self.with(&name, bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(self.with(&name, "absent")),
            Err(error) => Err(error).at("read", path),
        }
    }

    /// Every file below `dir`: names, modes, bytes.
    pub(crate) fn with_tree(mut self, dir: &Path) -> Result<Key, IoError> {
        for path in files(dir)? {
            let metadata = fs::symlink_metadata(&path).at("read", &path)?;
            let bytes = match metadata.is_symlink() {
                true => fs::read_link(&path)
                    .at("read", &path)?
                    .as_os_str()
                    .as_bytes()
                    .to_vec(),
                false => fs::read(&path).at("read", &path)?,
            };
            let name = path.strip_prefix(dir).unwrap_or(&path).to_string_lossy();
            let mode = metadata.permissions().mode() & 0o111;
            self = self.with(&format!("{mode:o} {name}"), bytes);
        }
        Ok(self)
    }

    pub(crate) fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// Files and links below `dir` in name order, without what is not source. Links are not followed.
fn files(dir: &Path) -> Result<Vec<PathBuf>, IoError> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).at("read", &folder)? {
            let entry = entry.at("read", &folder)?;
            let kind = entry.file_type().at("read", &entry.path())?;
            match kind.is_dir() {
                true if NOT_SOURCE.iter().any(|name| entry.file_name() == *name) => {}
                true => folders.push(entry.path()),
                false if kind.is_file() || kind.is_symlink() => found.push(entry.path()),
                false => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        let key = |parts: &[(&str, &str)]| {
            parts
                .iter()
                .fold(Key::new("test"), |key, (name, text)| key.with(name, text))
                .finish()
        };
        assert_ne!(key(&[("a", "bc")]), key(&[("ab", "c")]));
        assert_ne!(key(&[("a", "b"), ("c", "d")]), key(&[("a", "bcd")]));
        assert_eq!(key(&[("a", "b")]), key(&[("a", "b")]));
    }

    #[test]
    fn an_empty_file_is_not_an_absent_one() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("lock");
        let absent = Key::new("t").with_file(&path).expect("absent is fine");
        fs::write(&path, "").expect("written");
        let empty = Key::new("t").with_file(&path).expect("readable");
        assert_ne!(absent.finish(), empty.finish());
    }

    #[test]
    fn a_tree_is_its_names_and_bytes() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let tree = || {
            Key::new("t")
                .with_tree(dir.path())
                .expect("readable")
                .finish()
        };
        fs::create_dir(dir.path().join("a")).expect("made");
        fs::write(dir.path().join("a/b"), "1").expect("written");
        let first = tree();
        fs::create_dir(dir.path().join(".git")).expect("made");
        fs::write(dir.path().join(".git/index"), "1").expect("written");
        assert_eq!(first, tree(), "git's own files are not source");
        fs::rename(dir.path().join("a/b"), dir.path().join("a/c")).expect("renamed");
        assert_ne!(first, tree());
    }
}
