//! Processes that somebody starts inside a live instance.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use container::{Entry, Process};
use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    Command, DeployError, ReleaseNumber,
    change::RunTurn,
    error::StartError,
    formation::Slot,
    launch::Launch,
    one_off::end_with_app,
    rollout::{World, ended},
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
    let called = |live: &&Live| which.is_none_or(|which| live.slot.is_called(which));
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
    command: Command,
    turn: RunTurn,
) -> Result<Entered, DeployError> {
    let instance = live.slot.to_string();
    let failed = |source| DeployError::Start {
        instance: format!("a process in {instance}"),
        source,
    };
    let (starter, around) = (Arc::clone(world), Arc::clone(&live.process));
    let started = spawn_blocking(move || {
        let Command { words, env, stdio } = command;
        let entry = Entry {
            argv: crate::launch::of_command(words),
            env: launch.environment_with(&live.slot.to_string(), live.port, env),
            cwd: crate::runtime::WORKSPACE.to_owned(),
            limits: starter.runtime.limits(),
        };
        starter.runtime.enter(&live.process, entry, stdio)
    });
    let started = started
        .await
        .unwrap_or_else(|error| Err(StartError::Output(std::io::Error::other(error))));
    let process = started.map_err(failed)?;
    let pidfd = process.pidfd().try_clone_to_owned();
    let pidfd = pidfd.map_err(|source| failed(StartError::Output(source)))?;
    tokio::spawn(async move {
        if let Err(error) = end_with_app(pidfd, turn).await {
            tracing::error!(%error, "cannot watch a process in an instance");
        }
    });
    Ok(Entered {
        instance,
        process,
        around: Around(around),
    })
}
