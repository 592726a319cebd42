//! Packs and command lists by hand, with whatever is wrong in them.

use std::io::Write;

use flate2::{Compression, write::ZlibEncoder};
use gix_hash::{Kind, ObjectId};

pub(crate) const COMMIT: u8 = 1;
pub(crate) const TREE: u8 = 2;
pub(crate) const BLOB: u8 = 3;
pub(crate) const OFS_DELTA: u8 = 6;
pub(crate) const REF_DELTA: u8 = 7;
pub(crate) const ZERO: &str = "0000000000000000000000000000000000000000";

/// The bytes of a pack, with whatever is wrong in it.
#[derive(Clone)]
pub(crate) struct Pack {
    pub(crate) bytes: Vec<u8>,
    pub(crate) count: u32,
}

impl Pack {
    pub(crate) fn new() -> Self {
        Self {
            bytes: b"PACK\0\0\0\x02\0\0\0\0".to_vec(),
            count: 0,
        }
    }

    /// An entry that says `size` and holds `content`; the offset where it starts.
    pub(crate) fn entry(&mut self, kind: u8, size: u64, base: &[u8], content: &[u8]) -> usize {
        let offset = self.bytes.len();
        let mut size = size;
        let mut byte = (kind << 4) | (size & 15) as u8;
        size >>= 4;
        while size > 0 {
            self.bytes.push(byte | 0x80);
            byte = (size & 0x7f) as u8;
            size >>= 7;
        }
        self.bytes.push(byte);
        self.bytes.extend_from_slice(base);
        self.bytes.extend_from_slice(&deflate(content));
        self.count += 1;
        offset
    }

    pub(crate) fn object(&mut self, kind: u8, content: &[u8]) -> ObjectId {
        self.entry(kind, content.len() as u64, &[], content);
        id(kind, content)
    }

    /// A commit of a tree with one file of that name, which is in the pack too.
    pub(crate) fn commit_of(&mut self, tree: &[u8]) -> ObjectId {
        let tree = self.object(TREE, tree);
        self.object(COMMIT, &commit(tree, None))
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let count = self.count.to_be_bytes();
        self.bytes[8..12].copy_from_slice(&count);
        let mut hasher = gix_hash::hasher(Kind::Sha1);
        hasher.update(&self.bytes);
        let hash = hasher.try_finalize().expect("a hash");
        self.bytes.extend_from_slice(hash.as_slice());
        self.bytes
    }
}

pub(crate) fn deflate(content: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).expect("in memory");
    encoder.finish().expect("in memory")
}

pub(crate) fn id(kind: u8, content: &[u8]) -> ObjectId {
    let kind = match kind {
        COMMIT => gix_object::Kind::Commit,
        TREE => gix_object::Kind::Tree,
        _ => gix_object::Kind::Blob,
    };
    gix_object::compute_hash(Kind::Sha1, kind, content).expect("a hash")
}

pub(crate) fn commit(tree: ObjectId, parent: Option<ObjectId>) -> Vec<u8> {
    let parent = parent.map_or_else(String::new, |parent| format!("parent {parent}\n"));
    format!("tree {tree}\n{parent}author A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n")
        .into_bytes()
}

pub(crate) fn entry(mode: &str, name: &str, id: ObjectId) -> Vec<u8> {
    [mode.as_bytes(), b" ", name.as_bytes(), b"\0", id.as_slice()].concat()
}

/// A delta that copies all of the base and then appends `insert`.
pub(crate) fn delta(base: u64, result: u64, insert: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for mut size in [base, result] {
        while size >= 0x80 {
            out.push((size & 0x7f) as u8 | 0x80);
            size >>= 7;
        }
        out.push(size as u8);
    }
    out.extend_from_slice(&[0b1001_0000, base as u8]);
    out.push(insert.len() as u8);
    out.extend_from_slice(insert);
    out
}

pub(crate) fn distance(mut distance: usize) -> Vec<u8> {
    let mut out = vec![(distance & 0x7f) as u8];
    distance >>= 7;
    while distance > 0 {
        distance -= 1;
        out.insert(0, (distance & 0x7f) as u8 | 0x80);
        distance >>= 7;
    }
    out
}

pub(crate) fn line(text: &str) -> Vec<u8> {
    [
        format!("{:04x}", text.len() + 4).as_bytes(),
        text.as_bytes(),
    ]
    .concat()
}

pub(crate) fn command(name: &str, new: impl std::fmt::Display) -> Vec<u8> {
    line(&format!("{ZERO} {new} {name}\0report-status side-band-64k"))
}
