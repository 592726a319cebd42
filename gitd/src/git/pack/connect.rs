//! Whether all that the objects of a pack name is there, and is what it was named as.

use std::{collections::HashSet, fs::File};

use gix_hash::ObjectId;
use gix_object::{Exists, FindHeader, Kind};

use super::{Base, PackError, links::Collected, table::Table, unpack::Unpacker};
use crate::git::gitmodules;

/// Follows every link once. Returns the commits whose parents are missing, as the client had said.
pub(super) fn follow(
    links: &Collected,
    table: &Table,
    unpacker: &Unpacker<'_>,
) -> Result<Vec<ObjectId>, PackError> {
    let by = |at| table.id_at(at).ok_or(PackError::Stopped);
    for &((id, expected), at) in links.named.iter().flatten() {
        let actual = match table.find(&id) {
            Some(at) => unpacker.kind(at),
            None => old_kind(unpacker, &id),
        };
        match (actual, expected) {
            (None, kind) => {
                let by = by(at)?;
                return Err(PackError::Missing { kind, id, by });
            }
            (Some(actual), Some(expected)) if actual != expected => {
                let by = by(at)?;
                return Err(PackError::WrongKind {
                    id,
                    by,
                    expected,
                    actual,
                });
            }
            _ => {}
        }
    }
    let missing = |id: &ObjectId| table.find(id).is_none() && !unpacker.old().exists(id);
    let boundaries = links.parents.iter().filter(|(parent, _)| missing(parent));
    Ok(boundaries.map(|(_, commit)| *commit).collect())
}

/// What cannot be read is as good as missing.
fn old_kind(unpacker: &Unpacker<'_>, id: &ObjectId) -> Option<Kind> {
    let header = unpacker.old().try_header(id).ok()?;
    header.map(|header| header.kind)
}

/// What is in the repository already was checked when it came.
pub(super) fn check_modules(
    modules: &HashSet<ObjectId>,
    table: &Table,
    unpacker: &mut Unpacker<'_>,
    file: &File,
) -> Result<(), PackError> {
    for &id in modules {
        let Some(at) = table.find(&id) else { continue };
        let bytes = unpacker
            .rebuild(Base::Entry(at), file)
            .map_err(PackError::entry(unpacker.offset(at)))?;
        let problem = if bytes.len() > gitmodules::SIZE_MAX {
            Some(".gitmodules is too large".to_owned())
        } else {
            gitmodules::problem(&bytes)
        };
        if let Some(problem) = problem {
            return Err(PackError::Modules { id, problem });
        }
    }
    Ok(())
}
