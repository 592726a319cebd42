//! Layer bytes: a directory as the tar stream that the reference lifecycle writes, a pure function of names, modes and
//! content, so that the same tree has the same diffID everywhere.
//!
//! Every entry has an absolute name, mtime 1980-01-01T00:00:01Z and one owner; no extended attributes, no hard links;
//! directories carry no trailing slash. The format is USTAR, with a PAX record before it where USTAR does not suffice.

pub mod blob;
mod clock;
mod fingerprint;
mod header;
pub mod plan;
pub mod records;
mod stat;
mod walk;

use std::{
    io::{self, Write},
    path::Path,
};

pub use self::{
    blob::Blob,
    fingerprint::{Fingerprint, Headers},
    plan::Plan,
    records::Records,
};
use crate::Digest;

/// 1980-01-01T00:00:01Z, in seconds since the Unix epoch.
pub const MTIME: u64 = 315_532_801;
const BLOCK: usize = 512;

/// Owner that every entry of a layer gets (CNB_USER_ID, CNB_GROUP_ID).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// The order of a layer's entries; the reference lifecycle has two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Buildpack layers: parents of `at` first, then pre-order, children by name.
    Dir,
    /// The app layer: parents first, then everything sorted by its full path.
    App,
}

/// A directory that becomes a layer: the content of `dir` appears at the absolute path `at` in the image.
#[derive(Debug, Clone, Copy)]
pub struct LayerSource<'a> {
    pub dir: &'a Path,
    pub at: &'a str,
    pub owner: Owner,
    pub form: Form,
}

/// Hashes the layer without keeping it.
pub fn diff_id(source: &LayerSource<'_>) -> io::Result<Digest> {
    plan(source)?.diff_id()
}

/// Writes the layer's tar stream and returns its diffID.
pub fn write_tar(source: &LayerSource<'_>, out: &mut dyn Write) -> io::Result<Digest> {
    plan(source)?.write_tar(out)
}

/// Writes the layer's tar stream, compressed.
pub fn write_gzip(source: &LayerSource<'_>, out: &mut dyn Write) -> io::Result<Blob> {
    plan(source)?.write_gzip(out)
}

fn plan(source: &LayerSource<'_>) -> io::Result<Plan> {
    let mut plan = Plan::default();
    // The parents do not stand in `dir`, so they get what mkdir would give them.
    for parent in parents(source.at) {
        plan.directory(&parent, 0o755, source.owner);
    }
    let at = Path::new(source.at);
    match source.form {
        // The root itself is no entry of a layer.
        Form::Dir if source.at == "/" => plan.children(source.dir, at, source.owner)?,
        Form::Dir => plan.tree(source.dir, at, source.owner)?,
        Form::App => {
            if source.at != "/" {
                plan.path(source.dir, at, Some(source.owner))?;
            }
            plan.by_path(source.dir, at, source.owner)?;
        }
    }
    Ok(plan)
}

/// `/layers`, `/layers/bp` for `/layers/bp/name`.
fn parents(at: &str) -> Vec<String> {
    let mut parents: Vec<String> = Path::new(at)
        .ancestors()
        .skip(1)
        .map(|path| path.display().to_string())
        .collect();
    parents.retain(|path| path != "/" && !path.is_empty());
    parents.reverse();
    parents
}

fn naming(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn parents_come_from_the_top() {
        assert_eq!(parents("/layers/bp/name"), ["/layers", "/layers/bp"]);
        assert!(parents("/workspace").is_empty());
        assert!(parents("/").is_empty());
    }

    #[test]
    fn the_app_form_sorts_by_full_path_and_the_other_by_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        for name in ["a/f", "a-b"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let order = |form| -> Vec<String> {
            let source = LayerSource {
                dir: dir.path(),
                at: "/workspace",
                owner: Owner { uid: 1, gid: 1 },
                form,
            };
            let mut tar = Vec::new();
            write_tar(&source, &mut tar).unwrap();
            let headers = tar
                .chunks(BLOCK)
                .filter(|block| block[257..262] == *b"ustar");
            let names = headers.map(|block| block[..100].split(|byte| *byte == 0).next().unwrap());
            names
                .map(|name| String::from_utf8_lossy(name).replace("/workspace", ""))
                .collect()
        };
        assert_eq!(order(Form::Dir), ["", "/a", "/a/f", "/a-b"]);
        assert_eq!(order(Form::App), ["", "/a", "/a-b", "/a/f"]);
    }
}
