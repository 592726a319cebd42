//! A planned layer becomes bytes. Workers make fixed parts of the stream, and compress them; one thread takes the parts in
//! order, hashes and writes. Parts are cut by offset, so the result does not depend on how many workers there are.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use libdeflater::{CompressionLvl, Compressor};
use sha2::{Digest as _, Sha256};

use super::plan::Plan;
use crate::Digest;

/// One gzip member each (RFC 1952 allows any number of them), which costs 0.2 % in size.
const PART_BYTES: u64 = 1024 * 1024;
/// More wait for the disk than compute, and two keep the hashing thread busy.
const WORKERS_MAX: usize = 8;
/// Parts that are made and not yet taken, per worker.
const AHEAD: usize = 2;

/// A compressed layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    pub diff_id: Digest,
    /// Of the compressed bytes.
    pub digest: Digest,
    pub bytes: u64,
}

/// The lowest level that packs; what libdeflater calls its fastest only copies.
const LEVEL: i32 = 1;

/// What becomes of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Gzip,
}

struct Part {
    plain: Vec<u8>,
    /// Empty in [`Form::Plain`].
    packed: Vec<u8>,
}

impl Plan {
    /// Hashes the layer without keeping it.
    pub fn diff_id(&self) -> io::Result<Digest> {
        self.write_tar(&mut io::sink())
    }

    /// Writes the layer's tar stream and returns its diffID.
    pub fn write_tar(&self, out: &mut dyn Write) -> io::Result<Digest> {
        let mut hasher = Sha256::new();
        self.parts(Form::Plain, self.bytes(), &mut |part| {
            hasher.update(&part.plain);
            out.write_all(&part.plain)
        })?;
        Ok(Digest::finish(hasher))
    }

    /// Writes the layer's tar stream, compressed.
    pub fn write_gzip(&self, out: &mut dyn Write) -> io::Result<Blob> {
        let (mut plain, mut packed, mut bytes) = (Sha256::new(), Sha256::new(), 0);
        self.parts(Form::Gzip, self.bytes(), &mut |part| {
            plain.update(&part.plain);
            packed.update(&part.packed);
            bytes += part.packed.len() as u64;
            out.write_all(&part.packed)
        })?;
        Ok(Blob {
            diff_id: Digest::finish(plain),
            digest: Digest::finish(packed),
            bytes,
        })
    }

    /// Writes the entries, compressed, without the end that a tar has: more are to follow. `hasher` gets the plain bytes.
    pub(crate) fn write_entries(&self, hasher: &mut Sha256, out: &mut dyn Write) -> io::Result<()> {
        self.parts(Form::Gzip, self.entries_bytes(), &mut |part| {
            hasher.update(&part.plain);
            out.write_all(&part.packed)
        })
    }

