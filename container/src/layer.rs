//! Layer bytes: a directory as the tar stream that the reference lifecycle would write (cnb.md section 2), as a pure
//! function of metadata and content, so that the diffID is equal to the Go lifecycle's.

use std::{io, path::Path};

use crate::Digest;

/// Owner that every entry of a buildpack or app layer gets (CNB_USER_ID, CNB_GROUP_ID).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// A directory that becomes a layer: the content of `dir` appears at the absolute path `at` in the image.
#[derive(Debug, Clone, Copy)]
pub struct LayerSource<'a> {
    pub dir: &'a Path,
    pub at: &'a str,
    pub owner: Owner,
}

/// Hashes the layer without writing it: one stat walk plans the tar, workers read fixed blocks, one thread hashes in order.
pub fn diff_id(_source: &LayerSource<'_>) -> io::Result<Digest> {
    todo!()
}

/// Writes the layer's tar stream and returns its diffID.
pub fn write_tar(_source: &LayerSource<'_>, _out: &mut dyn io::Write) -> io::Result<Digest> {
    todo!()
}
