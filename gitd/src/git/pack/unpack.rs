//! Entries into objects, one after the other, each upon its base.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Read},
    os::unix::fs::FileExt,
    sync::Arc,
};

use gix_hash::ObjectId;
use gix_object::{Find, Kind};

use super::{
    Base, PackError, Problem, delta,
    entry::{self, Form},
    id_hash::IdHash,
    index::Row,
    inflate::Inflater,
    inspect::{Inspection, Inspector, Object},
    recent::Recent,
    source::Source,
    table::Table,
};
use crate::git::watch::Watch;

/// Bases at hand. git keeps 96 MiB.
const RECENT_BYTES: usize = 48 << 20;
/// git builds no deltas upon smaller objects. Who does finds them in the file.
const BASE_BYTES_MIN: usize = 50;
const REREAD_BUFFER: u64 = 64 << 10;

pub(super) struct Unpacker<'a> {
    old: &'a gix_odb::Handle,
    watch: &'a Watch,
    entries: Vec<Entry>,
    outside: Vec<Outside>,
    outside_at: HashMap<ObjectId, u32, IdHash>,
    recent: Recent,
    inflater: Inflater,
    waiting: Waiting,
}

#[derive(Clone, Copy)]
struct Entry {
    offset: u64,
    crc: u32,
    /// `None`: a delta whose base is not known yet.
    kind: Option<Kind>,
    base: Option<Base>,
    depth: u16,
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
            entries: Vec::new(),
            outside: Vec::new(),
            outside_at: HashMap::default(),
            recent: Recent::new(RECENT_BYTES),
            inflater: Inflater::new(),
            waiting: Waiting::default(),
        }
    }

    /// Reads the next entry and hands the object on, unless it has to wait for its base.
    pub(super) fn entry(
        &mut self,
        source: &mut Source<impl Read>,
        inspection: &mut Inspection<'_, '_>,
    ) -> Result<(), PackError> {
        let offset = source.offset();
        let object = self.next_object(source).map_err(PackError::entry(offset))?;
        object.map_or(Ok(()), |object| inspection.add(object))
    }

    fn next_object(&mut self, source: &mut Source<impl Read>) -> Result<Option<Object>, Problem> {
        let offset = source.offset();
        source.begin_entry();
        let header = entry::read(source)?;
        let bytes_max = match header.form {
            Form::Whole(_) => self.watch.limits().object_bytes,
            // git writes no delta larger than half of its result.
            _ => self.watch.limits().object_bytes / 2,
        };
        let bytes = self.inflate(source, header.size, bytes_max)?;
        let at = self.entries.len() as u32;
        self.entries.push(Entry {
            offset,
            crc: source.end_entry(),
            kind: None,
            base: None,
            depth: 0,
        });
        let base = match header.form {
            Form::Whole(kind) => return Ok(Some(self.whole(at, kind, bytes))),
            Form::OffsetDelta(distance) => Some(self.starting_at(offset, distance)?),
            Form::IdDelta(id) => self.outside(id)?,
        };
        self.entries[at as usize].base = base;
        match base {
            None => {
                if let Form::IdDelta(id) = header.form {
                    self.waiting.for_id.entry(id).or_default().push(at);
                }
                Ok(None)
            }
            Some(Base::Entry(of)) if self.entries[of as usize].kind.is_none() => {
                self.waiting.for_entry.entry(of).or_default().push(at);
                Ok(None)
            }
            Some(base) => {
                let of = match self.recent.get(base) {
                    Some(bytes) => bytes,
                    None => self.rebuild(base, source.file()?)?,
                };
                self.upon(at, base, &of, &bytes).map(Some)
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
            let offset = self.entries[at as usize].offset;
            let object = self
                .settle_one(at, file)
                .map_err(PackError::entry(offset))?;
            let id = inspector.inspect(&object)?;
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
            self.entries[child as usize].base = Some(Base::Entry(at));
            ready.push(child);
        }
    }

    fn settle_one(&mut self, at: u32, file: &File) -> Result<Object, Problem> {
        let base = self.entries[at as usize].base.ok_or(Problem::NoBase)?;
        let of = self.rebuild(base, file)?;
        let bytes = self.reread(at, file)?;
        self.upon(at, base, &of, &bytes)
    }

    fn whole(&mut self, at: u32, kind: Kind, bytes: Vec<u8>) -> Object {
        let bytes = Arc::new(bytes);
        self.entries[at as usize].kind = Some(kind);
        if bytes.len() >= BASE_BYTES_MIN {
            self.recent.put(Base::Entry(at), &bytes);
        }
        Object { at, kind, bytes }
    }

    fn upon(&mut self, at: u32, base: Base, of: &[u8], delta: &[u8]) -> Result<Object, Problem> {
        let (kind, depth) = match base {
            Base::Entry(of) => {
                let of = &self.entries[of as usize];
                (of.kind.ok_or(Problem::NoBase)?, of.depth)
            }
            Base::Outside(of) => (self.outside[of as usize].kind, 0),
        };
        let depth_max = self.watch.limits().delta_depth;
        if depth >= depth_max {
            return Err(Problem::Depth(depth_max));
        }
        self.entries[at as usize].depth = depth + 1;
        let bytes = self.apply(of, delta)?;
        Ok(self.whole(at, kind, bytes))
    }

    fn apply(&self, base: &[u8], delta: &[u8]) -> Result<Vec<u8>, Problem> {
        let bytes = delta::apply(base, delta, self.watch.limits().object_bytes)?;
        spend(self.watch, bytes.len())?;
        Ok(bytes)
    }

    fn inflate(
        &mut self,
        input: &mut impl io::BufRead,
        size: u64,
        bytes_max: usize,
    ) -> Result<Vec<u8>, Problem> {
        let fits = usize::try_from(size).ok().filter(|size| *size <= bytes_max);
        let fits = fits.ok_or(Problem::TooLarge { size, bytes_max })?;
        let watch = self.watch;
        self.inflater
            .inflate(input, fits, |bytes| spend(watch, bytes))
    }

    fn starting_at(&self, offset: u64, distance: u64) -> Result<Base, Problem> {
        let start = offset.checked_sub(distance).ok_or(Problem::NoBase)?;
        // The entry itself is the last: no delta is its own base.
        let earlier = &self.entries[..self.entries.len() - 1];
        let at = earlier.binary_search_by_key(&start, |entry| entry.offset);
        at.map(|at| Base::Entry(at as u32))
            .map_err(|_| Problem::NoBase)
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
        self.recent.put(base, &Arc::new(bytes));
        Ok(Some(base))
    }

    /// An object that may be forgotten, by what is left of its chain of deltas.
    pub(super) fn rebuild(&mut self, base: Base, file: &File) -> Result<Arc<Vec<u8>>, Problem> {
        let mut chain = Vec::new();
        let mut at = base;
        let mut bytes = loop {
            if let Some(bytes) = self.recent.get(at) {
                break bytes;
            }
            let base = match at {
                Base::Outside(_) => None,
                Base::Entry(entry) => self.entries[entry as usize].base,
            };
            match (base, at) {
                (Some(base), Base::Entry(entry)) => {
                    chain.push(entry);
                    at = base;
                }
                (_, Base::Entry(entry)) => break Arc::new(self.reread(entry, file)?),
                (_, Base::Outside(outside)) => break Arc::new(self.outside_bytes(outside)?),
            }
        };
        self.recent.put(at, &bytes);
        while let Some(entry) = chain.pop() {
            let delta = self.reread(entry, file)?;
            bytes = Arc::new(self.apply(&bytes, &delta)?);
            self.recent.put(Base::Entry(entry), &bytes);
        }
        Ok(bytes)
    }

    /// What an entry holds, from the file.
    fn reread(&mut self, at: u32, file: &File) -> Result<Vec<u8>, Problem> {
        let offset = self.entries[at as usize].offset;
        let end = self.entries.get(at as usize + 1);
        let length = end.map_or(REREAD_BUFFER, |next| next.offset - offset);
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
        self.entries[at as usize].kind
    }

    pub(super) fn kinds(&self) -> Vec<Option<Kind>> {
        self.entries.iter().map(|entry| entry.kind).collect()
    }

    pub(super) fn offset(&self, at: u32) -> u64 {
        self.entries[at as usize].offset
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
        });
        self.entries.len() as u32 - 1
    }

    pub(super) fn rows(&self, table: &Table) -> impl Iterator<Item = Row> + Clone {
        table.rows().map(|(id, at)| {
            let Entry { offset, crc, .. } = self.entries[at as usize];
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
        let base = |at: u32| match self.entries[at as usize].base? {
            Base::Entry(base) => Some(base),
            Base::Outside(base) => inside[base as usize],
        };
        // The walk, counted from 1, in which each entry was met first.
        let mut met = vec![0; self.entries.len()];
        for (walk, start) in (1..).zip(0..self.entries.len() as u32) {
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
