//! Entries into objects, one after the other, each upon its base.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Read},
    mem,
    os::unix::fs::FileExt,
    sync::Arc,
};

use gix_hash::ObjectId;
use gix_object::{Find, Kind};

use super::{
    Base, PackError, Problem,
    block::{Block, Blocks, Full},
    delta,
    entries::{Entries, Entry},
    entry::{self, Form},
    id_hash::IdHash,
    index::Row,
    inflate::Inflater,
    inspect::{Inspection, Inspector},
    recent::Recent,
    source::Source,
    table::Table,
};
use crate::git::watch::Watch;

/// Bases at hand: all as they come, and files for longer. git keeps 96 MiB.
const BLOCKS_BYTES: usize = 8 << 20;
const RECENT_BYTES: usize = 32 << 20;
/// A file that is larger would drive out too many others.
const KEPT_BYTES_MAX: usize = 4 << 20;
const REREAD_BUFFER: u64 = 64 << 10;
/// Room that is kept from one object to the next.
const SCRATCH_BYTES: usize = 1 << 20;

pub(super) struct Unpacker<'a> {
    old: &'a gix_odb::Handle,
    watch: &'a Watch,
    entries: Entries,
    outside: Vec<Outside>,
    outside_at: HashMap<ObjectId, u32, IdHash>,
    blocks: Blocks,
    /// Bases that are not of a block.
    recent: Recent,
    inflater: Inflater,
    inflated: Vec<u8>,
    applied: Vec<u8>,
    waiting: Waiting,
}

/// A base that is in the repository. The client counts on that: its pack is thin.
#[derive(Clone, Copy)]
pub(super) struct Outside {
    pub(super) id: ObjectId,
    pub(super) kind: Kind,
}

/// Deltas that came before their base. Stock git sends none.
#[derive(Default)]
struct Waiting {
    for_entry: HashMap<u32, Vec<u32>, IdHash>,
    for_id: HashMap<ObjectId, Vec<u32>, IdHash>,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(old: &'a gix_odb::Handle, watch: &'a Watch) -> Self {
        Self {
            old,
            watch,
            entries: Entries::default(),
            outside: Vec::new(),
            outside_at: HashMap::default(),
            blocks: Blocks::default(),
            recent: Recent::new(RECENT_BYTES),
            inflater: Inflater::new(),
            inflated: Vec::new(),
            applied: Vec::new(),
            waiting: Waiting::default(),
        }
    }

    /// Reads the next entries, and hands the objects on that need not wait for their bases.
    pub(super) fn entries(
        &mut self,
        count: u32,
        source: &mut Source<impl Read>,
        inspection: &mut Inspection<'_, '_>,
    ) -> Result<(), PackError> {
        for _ in 0..count {
            let offset = source.offset();
            let full = self.entry(source).map_err(PackError::entry(offset))?;
            for block in full.into_iter().flatten() {
                inspection.add(block)?;
                self.forget();
            }
        }
        Ok(())
    }

    /// Gives up what is oldest, but for files: commit by commit, the same folder changes again soon, the same file later.
    fn forget(&mut self) {
        while let Some(block) = self.blocks.oldest_beyond(BLOCKS_BYTES) {
            for (at, kind, bytes) in block.objects() {
                if kind == Kind::Blob && bytes.len() <= KEPT_BYTES_MAX {
                    self.recent.put(Base::Entry(at), &Arc::from(bytes));
                }
            }
            self.blocks.reuse(block);
        }
    }

    /// The objects of the last block.
    pub(super) fn last_block(&mut self) -> Option<Arc<Block>> {
        self.blocks.close()
    }

