//! All packs of a repository, opened at once: for readers of many objects, who must not lose a pack under their hands
//! when packs are consolidated meanwhile.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use gix_hash::{ObjectId, oid};
use gix_object::{CommitRef, Kind, TagRef};
use gix_odb::loose;
use gix_pack::{
    Bundle,
    data::{self, decode::header::ResolvedBase},
};

use super::{HASH, Repo, base_cache::BaseCache, repo::ALLOC_MAX};

/// Packs that vanish while they are opened were consolidated; a second look finds the new one.
const OPEN_ATTEMPTS_MAX: usize = 5;
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    #[error("the packs in `{}` cannot be opened", .path.display())]
    Open {
        path: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("object {0} is missing")]
    Missing(ObjectId),
    #[error("object {id} cannot be read")]
    Read {
        id: ObjectId,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("object {0} is damaged")]
    Damaged(ObjectId),
}

/// Where an object lies: the number of the pack, and the place in its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) pack: usize,
    pub(crate) at: u32,
}

pub(crate) struct Pack {
    pub(crate) bundle: Bundle,
    /// Offsets of the entries in ascending order, with their places in the index.
    order: Vec<(u64, u32)>,
}

/// Packs, the largest first: most objects are found in the first.
pub(crate) struct Packs {
    pub(crate) packs: Vec<Pack>,
    /// We write packs only; stock git, at an operator's hands, writes single files too.
    loose: loose::Store,
}

impl Packs {
    pub(crate) fn open(repo: &Repo) -> Result<Self, PackError> {
        let path = repo.objects_dir().join("pack");
        let mut attempts = 1;
        loop {
            match open_all(&path) {
                Ok(packs) => {
                    let loose = loose::Store::at(repo.objects_dir(), HASH);
                    return Ok(Self { packs, loose });
                }
                Err(_) if attempts < OPEN_ATTEMPTS_MAX => attempts += 1,
                Err(source) => return Err(PackError::Open { path, source }),
            }
        }
    }

    /// Only the packs with these indexes.
    pub(crate) fn of(repo: &Repo, indexes: &[PathBuf]) -> Result<Self, PackError> {
        let opened: Result<Vec<Pack>, _> = indexes.iter().map(|index| Pack::open(index)).collect();
        let opened = opened.map_err(|source| PackError::Open {
            path: repo.objects_dir().join("pack"),
            source,
        })?;
        Ok(Self {
            packs: in_order(opened),
            loose: loose::Store::at(repo.objects_dir(), HASH),
        })
    }

    pub(crate) fn find(&self, id: &oid) -> Option<Place> {
        self.packs.iter().enumerate().find_map(|(pack, found)| {
            let at = found.bundle.index.lookup(id)?;
            Some(Place { pack, at })
        })
    }

    pub(crate) fn contains(&self, id: &oid) -> bool {
        self.find(id).is_some() || self.loose.contains(id)
    }

    /// For one thread.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader {
            packs: self,
            cache: BaseCache::default(),
            inflate: Default::default(),
            buffer: Vec::new(),
        }
    }
}

fn open_all(directory: &Path) -> Result<Vec<Pack>, Box<dyn std::error::Error + Send + Sync>> {
    let mut packs = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "idx") {
            packs.push(Pack::open(&path)?);
        }
    }
    Ok(in_order(packs))
}

fn in_order(mut packs: Vec<Pack>) -> Vec<Pack> {
    packs.sort_by_key(|pack| std::cmp::Reverse(pack.bundle.index.num_objects()));
    for (number, pack) in (0..).zip(&mut packs) {
        // What the cache of delta bases tells packs apart by.
        pack.bundle.pack.id = number;
    }
    packs
}

impl Pack {
    pub(crate) fn open(index: &Path) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let mut bundle = Bundle::at(index, HASH)?;
        bundle.pack = bundle.pack.with_alloc_limit_bytes(Some(ALLOC_MAX));
        let mut order: Vec<(u64, u32)> = (0..)
            .zip(bundle.index.iter())
            .map(|(at, entry)| (entry.pack_offset, at))
            .collect();
        order.sort_unstable();
        Ok(Self { bundle, order })
    }

    pub(crate) fn offset(&self, at: u32) -> u64 {
        self.bundle.index.pack_offset_at_index(at)
    }

    pub(crate) fn id(&self, at: u32) -> ObjectId {
        self.bundle.index.oid_at_index(at).to_owned()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.bundle.index.iter().map(|entry| entry.oid)
    }

    pub(crate) fn at_offset(&self, offset: u64) -> Option<u32> {
        let found = self.order.binary_search_by_key(&offset, |entry| entry.0);
        Some(self.order[found.ok()?].1)
    }

    /// The entry's bytes, from its header to the next entry.
    pub(crate) fn bytes(&self, offset: u64) -> Option<&[u8]> {
        let place = self
            .order
            .binary_search_by_key(&offset, |entry| entry.0)
            .ok()?;
        let end = match self.order.get(place + 1) {
            Some((next, _)) => *next,
            None => self.bundle.pack.pack_end() as u64,
        };
        self.bundle.pack.entry_slice(offset..end)
    }
}

