//! Packs: of bytes that the fuzzer chose, or of objects that it put together.

use std::io::Write;

use flate2::{Compression, write::ZlibEncoder};
use gix_hash::{Kind as Hash, ObjectId};
use gix_object::Kind;

use crate::server::push;

const OFFSET_DELTA: u8 = 6;
const ID_DELTA: u8 = 7;
/// More are no other case.
const OBJECTS_MAX: usize = 64;
const MODES: [&str; 8] = [
    "100644", "100755", "120000", "40000", "160000", "100664", "040000", "100600",
];
const NAMES: [&str; 8] = [
    "a",
    "b",
    ".gitmodules",
    ".git",
    "git~1",
    "..",
    ".gitattributes",
    "a.b",
];

/// A pack whose header, sizes and checksum are right.
#[derive(Default)]
pub struct Pack {
    body: Vec<u8>,
    count: u32,
    /// Where each entry starts, and what it is when that is known.
    entries: Vec<(usize, Option<(ObjectId, Vec<u8>)>)>,
}

pub struct Seeds {
    pub pack: Vec<u8>,
    pub commit: ObjectId,
    pub tag: ObjectId,
}

/// What the repository has at the start; its blob is `base`.
pub fn seeds() -> Seeds {
    let mut pack = Pack::default();
    let blob = pack.whole(Kind::Blob, SEED);
    let tree = pack.whole(Kind::Tree, &entry("100644", b"base", blob));
    let first = pack.whole(Kind::Commit, &commit(tree, None));
    let tip = pack.whole(Kind::Commit, &commit(tree, Some(first)));
    let tag = pack.whole(
        Kind::Tag,
        format!("object {tip}\ntype commit\ntag v1\ntagger T <t@t> 1 +0000\n\nx\n").as_bytes(),
    );
    Seeds {
        pack: pack.finish(),
        commit: tip,
        tag,
    }
}

const SEED: &[u8] = b"0123456789abcdef";

/// Everything between a pack's header and its checksum; the first byte is the number of objects.
pub fn pack(data: &[u8]) {
    let Some((&count, body)) = data.split_first() else {
        return;
    };
    let pack = Pack {
        body: body.to_vec(),
        count: count.into(),
        entries: Vec::new(),
    };
    let tip = seeds().commit;
    push(&request(tip, pack.finish()));
}

/// A little language: each round makes one object out of the next bytes.
pub fn objects(data: &[u8]) {
    let mut input = Input(data);
    let mut pack = Pack::default();
    let mut tip = seeds().commit;
    while let Some(op) = input.byte() {
        if pack.entries.len() == OBJECTS_MAX {
            break;
        }
        if let Some(id) = pack.next(op, &mut input) {
            tip = id;
        }
    }
    push(&request(tip, pack.finish()));
}

fn request(tip: ObjectId, pack: Vec<u8>) -> Vec<u8> {
    let none = ObjectId::null(Hash::Sha1);
    let mut request = line(&format!("{none} {tip} refs/heads/fuzz\0report-status"));
    request.extend_from_slice(b"0000");
    request.extend(pack);
    request
}

pub fn line(text: &str) -> Vec<u8> {
    format!("{:04x}{text}", text.len() + 4).into_bytes()
}

