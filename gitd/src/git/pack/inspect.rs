//! Gives every object its id, and looks whether it is harmless. This is most of the work, so it is done by threads
//! beside the one that reads.

use std::{
    collections::HashSet,
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, Scope, ScopedJoinHandle},
};

use gix_hash::ObjectId;
use gix_object::{Kind, compute_hash};

use super::{
    PackError,
    links::{Collected, Links},
};
use crate::git::{HASH, fsck, watch::Watch};

/// Objects are handed over in batches, not one by one; whoever brings less than one does it alone.
const BATCH_BYTES: usize = 512 << 10;
const BATCH_OBJECTS: usize = 512;
/// Batches that wait for one thread.
const QUEUE: usize = 2;
/// What waits for all threads. Beyond, the reader does the work itself.
const WAITING_BYTES_MAX: usize = 24 << 20;
const THREADS_MAX: usize = 4;

pub(super) struct Object {
    /// Its place in the pack.
    pub(super) at: u32,
    pub(super) kind: Kind,
    pub(super) bytes: Arc<Vec<u8>>,
}

/// Where the reader leaves objects.
pub(super) struct Inspection<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    context: Context<'env>,
    own: Inspector<'env>,
    batch: Batch,
    threads: Vec<Thread<'scope, 'env>>,
    threads_max: usize,
    waiting_bytes: Arc<AtomicUsize>,
}

#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) shallow: &'a HashSet<ObjectId>,
    pub(super) watch: &'a Watch,
}

/// What became of all objects: ids by their place in the pack.
#[derive(Default)]
pub(super) struct Inspected {
    pub(super) ids: Vec<(u32, ObjectId)>,
    pub(super) links: Collected,
}

#[derive(Default)]
struct Batch {
    objects: Vec<Object>,
    bytes: usize,
}

struct Thread<'scope, 'env> {
    queue: SyncSender<Batch>,
    thread: ScopedJoinHandle<'scope, Result<Inspector<'env>, PackError>>,
}

impl<'scope, 'env> Inspection<'scope, 'env> {
    pub(super) fn new(scope: &'scope Scope<'scope, 'env>, context: Context<'env>) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self {
            scope,
            context,
            own: Inspector::new(context),
            batch: Batch::default(),
            threads: Vec::new(),
            threads_max: cores.saturating_sub(1).clamp(1, THREADS_MAX),
            waiting_bytes: Arc::default(),
        }
    }

    pub(super) fn add(&mut self, object: Object) -> Result<(), PackError> {
        self.batch.bytes += object.bytes.len();
        self.batch.objects.push(object);
        if self.batch.bytes < BATCH_BYTES && self.batch.objects.len() < BATCH_OBJECTS {
            return Ok(());
        }
        let batch = mem::take(&mut self.batch);
        match self.hand_over(batch)? {
            Some(batch) => self.own.inspect_all(&batch),
            None => Ok(()),
        }
    }

    /// Gives the batch back when nobody has room for it.
    fn hand_over(&mut self, mut batch: Batch) -> Result<Option<Batch>, PackError> {
        let bytes = batch.bytes;
        if self.waiting_bytes.load(Ordering::Relaxed) + bytes > WAITING_BYTES_MAX {
            return Ok(Some(batch));
        }
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        for thread in &self.threads {
            match thread.queue.try_send(batch) {
                Ok(()) => return Ok(None),
                Err(TrySendError::Full(back)) => batch = back,
                // It found something wrong, and says so when it is joined.
                Err(TrySendError::Disconnected(_)) => return Err(PackError::Stopped),
            }
        }
        if self.threads.len() < self.threads_max {
            let thread = self.thread();
            let sent = thread.queue.try_send(batch);
            self.threads.push(thread);
            return sent.map(|()| None).map_err(|_| PackError::Stopped);
        }
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        Ok(Some(batch))
    }

    fn thread(&self) -> Thread<'scope, 'env> {
        let (queue, batches) = sync_channel(QUEUE);
        let (context, waiting_bytes) = (self.context, Arc::clone(&self.waiting_bytes));
        let work = move || {
            let mut inspector = Inspector::new(context);
            inspector.inspect_queue(&batches, &waiting_bytes)?;
            Ok(inspector)
        };
        Thread {
            queue,
            thread: self.scope.spawn(work),
        }
    }

    /// Waits for all threads. What is wrong with an object is the first thing to say, before what the reader says.
    pub(super) fn finish(mut self) -> Result<Inspected, PackError> {
        let rest = mem::take(&mut self.batch);
        let own = self.own.inspect_all(&rest);
        let mut inspectors = vec![self.own];
        let mut result = own;
        for Thread { queue, thread } in self.threads {
            drop(queue);
            match thread.join().unwrap_or(Err(PackError::Stopped)) {
                Ok(inspector) => inspectors.push(inspector),
                Err(error) => result = result.and(Err(error)),
            }
        }
        result?;
        let mut inspected = Inspected::default();
        for inspector in inspectors {
            inspected.take(inspector);
        }
        Ok(inspected)
    }
}

impl Inspected {
    pub(super) fn take(&mut self, inspector: Inspector<'_>) {
        self.ids.extend(inspector.ids);
        self.links.take(inspector.links);
    }
}

pub(super) struct Inspector<'a> {
    watch: &'a Watch,
    ids: Vec<(u32, ObjectId)>,
    links: Links<'a>,
}

impl<'a> Inspector<'a> {
    pub(super) fn new(context: Context<'a>) -> Self {
        Self {
            watch: context.watch,
            ids: Vec::new(),
            links: Links::new(context.shallow),
        }
    }

    fn inspect_queue(
        &mut self,
        batches: &Receiver<Batch>,
        waiting_bytes: &AtomicUsize,
    ) -> Result<(), PackError> {
        while let Ok(batch) = batches.recv() {
            self.inspect_all(&batch)?;
            waiting_bytes.fetch_sub(batch.bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    fn inspect_all(&mut self, batch: &Batch) -> Result<(), PackError> {
        batch
            .objects
            .iter()
            .try_for_each(|object| self.inspect(object).map(drop))
    }

    pub(super) fn inspect(&mut self, object: &Object) -> Result<ObjectId, PackError> {
        if self.watch.stopped() {
            return Err(PackError::Stopped);
        }
        let Object { at, kind, bytes } = object;
        let id = compute_hash(HASH, *kind, bytes).map_err(|_| PackError::Collision)?;
        self.ids.push((*at, id));
        let before = self.links.count();
        fsck::check(*kind, id, bytes, |link| self.links.add((id, *at), link))?;
        self.watch.named(self.links.count() - before);
        Ok(id)
    }
}
