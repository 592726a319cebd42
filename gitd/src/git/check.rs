//! Looks at every commit, tree and tag of a pushed pack: well-formed, harmless, and every object that it names is here.
//!
//! What is in the repository already has passed this check, so it is complete: an object that names only objects of the
//! pack or of the repository is complete too, and no walk through the history is needed.

use std::{
    collections::HashSet,
    error::Error,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use gix_hash::ObjectId;
use gix_object::{Exists, Kind};
use gix_pack::{Bundle, cache::lru::StaticLinkedList, data::entry::Header};

use super::{
    Repo, RepoError,
    fsck::{self, FsckError, Link},
    gitmodules,
};

const THREADS_MAX: usize = 4;
/// Starting a thread for less is slower than doing it.
const OBJECTS_PER_THREAD: usize = 2000;
/// Delta bases kept per thread. Objects are visited in the pack's order, so a base is near.
const CACHE_ENTRIES: usize = 64;
const CACHE_BYTES: usize = 16 << 20;

pub(crate) struct Checked {
    /// Commits of the pack whose parents are missing, as the client had said.
    pub(crate) boundaries: Vec<ObjectId>,
    pub(crate) kinds: Kinds,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    #[error("object {0} is in the pack twice")]
    Duplicate(ObjectId),
    #[error("{} {id}, which {by} names, is missing", kind_name(*.kind))]
    Missing {
        kind: Option<Kind>,
        id: ObjectId,
        by: ObjectId,
    },
    #[error("{by} names {id} as a {expected}, but it is a {actual}")]
    WrongKind {
        id: ObjectId,
        by: ObjectId,
        expected: Kind,
        actual: Kind,
    },
    #[error(transparent)]
    Fsck(#[from] FsckError),
    #[error("{0}")]
    Modules(String),
    #[error("object {id} cannot be read from the pack")]
    Read {
        id: ObjectId,
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("objects cannot be read")]
    Objects(#[from] RepoError),
    #[error("stopped")]
    Stopped,
}

fn kind_name(kind: Option<Kind>) -> &'static str {
    match kind {
        Some(Kind::Blob) => "file",
        Some(Kind::Tree) => "tree",
        Some(Kind::Commit) => "commit",
        Some(Kind::Tag) => "tag",
        None => "object",
    }
}

/// The kind of every object of a pack, by its place in the index.
pub(crate) struct Kinds(Vec<Option<Kind>>);

impl Kinds {
    pub(crate) fn of(&self, pack: &Bundle, id: &ObjectId) -> Option<Kind> {
        pack.index.lookup(id).and_then(|at| self.0[at as usize])
    }
}

/// `shallow`: commits of which the client has no parents. Stops when `interrupt` is set.
pub(crate) fn check(
    repo: &Repo,
    pack: &Bundle,
    shallow: &[ObjectId],
    interrupt: &AtomicBool,
) -> Result<Checked, CheckError> {
    let order = offset_order(pack)?;
    let kinds = kinds(pack, &order)?;
    let shallow: HashSet<ObjectId> = shallow.iter().copied().collect();
    let context = Context {
        repo,
        pack,
        kinds: &kinds,
        shallow: &shallow,
        interrupt,
    };
    let found = context.check_all(&order)?;
    context.check_modules(&found.modules)?;
    Ok(Checked {
        boundaries: found.boundaries,
        kinds,
    })
}

/// An entry's offset in the pack, and its place in the index.
type Place = (u64, u32);

/// The index is in the order of ids: neighbours that are equal are the same object twice.
fn offset_order(pack: &Bundle) -> Result<Vec<Place>, CheckError> {
    let mut order = Vec::with_capacity(pack.index.num_objects() as usize);
    let mut previous = None;
    for (at, entry) in (0..).zip(pack.index.iter()) {
        if previous == Some(entry.oid) {
            return Err(CheckError::Duplicate(entry.oid));
        }
        previous = Some(entry.oid);
        order.push((entry.pack_offset, at));
    }
    order.sort_unstable();
    Ok(order)
}

/// A delta is what its base is; follows each chain once.
fn kinds(pack: &Bundle, order: &[Place]) -> Result<Kinds, CheckError> {
    let mut kinds: Vec<Option<Kind>> = vec![None; order.len()];
    let mut chain = Vec::new();
    for &(offset, at) in order {
        let (mut offset, mut at) = (offset, at);
        let kind = loop {
            if let Some(kind) = kinds[at as usize] {
                break kind;
            }
            chain.push(at);
            let id = pack.index.oid_at_index(at).to_owned();
            let error = |source| CheckError::Read { id, source };
            let entry = pack.pack.entry(offset).map_err(|e| error(e.into()))?;
            let base = match entry.header {
                Header::OfsDelta { base_distance } => {
                    Header::verified_base_pack_offset(offset, base_distance)
                        .and_then(|base| order.binary_search_by_key(&base, |place| place.0).ok())
                        .map(|found| order[found])
                }
                Header::RefDelta { base_id } => pack
                    .index
                    .lookup(base_id)
                    .map(|base| (pack.index.pack_offset_at_index(base), base)),
                plain => match plain.as_kind() {
                    Some(kind) => break kind,
                    None => None,
                },
            };
            (offset, at) = base.ok_or_else(|| error("its delta base is missing".into()))?;
            if chain.len() > order.len() {
                return Err(error("its delta bases form a circle".into()));
            }
        };
        for at in chain.drain(..) {
            kinds[at as usize] = Some(kind);
        }
    }
    Ok(Kinds(kinds))
}

#[derive(Clone, Copy)]
struct Context<'a> {
    repo: &'a Repo,
    pack: &'a Bundle,
    kinds: &'a Kinds,
    shallow: &'a HashSet<ObjectId>,
    interrupt: &'a AtomicBool,
}

#[derive(Default)]
struct Found {
    boundaries: Vec<ObjectId>,
    modules: HashSet<ObjectId>,
}

impl Context<'_> {
    fn check_all(self, order: &[Place]) -> Result<Found, CheckError> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = (order.len() / OBJECTS_PER_THREAD).clamp(1, cores.min(THREADS_MAX));
        let mut parts = order.chunks(order.len().div_ceil(threads).max(1));
        let first = parts.next().unwrap_or_default();
        thread::scope(|scope| {
            let others: Vec<_> = parts
                .map(|part| scope.spawn(move || self.check_part(part)))
                .collect();
            let mut found = self.check_part(first);
            for other in others {
                let other = other.join().unwrap_or(Err(CheckError::Stopped));
                found = found.and_then(|mut found| {
                    let other = other?;
                    found.boundaries.extend(other.boundaries);
                    found.modules.extend(other.modules);
                    Ok(found)
                });
            }
            found
        })
    }

    fn check_part(self, part: &[Place]) -> Result<Found, CheckError> {
        let mut old = self.repo.objects()?;
        old.refresh_never();
        let mut known = HashSet::new();
        let mut found = Found::default();
        let mut cache = StaticLinkedList::<CACHE_ENTRIES>::new(CACHE_BYTES);
        let mut inflate = Default::default();
        let mut buffer = Vec::new();
        for &(_, at) in part {
            if self.interrupt.load(Ordering::Relaxed) {
                return Err(CheckError::Stopped);
            }
            if self.kinds.0[at as usize] == Some(Kind::Blob) {
                continue;
            }
            let id = self.pack.index.oid_at_index(at).to_owned();
            let (object, _) = self
                .pack
                .get_object_by_index(at, &mut buffer, &mut inflate, &mut cache)
                .map_err(|e| CheckError::Read {
                    id,
                    source: e.into(),
                })?;
            let mut result = Ok(());
            fsck::check(object.kind, id, object.data, |link| {
                if result.is_ok() {
                    result = self.check_link(id, link, &old, &mut known, &mut found);
                }
            })?;
            result?;
        }
        Ok(found)
    }

    fn check_link(
        self,
        by: ObjectId,
        link: Link,
        old: &gix_odb::Handle,
        known: &mut HashSet<ObjectId>,
        found: &mut Found,
    ) -> Result<(), CheckError> {
        if let Some(actual) = self.kinds.of(self.pack, &link.id) {
            if link.modules {
                found.modules.insert(link.id);
            }
            return match link.kind {
                Some(expected) if expected != actual => Err(CheckError::WrongKind {
                    id: link.id,
                    by,
                    expected,
                    actual,
                }),
                _ => Ok(()),
            };
        }
        if known.contains(&link.id) || old.exists(&link.id) {
            known.insert(link.id);
            return Ok(());
        }
        if link.parent && self.shallow.contains(&by) {
            found.boundaries.push(by);
            return Ok(());
        }
        Err(CheckError::Missing {
            kind: link.kind,
            id: link.id,
            by,
        })
    }

    fn check_modules(self, modules: &HashSet<ObjectId>) -> Result<(), CheckError> {
        let mut buffer = Vec::new();
        for id in modules {
            let found = self.pack.find(
                id,
                &mut buffer,
                &mut Default::default(),
                &mut gix_pack::cache::Never,
            );
            let blob = found.map_err(|e| CheckError::Read {
                id: *id,
                source: e.into(),
            })?;
            let Some((blob, _)) = blob else { continue };
            if blob.data.len() > gitmodules::SIZE_MAX {
                return Err(CheckError::Modules(".gitmodules is too large".to_owned()));
            }
            if let Some(problem) = gitmodules::problem(blob.data) {
                return Err(CheckError::Modules(problem));
            }
        }
        Ok(())
    }
}
