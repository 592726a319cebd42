//! Takes a pushed pack into quarantine, in a thread of its own, and stops it when it costs too much or nobody wants it.

use std::{
    collections::HashMap,
    io::{self, Read},
    sync::Arc,
};

use gix_hash::ObjectId;
use gix_object::{FindHeader, Kind};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    runtime::Handle,
    task,
    time::interval,
};

use super::{
    Limits, Repo, RepoError,
    pack::{self, Pack, PackError},
    quarantine::Quarantine,
    watch::{Exceeded, TICK, Watch},
};
use crate::gone::Gone;

/// A pack that passed, still in quarantine.
pub(crate) struct Incoming {
    quarantine: Quarantine,
    pack: Pack,
    /// The objects that refs are to name, with their kind; what is missing here is nowhere.
    pub(crate) tips: HashMap<ObjectId, Kind>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum IngestError {
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error("objects cannot be read")]
    Objects(#[from] RepoError),
    #[error("the quarantine cannot be written: {0}")]
    Quarantine(#[source] io::Error),
    #[error("the pack cannot be unpacked: {0}")]
    Panic(String),
}

impl Incoming {
    /// A push that only names objects that are here already brings none.
    pub(crate) fn release(self) -> io::Result<()> {
        match &self.pack.files {
            Some(files) => self.quarantine.release(files),
            None => Ok(()),
        }
    }

    /// Commits whose parents the client did not have.
    pub(crate) fn boundaries(&self) -> &[ObjectId] {
        &self.pack.boundaries
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
    let mut ticks = interval(TICK);
    loop {
        tokio::select! {
            done = &mut task => return match done {
                Ok((result, input)) => (result, Some(input)),
                Err(panic) => (Err(IngestError::Panic(panic.to_string())), None),
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
        let mut wire = Wire {
            input,
            runtime,
            watch: &self.watch,
        };
        let result = self.ingest(&mut wire).map_err(|error| {
            // Whoever was stopped says only that something broke off.
            self.watch.reason().map_or(error, IngestError::Exceeded)
        });
        (result, wire.input)
    }

    fn ingest<R: AsyncRead + Unpin>(
        &self,
        wire: &mut Wire<'_, R>,
    ) -> Result<Incoming, IngestError> {
        let quarantine = Quarantine::new(&self.repo).map_err(IngestError::Quarantine)?;
        let mut old = self.repo.objects()?;
        old.refresh_never();
        let shallow = self.shallow.iter().copied().collect();
        let pack = pack::receive(&mut *wire, quarantine.path(), &old, &shallow, &self.watch)?;
        if wire.has_more() {
            return Err(PackError::Junk.into());
        }
        let kind = |id: &ObjectId| {
            let here = || Some(old.try_header(id).ok()??.kind);
            pack.kind_of(id).or_else(here)
        };
        let tips = self.tips.iter();
        let tips = tips.filter_map(|id| Some((*id, kind(id)?))).collect();
        Ok(Incoming {
            quarantine,
            pack,
            tips,
        })
    }
}

/// The client's bytes for a blocking reader.
struct Wire<'a, R> {
    input: R,
    runtime: &'a Handle,
    watch: &'a Watch,
}

impl<R: AsyncRead + Unpin> Wire<'_, R> {
    /// Whether there is a byte right now. Clients that wait for the report before they close must not be waited for.
    fn has_more(&mut self) -> bool {
        let mut byte = [0];
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                read = self.input.read(&mut byte) => matches!(read, Ok(1)),
                () = std::future::ready(()) => false,
            }
        })
    }
}

impl<R: AsyncRead + Unpin> Read for Wire<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.watch.stopped() {
            return Err(io::Error::other("stopped"));
        }
        self.watch.reading(true);
        let read = self.runtime.block_on(self.input.read(buffer));
        self.watch.reading(false);
        let read = read?;
        self.watch.read(read);
        Ok(read)
    }
}