    /// All parts of the first `bytes` of the stream, in order.
    fn parts(
        &self,
        form: Form,
        bytes: u64,
        take: &mut dyn FnMut(&Part) -> io::Result<()>,
    ) -> io::Result<()> {
        let count = bytes.div_ceil(PART_BYTES);
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers = cores.min(WORKERS_MAX).min(count as usize);
        if workers < 2 {
            return self.one_by_one(form, bytes, take);
        }
        let next = AtomicU64::new(0);
        // A worker takes a number only with room for what it makes: the part that is waited for always has room.
        let (give_room, room) = mpsc::channel();
        for _ in 0..workers * (1 + AHEAD) {
            _ = give_room.send(Part::new());
        }
        let room = Mutex::new(room);
        let (send, made) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..workers {
                let (send, next, room) = (send.clone(), &next, &room);
                scope.spawn(move || {
                    let mut compressor = compressor();
                    while let Some((number, mut part)) = claim(next, count, room) {
                        let at = number * PART_BYTES;
                        let length = (bytes - at).min(PART_BYTES) as usize;
                        let result = self.make(at, length, form, &mut compressor, &mut part);
                        if send.send((number, result.map(|()| part))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(send);
            let result = in_order(&made, &give_room, take);
            // Whoever waits for room stops.
            drop((made, give_room));
            result
        })
    }

    fn one_by_one(
        &self,
        form: Form,
        bytes: u64,
        take: &mut dyn FnMut(&Part) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut compressor = compressor();
        let mut part = Part::new();
        let mut at = 0;
        while at < bytes {
            let length = (bytes - at).min(PART_BYTES) as usize;
            self.make(at, length, form, &mut compressor, &mut part)?;
            take(&part)?;
            at += PART_BYTES;
        }
        Ok(())
    }

    fn make(
        &self,
        at: u64,
        length: usize,
        form: Form,
        compressor: &mut Compressor,
        part: &mut Part,
    ) -> io::Result<()> {
        part.plain.clear();
        part.plain.resize(length, 0);
        self.fill(at, &mut part.plain)?;
        if form == Form::Gzip {
            part.packed
                .resize(compressor.gzip_compress_bound(length), 0);
            let packed = compressor
                .gzip_compress(&part.plain, &mut part.packed)
                .map_err(io::Error::other)?;
            part.packed.truncate(packed);
        }
        Ok(())
    }
}

impl Part {
    fn new() -> Self {
        Self {
            plain: Vec::new(),
            packed: Vec::new(),
        }
    }
}

fn compressor() -> Compressor {
    Compressor::new(CompressionLvl::new(LEVEL).unwrap_or_default())
}

/// Number and room in one step, so that numbers are taken in the order in which there is room.
fn claim(next: &AtomicU64, count: u64, room: &Mutex<mpsc::Receiver<Part>>) -> Option<(u64, Part)> {
    let room = room.lock().ok()?;
    if next.load(Ordering::Relaxed) >= count {
        return None;
    }
    let part = room.recv().ok()?;
    Some((next.fetch_add(1, Ordering::Relaxed), part))
}

fn in_order(
    made: &mpsc::Receiver<(u64, io::Result<Part>)>,
    give_room: &mpsc::Sender<Part>,
    take: &mut dyn FnMut(&Part) -> io::Result<()>,
) -> io::Result<()> {
    let mut early = BTreeMap::new();
    let mut wanted = 0;
    for (number, part) in made {
        early.insert(number, part?);
        while let Some(part) = early.remove(&wanted) {
            take(&part)?;
            // All workers may be done.
            _ = give_room.send(part);
            wanted += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _};

    use super::*;
    use crate::layer::Owner;

    const OWNER: Owner = Owner {
        uid: 1000,
        gid: 1000,
    };

    /// Files that end before, at and behind the ends of parts.
    fn plan(dir: &std::path::Path) -> Plan {
        for (number, size) in [0, 1, 511, 512, 513, 1 << 20, (1 << 20) - 1024, 3 << 20, 7]
            .iter()
            .enumerate()
        {
            let content: Vec<u8> = (0..*size).map(|at| (at * 7 + number) as u8).collect();
            fs::write(
                dir.join(format!("{number}-{}", "n".repeat(number * 20))),
                content,
            )
            .unwrap();
        }
        let mut plan = Plan::default();
        plan.tree(dir, std::path::Path::new("/layers/x"), OWNER)
            .unwrap();
        plan.file(
            "/cnb/lifecycle/launcher",
            vec![3; 2 << 20].into(),
            0o755,
            OWNER,
        );
        plan
    }

    #[test]
    fn the_bytes_do_not_depend_on_how_they_are_made() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(dir.path());
        let mut alone = Vec::new();
        plan.one_by_one(Form::Plain, plan.bytes(), &mut |part| {
            alone.extend_from_slice(&part.plain);
            Ok(())
        })
        .unwrap();
        assert_eq!(alone.len() as u64, plan.bytes());
        let mut tar = Vec::new();
        let diff_id = plan.write_tar(&mut tar).unwrap();
        assert!(tar == alone, "the parts come in order");
        assert_eq!(diff_id, Digest::of(&tar));
        let mut packed = Vec::new();
        let blob = plan.write_gzip(&mut packed).unwrap();
        assert_eq!((blob.diff_id, blob.digest), (diff_id, Digest::of(&packed)));
        assert_eq!(blob.bytes, packed.len() as u64);
        assert!(
            blob.bytes < plan.bytes() / 10,
            "it is packed: {}",
            blob.bytes
        );
        let mut unpacked = Vec::new();
        flate2::read::MultiGzDecoder::new(&packed[..])
            .read_to_end(&mut unpacked)
            .unwrap();
        assert!(unpacked == tar, "what is packed is the tar");
        let mut archive = tar::Archive::new(&tar[..]);
        let sizes = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().size());
        let expected = 1 + 511 + 512 + 513 + (2 << 20) - 1024 + (3 << 20) + 7 + (2 << 20);
        assert_eq!(sizes.sum::<u64>(), expected);
    }

    #[test]
    fn a_file_that_changes_is_noticed_and_nothing_hangs() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(dir.path());
        let grows = dir.path().join(format!("8-{}", "n".repeat(160)));
        for content in ["longer than it was", "same 7!", ""] {
            fs::write(&grows, content).unwrap();
            let error = plan.diff_id().unwrap_err().to_string();
            assert!(
                error.ends_with("the file changed while it was being read"),
                "{error}"
            );
        }
        fs::remove_file(&grows).unwrap();
        assert!(plan.write_gzip(&mut io::sink()).is_err());
    }

    #[test]
    fn nothing_is_two_blocks_of_zeros() {
        let mut tar = Vec::new();
        Plan::default().write_tar(&mut tar).unwrap();
        assert_eq!(tar, [0; 1024]);
    }
}
