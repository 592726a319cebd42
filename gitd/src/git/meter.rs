//! Counts what indexing a pack has cost so far, through gix's progress interface: the only view it gives while it runs.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use gix_features::progress::{
    Count, Id, MessageLevel, NestedProgress, Progress, Step, StepShared, Unit,
};
use gix_pack::index::write::ProgressId;

/// Shared with whoever watches.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter {
    inflated: StepShared,
}

impl Meter {
    /// Bytes of all entries as inflated, and of all objects as resolved.
    pub(crate) fn inflated_bytes(&self) -> u64 {
        self.inflated.load(Ordering::Relaxed) as u64
    }

    pub(crate) fn gauge(&self) -> Gauge {
        Gauge {
            meter: self.clone(),
            counter: Arc::default(),
            id: gix_features::progress::UNKNOWN,
        }
    }
}

/// One node of gix's tree of progress.
#[derive(Debug)]
pub(crate) struct Gauge {
    meter: Meter,
    counter: StepShared,
    id: Id,
}

impl Count for Gauge {
    fn set(&self, step: Step) {
        self.counter.store(step, Ordering::Relaxed);
    }

    fn step(&self) -> Step {
        self.counter.load(Ordering::Relaxed)
    }

    fn inc_by(&self, step: Step) {
        self.counter.fetch_add(step, Ordering::Relaxed);
    }

    fn counter(&self) -> StepShared {
        Arc::<AtomicUsize>::clone(&self.counter)
    }
}

impl Progress for Gauge {
    fn init(&mut self, _max: Option<Step>, _unit: Option<Unit>) {}

    fn set_name(&mut self, _name: String) {}

    fn name(&self) -> Option<String> {
        None
    }

    fn id(&self) -> Id {
        self.id
    }

    fn message(&self, _level: MessageLevel, _message: String) {}
}

impl NestedProgress for Gauge {
    type SubProgress = Self;

    fn add_child(&mut self, _name: impl Into<String>) -> Self {
        self.meter.gauge()
    }

    fn add_child_with_id(&mut self, _name: impl Into<String>, id: Id) -> Self {
        // Decompressing entries and decoding objects have the same id.
        let inflates = id == Id::from(ProgressId::DecompressedBytes)
            || id == Id::from(ProgressId::DecodedBytes);
        let counter = if inflates {
            Arc::clone(&self.meter.inflated)
        } else {
            Arc::default()
        };
        Self {
            meter: self.meter.clone(),
            counter,
            id,
        }
    }
}