    /// Returns blocks of objects that are full.
    fn entry(&mut self, source: &mut Source<impl Read>) -> Result<Full, Problem> {
        let offset = source.offset();
        source.begin_entry();
        let header = entry::read(source)?;
        let bytes_max = match header.form {
            Form::Whole(_) => self.watch.limits().object_bytes,
            // git writes no delta larger than half of its result.
            _ => self.watch.limits().object_bytes / 2,
        };
        self.inflate(source, header.size, bytes_max)?;
        let at = self.entries.push(Entry {
            offset,
            crc: source.end_entry(),
            kind: None,
            base: None,
            depth: 0,
        });
        let base = match header.form {
            Form::Whole(kind) => {
                self.entries[at].kind = Some(kind);
                return Ok(self.blocks.push(at, kind, &mut self.inflated));
            }
            Form::OffsetDelta(distance) => Some(self.starting_at(offset, distance)?),
            Form::IdDelta(id) => self.outside(id)?,
        };
        self.entries[at].base = base;
        match base {
            None => {
                if let Form::IdDelta(id) = header.form {
                    self.waiting.for_id.entry(id).or_default().push(at);
                }
                Ok([None, None])
            }
            Some(Base::Entry(of)) if self.entries[of].kind.is_none() => {
                self.waiting.for_entry.entry(of).or_default().push(at);
                Ok([None, None])
            }
            Some(base) => {
                let kind = self.kind_upon(at, base)?;
                self.apply_upon(base, source)?;
                Ok(self.blocks.push(at, kind, &mut self.applied))
            }
        }
    }

    /// Makes the deltas whole that came before their bases. `ids`: of all objects that are whole.
    pub(super) fn settle(
        &mut self,
        file: &File,
        ids: &[(u32, ObjectId)],
        inspector: &mut Inspector<'_>,
    ) -> Result<(), PackError> {
        if self.waiting.for_id.is_empty() {
            return Ok(());
        }
        let mut ready = Vec::new();
        for (at, id) in ids {
            self.wake(*at, id, &mut ready);
        }
        // The last that became ready is the first to go on: its base was used a moment ago.
        while let Some(at) = ready.pop() {
            let offset = self.entries[at].offset;
            let (kind, bytes) = self
                .settle_one(at, file)
                .map_err(PackError::entry(offset))?;
            let id = inspector.inspect(at, kind, &bytes)?;
            self.wake(at, &id, &mut ready);
        }
        match self.waiting.for_id.keys().min() {
            Some(id) => Err(PackError::MissingBase(*id)),
            None => Ok(()),
        }
    }

    fn wake(&mut self, at: u32, id: &ObjectId, ready: &mut Vec<u32>) {
        ready.extend(self.waiting.for_entry.remove(&at).into_iter().flatten());
        for child in self.waiting.for_id.remove(id).into_iter().flatten() {
            self.entries[child].base = Some(Base::Entry(at));
            ready.push(child);
        }
    }

    /// The same again, for one that waited.
    fn settle_one(&mut self, at: u32, file: &File) -> Result<(Kind, Arc<[u8]>), Problem> {
        let base = self.entries[at].base.ok_or(Problem::NoBase)?;
        let kind = self.kind_upon(at, base)?;
        let of = self.rebuild(base, file)?;
        self.reread(at, file)?;
        self.apply(&of)?;
        let bytes = self.keep(Base::Entry(at));
        Ok((kind, bytes))
    }

    /// A delta is of the kind of its base, and one deeper.
    fn kind_upon(&mut self, at: u32, base: Base) -> Result<Kind, Problem> {
        let (kind, depth) = match base {
            Base::Entry(of) => {
                let of = &self.entries[of];
                (of.kind.ok_or(Problem::NoBase)?, of.depth)
            }
            Base::Outside(of) => (self.outside[of as usize].kind, 0),
        };
        let depth_max = self.watch.limits().delta_depth;
        if depth >= depth_max {
            return Err(Problem::Depth(depth_max));
        }
        let entry = &mut self.entries[at];
        (entry.kind, entry.depth) = (Some(kind), depth + 1);
        Ok(kind)
    }

