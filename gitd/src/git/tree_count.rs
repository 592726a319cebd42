//! What a tree writes out, counted before it is written: thirty small trees can name each other a billion times over.

use std::{
    collections::HashMap,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use gix_hash::ObjectId;
use gix_object::Kind;

use super::{
    export::{DEPTH_MAX, ExportError, path_error, read},
    fsck::FsckError,
    tree::{self, Mode},
};

/// The entries of the tree and of all below it, each as often as it is there. Every tree is read once.
pub(super) fn entries(objects: &gix_odb::Handle, root: ObjectId) -> Result<u64, ExportError> {
    let mut known = HashMap::new();
    below(objects, root, (Path::new(""), 0), &mut known)
}

/// No deeper than [`DEPTH_MAX`].
fn below(
    objects: &gix_odb::Handle,
    id: ObjectId,
    (folder, depth): (&Path, usize),
    known: &mut HashMap<ObjectId, u64>,
) -> Result<u64, ExportError> {
    if let Some(&count) = known.get(&id) {
        return Ok(count);
    }
    let mut buffer = Vec::new();
    let data = read(objects, id, Kind::Tree, &mut buffer)?;
    let mut count = 0u64;
    let mut folders: Vec<(ObjectId, PathBuf)> = Vec::new();
    for entry in tree::entries(data) {
        let entry = entry.map_err(|problem| FsckError::Tree { id, problem })?;
        count += 1;
        if entry.mode == Mode::Tree {
            folders.push((entry.id, folder.join(OsStr::from_bytes(entry.name))));
        }
    }
    if count > 0 && depth >= DEPTH_MAX {
        return Err(path_error(folder));
    }
    drop(buffer);
    for (id, folder) in folders {
        let inside = below(objects, id, (&folder, depth + 1), known)?;
        count = count.saturating_add(inside);
    }
    known.insert(id, count);
    Ok(count)
}
