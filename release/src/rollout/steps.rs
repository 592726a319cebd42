//! What the steps of a plan do, and what is made of the news about instances.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use container::{Exit, Process};
use tokio::{sync::OwnedSemaphorePermit, task::spawn_blocking};

use super::{
    Rollout,
    instance::{Ending, Instance},
};
use crate::{
    DeployError, Event, ReleaseNumber,
    backoff::Crashes,
    error::{StartError, how},
    formation::Slot,
    health::{LastAnswer, Probe},
    plan::{self, Serial, State},
    runtime::{self, Found, Record, sockets},
};

/// Lines of an instance that failed which are shown to whoever deployed it.
const LAST_WORDS: usize = 20;

impl Rollout {
    pub(super) fn start(&mut self, slot: Slot, release: ReleaseNumber) {
        let Some(launch) = self.launch(release).cloned() else {
            return;
        };
        let serial = self.next_serial;
        self.next_serial += 1;
        let command = launch.command(&slot.process_type);
        self.state_line(&slot, &format!("Starting process with command `{command}`"));
        self.tell_event(Event::Starting {
            instance: slot.to_string(),
        });
        let record = Record {
            app: self.app.id,
            release,
            slot: slot.clone(),
            serial,
            port: None,
            started_at: runtime::now(),
            process: None,
            address: None,
        };
        self.keep(record, State::Spawning, None, None);
        self.watch_spawn(launch, slot, serial);
    }

    pub(super) fn spawned(
        &mut self,
        serial: Serial,
        result: Result<(Record, Process), StartError>,
        turn: OwnedSemaphorePermit,
    ) {
        match result {
            Ok((record, process)) => {
                self.keep(record, State::Starting, Some(process), Some(turn));
            }
            Err(error) => {
                tracing::warn!(app = %self.app.name, %error, "cannot start an instance");
                if let Some(instance) = self.instances.get(&serial) {
                    self.state_line(instance.slot(), &error.to_string());
                }
                self.ended(serial, Ending::NotStarted(error));
            }
        }
    }

    pub(super) fn adopt(&mut self, found: Found) {
        match found.process {
            Ok(process) if was_up(&found.record) => {
                self.keep(found.record, State::Up, Some(process), None);
            }
            Ok(process) => self.keep(found.record, State::Starting, Some(process), None),
            Err(exit) => {
                let slot = found.record.slot.clone();
                self.keep(found.record, State::Exited, None, None);
                let how = exit.map_or("ended while slipway was not running".to_owned(), |exit| {
                    how(&exit)
                });
                self.state_line(&slot, &format!("Process {how}"));
            }
        }
    }

    fn keep(
        &mut self,
        record: Record,
        state: State,
        process: Option<Process>,
        turn: Option<OwnedSemaphorePermit>,
    ) {
        let (serial, port) = (record.serial, record.port);
        let process = process.map(Arc::new);
        let now = self.now();
        let before = self.instances.get(&serial);
        let last_answer = LastAnswer::default();
        let instance = Instance {
            since_wall: record.started_at,
            record,
            state,
            since: now,
            started: before.map_or(now, |instance| instance.started),
            process: process.clone(),
            ending: None,
            probe: None,
            last_answer: last_answer.clone(),
        };
        let release = instance.record.release;
        self.instances.insert(serial, instance);
        if let Some(process) = process {
            if let (State::Starting, Some(port)) = (state, port) {
                let probe = Probe {
                    init: process.pid(),
                    port,
                    host: self.world.host(&self.app),
                    checks: (self.launch_or_current(release))
                        .map(|launch| launch.checks.clone())
                        .unwrap_or_default(),
                    last_answer,
                };
                self.watch_answer(serial, probe, turn);
            }
            self.watch_exit(serial, process);
        }
    }