    /// The delta that was inflated last, upon a base that is at hand or in the file of the source.
    fn apply_upon(&mut self, base: Base, source: &mut Source<impl Read>) -> Result<(), Problem> {
        if let Base::Entry(of) = base
            && let Some(of) = self.blocks.find(of)
        {
            return apply(self.watch, of, &self.inflated, &mut self.applied);
        }
        let of = match self.recent.get(base) {
            Some(of) => of,
            None => {
                let delta = mem::take(&mut self.inflated);
                let of = self.rebuild(base, source.file()?)?;
                self.inflated = delta;
                of
            }
        };
        self.apply(&of)
    }

    fn apply(&mut self, base: &[u8]) -> Result<(), Problem> {
        apply(self.watch, base, &self.inflated, &mut self.applied)
    }

    /// What was applied last, as a base of others.
    fn keep(&mut self, name: Base) -> Arc<[u8]> {
        let bytes = Arc::from(self.applied.as_slice());
        self.recent.put(name, &bytes);
        bytes
    }

    fn inflate(
        &mut self,
        input: &mut impl io::BufRead,
        size: u64,
        bytes_max: usize,
    ) -> Result<(), Problem> {
        let fits = usize::try_from(size).ok().filter(|size| *size <= bytes_max);
        let fits = fits.ok_or(Problem::TooLarge { size, bytes_max })?;
        let (watch, out) = (self.watch, &mut self.inflated);
        out.shrink_to(SCRATCH_BYTES);
        self.inflater
            .inflate(input, fits, out, |bytes| spend(watch, bytes))
    }

    fn starting_at(&self, offset: u64, distance: u64) -> Result<Base, Problem> {
        let start = offset.checked_sub(distance).filter(|start| *start < offset);
        let at = start.and_then(|start| self.entries.starting_at(start));
        at.map(Base::Entry).ok_or(Problem::NoBase)
    }

    /// The object of the repository, if it is there.
    fn outside(&mut self, id: ObjectId) -> Result<Option<Base>, Problem> {
        if let Some(&at) = self.outside_at.get(&id) {
            return Ok(Some(Base::Outside(at)));
        }
        let mut bytes = Vec::new();
        let Some(found) = self.old.try_find(&id, &mut bytes).map_err(unreadable)? else {
            return Ok(None);
        };
        let kind = found.kind;
        let at = self.outside.len() as u32;
        let base = Base::Outside(at);
        self.outside.push(Outside { id, kind });
        self.outside_at.insert(id, at);
        spend(self.watch, bytes.len())?;
        self.recent.put(base, &Arc::from(bytes));
        Ok(Some(base))
    }

    /// An object that may be forgotten, by what is left of its chain of deltas.
    pub(super) fn rebuild(&mut self, base: Base, file: &File) -> Result<Arc<[u8]>, Problem> {
        let mut chain = Vec::new();
        let mut at = base;
        let mut bytes = loop {
            if let Some(bytes) = self.at_hand(at) {
                break bytes;
            }
            let base = match at {
                Base::Outside(_) => None,
                Base::Entry(entry) => self.entries[entry].base,
            };
            match (base, at) {
                (Some(base), Base::Entry(entry)) => {
                    chain.push(entry);
                    at = base;
                }
                (_, Base::Entry(entry)) => {
                    self.reread(entry, file)?;
                    break Arc::from(self.inflated.as_slice());
                }
                (_, Base::Outside(outside)) => break Arc::from(self.outside_bytes(outside)?),
            }
        };
        self.recent.put(at, &bytes);
        while let Some(entry) = chain.pop() {
            self.reread(entry, file)?;
            self.apply(&bytes)?;
            bytes = self.keep(Base::Entry(entry));
        }
        Ok(bytes)
    }

    fn at_hand(&mut self, base: Base) -> Option<Arc<[u8]>> {
        let of_block = match base {
            Base::Entry(entry) => self.blocks.find(entry),
            Base::Outside(_) => None,
        };
        let copied = of_block.map(Arc::from);
        copied.or_else(|| self.recent.get(base))
    }

