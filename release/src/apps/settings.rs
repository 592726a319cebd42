//! What is set for an app beside its releases, and its one-off processes.

use std::{collections::BTreeMap, sync::Arc};

use container::{Limits, Process, Stdio, limits::Capabilities};
use tokio::sync::mpsc;

use super::Apps;
use crate::{
    App, AppName, BuildpacksEdit, Checks, DeployError, Domain, Event, LedgerError, LimitsSet,
    ProcessType, Release, RunOptions, detached_run,
    entered::{self, Entered},
    launch::Launch,
    one_off,
};

/// Kinds of processes that somebody starts, as in `run.1234`.
const RUN: &str = "run";
const EXEC: &str = "exec";

impl Apps {
    /// Its instances, releases and logs go on; its own host is another.
    pub async fn rename(&self, app: &AppName, to: &AppName, by: &str) -> Result<(), DeployError> {
        let handles = Arc::clone(&self.handles);
        self.changes(app)?
            .rename(to.clone(), handles, by.to_owned())
            .await
    }

    /// A new app with the image, config, scale, limits, checks and buildpacks of another; its first release is live when this
    /// returns. When it fails there is no new app.
    pub async fn clone_app(
        &self,
        of: &AppName,
        to: &AppName,
        by: &str,
        events: mpsc::Sender<Event>,
    ) -> Result<Release, DeployError> {
        let ledger = self.ledger();
        let current = ledger.current(of)?;
        let then = current.filter(|release| release.image.is_some());
        let then = then.ok_or_else(|| DeployError::NotDeployed(of.clone()))?;
        let app = self.create(to, by)?;
        let copied = self.copy_settings(of, &app);
        let result = match copied {
            Ok(()) => {
                let changes = self.changes(to)?;
                changes.copy(of.clone(), then, by.to_owned(), events).await
            }
            Err(error) => Err(error.into()),
        };
        if result.is_err() {
            self.destroy(to, by).await?;
        }
        result
    }

    fn copy_settings(&self, of: &AppName, to: &App) -> Result<(), LedgerError> {
        let ledger = self.ledger();
        ledger.set_formation(to.id, &ledger.formation(of)?)?;
        ledger.set_limits(&to.name, &ledger.limits(of)?)?;
        ledger.set_checks(&to.name, &ledger.checks(of)?)?;
        ledger.copy_buildpacks(of, &to.name)
    }

    /// The newest release, which has failed, once more, as a new release.
    pub async fn retry(
        &self,
        app: &AppName,
        by: &str,
        events: mpsc::Sender<Event>,
    ) -> Result<Release, DeployError> {
        self.changes(app)?.retry(by.to_owned(), events).await
    }

    /// Instances (all, of one process type, or one named `web.1`) end and stay away until they are started.
    pub async fn stop(
        &self,
        app: &AppName,
        which: Option<&str>,
        by: &str,
    ) -> Result<(), DeployError> {
        self.changes(app)?
            .stop(which.map(str::to_owned), by.to_owned())
            .await
    }

    /// Those that were stopped.
    pub async fn start_stopped(
        &self,
        app: &AppName,
        which: Option<&str>,
        by: &str,
        events: mpsc::Sender<Event>,
    ) -> Result<(), DeployError> {
        self.changes(app)?
            .start(which.map(str::to_owned), by.to_owned(), events)
            .await
    }

    /// `Some`: visitors read this, or the usual words when it is empty; the app goes on.
    pub async fn set_maintenance(
        &self,
        app: &AppName,
        text: Option<&str>,
        by: &str,
    ) -> Result<(), DeployError> {
        self.changes(app)?
            .set_maintenance(text.map(str::to_owned), by.to_owned())
            .await
    }

    /// Routed when this returns.
    pub async fn add_domain(
        &self,
        app: &AppName,
        domain: &Domain,
        by: &str,
    ) -> Result<(), DeployError> {
        self.changes(app)?
            .add_domain(domain.clone(), by.to_owned())
            .await
    }

    pub async fn remove_domain(
        &self,
        app: &AppName,
        domain: &Domain,
        by: &str,
    ) -> Result<(), DeployError> {
        self.changes(app)?
            .remove_domain(domain.clone(), by.to_owned())
            .await
    }

    /// Of one process type, or (`None`) of those that have none of their own. Instances that have other limits now are
    /// replaced; when that fails, the limits stay as they were.
    pub async fn set_limits(
        &self,
        app: &AppName,
        process_type: Option<&ProcessType>,
        set: LimitsSet,
        by: &str,
        events: mpsc::Sender<Event>,
    ) -> Result<(), DeployError> {
        self.changes(app)?
            .set_limits(process_type.cloned(), set, by.to_owned(), events)
            .await
    }

