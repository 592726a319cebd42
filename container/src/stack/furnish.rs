//! What sandboxes need of a root that an image may lack: their user, with a home, and files that are mounted over.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use super::whiteout::{has_real_dir, remove};
use crate::{
    sandbox::{SANDBOX_ID, host_ids},
    store::{Doing as _, StoreError},
};

/// Where [`super::image_mounts`] puts this machine's own.
const MOUNTED_OVER: [&str; 2] = ["etc/hosts", "etc/resolv.conf"];

pub(super) fn furnish(root: &Path) -> Result<(), StoreError> {
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).doing("set the mode of", root)?;
    for dir in ["etc", "home", "home/app"] {
        let path = root.join(dir);
        // A link would lead out of the tree; an image has none here.
        if !has_real_dir(root, Path::new(dir)) {
            remove(&path).doing("remove", &path)?;
            fs::create_dir(&path).doing("make", &path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .doing("set the mode of", &path)?;
        }
    }
    for file in MOUNTED_OVER {
        let path = root.join(file);
        remove(&path).doing("remove", &path)?;
        fs::write(&path, "").doing("write", &path)?;
    }
    let shell = match fs::symlink_metadata(root.join("bin/bash")) {
        Ok(_) => "/bin/bash",
        Err(_) => "/bin/sh",
    };
    add_line(
        root,
        "etc/passwd",
        &format!("app:x:{SANDBOX_ID}:{SANDBOX_ID}:app:/home/app:{shell}"),
    )?;
    add_line(root, "etc/group", &format!("app:x:{SANDBOX_ID}:"))?;
    if rustix::process::geteuid().is_root() {
        let (uid, gid) = host_ids();
        let home = root.join("home/app");
        std::os::unix::fs::chown(&home, Some(uid), Some(gid)).doing("set the owner of", &home)?;
    }
    Ok(())
}

/// Unless the id has one.
fn add_line(root: &Path, file: &str, line: &str) -> Result<(), StoreError> {
    let path = root.join(file);
    let is_file = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file());
    let text = match is_file {
        true => fs::read(&path).doing("read", &path)?,
        false => vec![],
    };
    let mut text = String::from_utf8_lossy(&text).into_owned();
    let id = SANDBOX_ID.to_string();
    if text
        .lines()
        .any(|line| line.split(':').nth(2) == Some(id.as_str()))
    {
        return Ok(());
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(line);
    text.push('\n');
    remove(&path).doing("remove", &path)?;
    fs::write(&path, text).doing("write", &path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).doing("set the mode of", &path)
}