    /// Inflates what an entry holds, from the file.
    fn reread(&mut self, at: u32, file: &File) -> Result<(), Problem> {
        let offset = self.entries[at].offset;
        let end = self.entries.end(at);
        let length = end.map_or(REREAD_BUFFER, |end| end - offset);
        let input = At { file, offset };
        let mut input = BufReader::with_capacity(length.min(REREAD_BUFFER) as usize, input);
        let header = entry::read(&mut input)?;
        self.inflate(&mut input, header.size, self.watch.limits().object_bytes)
    }

    pub(super) fn outside_bytes(&self, at: u32) -> Result<Vec<u8>, Problem> {
        let Outside { id, .. } = self.outside[at as usize];
        let mut bytes = Vec::new();
        self.old.try_find(&id, &mut bytes).map_err(unreadable)?;
        spend(self.watch, bytes.len())?;
        Ok(bytes)
    }

    pub(super) fn old(&self) -> &'a gix_odb::Handle {
        self.old
    }

    pub(super) fn kind(&self, at: u32) -> Option<Kind> {
        self.entries[at].kind
    }

    pub(super) fn kinds(&self) -> Vec<Option<Kind>> {
        self.entries.iter().map(|entry| entry.kind).collect()
    }

    pub(super) fn offset(&self, at: u32) -> u64 {
        self.entries[at].offset
    }

    pub(super) fn outsiders(&self) -> &[Outside] {
        &self.outside
    }

    /// One entry more, of a whole object, and its place.
    pub(super) fn push(&mut self, offset: u64, crc: u32, kind: Kind) -> u32 {
        self.entries.push(Entry {
            offset,
            crc,
            kind: Some(kind),
            base: None,
            depth: 0,
        })
    }

    pub(super) fn rows(&self, table: &Table) -> impl Iterator<Item = Row> + Clone {
        table.rows().map(|(id, at)| {
            let Entry { offset, crc, .. } = self.entries[at];
            Row { id, crc, offset }
        })
    }

    /// A base that is in the repository may be in the pack too, even as a delta of what was built upon it. Whoever reads
    /// the pack takes the one in the pack, and must get to an end.
    pub(super) fn find_circles(&self, table: &Table) -> Result<(), PackError> {
        let inside: Vec<Option<u32>> = self
            .outside
            .iter()
            .map(|outside| table.find(&outside.id))
            .collect();
        if inside.iter().all(Option::is_none) {
            return Ok(());
        }
        let base = |at: u32| match self.entries[at].base? {
            Base::Entry(base) => Some(base),
            Base::Outside(base) => inside[base as usize],
        };
        // The walk, counted from 1, in which each entry was met first.
        let mut met = vec![0; self.entries.len() as usize];
        for (walk, start) in (1..).zip(0..self.entries.len()) {
            let mut next = Some(start);
            while let Some(at) = next {
                match met[at as usize] {
                    0 => met[at as usize] = walk,
                    earlier if earlier == walk => {
                        let id = table.id_at(at);
                        return Err(id.map_or(PackError::Stopped, PackError::Circle));
                    }
                    _ => break,
                }
                next = base(at);
            }
        }
        Ok(())
    }
}

fn apply(watch: &Watch, base: &[u8], delta: &[u8], out: &mut Vec<u8>) -> Result<(), Problem> {
    out.shrink_to(SCRATCH_BYTES);
    delta::apply(base, delta, watch.limits().object_bytes, out)?;
    spend(watch, out.len())
}

fn spend(watch: &Watch, bytes: usize) -> Result<(), Problem> {
    watch.unpacked(bytes);
    if watch.stopped() {
        return Err(Problem::Stopped);
    }
    Ok(())
}

fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Problem {
    Problem::Io(io::Error::other(error))
}

/// The file from an offset on, without moving where it is written.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(out, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
