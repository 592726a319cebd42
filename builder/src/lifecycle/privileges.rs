//! A phase that talks to registries may begin as root, to give its folders to the build's user, whom it then becomes.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, lchown},
    path::Path,
};

use super::inputs::Inputs;
use crate::failure::{Doing as _, Failure};

/// Nothing where we are not root, or are to stay it.
pub(super) fn drop_to_user(inputs: &Inputs, dirs: &[Option<&Path>]) -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() || inputs.uid == 0 {
        return Ok(());
    }
    for dir in dirs.iter().flatten() {
        give(dir, inputs.uid, inputs.gid).failing("set the owner of", dir)?;
    }
    become_user(inputs.uid, inputs.gid).map_err(Failure::io(format!("become user {}", inputs.uid)))
}

/// A tree whose top belongs to the user is taken to be the user's.
fn give(dir: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result?,
    };
    if (metadata.uid(), metadata.gid()) == (uid, gid) {
        return Ok(());
    }
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        if fs::symlink_metadata(&path)?.is_dir() {
            for entry in fs::read_dir(&path)? {
                todo.push(entry?.path());
            }
        }
        lchown(&path, Some(uid), Some(gid))?;
    }
    Ok(())
}

/// For the whole process, which the C library sees to.
fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    let check = |result: i32| {
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    // SAFETY: plain numbers; an empty list of groups is not read.
    unsafe {
        check(libc::setgroups(0, std::ptr::null()))?;
        check(libc::setresgid(gid, gid, gid))?;
        check(libc::setresuid(uid, uid, uid))
    }
}
