//! A phase that talks to registries may begin as root, to give its folders to the build's user, whom it then becomes.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::{MetadataExt as _, lchown},
    path::{Path, PathBuf},
};

use super::inputs::Inputs;
use crate::failure::{Doing as _, Failure};

const GROUP_WRITES: u32 = 0o020;
const ALL_WRITE: u32 = 0o002;

/// Whether [`drop_to_user`] will have an effect.
pub(super) fn changes_user(inputs: &Inputs) -> bool {
    rustix::process::geteuid().is_root() && inputs.uid != 0
}

/// Nothing where we are not root, or are to stay it. Whoever calls has the credentials already, which may be root's alone.
pub(super) fn drop_to_user(inputs: &Inputs, dirs: &[Option<&Path>]) -> Result<(), Failure> {
    if !changes_user(inputs) {
        return Ok(());
    }
    for dir in dirs.iter().flatten() {
        give(dir, inputs.uid, inputs.gid).failing("set the owner of", dir)?;
    }
    become_user(inputs.uid, inputs.gid).map_err(Failure::io(format!("become user {}", inputs.uid)))
}

/// A tree whose top the user may write to is taken to be the user's; its owner shows in the layers that are made of it.
fn give(dir: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result?,
    };
    if may_write(&metadata, uid, gid) {
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

fn may_write(metadata: &Metadata, uid: u32, gid: u32) -> bool {
    let mode = metadata.mode();
    metadata.uid() == uid
        || (metadata.gid() == gid && mode & GROUP_WRITES != 0)
        || mode & ALL_WRITE != 0
}

/// As passwd(5) has it, of the user whom we are or can become.
pub(super) fn home_of(uid: u32) -> Option<PathBuf> {
    let own = rustix::process::geteuid();
    if !own.is_root() && own.as_raw() != uid {
        return None;
    }
    home_in(&fs::read_to_string("/etc/passwd").ok()?, uid)
}

fn home_in(passwd: &str, uid: u32) -> Option<PathBuf> {
    let uid = uid.to_string();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        let home = (fields.next()? == uid).then(|| fields.nth(2))??;
        (!home.is_empty()).then(|| home.into())
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_that_of_the_number() {
        let passwd =
            "root:x:0:0:root:/root:/bin/bash\ncnb:x:1000:1001::/home/cnb:\nodd\nx:x:7:7:::\n";
        for (uid, home) in [
            (0, Some("/root")),
            (1000, Some("/home/cnb")),
            (7, None),
            (1, None),
        ] {
            assert_eq!(home_in(passwd, uid), home.map(PathBuf::from), "{uid}");
        }
    }
}
