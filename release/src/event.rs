//! What is told while a change is carried out.

use std::time::Duration;

use crate::ReleaseNumber;

/// In order. Dropping the receiver changes nothing, and one that is full is not waited for, but for the output of the
/// release phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Created {
        release: ReleaseNumber,
    },
    /// The release phase (process type `release`) runs, and what it printed.
    ReleasePhaseStarted {
        command: String,
    },
    ReleasePhaseOutput {
        line: Vec<u8>,
    },
    Starting {
        instance: String,
    },
    Up {
        instance: String,
        after: Duration,
    },
    /// Requests now go to the new instances; the old ones drain in the background.
    Switched {
        release: ReleaseNumber,
    },
}
