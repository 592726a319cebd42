//! Processes that somebody starts inside a live instance.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use container::{Entry, Process, Stdio};
use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    DeployError, ReleaseNumber, RunOptions,
    error::StartError,
    formation::Slot,
    launch::{self, Launch},
    one_off::see_through,
    rollout::{World, ended},
    runs::RunTurn,
    runtime::WORKSPACE,
};

/// From the end of a process in an instance to the end of the instance that took it along.
const END_MAX: Duration = Duration::from_secs(2);

/// An instance that can be entered.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) slot: Slot,
    pub(crate) release: ReleaseNumber,
    pub(crate) port: Option<u16>,
    /// It answers, and is not on its way down.
    pub(crate) up: bool,
    pub(crate) process: Arc<Process>,
}

/// A process inside an instance.
#[derive(Debug)]
pub struct Entered {
    /// Of the instance: `web.1`.
    pub instance: String,
    pub process: Process,
    pub around: Around,
}

/// The instance that a process has entered.
#[derive(Debug)]
pub struct Around(Arc<Process>);

impl Around {
    /// Asked after the end of the process: whether the instance has ended too, and taken it along.
    pub async fn has_ended(&self) -> bool {
        let Ok(pidfd) = self.0.pidfd().try_clone_to_owned() else {
            return false;
        };
        matches!(timeout(END_MAX, ended(pidfd)).await, Ok(Ok(())))
    }
}

/// Of the instances that are called so, or else of `web`: the first that is up.
pub(crate) fn choose<'a>(live: &'a [Live], which: Option<&str>) -> Option<&'a Live> {
    let called = |live: &&Live| live.slot.is_among(which);
    let rank = |live: &&Live| {
        let wanted = which.is_none() && live.slot.is_web();
        (live.up, wanted, Reverse(live.slot.clone()))
    };
    // While one is replaced there are two of a name; the last of these is the newest.
    live.iter().filter(called).max_by_key(rank)
}

pub(crate) async fn enter(
    world: &Arc<World>,
    launch: Launch,
    live: Live,
    words: Vec<String>,
    options: RunOptions,
    stdio: Stdio,
    turn: RunTurn,
) -> Result<Entered, DeployError> {
    let instance = live.slot.to_string();
    let failed = |source| DeployError::Start {
        instance: format!("a process in {instance}"),
        source,
    };
    let (app, time_max) = (launch.app_id, options.time_max);
    let (starter, around) = (Arc::clone(world), Arc::clone(&live.process));
    let started = spawn_blocking(move || {
        let of_type = Some(&live.slot.process_type);
        let entry = Entry {
            argv: launch::of_command(words),
            env: launch.environment_of_run(&live.slot.to_string(), live.port, &options),
            cwd: WORKSPACE.to_owned(),
            limits: launch.limits.of(of_type, starter.runtime.limits()),
        };
        starter.runtime.enter(&live.process, entry, stdio)
    });
    let started = started
        .await
        .unwrap_or_else(|error| Err(StartError::Output(std::io::Error::other(error))));
    let process = started.map_err(failed)?;
    turn.started(process.pid());
    let pidfd = process.pidfd().try_clone_to_owned();
    let pidfd = pidfd.map_err(|source| failed(StartError::Output(source)))?;
    let world = Arc::clone(world);
    tokio::spawn(async move {
        if let Err(error) = see_through(&world, app, pidfd, turn, time_max).await {
            tracing::error!(%error, "cannot watch a process in an instance");
        }
    });
    Ok(Entered {
        instance,
        process,
        around: Around(around),
    })
}