    /// For instances that start from now on.
    pub async fn set_checks(
        &self,
        app: &AppName,
        checks: Checks,
        by: &str,
    ) -> Result<(), DeployError> {
        self.changes(app)?.set_checks(checks, by.to_owned()).await
    }

    /// For the builds that come. Returns the list as it is now.
    pub async fn edit_buildpacks(
        &self,
        app: &AppName,
        edit: BuildpacksEdit,
        by: &str,
    ) -> Result<Vec<String>, DeployError> {
        self.changes(app)?
            .edit_buildpacks(edit, by.to_owned())
            .await
    }

    /// What instances get when nothing is set for their app.
    pub fn default_limits(&self) -> Limits {
        self.world.runtime.limits()
    }

    /// How limits are kept on this machine.
    pub fn capabilities(&self) -> &Capabilities {
        self.world.runtime.capabilities()
    }

    /// Time to become healthy when nothing is set for an app.
    pub fn default_boot_timeout(&self) -> std::time::Duration {
        self.world.timing.boot_timeout
    }

    /// Process types of the current release, with their commands; without the release phase.
    pub fn process_types(
        &self,
        app: &AppName,
    ) -> Result<BTreeMap<ProcessType, String>, DeployError> {
        let app = self.ledger().app(app)?;
        let wanted = self.wanted(&app)?;
        let types = wanted.map(|wanted| {
            let launch = wanted.launch;
            (launch.kept_running())
                .map(|name| (name.clone(), launch.command(name).to_owned()))
                .collect()
        });
        Ok(types.unwrap_or_default())
    }

    /// What its release phase printed. `None`: nothing is kept of it.
    pub fn release_output(&self, app: &App, release: crate::ReleaseNumber) -> Option<Vec<u8>> {
        self.world.logs.release_output(app.id, release)
    }

    /// Starts a one-off process (`run.1234`) of the current release: one word is a line for the shell, several are
    /// executed as they are. Returns its name.
    pub async fn run(
        &self,
        app: &AppName,
        command: Vec<String>,
        options: RunOptions,
        stdio: Stdio,
    ) -> Result<(String, Process), DeployError> {
        let handle = self.handle(app)?;
        let launch = self.launch_to_run(app)?;
        let turn = (handle.runs).begin(&handle, RUN, launch.release, &command)?;
        one_off::run(&self.world, &launch, command, &options, stdio, turn).await
    }

    /// The same; what it prints goes to the app's log. It ends with the platform.
    pub async fn run_detached(
        &self,
        app: &AppName,
        command: Vec<String>,
        options: RunOptions,
    ) -> Result<String, DeployError> {
        let handle = self.handle(app)?;
        let launch = self.launch_to_run(app)?;
        let turn = (handle.runs).begin(&handle, RUN, launch.release, &command)?;
        detached_run::run(&self.world, &launch, command, &options, turn).await
    }

    /// Starts a process in a live instance, with the environment of its release: in the one called `which`, or the first
    /// of `web`. It ends with the instance.
    pub async fn enter(
        &self,
        app: &AppName,
        which: Option<&str>,
        command: Vec<String>,
        options: RunOptions,
        stdio: Stdio,
        by: &str,
    ) -> Result<Entered, DeployError> {
        let handle = self.handle(app)?;
        let live = entered::choose(&handle.live(), which).cloned();
        let live = live.ok_or_else(|| DeployError::NoInstance {
            app: app.clone(),
            which: which.unwrap_or(ProcessType::WEB).to_owned(),
        })?;
        let turn = (handle.runs).begin(&handle, EXEC, live.release, &command)?;
        let release = self.ledger().release(app, live.release)?;
        let launch = Launch::of(&handle.app, &release, self.ledger(), &self.store)?;
        let launch = launch.ok_or_else(|| DeployError::NotDeployed(app.clone()))?;
        // Not the words: they may hold secrets.
        self.note(app, &format!("{} entered by user {by}", live.slot));
        entered::enter(&self.world, launch, live, command, options, stdio, turn).await
    }

    /// SIGTERM, and SIGKILL when that does not end it. Returns at once.
    pub fn stop_run(&self, app: &AppName, name: &str) -> Result<(), DeployError> {
        let stopped = self.handle(app)?.runs.stop(name);
        stopped
            .then_some(())
            .ok_or_else(|| DeployError::NoInstance {
                app: app.clone(),
                which: name.to_owned(),
            })
    }

    fn launch_to_run(&self, app: &AppName) -> Result<Arc<Launch>, DeployError> {
        let wanted = self.wanted(&self.ledger().app(app)?)?;
        let wanted = wanted.ok_or_else(|| DeployError::NotDeployed(app.clone()))?;
        Ok(wanted.launch)
    }
}