    pub(super) fn up(&mut self, serial: Serial, address: Option<SocketAddr>) {
        let now = self.now();
        let Some(instance) = self.instances.get_mut(&serial) else {
            return;
        };
        // It may have been asked to stop meanwhile.
        if instance.state != State::Starting {
            return;
        }
        instance.record.address = address;
        if address.is_some() {
            self.world.runtime.note_up(&instance.record);
        }
        let slot = instance.slot().clone();
        let after = now - instance.started;
        self.set_state(serial, State::Up);
        self.state_line(&slot, "State changed from starting to up");
        self.tell_event(Event::Up {
            instance: slot.to_string(),
            after,
        });
    }

    pub(super) fn drain(&mut self, serial: Serial) {
        self.set_state(serial, State::Draining);
        match self.instances.get(&serial).and_then(Instance::endpoint) {
            Some(endpoint) => self.watch_drain(serial, endpoint),
            None => self.drained(serial),
        }
    }

    pub(super) fn drained(&mut self, serial: Serial) {
        let draining = |instance: &Instance| instance.state == State::Draining;
        if self.instances.get(&serial).is_some_and(draining) {
            self.set_state(serial, State::Drained);
        }
    }

    pub(super) fn stop(&mut self, serial: Serial) {
        let Some(instance) = self.instances.get(&serial) else {
            return;
        };
        self.state_line(instance.slot(), "Stopping all processes with SIGTERM");
        self.signal(serial, Process::terminate);
        self.set_state(serial, State::Stopping);
    }

    pub(super) fn kill(&mut self, serial: Serial) {
        let Some(instance) = self.instances.get(&serial) else {
            return;
        };
        let grace = self.world.timing.stop_grace.as_secs();
        let text = format!(
            "Error R12 (Exit timeout) -> At least one process failed to exit within {grace} seconds of SIGTERM"
        );
        self.state_line(instance.slot(), &text);
        self.state_line(instance.slot(), "Stopping remaining processes with SIGKILL");
        self.signal(serial, Process::kill);
        self.set_state(serial, State::Killed);
    }

    /// Of the current release; a candidate is given up instead.
    pub(super) fn time_out(&mut self, serial: Serial) {
        if let Some(instance) = self.instances.get(&serial) {
            let slot = instance.slot().clone();
            self.tell_timeout(&slot, instance.last_answer.get().as_deref());
            self.count_crash(slot, Duration::ZERO);
            self.fail_waiting(serial);
            self.stop(serial);
        }
    }

    fn tell_timeout(&self, slot: &Slot, last_answer: Option<&str>) {
        let wait = self.timing().boot_timeout.as_secs();
        let what = last_answer.map_or_else(
            || "Web process failed to bind to $PORT".to_owned(),
            |answer| format!("Web process failed its health check, {answer},"),
        );
        let text = format!("Error R10 (Boot timeout) -> {what} within {wait} seconds of launch");
        self.state_line(slot, &text);
    }

    pub(super) fn exited(&mut self, serial: Serial, exit: Exit) {
        let Some(instance) = self.instances.get(&serial) else {
            return;
        };
        let slot = instance.slot().clone();
        if exit.out_of_memory {
            self.state_line(&slot, "Error R15 (Memory quota vastly exceeded)");
        }
        self.state_line(&slot, &exit_line(&exit));
        self.ended(serial, Ending::Exit(exit));
    }

    fn ended(&mut self, serial: Serial, ending: Ending) {
        let now = self.now();
        let Some(instance) = self.instances.get_mut(&serial) else {
            return;
        };
        if let Some(probe) = instance.probe.take() {
            probe.abort();
        }
        instance.ending = Some(ending);
        let (before, slot) = (instance.state, instance.slot().clone());
        let up_for = match before {
            State::Up => now - instance.since,
            _ => Duration::ZERO,
        };
        let seen = instance.seen();
        let unasked = before <= State::Up;
        if unasked {
            let was = if before == State::Up {
                "up"
            } else {
                "starting"
            };
            self.state_line(&slot, &format!("State changed from {was} to crashed"));
        }
        self.set_state(serial, State::Exited);
        if unasked && !plan::belongs(self.desired.candidate.as_ref(), &seen) {
            self.count_crash(slot, up_for);
            self.fail_waiting(serial);
        }
    }

