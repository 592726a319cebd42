//! Folder trees: moved, copied, linked, measured. Links are copied as links and never followed.

use std::{fs, io, os::unix::fs::symlink, path::Path};

use crate::error::{IoContext, IoError};

/// Renames `from` to `to`, which must not exist; across mounts it copies and removes.
pub(crate) fn move_tree(from: &Path, to: &Path) -> Result<(), IoError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            copy_tree(from, to)?;
            fs::remove_dir_all(from).at("remove", from)
        }
        result => result.at("move", from),
    }
}

/// Copies the folder `from` to `to`, which is made; modes are kept.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<(), IoError> {
    fs::create_dir_all(to).at("create", to)?;
    for entry in fs::read_dir(from).at("read", from)? {
        let entry = entry.at("read", from)?;
        copy_entry(&entry.path(), &to.join(entry.file_name()))?;
    }
    let mode = fs::metadata(from).at("read", from)?.permissions();
    fs::set_permissions(to, mode).at("change the mode of", to)
}

/// Copies one file, link or folder; other kinds (sockets, pipes) have no place in a layer and are left out.
pub(crate) fn copy_entry(from: &Path, to: &Path) -> Result<(), IoError> {
    let kind = fs::symlink_metadata(from).at("read", from)?.file_type();
    if kind.is_dir() {
        copy_tree(from, to)
    } else if kind.is_symlink() {
        let target = fs::read_link(from).at("read", from)?;
        symlink(target, to).at("link", to)
    } else if kind.is_file() {
        fs::copy(from, to).at("copy", from).map(drop)
    } else {
        Ok(())
    }
}

/// Removes whatever is at `path`: a file, a link (not what it points to) or a folder.
pub(crate) fn remove(path: &Path) -> Result<(), IoError> {
    let result = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.at("remove", path),
    }
}

/// Makes `link` point to `target`, whatever was there before.
pub(crate) fn link(target: &Path, link: &Path) -> Result<(), IoError> {
    remove(link)?;
    symlink(target, link).at("link", link)
}

/// Empties the folder when its files add up to more than `bytes_max`; true when it did.
pub(crate) fn empty_above(dir: &Path, bytes_max: u64) -> Result<bool, IoError> {
    if size(dir)? <= bytes_max {
        return Ok(false);
    }
    empty(dir)?;
    Ok(true)
}

/// Removes everything in `dir`, but not `dir`.
pub(crate) fn empty(dir: &Path) -> Result<(), IoError> {
    for entry in fs::read_dir(dir).at("read", dir)? {
        remove(&entry.at("read", dir)?.path())?;
    }
    Ok(())
}

fn size(dir: &Path) -> Result<u64, IoError> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir).at("read", dir)? {
        let path = entry.at("read", dir)?.path();
        let metadata = fs::symlink_metadata(&path).at("read", &path)?;
        bytes += match metadata.is_dir() {
            true => size(&path)?,
            false => metadata.len(),
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn copies_links_as_links_and_keeps_modes() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("bin")).expect("made");
        fs::write(from.join("bin/tool"), "#!").expect("written");
        fs::set_permissions(from.join("bin/tool"), fs::Permissions::from_mode(0o755))
            .expect("changed");
        symlink("bin/tool", from.join("link")).expect("linked");
        symlink("/nowhere", from.join("dangling")).expect("linked");

        copy_tree(&from, &to).expect("copied");

        assert_eq!(
            fs::read_link(to.join("link")).expect("a link"),
            Path::new("bin/tool")
        );
        assert_eq!(
            fs::read_link(to.join("dangling")).expect("a link"),
            Path::new("/nowhere")
        );
        let mode = fs::metadata(to.join("bin/tool"))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o755);
    }

    #[test]
    fn a_link_is_removed_without_what_it_points_to() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let target = dir.path().join("target");
        fs::create_dir(&target).expect("made");
        link(&target, &dir.path().join("link")).expect("linked");
        link(&target, &dir.path().join("link")).expect("linked again");
        remove(&dir.path().join("link")).expect("removed");
        remove(&dir.path().join("link")).expect("nothing left to remove");
        assert!(target.is_dir());
    }

    #[test]
    fn a_cache_is_emptied_only_above_its_limit() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(dir.path().join("a")).expect("made");
        fs::write(dir.path().join("a/b"), [0; 100]).expect("written");
        assert!(!empty_above(dir.path(), 100).expect("measured"));
        assert!(empty_above(dir.path(), 99).expect("emptied"));
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0);
    }
}
