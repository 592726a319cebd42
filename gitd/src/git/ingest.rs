//! Takes a pushed pack into quarantine: indexed by gix, held to limits, and checked object by object.
//!
//! gix-pack indexes fast and refuses most hostile packs by itself; the rest is guarded here. What it allocates for one
//! object is capped; what all objects inflate to is watched from outside and stopped; its input ends where the checksum
//! says; and the handle that looks up thin bases does not search the disk again for each miss.

use std::{
    collections::HashMap,
    error::Error,
    io::{self, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use gix_hash::{Hasher, ObjectId};
use gix_object::{FindHeader, Kind};
use gix_pack::{Bundle, bundle::write::Options, data::input::Mode};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    runtime::Handle,
    task,
    time::interval,
};

use super::{
    HASH, Repo, RepoError,
    check::{self, CheckError},
    meter::Meter,
    quarantine::{PackFiles, Quarantine},
};
use crate::{gone::Gone, quantity::show_bytes};

/// More threads index faster and hold one more large object each.
const THREADS_MAX: usize = 2;
const WATCH_EVERY: Duration = Duration::from_millis(50);
const HEADER: usize = 12;
const TRAILER: usize = 20;
const READ_BUFFER: usize = 64 << 10;

/// What one push may bring and cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes on the wire.
    pub pack_bytes: u64,
    pub objects: u32,
    /// One object, unpacked; also a delta's result.
    pub object_bytes: usize,
    /// All objects, unpacked. A pack may exceed this by its own size times [`Limits::INFLATION`].
    pub inflated_bytes: u64,
    /// Time in which the server works on the pack; waiting for the client does not count.
    pub busy: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pack_bytes: 512 << 20,
            objects: 1_000_000,
            object_bytes: 100 << 20,
            inflated_bytes: 4 << 30,
            busy: Duration::from_secs(120),
        }
    }
}

impl Limits {
    /// The histories of git and Linux unpack to 25 and 65 times the size of their packs; a bomb to thousands.
    pub const INFLATION: u64 = 100;
}

