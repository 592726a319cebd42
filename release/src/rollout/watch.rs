//! The tasks that wait for one thing about one instance and tell the app's task.

use std::{io, net::SocketAddr, os::fd::OwnedFd, pin::pin, sync::Arc, time::Duration};

use container::{Exit, Process};
use router::Endpoint;
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::OwnedSemaphorePermit,
    task::spawn_blocking,
    time::timeout,
};

use super::{Rollout, World};
use crate::{
    error::StartError,
    formation::Slot,
    health::{self, Probe},
    launch::Launch,
    plan::Serial,
    runtime::Record,
};

/// How long an instance that boots may keep others from booting.
const BOOT_TURN_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) enum Happened {
    /// With the turn to boot, which goes on until it answers.
    Spawned(
        Serial,
        Result<(Record, Process), StartError>,
        OwnedSemaphorePermit,
    ),
    Answered(Serial, SocketAddr),
    /// No request is in flight to it, or waiting any longer was too much.
    Drained(Serial),
    Exited(Serial, Exit),
}

impl Rollout {
    pub(super) fn watch_spawn(&mut self, launch: Arc<Launch>, slot: Slot, serial: Serial) {
        let (world, tell) = (Arc::clone(&self.world), self.tell.clone());
        self.watchers.spawn(async move {
            let Ok(turn) = Arc::clone(&world.boots).acquire_owned().await else {
                return;
            };
            let start = Arc::clone(&world);
            let started = spawn_blocking(move || start.runtime.start(&launch, &slot, serial)).await;
            // It fails only when the platform goes.
            let Ok(started) = started else { return };
            _ = tell.send(Happened::Spawned(serial, started, turn)).await;
        });
    }

    pub(super) fn watch_exit(&mut self, serial: Serial, process: Arc<Process>) {
        let tell = self.tell.clone();
        self.watchers.spawn(async move {
            match exit_of(process).await {
                Ok(exit) => _ = tell.send(Happened::Exited(serial, exit)).await,
                Err(error) => tracing::error!(%error, serial, "cannot watch a process"),
            }
        });
    }

    pub(super) fn watch_answer(
        &mut self,
        serial: Serial,
        probe: Probe,
        turn: Option<OwnedSemaphorePermit>,
    ) {
        let tell = self.tell.clone();
        let probe = self.watchers.spawn(async move {
            let mut answers = pin!(health::answers(&probe));
            let address = match timeout(BOOT_TURN_MAX, &mut answers).await {
                Ok(address) => address,
                Err(_) => {
                    drop(turn);
                    answers.await
                }
            };
            _ = tell.send(Happened::Answered(serial, address)).await;
        });
        if let Some(instance) = self.instances.get_mut(&serial) {
            instance.probe = Some(probe);
        }
    }

    pub(super) fn watch_drain(&mut self, serial: Serial, endpoint: Endpoint) {
        let (world, tell): (Arc<World>, _) = (Arc::clone(&self.world), self.tell.clone());
        self.watchers.spawn(async move {
            world.routes.drained(&endpoint, world.drain_max).await;
            _ = tell.send(Happened::Drained(serial)).await;
        });
    }
}

async fn exit_of(process: Arc<Process>) -> io::Result<Exit> {
    ended(process.pidfd().try_clone_to_owned()?).await?;
    // It has ended: this does not block.
    process.wait()
}

pub(crate) async fn ended(pidfd: OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is owned, so it stays open and the same for as long as the AsyncFd lives.
    let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
    pidfd?.readable().await.map(|_| ())
}
