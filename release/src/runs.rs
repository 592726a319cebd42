//! The one-off processes of an app that run now: how many, which, and how to end one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, watch};

use crate::{
    ConfigName, DeployError, InstanceStatus, ReleaseNumber, change::AppHandle, one_off, runtime,
};

/// One-off processes of one app at the same time.
const RUNS_MAX: usize = 10;

/// How a one-off process is to run.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Over the app's config, for this process alone.
    pub env: BTreeMap<ConfigName, String>,
    /// It is stopped when it runs longer.
    pub time_max: Option<Duration>,
    /// What the terminal that it has says of itself: TERM, and below the app's own environment LANG and the like.
    pub terminal: Vec<(String, String)>,
}

/// Shared by all names that the app ever has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs(Arc<Mutex<BTreeMap<String, Run>>>);

#[derive(Debug)]
struct Run {
    status: InstanceStatus,
    stop: Arc<Notify>,
}

/// What a one-off process holds while it runs.
#[derive(Debug)]
pub(crate) struct RunTurn {
    pub(crate) name: String,
    pub(crate) app_here: watch::Receiver<()>,
    /// Somebody wants it to end.
    pub(crate) stop: Arc<Notify>,
    runs: Runs,
}

impl Runs {
    /// Takes a place and a name (`run.1234` of the kind `run`), which are free again when the turn is dropped.
    pub(crate) fn begin(
        &self,
        handle: &AppHandle,
        kind: &str,
        release: ReleaseNumber,
        command: &[String],
    ) -> Result<RunTurn, DeployError> {
        let mut runs = self.lock();
        if runs.len() >= RUNS_MAX {
            return Err(DeployError::TooManyRuns(RUNS_MAX, handle.app.name.clone()));
        }
        let name = loop {
            let name = one_off::name(kind);
            if !runs.contains_key(&name) {
                break name;
            }
        };
        let stop = Arc::new(Notify::new());
        let status = InstanceStatus {
            name: name.clone(),
            release: release.get(),
            state: "starting".to_owned(),
            since: runtime::now(),
            command: command.join(" "),
            memory_bytes: None,
            pid: None,
        };
        let run = Run {
            status,
            stop: Arc::clone(&stop),
        };
        runs.insert(name.clone(), run);
        Ok(RunTurn {
            name,
            app_here: handle.here(),
            stop,
            runs: self.clone(),
        })
    }

    pub(crate) fn list(&self) -> Vec<InstanceStatus> {
        let runs = self.lock();
        runs.values().map(|run| run.status.clone()).collect()
    }

    /// Whether there is one of that name.
    pub(crate) fn stop(&self, name: &str) -> bool {
        let mut runs = self.lock();
        let Some(run) = runs.get_mut(name) else {
            return false;
        };
        run.status.state = "stopping".to_owned();
        run.stop.notify_one();
        true
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Run>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunTurn {
    pub(crate) fn started(&self, pid: u32) {
        if let Some(run) = self.runs.lock().get_mut(&self.name) {
            run.status.state = "up".to_owned();
            run.status.pid = Some(pid);
        }
    }
}

impl Drop for RunTurn {
    fn drop(&mut self) {
        self.runs.lock().remove(&self.name);
    }
}