/// A pack that passed, still in quarantine.
#[derive(Debug)]
pub(crate) struct Incoming {
    quarantine: Quarantine,
    files: Option<PackFiles>,
    /// Commits whose parents the client did not have.
    pub(crate) boundaries: Vec<ObjectId>,
    /// The objects that refs are to name, with their kind; what is missing here is nowhere.
    pub(crate) tips: HashMap<ObjectId, Kind>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum IngestError {
    #[error("the pack is larger than the {} that this server takes", show_bytes(*.0))]
    TooLarge(u64),
    #[error("the pack has {objects} objects, more than {max}")]
    TooMany { objects: u32, max: u32 },
    #[error("the pack unpacks to more than {} MiB", .0 >> 20)]
    Inflates(u64),
    #[error("the pack takes more than {} s to unpack", .0.as_secs())]
    Busy(Duration),
    #[error("the client has gone")]
    Gone,
    #[error("this is not a pack")]
    NotAPack,
    #[error("the pack is cut off")]
    CutOff,
    #[error("there are bytes after the pack, or its checksum is wrong")]
    Junk,
    #[error("the pack cannot be indexed: {0}")]
    Index(String),
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error("objects cannot be read")]
    Objects(#[from] RepoError),
    #[error("the quarantine cannot be written")]
    Quarantine(#[source] io::Error),
}

impl Incoming {
    /// A push that only names objects that are here already.
    pub(crate) fn release(self) -> io::Result<()> {
        match &self.files {
            Some(files) => self.quarantine.release(files),
            None => Ok(()),
        }
    }
}

/// Reads one pack from `input` and gives the input back, for what may be left in it.
pub(crate) async fn ingest<R>(
    repo: &Repo,
    input: R,
    tips: Vec<ObjectId>,
    shallow: Vec<ObjectId>,
    limits: &Limits,
    gone: &Gone,
) -> (Result<Incoming, IngestError>, Option<R>)
where
    R: AsyncRead + Unpin + Send + 'static,
{
    let watch = Arc::new(Watch::new(limits.clone()));
    let job = Job {
        repo: repo.clone(),
        tips,
        shallow,
        watch: Arc::clone(&watch),
    };
    let mut task = task::spawn_blocking(move || job.run(input, &Handle::current()));
    let mut ticks = interval(WATCH_EVERY);
    loop {
        tokio::select! {
            done = &mut task => return match done {
                Ok((result, input)) => (result, Some(input)),
                Err(panic) => (Err(IngestError::Index(panic.to_string())), None),
            },
            _ = ticks.tick() => watch.tick(),
            () = gone.wait(), if !watch.stopped() => watch.stop(),
        }
    }
}

struct Job {
    repo: Repo,
    tips: Vec<ObjectId>,
    shallow: Vec<ObjectId>,
    watch: Arc<Watch>,
}

impl Job {
    fn run<R: AsyncRead + Unpin>(
        self,
        input: R,
        runtime: &Handle,
    ) -> (Result<Incoming, IngestError>, R) {
        let mut stream = PackStream::new(input, runtime.clone(), &self.watch);
        let result = self.ingest(&mut stream);
        let result = result.map_err(|error| self.watch.reason().unwrap_or(error));
        (result, stream.input)
    }

    fn ingest<R: AsyncRead + Unpin>(
        &self,
        stream: &mut PackStream<'_, R>,
    ) -> Result<Incoming, IngestError> {
        let quarantine = Quarantine::new(&self.repo).map_err(IngestError::Quarantine)?;
        let header = stream.header()?;
        let objects = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
        let max = self.watch.limits.objects;
        if objects > max {
            return Err(IngestError::TooMany { objects, max });
        }
        let files = match objects {
            0 => None,
            _ => Some(self.index(&header, stream, &quarantine)?),
        };
        stream.end()?;
        let old = self.repo.objects()?;
        let mut incoming = Incoming {
            quarantine,
            files,
            boundaries: Vec::new(),
            tips: HashMap::new(),
        };
        if let Some(files) = &incoming.files {
            let mut pack = Bundle::at(&files.index, HASH).map_err(index_error)?;
            pack.pack = pack
                .pack
                .with_alloc_limit_bytes(Some(self.watch.limits.object_bytes));
            let checked = check::check(&self.repo, &pack, &self.shallow, &self.watch.interrupt)?;
            incoming.boundaries = checked.boundaries;
            for tip in &self.tips {
                incoming
                    .tips
                    .extend(checked.kinds.of(&pack, tip).map(|kind| (*tip, kind)));
            }
        }
        for tip in &self.tips {
            if !incoming.tips.contains_key(tip)
                && let Ok(Some(header)) = old.try_header(tip)
            {
                incoming.tips.insert(*tip, header.kind);
            }
        }
        Ok(incoming)
    }

    fn index<R: AsyncRead + Unpin>(
        &self,
        header: &[u8],
        stream: &mut PackStream<'_, R>,
        quarantine: &Quarantine,
    ) -> Result<PackFiles, IngestError> {
        let mut bases = self.repo.objects()?;
        bases.refresh_never();
        let options = Options {
            thread_limit: Some(THREADS_MAX),
            // The stream verifies the checksum itself, where it can see what follows.
            iteration_mode: Mode::AsIs,
            alloc_limit_bytes: Some(self.watch.limits.object_bytes),
            ..Default::default()
        };
        let outcome = Bundle::write_to_directory(
            &mut BufReader::with_capacity(READ_BUFFER, Read::chain(header, stream)),
            Some(quarantine.path()),
            &mut self.watch.meter.gauge(),
            &self.watch.interrupt,
            Some(bases),
            HASH,
            options,
        )
        .map_err(index_error)?;
        match (outcome.data_path, outcome.index_path) {
            (Some(pack), Some(index)) => Ok(PackFiles { pack, index }),
            _ => Err(IngestError::NotAPack),
        }
    }
}

/// gix's errors are chains; the last says what was wrong with the pack.
fn index_error(error: impl Error + 'static) -> IngestError {
    let mut last: &dyn Error = &error;
    while let Some(source) = last.source() {
        last = source;
    }
    if let Some(io) = last.downcast_ref::<io::Error>()
        && io.kind() == io::ErrorKind::UnexpectedEof
    {
        return IngestError::CutOff;
    }
    IngestError::Index(last.to_string())
}

/// Watches the work from outside: gix and the check look at `interrupt` all the time.
#[derive(Debug)]
struct Watch {
    limits: Limits,
    meter: Meter,
    interrupt: AtomicBool,
    read_bytes: AtomicU64,
    /// Waiting for the client.
    reading: AtomicBool,
    busy_ticks: AtomicU64,
}

impl Watch {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            meter: Meter::default(),
            interrupt: AtomicBool::new(false),
            read_bytes: AtomicU64::new(0),
            reading: AtomicBool::new(false),
            busy_ticks: AtomicU64::new(0),
        }
    }

