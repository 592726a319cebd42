//! Writes a pack of objects that are here already (gitformat-pack): entries are copied as they lie, deltas with their
//! bases, and only what cannot be copied is deflated anew.

use std::{
    collections::{HashMap, HashSet},
    io::{self, Write},
};

use gix_hash::ObjectId;
use gix_object::Kind;
use gix_pack::data::{Entry, entry::Header};

use super::{
    HASH,
    packs::{PackError, Packs, Place, Reader, base_of},
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error("more than {} objects in one pack", u32::MAX)]
    TooMany,
    #[error("the pack cannot be written")]
    Io(#[from] io::Error),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// Deltas may name their base by its distance.
    pub(crate) ofs_delta: bool,
    /// Longest chain of deltas.
    pub(crate) depth_max: u16,
}

/// How many objects were written, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) objects: usize,
    pub(crate) deltas: usize,
    /// Copied as they were.
    pub(crate) copied: usize,
}

/// `had`: objects outside the pack that may be bases of deltas in it.
pub(crate) fn write_pack(
    packs: &Packs,
    objects: &[ObjectId],
    had: &HashSet<ObjectId>,
    style: Style,
    out: &mut impl Write,
) -> Result<Written, WriteError> {
    let mut places: Vec<(Option<(usize, u64)>, ObjectId)> = objects
        .iter()
        .map(|id| (place_of(packs, id), *id))
        .collect();
    // As they lie on the disk; bases come before their deltas.
    places.sort_unstable();
    let count = u32::try_from(objects.len()).map_err(|_| WriteError::TooMany)?;
    let mut writer = Writer {
        reader: packs.reader(),
        packs,
        had,
        style,
        states: objects.iter().map(|id| (*id, State::Pending)).collect(),
        out: Hashing {
            out,
            hasher: gix_hash::hasher(HASH),
            written: 0,
        },
        written: Written::default(),
    };
    writer.out.write_all(b"PACK\0\0\0\x02")?;
    writer.out.write_all(&count.to_be_bytes())?;
    for (_, id) in places {
        writer.object(id)?;
    }
    writer.finish()
}

fn place_of(packs: &Packs, id: &ObjectId) -> Option<(usize, u64)> {
    let Place { pack, at } = packs.find(id)?;
    Some((pack, packs.packs[pack].offset(at)))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    /// Its base is being written first.
    Waiting,
    Written {
        offset: u64,
        /// Deltas below it.
        depth: u16,
    },
}

struct Writer<'a, W: Write> {
    packs: &'a Packs,
    reader: Reader<'a>,
    had: &'a HashSet<ObjectId>,
    style: Style,
    states: HashMap<ObjectId, State>,
    out: Hashing<W>,
    written: Written,
}

/// An entry as it lies in a pack.
struct Lying<'a> {
    entry: Entry,
    deflated: &'a [u8],
    /// `None`: it is no delta. `Some(None)`: its base is nowhere.
    base: Option<Option<ObjectId>>,
}

/// How an object goes into the pack.
enum Way {
    Copy(Header, u16),
    Anew,
    /// When this one is written.
    After(ObjectId),
}

impl<'a, W: Write> Writer<'a, W> {
    /// The object, and before it the bases that it needs.
    fn object(&mut self, id: ObjectId) -> Result<(), WriteError> {
        let mut stack = vec![id];
        while let Some(&id) = stack.last() {
            if matches!(self.states.get(&id), Some(State::Written { .. })) {
                stack.pop();
                continue;
            }
            let Some(lying) = self.lying(id)? else {
                self.anew(id)?;
                continue;
            };
            match self.way(&lying) {
                Way::Copy(header, depth) => self.copy(id, &lying, header, depth)?,
                Way::Anew => self.anew(id)?,
                Way::After(base) => {
                    self.states.insert(id, State::Waiting);
                    stack.push(base);
                }
            }
        }
        Ok(())
    }

    fn way(&self, lying: &Lying<'_>) -> Way {
        let base = match lying.base {
            None => return Way::Copy(lying.entry.header, 0),
            Some(None) => return Way::Anew,
            Some(Some(base)) => base,
        };
        let (depth, distance) = match self.states.get(&base) {
            Some(State::Pending) => return Way::After(base),
            // Deltas of different packs may go round in a circle.
            Some(State::Waiting) => return Way::Anew,
            Some(State::Written { offset, depth }) => (depth + 1, Some(self.out.written - offset)),
            None if self.had.contains(&base) => (1, None),
            None => return Way::Anew,
        };
        if depth > self.style.depth_max {
            return Way::Anew;
        }
        let header = match distance {
            Some(base_distance) if self.style.ofs_delta => Header::OfsDelta { base_distance },
            _ => Header::RefDelta { base_id: base },
        };
        Way::Copy(header, depth)
    }

    /// `None`: it is in no pack.
    fn lying(&self, id: ObjectId) -> Result<Option<Lying<'a>>, PackError> {
        let Some(Place { pack, at }) = self.packs.find(&id) else {
            return Ok(None);
        };
        let pack = &self.packs.packs[pack];
        let offset = pack.offset(at);
        let bytes = pack.bytes(offset).ok_or(PackError::Damaged(id))?;
        // Nobody checks copied bytes before they are with the client.
        let size = bytes.len();
        let sum = pack.bundle.index.crc32_at_index(at);
        if sum.is_some_and(|sum| sum != pack.bundle.pack.entry_crc32(offset, size)) {
            return Err(PackError::Damaged(id));
        }
        let entry = Entry::from_bytes(bytes, offset, HASH).map_err(|_| PackError::Damaged(id))?;
        let deflated = bytes.get(entry.header_size()..);
        Ok(Some(Lying {
            base: base_of(pack, &entry),
            deflated: deflated.ok_or(PackError::Damaged(id))?,
            entry,
        }))
    }

    fn copy(
        &mut self,
        id: ObjectId,
        lying: &Lying<'_>,
        header: Header,
        depth: u16,
    ) -> Result<(), WriteError> {
        self.begin(id, depth);
        header.write_to(lying.entry.decompressed_size, &mut self.out)?;
        self.out.write_all(lying.deflated)?;
        self.written.copied += 1;
        self.written.deltas += usize::from(header.is_delta());
        Ok(())
    }

    fn anew(&mut self, id: ObjectId) -> Result<(), WriteError> {
        self.begin(id, 0);
        let (kind, data) = self.reader.object(id)?;
        let header = match kind {
            Kind::Commit => Header::Commit,
            Kind::Tree => Header::Tree,
            Kind::Blob => Header::Blob,
            Kind::Tag => Header::Tag,
        };
        header.write_to(data.len() as u64, &mut self.out)?;
        let level = gix_zlib::Compression::DEFAULT;
        let mut deflate = gix_zlib::stream::deflate::Write::new(&mut self.out, level);
        deflate.write_all(data)?;
        deflate.flush()?;
        Ok(())
    }

    fn begin(&mut self, id: ObjectId, depth: u16) {
        let offset = self.out.written;
        self.states.insert(id, State::Written { offset, depth });
        self.written.objects += 1;
    }

    fn finish(mut self) -> Result<Written, WriteError> {
        let hasher = std::mem::replace(&mut self.out.hasher, gix_hash::hasher(HASH));
        let hash = hasher.try_finalize().map_err(io::Error::other)?;
        self.out.out.write_all(hash.as_slice())?;
        self.out.out.flush()?;
        Ok(self.written)
    }
}

struct Hashing<W> {
    out: W,
    hasher: gix_hash::Hasher,
    written: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
