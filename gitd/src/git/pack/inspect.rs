//! Gives every object its id, and looks whether it is harmless. This is most of the work, so it is done by threads
//! beside the one that reads.

use std::{
    collections::HashSet,
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
    block::Block,
    folders::Folders,
    links::{Collected, Links},
};
use crate::git::{HASH, fsck, watch::Watch};

/// Blocks that wait for one thread.
const QUEUE: usize = 2;
/// What waits for all threads. Beyond, the reader does the work itself.
const WAITING_BYTES_MAX: usize = 12 << 20;
const THREADS_MAX: usize = 4;

/// Where the reader leaves blocks of objects.
pub(super) struct Inspection<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    context: Context<'env>,
    own: Inspector<'env>,
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

struct Thread<'scope, 'env> {
    queue: SyncSender<Arc<Block>>,
    thread: ScopedJoinHandle<'scope, Result<Inspector<'env>, PackError>>,
}

impl<'scope, 'env> Inspection<'scope, 'env> {
    pub(super) fn new(scope: &'scope Scope<'scope, 'env>, context: Context<'env>) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self {
            scope,
            context,
            own: Inspector::new(context),
            threads: Vec::new(),
            threads_max: cores.saturating_sub(1).clamp(1, THREADS_MAX),
            waiting_bytes: Arc::default(),
        }
    }

    pub(super) fn add(&mut self, block: Arc<Block>) -> Result<(), PackError> {
        match self.hand_over(block)? {
            Some(block) => self.own.inspect_all(&block),
            None => Ok(()),
        }
    }

    /// Gives the block back when nobody has room for it.
    fn hand_over(&mut self, mut block: Arc<Block>) -> Result<Option<Arc<Block>>, PackError> {
        let bytes = block.bytes();
        if self.waiting_bytes.load(Ordering::Relaxed) + bytes > WAITING_BYTES_MAX {
            return Ok(Some(block));
        }
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        for thread in &self.threads {
            match thread.queue.try_send(block) {
                Ok(()) => return Ok(None),
                Err(TrySendError::Full(back)) => block = back,
                // It found something wrong, and says so when it is joined.
                Err(TrySendError::Disconnected(_)) => return Err(PackError::Stopped),
            }
        }
        if self.threads.len() < self.threads_max {
            let thread = self.thread();
            let sent = thread.queue.try_send(block);
            self.threads.push(thread);
            return sent.map(|()| None).map_err(|_| PackError::Stopped);
        }
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        Ok(Some(block))
    }

    fn thread(&self) -> Thread<'scope, 'env> {
        let (queue, blocks) = sync_channel(QUEUE);
        let (context, waiting_bytes) = (self.context, Arc::clone(&self.waiting_bytes));
        let work = move || {
            let mut inspector = Inspector::new(context);
            inspector.inspect_queue(&blocks, &waiting_bytes)?;
            Ok(inspector)
        };
        Thread {
            queue,
            thread: self.scope.spawn(work),
        }
    }

    /// Waits for all threads. What is wrong with an object is the first thing to say, before what the reader says.
    pub(super) fn finish(mut self, last: Option<Arc<Block>>) -> Result<Inspected, PackError> {
        let mut result = last.map_or(Ok(()), |block| self.own.inspect_all(&block));
        let mut inspectors = vec![self.own];
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
    folders: Folders,
    links: Links<'a>,
}

impl<'a> Inspector<'a> {
    pub(super) fn new(context: Context<'a>) -> Self {
        Self {
            watch: context.watch,
            ids: Vec::new(),
            folders: Folders::default(),
            links: Links::new(context),
        }
    }

    fn inspect_queue(
        &mut self,
        blocks: &Receiver<Arc<Block>>,
        waiting_bytes: &AtomicUsize,
    ) -> Result<(), PackError> {
        while let Ok(block) = blocks.recv() {
            self.inspect_all(&block)?;
            waiting_bytes.fetch_sub(block.bytes(), Ordering::Relaxed);
        }
        Ok(())
    }

    fn inspect_all(&mut self, block: &Block) -> Result<(), PackError> {
        block
            .objects()
            .try_for_each(|(at, kind, bytes)| self.inspect(at, kind, bytes).map(drop))
    }

    pub(super) fn inspect(
        &mut self,
        at: u32,
        kind: Kind,
        bytes: &[u8],
    ) -> Result<ObjectId, PackError> {
        if self.watch.stopped() {
            return Err(PackError::Stopped);
        }
        let id = compute_hash(HASH, kind, bytes).map_err(|_| PackError::Collision)?;
        self.ids.push((at, id));
        let link = |link| self.links.add((id, at), link);
        if kind != Kind::Tree {
            fsck::check(kind, id, bytes, link)?;
        } else if !self.folders.know(bytes, link) {
            fsck::check(kind, id, bytes, |link| self.links.add((id, at), link))?;
            self.folders.put(bytes);
        }
        Ok(id)
    }
}
