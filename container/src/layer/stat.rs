//! What a layer needs to know of a file, of its metadata.

use std::{
    fs::Metadata,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
};

use super::{Owner, header::Kind};

#[derive(Debug, Clone, Copy)]
pub(super) struct Stat {
    /// None of a socket.
    pub(super) kind: Option<Kind>,
    /// Permissions.
    pub(super) mode: u32,
    pub(super) owner: Owner,
    /// 0 of what is no file.
    pub(super) size: u64,
    pub(super) identity: Identity,
}

/// Tells a file that somebody has written to, or replaced, from the one that it was: its last change (ctime) cannot be
/// set, so nobody can set it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
    /// Seconds and nanoseconds.
    pub(super) modified: (i64, i64),
    pub(super) changed: (i64, i64),
}

impl Stat {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            kind: kind(metadata),
            mode: metadata.mode() & 0o7777,
            owner: Owner {
                uid: metadata.uid(),
                gid: metadata.gid(),
            },
            size: if metadata.is_file() {
                metadata.len()
            } else {
                0
            },
            identity: Identity {
                device: metadata.dev(),
                inode: metadata.ino(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            },
        }
    }
}

fn kind(metadata: &Metadata) -> Option<Kind> {
    let kind = metadata.file_type();
    let device = |rdev| (rustix::fs::major(rdev), rustix::fs::minor(rdev));
    Some(if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        Kind::Symlink
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_char_device() {
        Kind::CharDevice(device(metadata.rdev()))
    } else if kind.is_block_device() {
        Kind::BlockDevice(device(metadata.rdev()))
    } else if kind.is_file() {
        Kind::File
    } else {
        return None;
    })
}