    fn count_crash(&mut self, slot: Slot, up_for: Duration) {
        let before = self.crashes.get(&slot).copied();
        let crashes = Crashes::again(before, up_for, self.now());
        self.crashes.insert(slot, crashes);
    }

    /// Somebody waits for a scaling, not for a candidate: an instance that is wanted has failed.
    fn fail_waiting(&mut self, serial: Serial) {
        if self.ask.is_some()
            && self.desired.candidate.is_none()
            && let Some(error) = self.failure_of(serial)
        {
            self.answer(Err(error));
        }
    }

    /// Its traces go in the background.
    pub(super) fn forget(&mut self, serial: Serial) {
        let Some(instance) = self.instances.remove(&serial) else {
            return;
        };
        let live = self.instances.keys().copied().collect();
        let world = Arc::clone(&self.world);
        self.watchers.spawn(async move {
            let forgotten = spawn_blocking(move || {
                world.runtime.forget(&instance.record);
                world.logs.prune(instance.record.app, &live);
            });
            _ = forgotten.await;
        });
    }

    /// In the words of the program that failed.
    pub(super) fn failure_of(&mut self, serial: Serial) -> Option<DeployError> {
        let instance = self.instances.get_mut(&serial)?;
        let name = instance.slot().to_string();
        let (app, release) = (self.app.id, instance.record.release);
        let last_lines = self.world.logs.last_words(app, serial, release, LAST_WORDS);
        match instance.ending.take() {
            Some(Ending::Exit(exit)) => Some(DeployError::Crashed {
                instance: name,
                exit,
                last_lines,
            }),
            Some(Ending::NotStarted(source)) => Some(DeployError::Start {
                instance: name,
                source,
            }),
            None => {
                let init = instance.process.as_ref()?.pid();
                let slot = instance.slot().clone();
                let port = instance.record.port?;
                let answer = instance.last_answer.get();
                let after = self.timing().boot_timeout;
                if self.desired.candidate.is_some() {
                    self.tell_timeout(&slot, answer.as_deref());
                }
                Some(match answer {
                    Some(answer) => DeployError::Unhealthy {
                        instance: name,
                        answer,
                        after,
                        last_lines,
                    },
                    None => DeployError::BootTimeout {
                        instance: name,
                        port,
                        after,
                        listens_on: sockets::listening(init)
                            .unwrap_or_default()
                            .into_iter()
                            .collect(),
                        last_lines,
                    },
                })
            }
        }
    }

    fn signal(&self, serial: Serial, send: fn(&Process) -> std::io::Result<()>) {
        let process = self
            .instances
            .get(&serial)
            .and_then(|instance| instance.process.as_ref());
        if let Some(Err(error)) = process.map(|process| send(process)) {
            tracing::error!(app = %self.app.name, %error, "cannot signal a process");
        }
    }

    fn set_state(&mut self, serial: Serial, state: State) {
        let now = self.now();
        if let Some(instance) = self.instances.get_mut(&serial) {
            instance.state = state;
            instance.since = now;
            // One that is up is so since its start, also for a later slipway that adopts it.
            instance.since_wall = match state {
                State::Up => instance.record.started_at,
                _ => runtime::now(),
            };
        }
    }
}

/// It has answered, or it takes no requests and is alive.
fn was_up(record: &Record) -> bool {
    record.address.is_some() || record.port.is_none()
}

fn exit_line(exit: &Exit) -> String {
    // As a shell would say it, which is what Heroku logs.
    let status = exit.code.or(exit.signal.map(|signal| 128 + signal));
    format!("Process exited with status {}", status.unwrap_or(0))
}