impl Pack {
    fn next(&mut self, op: u8, input: &mut Input<'_>) -> Option<ObjectId> {
        match op % 10 {
            0 => Some(self.whole(Kind::Blob, input.bytes())),
            1 => Some(self.whole(Kind::Tree, input.bytes())),
            2 => Some(self.whole(Kind::Commit, input.bytes())),
            3 => Some(self.whole(Kind::Tag, input.bytes())),
            4 | 5 => {
                let mut tree = Vec::new();
                for _ in 0..input.byte()? % 8 {
                    let mode = MODES[usize::from(input.byte()? % 8)];
                    let choice = usize::from(input.byte()?);
                    let name = NAMES.get(choice).map(|name| name.as_bytes());
                    let name = name.unwrap_or_else(|| input.bytes());
                    tree.extend(entry(mode, name, self.id(input.byte()?)));
                }
                Some(self.whole(Kind::Tree, &tree))
            }
            6 => {
                let tree = self.id(input.byte()?);
                let parent = input.byte().filter(|byte| *byte > 0);
                let parent = parent.map(|byte| self.id(byte));
                Some(self.whole(Kind::Commit, &commit(tree, parent)))
            }
            7 => {
                let base = usize::from(input.byte()?);
                let (start, _) = *self.entries.get(base)?;
                let back = distance(self.body.len() - start);
                self.delta(OFFSET_DELTA, &back, input.bytes(), None);
                None
            }
            8 => {
                let id = self.id(input.byte()?);
                self.delta(ID_DELTA, id.as_slice(), input.bytes(), None);
                None
            }
            // A delta that fits: the base, and something more.
            _ => {
                let base = usize::from(input.byte()?);
                let tail = &input.bytes()[..];
                let tail = &tail[..tail.len().min(100)];
                let (start, known) = self.entries.get(base)?;
                let (_, content) = known.as_ref()?;
                if content.len() > 100 || tail.is_empty() {
                    return None;
                }
                let back = distance(self.body.len() - start);
                let whole = [content, tail].concat();
                let mut delta = vec![content.len() as u8];
                size(whole.len(), &mut delta);
                if !content.is_empty() {
                    delta.extend([0b1001_0000, content.len() as u8]);
                }
                delta.push(tail.len() as u8);
                delta.extend_from_slice(tail);
                let id = hash(Kind::Blob, &whole);
                self.delta(OFFSET_DELTA, &back, &delta, Some((id, whole)));
                None
            }
        }
    }

    /// An object of this pack, or one that the repository has, or one that nobody has.
    fn id(&self, choice: u8) -> ObjectId {
        let known = self.entries.get(usize::from(choice));
        match known.and_then(|(_, known)| known.as_ref()) {
            Some((id, _)) => *id,
            None if choice < 0xf0 => hash(Kind::Blob, SEED),
            None => ObjectId::Sha1([choice; 20]),
        }
    }

    fn whole(&mut self, kind: Kind, content: &[u8]) -> ObjectId {
        let code = match kind {
            Kind::Commit => 1,
            Kind::Tree => 2,
            Kind::Blob => 3,
            Kind::Tag => 4,
        };
        let id = hash(kind, content);
        self.delta(code, &[], content, Some((id, content.to_vec())));
        id
    }

    fn delta(&mut self, code: u8, base: &[u8], content: &[u8], known: Option<(ObjectId, Vec<u8>)>) {
        self.entries.push((self.body.len(), known));
        self.count += 1;
        let mut byte = (code << 4) | (content.len() & 15) as u8;
        let mut rest = content.len() >> 4;
        while rest > 0 {
            self.body.push(byte | 0x80);
            byte = (rest & 0x7f) as u8;
            rest >>= 7;
        }
        self.body.push(byte);
        self.body.extend_from_slice(base);
        let mut encoder = ZlibEncoder::new(&mut self.body, Compression::none());
        encoder.write_all(content).expect("in memory");
        encoder.finish().expect("in memory");
    }

    pub fn finish(self) -> Vec<u8> {
        let mut pack = b"PACK\0\0\0\x02".to_vec();
        pack.extend(self.count.to_be_bytes());
        pack.extend(self.body);
        let mut hasher = gix_hash::hasher(Hash::Sha1);
        hasher.update(&pack);
        let checksum = hasher.try_finalize().expect("a hash");
        pack.extend(checksum.as_slice());
        pack
    }
}

/// What is left of the fuzzer's bytes.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    /// Headed by their number.
    fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte().unwrap_or(0));
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

fn hash(kind: Kind, content: &[u8]) -> ObjectId {
    gix_object::compute_hash(Hash::Sha1, kind, content).expect("a hash")
}

fn entry(mode: &str, name: &[u8], id: ObjectId) -> Vec<u8> {
    [mode.as_bytes(), b" ", name, b"\0", id.as_slice()].concat()
}

fn commit(tree: ObjectId, parent: Option<ObjectId>) -> Vec<u8> {
    let parent = parent.map_or_else(String::new, |parent| format!("parent {parent}\n"));
    format!("tree {tree}\n{parent}author A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n")
        .into_bytes()
}

fn size(mut size: usize, out: &mut Vec<u8>) {
    while size >= 0x80 {
        out.push((size & 0x7f) as u8 | 0x80);
        size >>= 7;
    }
    out.push(size as u8);
}

fn distance(mut distance: usize) -> Vec<u8> {
    let mut out = vec![(distance & 0x7f) as u8];
    distance >>= 7;
    while distance > 0 {
        distance -= 1;
        out.insert(0, (distance & 0x7f) as u8 | 0x80);
        distance >>= 7;
    }
    out
}
