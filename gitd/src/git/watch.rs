//! Watches over the work on one pack: what it has cost so far, and whether it has to end.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use super::Limits;
use crate::quantity::show_bytes;

/// How often somebody has to call [`Watch::tick`].
pub(super) const TICK: Duration = Duration::from_millis(50);

/// Shared between those who work, in threads of their own, and the task that waits for them.
#[derive(Debug)]
pub(super) struct Watch {
    limits: Limits,
    stopped: AtomicBool,
    read_bytes: AtomicU64,
    unpacked_bytes: AtomicU64,
    named: AtomicU64,
    /// Waiting for the client.
    reading: AtomicBool,
    busy_ticks: AtomicU64,
}

/// Why the work was ended from outside.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Exceeded {
    #[error("the pack is larger than the {} that this server takes", show_bytes(*.0))]
    PackBytes(u64),
    #[error("the pack unpacks to more than {} MiB", .0 >> 20)]
    UnpackedBytes(u64),
    #[error("the objects of the pack name more than {0} others")]
    Named(u64),
    #[error("the pack takes more than {} s to unpack", .0.as_secs())]
    Busy(Duration),
    #[error("the client has gone")]
    Gone,
}

impl Watch {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            stopped: AtomicBool::new(false),
            read_bytes: AtomicU64::new(0),
            unpacked_bytes: AtomicU64::new(0),
            named: AtomicU64::new(0),
            reading: AtomicBool::new(false),
            busy_ticks: AtomicU64::new(0),
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(super) fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// While `true`, time does not count.
    pub(super) fn reading(&self, reading: bool) {
        self.reading.store(reading, Ordering::Relaxed);
    }

    pub(super) fn tick(&self) {
        if !self.reading.load(Ordering::Relaxed) {
            self.busy_ticks.fetch_add(1, Ordering::Relaxed);
        }
        self.stop_if_exceeded();
    }

    pub(super) fn read(&self, bytes: usize) {
        self.read_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.stop_if_exceeded();
    }

    /// Every byte that an object or a delta was unpacked to, as often as that was done.
    pub(super) fn unpacked(&self, bytes: usize) {
        self.unpacked_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
        self.stop_if_exceeded();
    }

    /// Objects that other objects name, each once.
    pub(super) fn named(&self, objects: usize) {
        self.named.fetch_add(objects as u64, Ordering::Relaxed);
        self.stop_if_exceeded();
    }

    fn stop_if_exceeded(&self) {
        if self.exceeded().is_some() {
            self.stop();
        }
    }

    /// Why the work was stopped from here, if it was.
    pub(super) fn reason(&self) -> Option<Exceeded> {
        self.exceeded().or(self.stopped().then_some(Exceeded::Gone))
    }

    fn exceeded(&self) -> Option<Exceeded> {
        let limits = &self.limits;
        let read = self.read_bytes.load(Ordering::Relaxed);
        let unpacked_max = limits
            .inflated_bytes
            .max(read.saturating_mul(Limits::INFLATION));
        let named_max = Limits::NAMES * u64::from(limits.objects);
        let ticks = u32::try_from(self.busy_ticks.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        if read > limits.pack_bytes {
            Some(Exceeded::PackBytes(limits.pack_bytes))
        } else if self.unpacked_bytes.load(Ordering::Relaxed) > unpacked_max {
            Some(Exceeded::UnpackedBytes(unpacked_max))
        } else if self.named.load(Ordering::Relaxed) > named_max {
            Some(Exceeded::Named(named_max))
        } else if TICK.saturating_mul(ticks) > limits.busy {
            Some(Exceeded::Busy(limits.busy))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch {
        Watch::new(Limits {
            pack_bytes: 100,
            inflated_bytes: 1000,
            objects: 10,
            busy: TICK * 2,
            ..Limits::default()
        })
    }

    #[test]
    fn each_limit_stops_and_is_named() {
        let check = |spend: &dyn Fn(&Watch), reason| {
            let watch = watch();
            spend(&watch);
            assert_eq!(watch.reason(), reason);
            assert_eq!(watch.stopped(), reason.is_some());
        };
        check(&|watch| watch.read(100), None);
        check(&|watch| watch.read(101), Some(Exceeded::PackBytes(100)));
        check(&|watch| watch.unpacked(1000), None);
        check(
            &|watch| watch.unpacked(1001),
            Some(Exceeded::UnpackedBytes(1000)),
        );
        check(
            &|watch| {
                watch.read(20);
                watch.unpacked(2001);
            },
            Some(Exceeded::UnpackedBytes(2000)),
        );
        check(&|watch| watch.named(80), None);
        check(&|watch| watch.named(81), Some(Exceeded::Named(80)));
        check(&|watch| (0..2).for_each(|_| watch.tick()), None);
        check(
            &|watch| (0..3).for_each(|_| watch.tick()),
            Some(Exceeded::Busy(TICK * 2)),
        );
        check(&|watch| watch.stop(), Some(Exceeded::Gone));
    }

    #[test]
    fn waiting_for_the_client_costs_nothing() {
        let watch = watch();
        watch.reading(true);
        (0..100).for_each(|_| watch.tick());
        assert_eq!(watch.reason(), None);
    }
}
