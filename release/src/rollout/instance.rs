//! One instance, as the app's task knows it.

use std::{sync::Arc, time::Duration};

use container::{Exit, Process};
use router::Endpoint;
use tokio::task::AbortHandle;

use crate::{
    InstanceStatus,
    entered::Live,
    error::StartError,
    formation::Slot,
    health::LastAnswer,
    launch::Launch,
    plan::{Seen, State},
    runtime::Record,
};

#[derive(Debug)]
pub(super) struct Instance {
    pub(super) record: Record,
    pub(super) state: State,
    /// Since the task's epoch.
    pub(super) since: Duration,
    pub(super) started: Duration,
    /// Seconds since the Unix epoch.
    pub(super) since_wall: u64,
    /// None while it is being made, and when that failed.
    pub(super) process: Option<Arc<Process>>,
    pub(super) ending: Option<Ending>,
    /// Asks whether it answers; ended with it.
    pub(super) probe: Option<AbortHandle>,
    /// What its health check saw last.
    pub(super) last_answer: LastAnswer,
}

#[derive(Debug)]
pub(super) enum Ending {
    Exit(Exit),
    NotStarted(StartError),
}

impl Instance {
    pub(super) fn seen(&self) -> Seen {
        Seen {
            serial: self.record.serial,
            release: self.record.release,
            slot: self.record.slot.clone(),
            state: self.state,
            since: self.since,
        }
    }

    pub(super) fn slot(&self) -> &Slot {
        &self.record.slot
    }

    /// Where it takes requests.
    pub(super) fn endpoint(&self) -> Option<Endpoint> {
        Some(Endpoint {
            instance: self.record.slot.to_string(),
            address: self.record.address?,
        })
    }

    pub(super) fn live(&self) -> Option<Live> {
        Some(Live {
            slot: self.record.slot.clone(),
            release: self.record.release,
            port: self.record.port,
            up: self.state == State::Up,
            process: self.process.clone()?,
        })
    }

    pub(super) fn status(&self, launch: Option<&Arc<Launch>>) -> InstanceStatus {
        let command = launch.map_or("", |launch| launch.command(&self.record.slot.process_type));
        InstanceStatus {
            name: self.record.slot.to_string(),
            release: self.record.release.get(),
            state: word(self.state).to_owned(),
            since: self.since_wall,
            command: command.to_owned(),
            memory_bytes: None,
            pid: self.process.as_ref().map(|process| process.pid()),
        }
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Spawning | State::Starting => "starting",
        State::Up => "up",
        State::Draining | State::Drained => "draining",
        State::Stopping | State::Killed => "stopping",
        State::Exited => "crashed",
    }
}
