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
const REDIRECT: [&str; 2] = ["trusted.overlay.redirect", "user.overlay.redirect"];

pub(super) fn is_unchanged(upper: &Path) -> Result<bool, StoreError> {
    match fs::read_dir(upper) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        result => Ok(result.doing("read", upper)?.next().is_none() && !is_opaque(upper)),
    }
}

pub(super) fn merge(lower: &Path, upper: &Path, into: &Path) -> Result<(), StoreError> {
    overlay(Some(lower), upper, into)
}

/// `lower` is `None` where nothing of it shows: below an opaque directory, or one that only the upper has. Marks of the
/// overlay never reach the result; a layer that carried them would hide files of the layers below it.
fn overlay(lower: Option<&Path>, upper: &Path, into: &Path) -> Result<(), StoreError> {
    refuse_redirect(upper)?;
    let lower = lower.filter(|_| !is_opaque(upper));
    fs::create_dir(into).doing("make", into)?;
    let mut decided = BTreeSet::new();
    for entry in fs::read_dir(upper).doing("read", upper)? {
        let entry = entry.doing("read", upper)?;
        let (from, to) = (entry.path(), into.join(entry.file_name()));
        let metadata = fs::symlink_metadata(&from).doing("read", &from)?;
        if metadata.file_type().is_char_device() && metadata.rdev() == 0 {
            // A whiteout: gone.
        } else if metadata.is_dir() {
            let below = lower
                .map(|lower| lower.join(entry.file_name()))
                .filter(|below| is_directory(below));
            overlay(below.as_deref(), &from, &to)?;
        } else {
            fs::rename(&from, &to).doing("move", &from)?;
        }
        decided.insert(entry.file_name());
    }
    if let Some(lower) = lower {
        link_rest(lower, into, &decided)?;
    }
    take_attributes(upper, into)
}

/// A directory that was renamed on a lower layer lies elsewhere there; ours never are, because we do not mount so.
fn refuse_redirect(dir: &Path) -> Result<(), StoreError> {
    if REDIRECT
        .iter()
        .any(|name| rustix::fs::lgetxattr(dir, *name, &mut [0u8; 0]).is_ok())
    {
        return Err(StoreError::Refused(format!(
            "{} is an overlay's redirected directory",
            dir.display()
        )));
    }
    Ok(())
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
            fs::create_dir(&to).doing("make", &to)?;
            link_rest(&from, &to, &BTreeSet::new())?;
            take_attributes(&from, &to)?;
        } else {
            fs::hard_link(&from, &to).doing("link", &from)?;
        }
    }
    Ok(())
}

/// The directory's own mode and, where we may, its owner; last, because it may forbid writing into it.
fn take_attributes(from: &Path, to: &Path) -> Result<(), StoreError> {
    let metadata = fs::symlink_metadata(from).doing("read", from)?;
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(to, Some(metadata.uid()), Some(metadata.gid()))
            .doing("set the owner of", to)?;
    }
    fs::set_permissions(to, metadata.permissions()).doing("set the mode of", to)
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
