//! What is going on on one client connection, kept by its reader, its requests and its tunnel; read by its watchdog.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use tokio::sync::OwnedSemaphorePermit;

use crate::Timeouts;

/// A request that waits for its endpoint has its own, exact timeout; the watchdog steps in after it.
const STALL_MARGIN: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Vitals {
    pub(crate) peer: SocketAddr,
    born: Instant,
    requests: AtomicUsize,
    /// When a byte last moved, in milliseconds after `born`.
    progress_ms: AtomicU64,
    /// When the head being read began, plus one; 0 is none.
    head_since_ms: AtomicU64,
    expired: AtomicBool,
    upgrade: Mutex<Upgrade>,
    /// Frees a place under the connection limit with the last thing that belongs to the connection.
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Upgrade {
    Undecided(Option<Waker>),
    Decided { tunnel: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Wait(Duration),
    /// No request for too long: close politely.
    Idle,
    /// The client sends its head too slowly, or neither sends nor reads.
    Stalled,
}

impl Vitals {
    pub(crate) fn new(peer: SocketAddr, permit: OwnedSemaphorePermit) -> Self {
        Self {
            peer,
            born: Instant::now(),
            requests: AtomicUsize::new(0),
            progress_ms: AtomicU64::new(0),
            head_since_ms: AtomicU64::new(0),
            expired: AtomicBool::new(false),
            upgrade: Mutex::new(Upgrade::Decided { tunnel: false }),
            _permit: permit,
        }
    }

    pub(crate) fn judge(&self, timeouts: &Timeouts) -> Verdict {
        let head_since = self.head_since_ms.load(Relaxed);
        let serving = self.requests.load(Relaxed) > 0;
        let (since_ms, allowed, verdict) = match (serving, head_since.checked_sub(1)) {
            (true, _) => {
                let allowed = timeouts.idle + STALL_MARGIN;
                (self.progress(), allowed, Verdict::Stalled)
            }
            (false, Some(since)) => (since, timeouts.head, Verdict::Stalled),
            (false, None) => (self.progress(), timeouts.keep_alive, Verdict::Idle),
        };
        let passed = Duration::from_millis(self.now_ms().saturating_sub(since_ms));
        match allowed.checked_sub(passed) {
            // What comes next may have a shorter deadline than what is going on now.
            Some(left) if !left.is_zero() => Verdict::Wait(left.min(timeouts.client())),
            _ => verdict,
        }
    }

    pub(crate) fn begin(self: &Arc<Self>) -> Serving {
        self.requests.fetch_add(1, Relaxed);
        Serving(Arc::clone(self))
    }

    pub(crate) fn moved(&self) {
        self.progress_ms.store(self.now_ms(), Relaxed);
    }

    /// For how long no byte has moved.
    pub(crate) fn silence(&self) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(self.progress()))
    }

    pub(crate) fn head_began(&self) {
        if self.head_since_ms.load(Relaxed) == 0 {
            self.head_since_ms.store(self.now_ms() + 1, Relaxed);
        }
    }

    pub(crate) fn head_ended(&self) {
        self.head_since_ms.store(0, Relaxed);
    }

    pub(crate) fn expire(&self) {
        self.expired.store(true, Relaxed);
    }

    pub(crate) fn is_expired(&self) -> bool {
        self.expired.load(Relaxed)
    }

    pub(crate) fn await_upgrade(&self) {
        *self.upgrade_lock() = Upgrade::Undecided(None);
    }

    pub(crate) fn decide_upgrade(&self, tunnel: bool) {
        let before = std::mem::replace(&mut *self.upgrade_lock(), Upgrade::Decided { tunnel });
        if let Upgrade::Undecided(Some(waker)) = before {
            waker.wake();
        }
    }

    /// Whether the bytes that follow an upgrade's head belong to a tunnel.
    pub(crate) fn poll_upgrade(&self, waker: &Waker) -> Poll<bool> {
        match &mut *self.upgrade_lock() {
            Upgrade::Decided { tunnel } => Poll::Ready(*tunnel),
            Upgrade::Undecided(waiting) => {
                *waiting = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    fn upgrade_lock(&self) -> std::sync::MutexGuard<'_, Upgrade> {
        self.upgrade.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> u64 {
        self.progress_ms.load(Relaxed)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A request of the connection, until its answer is complete.
#[derive(Debug)]
pub(crate) struct Serving(pub(crate) Arc<Vitals>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.moved();
        self.0.requests.fetch_sub(1, Relaxed);
    }
}