/// A commit, as far as histories are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) tree: ObjectId,
    pub(crate) parents: Vec<ObjectId>,
    /// Seconds since the Unix epoch, as the committer's clock had them.
    pub(crate) time: i64,
}

/// Reads objects, with what that needs kept from one to the next.
pub(crate) struct Reader<'a> {
    pub(crate) packs: &'a Packs,
    cache: BaseCache,
    inflate: gix_zlib::Inflate,
    buffer: Vec<u8>,
}

impl Reader<'_> {
    pub(crate) fn object(&mut self, id: ObjectId) -> Result<(Kind, &[u8]), PackError> {
        let read =
            |source: Box<dyn std::error::Error + Send + Sync>| PackError::Read { id, source };
        if let Some(Place { pack, at }) = self.packs.find(&id) {
            let (object, _) = self.packs.packs[pack]
                .bundle
                .get_object_by_index(at, &mut self.buffer, &mut self.inflate, &mut self.cache)
                .map_err(|e| read(e.into()))?;
            return Ok((object.kind, object.data));
        }
        match self.packs.loose.try_find(&id, &mut self.buffer) {
            Ok(Some(object)) => Ok((object.kind, object.data)),
            Ok(None) => Err(PackError::Missing(id)),
            Err(error) => Err(read(error.into())),
        }
    }

    /// Kind and size in bytes, without the content.
    pub(crate) fn header(&mut self, id: ObjectId) -> Result<(Kind, u64), PackError> {
        let read =
            |source: Box<dyn std::error::Error + Send + Sync>| PackError::Read { id, source };
        let Some(Place { pack, at }) = self.packs.find(&id) else {
            return match self.packs.loose.try_header(&id) {
                Ok(Some((size, kind))) => Ok((kind, size)),
                Ok(None) => Err(PackError::Missing(id)),
                Err(error) => Err(read(error.into())),
            };
        };
        let bundle = &self.packs.packs[pack].bundle;
        let entry = |at| bundle.pack.entry(bundle.index.pack_offset_at_index(at));
        let base = |id: &oid| {
            let found = bundle.index.lookup(id).map(entry).transpose()?;
            Ok(found.map(ResolvedBase::InPack))
        };
        let header = entry(at)
            .and_then(|entry| bundle.pack.decode_header(entry, &mut self.inflate, &base))
            .map_err(|e| read(e.into()))?;
        Ok((header.kind, header.object_size))
    }

    /// `None`: it is something else.
    pub(crate) fn commit(&mut self, id: ObjectId) -> Result<Option<Commit>, PackError> {
        let (Kind::Commit, data) = self.object(id)? else {
            return Ok(None);
        };
        let commit = CommitRef::from_bytes(data, HASH).map_err(|_| PackError::Damaged(id))?;
        Ok(Some(Commit {
            tree: commit.tree(),
            parents: commit.parents().collect(),
            time: commit
                .committer()
                .map_or(0, |committer| committer.seconds()),
        }))
    }

    /// What an annotated tag names; `None`: it is no tag.
    pub(crate) fn tag_target(&mut self, id: ObjectId) -> Result<Option<ObjectId>, PackError> {
        if self.header(id)?.0 != Kind::Tag {
            return Ok(None);
        }
        let (_, data) = self.object(id)?;
        let tag = TagRef::from_bytes(data, HASH).map_err(|_| PackError::Damaged(id))?;
        Ok(Some(tag.target()))
    }
}

/// The id of the base of a delta; `None`: the entry is no delta.
pub(crate) fn base_of(pack: &Pack, entry: &data::Entry) -> Option<Option<ObjectId>> {
    use data::entry::Header;
    match entry.header {
        Header::OfsDelta { base_distance } => {
            let base = entry.checked_base_pack_offset(base_distance);
            Some(
                base.and_then(|base| pack.at_offset(base))
                    .map(|at| pack.id(at)),
            )
        }
        Header::RefDelta { base_id } => Some(Some(base_id)),
        _ => None,
    }
}

impl From<PackError> for io::Error {
    fn from(error: PackError) -> Self {
        Self::other(error)
    }
}
