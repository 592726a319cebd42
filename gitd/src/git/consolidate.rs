//! Many small packs become one, after the push and never in its way: what looks for an object asks every pack.
//!
//! The new pack is complete and durable before an old one is removed. A crash leaves an object in two packs, which the
//! next time finds and mends.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, BufReader, BufWriter},
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, Instant},
};

use gix_features::progress::Discard;
use gix_hash::ObjectId;
use gix_pack::{Bundle, bundle::write::Options};
use rustix::fs::{FlockOperation, flock};

use super::{
    HASH, Repo,
    pack_writer::{Style, WriteError, write_pack},
    packs::{Pack, PackError, Packs},
    quarantine::{PackFiles, Quarantine},
    repo::ALLOC_MAX,
};

/// Fewer packs are no trouble.
const PACKS_MAX: usize = 16;
/// Larger packs stay as they are: to write them again would take longer than it saves.
const PACK_BYTES_MAX: u64 = 512 << 20;
/// A pack of this many times the bytes of all smaller ones stays as it is, so that no byte is written often.
const FACTOR: u64 = 2;
/// As git repacks: reading the newest version of a file must not take a thousand steps.
const DEPTH_MAX: u16 = 50;
/// Pushes hold packs open for as long as they check what comes in.
const USERS_MAX: Duration = Duration::from_secs(10);
const USERS_POLL: Duration = Duration::from_millis(50);
/// Pushes hold it shared, who removes packs holds it alone.
const USERS: &str = "packs.lock";
/// One consolidation at a time.
const TURN: &str = "consolidate.lock";

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConsolidateError {
    #[error("the packs cannot be listed, written or removed")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("the new pack cannot be indexed")]
    Index(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("object {0} is not in the new pack")]
    Lost(ObjectId),
}

/// While it is held, no pack goes away.
#[derive(Debug)]
pub(crate) struct PacksInUse {
    /// The kernel lets go when it is closed, also by a crash.
    _lock: File,
}

impl Repo {
    pub(crate) fn packs_in_use(&self) -> io::Result<PacksInUse> {
        let lock = self.lock_file(USERS)?;
        // A signal may come while a consolidation has it.
        rustix::io::retry_on_intr(|| flock(&lock, FlockOperation::LockShared))?;
        Ok(PacksInUse { _lock: lock })
    }

    fn lock_file(&self, name: &str) -> io::Result<File> {
        let path = self.path().join(name);
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
    }

    /// Makes one pack of the small ones, if there are many. Returns of how many. Blocking.
    pub(crate) fn consolidate(&self) -> Result<usize, ConsolidateError> {
        let turn = self.lock_file(TURN)?;
        if flock(&turn, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(0);
        }
        let packs = small_packs(&self.objects_dir().join("pack"))?;
        let sizes: Vec<u64> = packs.iter().map(|(size, _)| *size).collect();
        let old: Vec<PathBuf> = packs
            .into_iter()
            .take(choose(&sizes))
            .map(|(_, index)| index)
            .collect();
        if old.is_empty() {
            return Ok(0);
        }
        let new = self.write_one(&old)?;
        self.remove(old.iter().filter(|old| **old != new))?;
        Ok(old.len())
    }

    /// The index of the new pack, which is part of the repository already.
    fn write_one(&self, old: &[PathBuf]) -> Result<PathBuf, ConsolidateError> {
        let packs = Packs::of(self, old)?;
        let objects: HashSet<ObjectId> = packs.packs.iter().flat_map(Pack::ids).collect();
        let objects: Vec<ObjectId> = objects.into_iter().collect();
        let quarantine = Quarantine::new(self)?;
        let unindexed = quarantine.path().join("unindexed");
        let style = Style {
            ofs_delta: true,
            depth_max: DEPTH_MAX,
        };
        let mut out = BufWriter::new(File::create(&unindexed)?);
        write_pack(&packs, &objects, &HashSet::new(), style, &mut out)?;
        drop(out);
        // Read as if it came from somebody else: the index is proof that every object is in it.
        let files = index(&unindexed, quarantine.path())?;
        let new = Pack::open(&files.index).map_err(ConsolidateError::Index)?;
        let ids: HashSet<ObjectId> = new.ids().collect();
        if let Some(lost) = objects.iter().find(|id| !ids.contains(*id)) {
            return Err(ConsolidateError::Lost(*lost));
        }
        let name = files.index.file_name().unwrap_or_default();
        let released = self.objects_dir().join("pack").join(name);
        quarantine.release(&files)?;
        Ok(released)
    }

