//! What an overlay would show of an upper directory over a lower one, as a tree of its own: unchanged files are hard links
//! to the lower, which is immutable; changed ones are moved from the upper.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::Path,
};

use super::{Doing, StoreError};

/// The kernel's marks, as root and as an ordinary user (`userxattr`).
const OPAQUE: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];

pub(super) fn is_unchanged(upper: &Path) -> Result<bool, StoreError> {
    match fs::read_dir(upper) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        result => Ok(result.doing("read", upper)?.next().is_none() && !is_opaque(upper)),
    }
}

pub(super) fn merge(lower: &Path, upper: &Path, into: &Path) -> Result<(), StoreError> {
    copy_directory(upper, into)?;
    let mut decided = BTreeSet::new();
    let opaque = is_opaque(upper);
    for entry in fs::read_dir(upper).doing("read", upper)? {
        let entry = entry.doing("read", upper)?;
        let (from, to) = (entry.path(), into.join(entry.file_name()));
        decided.insert(entry.file_name());
        let metadata = fs::symlink_metadata(&from).doing("read", &from)?;
        let below = lower.join(entry.file_name());
        if metadata.file_type().is_char_device() && metadata.rdev() == 0 {
            // A whiteout: gone.
        } else if metadata.is_dir() && !opaque && is_directory(&below) && !is_opaque(&from) {
            merge(&below, &from, &to)?;
        } else {
            fs::rename(&from, &to).doing("move", &from)?;
        }
    }
    if opaque {
        Ok(())
    } else {
        link_rest(lower, into, &decided)
    }
}

/// What the upper says nothing about.
fn link_rest(lower: &Path, into: &Path, decided: &BTreeSet<OsString>) -> Result<(), StoreError> {
    for entry in fs::read_dir(lower).doing("read", lower)? {
        let entry = entry.doing("read", lower)?;
        if decided.contains(&entry.file_name()) {
            continue;
        }
        let (from, to) = (entry.path(), into.join(entry.file_name()));
        if entry.file_type().doing("read", &from)?.is_dir() {
            copy_directory(&from, &to)?;
            link_rest(&from, &to, &BTreeSet::new())?;
        } else {
            fs::hard_link(&from, &to).doing("link", &from)?;
        }
    }
    Ok(())
}

/// The directory itself: its mode and, where we may, its owner.
fn copy_directory(from: &Path, to: &Path) -> Result<(), StoreError> {
    let metadata = fs::symlink_metadata(from).doing("read", from)?;
    fs::create_dir(to).doing("make", to)?;
    fs::set_permissions(to, metadata.permissions()).doing("set the mode of", to)?;
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(to, Some(metadata.uid()), Some(metadata.gid()))
            .doing("set the owner of", to)?;
    }
    Ok(())
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn is_opaque(path: &Path) -> bool {
    let mut value = [0; 1];
    OPAQUE.iter().any(|name| {
        rustix::fs::lgetxattr(path, *name, &mut value).is_ok_and(|length| value[..length] == *b"y")
    })
}
