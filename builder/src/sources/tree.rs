//! Small things done with folders.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use super::SourceError;

/// A folder that holds itself, through a bind mount, would never end.
const DEPTH_MAX: usize = 100;

pub(super) fn make_dir(path: &Path) -> Result<(), SourceError> {
    fs::create_dir_all(path).map_err(SourceError::io("make", path))
}

pub(super) fn create(path: &Path) -> Result<File, SourceError> {
    File::create(path).map_err(SourceError::io("make", path))
}

pub(super) fn program(path: &Path, text: &str) -> Result<(), SourceError> {
    let mode = fs::Permissions::from_mode(0o755);
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, mode))
        .map_err(SourceError::io("write", path))
}

/// Copies a folder to the new folder `to`: files, folders and links, which are not followed; anything else is left out.
pub fn copy(from: &Path, to: &Path) -> Result<(), SourceError> {
    copy_below(from, to, DEPTH_MAX).map_err(SourceError::io("copy", from))
}

fn copy_below(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    if depth == 0 {
        return Err(io::Error::other("it is nested too deeply"));
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, to) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_below(&entry.path(), &to, depth - 1)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, to)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Archives of hosting services put everything into one folder.
pub(super) fn without_top(dir: &Path) -> Result<PathBuf, SourceError> {
    let entries = fs::read_dir(dir).map_err(SourceError::io("read", dir))?;
    let entries: Vec<_> = entries.flatten().collect();
    match entries.as_slice() {
        [only] if only.file_type().is_ok_and(|kind| kind.is_dir()) && only.file_name() != "bin" => {
            Ok(only.path())
        }
        _ => Ok(dir.to_owned()),
    }
}

/// A file itself, and no link to one.
pub(super) fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}