    /// When pushes never pause, the old packs stay for the next time.
    fn remove<'a>(&self, indexes: impl Iterator<Item = &'a PathBuf>) -> io::Result<()> {
        let users = self.lock_file(USERS)?;
        let begun = Instant::now();
        while flock(&users, FlockOperation::NonBlockingLockExclusive).is_err() {
            if begun.elapsed() > USERS_MAX {
                return Ok(());
            }
            thread::sleep(USERS_POLL);
        }
        for index in indexes {
            // The index first: it is what readers look for.
            fs::remove_file(index)?;
            for kind in ["pack", "rev", "bitmap"] {
                // The latter two are stock git's, if it was here.
                _ = fs::remove_file(index.with_extension(kind));
            }
        }
        Ok(())
    }
}

/// Size in bytes and index of each, the smallest first.
fn small_packs(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut packs = Vec::new();
    for entry in fs::read_dir(directory)? {
        let index = entry?.path();
        if index.extension().is_none_or(|extension| extension != "idx")
            || index.with_extension("keep").exists()
        {
            continue;
        }
        let size = fs::metadata(index.with_extension("pack"))?.len();
        if size <= PACK_BYTES_MAX {
            packs.push((size, index));
        }
    }
    packs.sort_unstable();
    Ok(packs)
}

/// How many of the packs, whose sizes ascend, become one: the smallest, up to one that is larger than all of them.
fn choose(sizes: &[u64]) -> usize {
    if sizes.len() <= PACKS_MAX {
        return 0;
    }
    let mut sum = sizes[0];
    for (count, size) in sizes.iter().enumerate().skip(1) {
        if count > 1 && *size >= sum.saturating_mul(FACTOR) {
            return count;
        }
        sum += size;
    }
    sizes.len()
}

fn index(pack: &Path, directory: &Path) -> Result<PackFiles, ConsolidateError> {
    let options = Options {
        thread_limit: Some(1),
        alloc_limit_bytes: Some(ALLOC_MAX),
        ..Default::default()
    };
    let outcome = Bundle::write_to_directory(
        &mut BufReader::new(File::open(pack)?),
        Some(directory),
        &mut Discard,
        &AtomicBool::new(false),
        None::<gix_odb::Handle>,
        HASH,
        options,
    )
    .map_err(|error| ConsolidateError::Index(error.into()))?;
    match (outcome.data_path, outcome.index_path) {
        (Some(pack), Some(index)) => Ok(PackFiles { pack, index }),
        _ => Err(ConsolidateError::Index("it has no objects".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_small_ones_until_a_large_one() {
        let check = |sizes: &[u64], count| assert_eq!(choose(sizes), count, "{sizes:?}");
        check(&[], 0);
        check(&[1; PACKS_MAX], 0);
        check(&[1; PACKS_MAX + 1], PACKS_MAX + 1);
        let with = |larger: &[u64]| [&[1; PACKS_MAX], larger].concat();
        check(&with(&[16]), 17);
        check(&with(&[16, 1000]), 17);
        check(&with(&[32, 1000]), 16);
        check(&with(&[40, 41, 42]), 16);
        check(&with(&[u64::MAX]), 16);
    }

    /// Each push costs as many packs as there are; so many pushes must not leave many.
    #[test]
    fn five_hundred_pushes_leave_few_packs_and_write_little() {
        let mut sizes: Vec<u64> = vec![100_000];
        let mut written = 0;
        for _ in 0..500 {
            sizes.push(1000);
            sizes.sort_unstable();
            let count = choose(&sizes);
            let one: u64 = sizes.drain(..count).sum();
            if count > 0 {
                sizes.push(one);
                written += one;
            }
            sizes.sort_unstable();
            assert!(sizes.len() <= PACKS_MAX);
        }
        assert!(written < 10 * 600_000, "{written}");
    }
}
