//! RELEASE and ROLLOUT: apps, config and numbered releases in the [`ledger`]; the [`plan`] from what is wanted and what is
//! seen to the next steps; the [`rollout`] that takes them on a [`runtime`]; the [`logs`] they leave.
//!
//! [`Apps`] is the door: every change of the world is one of its methods.

pub mod ledger;
pub mod name;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use container::{Digest, Spawner, Stack, Store};
use tokio::sync::mpsc;

pub use ledger::{App, Build, BuildStatus, Key, Ledger, Release, ReleaseStatus};
pub use name::{AppName, ConfigName, ProcessType, ReleaseNumber};

/// What the wiring hands in once.
#[derive(Debug, Clone)]
pub struct Config {
    /// Holds `ledger.db`, `instances/`, `logs/`.
    pub data: PathBuf,
    pub store: Store,
    pub spawner: Arc<Spawner>,
    pub stack: Stack,
    /// `slipway`'s binary folder, shown as /cnb/lifecycle.
    pub lifecycle: PathBuf,
    pub routes: router::Table,
    /// Apps are served as `<app>.<domain>`.
    pub domain: String,
    /// Time to bind $PORT (Heroku R10: 60 s).
    pub boot_timeout: Duration,
    /// From SIGTERM to SIGKILL (Heroku: 30 s).
    pub stop_grace: Duration,
    /// Longest wait for requests in flight when an instance is taken out.
    pub drain_max: Duration,
    pub instance_limits: container::Limits,
}

/// Every app of this machine and what runs of it. Shared behind an [`Arc`].
#[derive(Debug)]
pub struct Apps {}

/// An image that wants to become a release.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub image: Digest,
    /// For example `Deploy 1a2b3c4d`.
    pub description: String,
    pub build: Option<u64>,
    /// Full hex id and ref name, for a push: the ref moves after the release is live (see [`Ledger::unsettled_refs`]).
    pub commit: Option<String>,
    pub git_ref: Option<String>,
}

/// Told while a change is carried out, in order. Dropping the receiver changes nothing.
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
    /// Requests now go to the new release.
    Switched {
        release: ReleaseNumber,
    },
    Drained {
        instance: String,
    },
}

/// Why a change did not come to be; the previous release is still serving.
#[derive(Debug, thiserror::Error)]
#[error(
    "to be replaced by variants: no such app; release phase failed (exit); crashed at boot (exit, last lines); never bound $PORT; out of memory; …"
)]
pub struct DeployError;

/// One instance as `ps` shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct InstanceStatus {
    /// `web.1`
    pub name: String,
    pub release: u64,
    /// `starting`, `up`, `crashed`, `draining`, …
    pub state: String,
    /// Seconds since the Unix epoch.
    pub since: u64,
    pub command: String,
}

pub struct LogLine {
    /// RFC 3339 with six digits and +00:00.
    pub at: String,
    /// `app` or `heroku`
    pub source: String,
    /// `web.1`, `router`, `api`
    pub process: String,
    pub text: String,
}

impl Apps {
    /// Opens the ledger, adopts the instances that still run, brings every app to its current release, and keeps
    /// reconciling. Returns when routes of adopted instances are set; the rest starts in the background.
    pub async fn start(_config: Config) -> Result<Arc<Self>, DeployError> {
        todo!()
    }
    pub fn ledger(&self) -> &Ledger {
        todo!()
    }
    /// Takes lines of the router into the apps' logs until the sender is gone.
    pub async fn keep_router_log(&self, _lines: mpsc::Receiver<router::AppLine>) {
        todo!()
    }
    /// Writes `<now> app[api]: <text>` to the app's log: builds, config changes, scaling.
    pub fn note(&self, _app: &AppName, _text: &str) {
        todo!()
    }
    pub fn create(&self, _name: &AppName, _by: &str) -> Result<App, DeployError> {
        todo!()
    }
    /// Ends every instance, removes routes, logs and records. The git repository is the caller's.
    pub async fn destroy(&self, _name: &AppName, _by: &str) -> Result<(), DeployError> {
        todo!()
    }
    /// Creates a release of the image with the app's current config, runs its release phase, rolls it out, and returns
    /// when it serves. Fails with the old release serving.
    pub async fn deploy(
        &self,
        _app: &AppName,
        _candidate: Candidate,
        _by: &str,
        _events: mpsc::Sender<Event>,
    ) -> Result<Release, DeployError> {
        todo!()
    }
    /// `Some` sets, `None` unsets; all of them make one release, which is rolled out when the app has an image.
    pub async fn set_config(
        &self,
        _app: &AppName,
        _changes: BTreeMap<ConfigName, Option<String>>,
        _by: &str,
        _events: mpsc::Sender<Event>,
    ) -> Result<Release, DeployError> {
        todo!()
    }
    /// To `to`, or the release before the current one: image and config of then, as a new release.
    pub async fn rollback(
        &self,
        _app: &AppName,
        _to: Option<ReleaseNumber>,
        _by: &str,
        _events: mpsc::Sender<Event>,
    ) -> Result<Release, DeployError> {
        todo!()
    }
    /// Sets the number of instances per process type and waits until they are up (or down).
    pub async fn scale(
        &self,
        _app: &AppName,
        _quantities: BTreeMap<ProcessType, u32>,
        _by: &str,
        _events: mpsc::Sender<Event>,
    ) -> Result<(), DeployError> {
        todo!()
    }
    /// Replaces instances (all, or of one process type, or one named `web.1`) by new ones, without a failed request.
    pub async fn restart(
        &self,
        _app: &AppName,
        _which: Option<&str>,
        _by: &str,
        _events: mpsc::Sender<Event>,
    ) -> Result<(), DeployError> {
        todo!()
    }
    /// Starts a one-off process (`run.1234`) of the current release: a command line through the launcher. Returns its name.
    pub async fn run(
        &self,
        _app: &AppName,
        _command: Vec<String>,
        _stdio: container::Stdio,
    ) -> Result<(String, container::Process), DeployError> {
        todo!()
    }
    pub fn instances(&self, _app: &AppName) -> Result<Vec<InstanceStatus>, DeployError> {
        todo!()
    }
    /// The last `lines` lines that match, oldest first, from all the app's log files, also of instances that are gone.
    pub fn log_tail(
        &self,
        _app: &AppName,
        _lines: usize,
        _process: Option<&str>,
        _source: Option<&str>,
    ) -> Result<Vec<LogLine>, DeployError> {
        todo!()
    }
    /// New lines from now on. Ends when the receiver is dropped; a reader that is too slow misses lines and is told how many.
    pub fn log_follow(
        &self,
        _app: &AppName,
        _process: Option<String>,
        _source: Option<String>,
    ) -> mpsc::Receiver<LogLine> {
        todo!()
    }
    /// Stops reconciling. Instances go on; the next `start` adopts them.
    pub async fn shutdown(&self) {
        todo!()
    }
}