    fn tick(&self) {
        if !self.reading.load(Ordering::Relaxed) {
            self.busy_ticks.fetch_add(1, Ordering::Relaxed);
        }
        if self.exceeded().is_some() {
            self.stop();
        }
    }

    fn stop(&self) {
        self.interrupt.store(true, Ordering::Relaxed);
    }

    fn stopped(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    /// Why the work was stopped from here, if it was.
    fn reason(&self) -> Option<IngestError> {
        self.exceeded()
            .or(self.stopped().then_some(IngestError::Gone))
    }

    fn exceeded(&self) -> Option<IngestError> {
        let limits = &self.limits;
        let read = self.read_bytes.load(Ordering::Relaxed);
        let inflated_max = limits
            .inflated_bytes
            .max(read.saturating_mul(Limits::INFLATION));
        let busy = WATCH_EVERY.saturating_mul(
            u32::try_from(self.busy_ticks.load(Ordering::Relaxed)).unwrap_or(u32::MAX),
        );
        if read > limits.pack_bytes {
            Some(IngestError::TooLarge(limits.pack_bytes))
        } else if self.meter.inflated_bytes() > inflated_max {
            Some(IngestError::Inflates(inflated_max))
        } else if busy > limits.busy {
            Some(IngestError::Busy(limits.busy))
        } else {
            None
        }
    }
}

/// The pack's bytes for a blocking reader. Hashes everything but the last 20 bytes handed out: they must be the hash.
struct PackStream<'a, R> {
    input: R,
    runtime: Handle,
    watch: &'a Watch,
    hasher: Hasher,
    tail: Vec<u8>,
}

impl<'a, R: AsyncRead + Unpin> PackStream<'a, R> {
    fn new(input: R, runtime: Handle, watch: &'a Watch) -> Self {
        Self {
            input,
            runtime,
            watch,
            hasher: gix_hash::hasher(HASH),
            tail: Vec::with_capacity(TRAILER + READ_BUFFER),
        }
    }

    fn header(&mut self) -> Result<[u8; HEADER], IngestError> {
        let mut header = [0; HEADER];
        self.read_exact(&mut header)
            .map_err(|_| IngestError::CutOff)?;
        match &header[..8] {
            b"PACK\0\0\0\x02" | b"PACK\0\0\0\x03" => Ok(header),
            _ => Err(IngestError::NotAPack),
        }
    }

    /// After the last object: the checksum is right, and nothing follows.
    fn end(&mut self) -> Result<(), IngestError> {
        // A pack without objects was not read by gix.
        if self.tail.len() < TRAILER {
            let mut trailer = [0; TRAILER];
            self.read_exact(&mut trailer)
                .map_err(|_| IngestError::CutOff)?;
        }
        let mut next = [0];
        let more = self.runtime.block_on(poll_once(&mut self.input, &mut next));
        let hasher = std::mem::replace(&mut self.hasher, gix_hash::hasher(HASH));
        let actual = hasher.try_finalize().map_err(index_error)?;
        if more || actual.as_slice() != self.tail {
            return Err(IngestError::Junk);
        }
        Ok(())
    }

    fn account(&mut self, bytes: &[u8]) {
        self.watch
            .read_bytes
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.tail.extend_from_slice(bytes);
        let hashed = self.tail.len().saturating_sub(TRAILER);
        self.hasher.update(&self.tail[..hashed]);
        self.tail.drain(..hashed);
    }
}

impl<R: AsyncRead + Unpin> Read for PackStream<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.watch.reason().is_some() {
            self.watch.stop();
            return Err(io::Error::other("stopped"));
        }
        self.watch.reading.store(true, Ordering::Relaxed);
        let read = self.runtime.block_on(self.input.read(buffer));
        self.watch.reading.store(false, Ordering::Relaxed);
        let read = read?;
        self.account(&buffer[..read]);
        Ok(read)
    }
}

/// Whether there is a byte right now. Clients that wait for the report before they close must not be waited for.
async fn poll_once(input: &mut (impl AsyncRead + Unpin), byte: &mut [u8; 1]) -> bool {
    tokio::select! {
        biased;
        read = input.read(byte) => matches!(read, Ok(1)),
        () = std::future::ready(()) => false,
    }
}
