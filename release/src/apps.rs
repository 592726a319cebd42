//! The door: every change of the world is a method of [`Apps`].

mod settings;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    future,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use container::{Spawner, Stack, Store};
use tokio::{
    sync::{Semaphore, mpsc},
    task::{JoinSet, spawn_blocking},
};

use crate::{
    App, AppName, ConfigChanges, DeployError, Event, Ledger, LedgerError, LogFilter, LogLine,
    ProcessType, Release, ReleaseNumber, Restart,
    change::AppHandle,
    data_lock,
    logs::{self, Logs},
    plan::Timing,
    rollout::{CHANGES_MAX, Front, Rollout, World},
    runtime::{
        Found, Runtime,
        usage::{self, Usage},
    },
    wanted::Wanted,
};

/// Heroku's limit.
pub(crate) const DOMAINS_MAX: usize = 1000;

pub(crate) type Handles = Arc<RwLock<HashMap<AppName, Arc<AppHandle>>>>;

/// What the wiring hands in once.
#[derive(Debug, Clone)]
pub struct Config {
    /// Holds `ledger.db`, `instances/`, `logs/`. On the same file system as the store.
    pub data: PathBuf,
    pub store: Store,
    pub spawner: Arc<Spawner>,
    pub stack: Stack,
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

/// Every app of this machine and what runs of it. Shared behind an [`Arc`]. Dropped, it leaves the instances running.
#[derive(Debug)]
pub struct Apps {
    world: Arc<World>,
    store: Store,
    handles: Handles,
    tasks: Mutex<JoinSet<()>>,
    runtime: tokio::runtime::Handle,
    /// The data is ours alone while this is open.
    _lock: File,
}

/// One instance as `ps` shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct InstanceStatus {
    /// `web.1`
    pub name: String,
    pub release: u64,
    /// `starting`, `up`, `draining`, `stopping`, or `crashed`
    pub state: String,
    /// Seconds since the Unix epoch.
    pub since: u64,
    pub command: String,
    /// What its processes use, and nobody else; `None` when it has none.
    pub memory_bytes: Option<u64>,
    /// Of its sandbox's init, in our pid namespace.
    #[serde(skip)]
    pub pid: Option<u32>,
}

/// An image that wants to become a release.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub image: container::Digest,
    /// For example `Deploy 1a2b3c4d`.
    pub description: String,
    pub build: Option<u64>,
    /// Full hex id and ref name, for a push: the ref moves after the release is live (see [`Ledger::unsettled_refs`]).
    pub commit: Option<String>,
    pub git_ref: Option<String>,
}

/// Instances that boot at the same time, per processor.
const BOOTS_PER_PROCESSOR: usize = 2;
/// Request lines that are written at once.
const ROUTER_LINES: usize = 512;

impl Apps {
    /// Opens the ledger, adopts the instances that still run, brings every app to its current release, and keeps
    /// reconciling. Returns when routes of adopted instances are set; the rest starts in the background.
    pub async fn start(config: Config) -> Result<Arc<Self>, DeployError> {
        let runtime = tokio::runtime::Handle::current();
        let apps = Arc::new(
            spawn_blocking(|| Self::open(config, runtime))
                .await
                .map_err(|_| DeployError::ShuttingDown)??,
        );
        let opened = Arc::clone(&apps);
        spawn_blocking(move || opened.take_over())
            .await
            .map_err(|_| DeployError::ShuttingDown)??;
        Ok(apps)
    }

    fn open(config: Config, runtime: tokio::runtime::Handle) -> Result<Self, DeployError> {
        let io = |source| DeployError::Io {
            doing: "make",
            path: config.data.clone(),
            source,
        };
        std::fs::create_dir_all(&config.data).map_err(io)?;
        let lock = data_lock::take(&config.data)?;
        let ledger = Ledger::open(&config.data.join("ledger.db"))?;
        ledger.fail_interrupted()?;
        let logs = Logs::new(config.data.join("logs"));
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let world = World {
            runtime: Runtime::new(
                config.data.join("instances"),
                logs.clone(),
                config.store.clone(),
                config.spawner,
                config.stack,
                config.instance_limits,
            ),
            ledger,
            logs,
            routes: config.routes,
            domain: config.domain,
            timing: Timing {
                boot_timeout: config.boot_timeout,
                stop_grace: config.stop_grace,
            },
            drain_max: config.drain_max,
            boots: Arc::new(Semaphore::new(BOOTS_PER_PROCESSOR * processors)),
        };
        Ok(Self {
            world: Arc::new(world),
            store: config.store,
            handles: Handles::default(),
            tasks: Mutex::default(),
            runtime,
            _lock: lock,
        })
    }

    fn take_over(&self) -> Result<(), DeployError> {
        let apps = self.world.ledger.apps()?;
        let mut found: HashMap<i64, Vec<Found>> = HashMap::new();
        let instances = self.world.runtime.find().map_err(DeployError::Adopt)?;
        for instance in instances {
            found.entry(instance.record.app).or_default().push(instance);
        }
        for app in &apps {
            let current = self.wanted(app).unwrap_or_else(|error| {
                tracing::error!(app = %app.name, %error, "cannot start an app");
                None
            });
            let front = Front::of(app, &self.world.ledger)?;
            let found = found.remove(&app.id).unwrap_or_default();
            self.supervise(app, current, front, found);
        }
        // What was being destroyed when the platform was killed.
        for instance in found.into_values().flatten() {
            self.world.runtime.end(instance);
        }
        let known: BTreeSet<i64> = apps.iter().map(|app| app.id).collect();
        self.world.logs.remove_all_but(&known);
        Ok(())
    }

    fn wanted(&self, app: &App) -> Result<Option<Wanted>, DeployError> {
        Wanted::now(app, &self.world.ledger, &self.store)
    }

    fn supervise(&self, app: &App, current: Option<Wanted>, front: Front, found: Vec<Found>) {
        let _context = self.runtime.enter();
        let world = Arc::clone(&self.world);
        let rollout = Rollout::new(world, app.clone(), current, front, found);
        let (changes, receiver) = mpsc::channel(CHANGES_MAX);
        let handle = AppHandle::new(app.clone(), changes, rollout.view());
        let mut tasks = self.tasks();
        // Those of destroyed apps.
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(rollout.run(receiver), &self.runtime);
        let mut handles = self.handles.write().unwrap_or_else(PoisonError::into_inner);
        handles.insert(app.name.clone(), Arc::new(handle));
    }

    pub fn ledger(&self) -> &Ledger {
        &self.world.ledger
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn stack_layers(&self) -> Vec<container::Digest> {
        self.world.runtime.stack_layers()
    }

    pub(crate) fn handles(&self) -> RwLockReadGuard<'_, HashMap<AppName, Arc<AppHandle>>> {
        self.handles.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes lines of the router into the apps' logs until the sender is gone.
    pub async fn keep_router_log(&self, mut lines: mpsc::Receiver<router::AppLine>) {
        let mut batch = Vec::with_capacity(ROUTER_LINES);
        while lines.recv_many(&mut batch, ROUTER_LINES).await > 0 {
            let mut texts: BTreeMap<i64, String> = BTreeMap::new();
            for line in batch.drain(..) {
                let handle = line
                    .app
                    .parse()
                    .ok()
                    .and_then(|name| self.handle(&name).ok());
                let Some(handle) = handle else { continue };
                let at_us = line.at_us;
                let at = jiff::Timestamp::from_microsecond(at_us).unwrap_or_default();
                let text = logs::line(at, "heroku", "router", &line.text);
                texts.entry(handle.app.id).or_default().push_str(&text);
            }
            let logs = self.world.logs.clone();
            let written = spawn_blocking(move || {
                for (app, text) in texts {
                    logs.append(app, logs::File::Router, &text);
                }
            });
            _ = written.await;
        }
    }

    /// Writes `<now> app[api]: <text>` to the app's log: builds, config changes, scaling.
    pub fn note(&self, app: &AppName, text: &str) {
        if let Ok(handle) = self.handle(app) {
            self.world.logs.api(handle.app.id, text);
        }
    }

    pub fn create(&self, name: &AppName, by: &str) -> Result<App, DeployError> {
        let app = self.world.ledger.create_app(name, by)?;
        self.supervise(&app, None, Front::default(), vec![]);
        self.world
            .logs
            .api(app.id, &format!("App created by user {by}"));
        Ok(app)
    }

    /// Ends every instance, removes routes, logs and records. The git repository is the caller's.
    pub async fn destroy(&self, name: &AppName, by: &str) -> Result<(), DeployError> {
        let handle = self.handle(name)?;
        tracing::info!(app = %name, by, "destroying an app");
        let world = Arc::clone(&self.world);
        let destroyed = handle.destroy(&world).await;
        if destroyed.is_ok() {
            let mut handles = self.handles.write().unwrap_or_else(PoisonError::into_inner);
            // A new app may have the name already.
            if handles
                .get(name)
                .is_some_and(|now| Arc::ptr_eq(now, &handle))
            {
                handles.remove(name);
            }
        }
        destroyed
    }

    /// Creates a release of the image with the app's current config, runs its release phase, rolls it out, and returns
    /// when it serves. Fails with the old release serving. Dropping the future before that cancels the deploy.
    pub async fn deploy(
        &self,
        app: &AppName,
        candidate: Candidate,
        by: &str,
        events: mpsc::Sender<Event>,
    ) -> Result<Release, DeployError> {
        self.deploy_until(app, candidate, by, events, future::pending())
            .await
    }

    /// The same; `cancelled` takes it back. It answers then, too: with the release, if that was live already.
    pub async fn deploy_until(
        &self,
        app: &AppName,
        candidate: Candidate,
        by: &str,
        events: mpsc::Sender<Event>,
        cancelled: impl Future<Output = ()>,
    ) -> Result<Release, DeployError> {
        self.changes(app)?
            .deploy(candidate, by.to_owned(), events, cancelled)
            .await
    }

    /// `Some` sets, `None` unsets; all of them make one release, which is rolled out when the app has an image and
    /// `restart` says so. A change that changes nothing makes none.
    pub async fn set_config(
        &self,
        app: &AppName,
        changes: ConfigChanges,
        restart: Restart,
        by: &str,
        events: mpsc::Sender<Event>,
    ) -> Result<Release, DeployError> {
        self.changes(app)?
            .set_config(changes, restart, by.to_owned(), events)
            .await
    }

    /// To `to`, or the release before the current one: image and config of then, as a new release.
    pub async fn rollback(
        &self,
        app: &AppName,
        to: Option<ReleaseNumber>,
        by: &str,
        events: mpsc::Sender<Event>,
    ) -> Result<Release, DeployError> {
        self.changes(app)?.rollback(to, by.to_owned(), events).await
    }

    /// Sets the number of instances per process type and waits until they are up (or on their way down). The formation
    /// stays as it is set, also when an instance fails.
    pub async fn scale(
        &self,
        app: &AppName,
        quantities: BTreeMap<ProcessType, u32>,
        by: &str,
        events: mpsc::Sender<Event>,
    ) -> Result<(), DeployError> {
        self.changes(app)?
            .scale(quantities, by.to_owned(), events)
            .await
    }

    /// Replaces instances (all, or of one process type, or one named `web.1`) by new ones, without a failed request.
    pub async fn restart(
        &self,
        app: &AppName,
        which: Option<&str>,
        by: &str,
        events: mpsc::Sender<Event>,
    ) -> Result<(), DeployError> {
        self.changes(app)?
            .restart(which.map(str::to_owned), by.to_owned(), events)
            .await
    }

    /// Also one-off processes; with the memory that each uses.
    pub fn instances(&self, app: &AppName) -> Result<Vec<InstanceStatus>, DeployError> {
        let mut rows = self.states(app)?;
        for row in &mut rows {
            row.memory_bytes = self.usage(row).map(|usage| usage.memory_bytes);
        }
        Ok(rows)
    }

    /// The same, from memory, without what they use.
    pub fn states(&self, app: &AppName) -> Result<Vec<InstanceStatus>, DeployError> {
        let handle = self.handle(app)?;
        let mut rows = handle.instances();
        rows.extend(handle.runs.list());
        Ok(rows)
    }

    /// Now. `None`: it has no process.
    pub fn usage(&self, instance: &InstanceStatus) -> Option<Usage> {
        usage::of(instance.pid?)
    }

    /// The last `lines` lines that match, oldest first, from all the app's log files, also of instances that are gone.
    pub fn log_tail(
        &self,
        app: &AppName,
        lines: usize,
        filter: &LogFilter,
    ) -> Result<Vec<LogLine>, DeployError> {
        let id = self.handle(app)?.app.id;
        Ok(self.world.logs.tail(id, lines, filter))
    }

    /// New lines from now on, until the receiver is dropped or the app goes. A reader that is too slow misses lines and
    /// is told how many. Of an app that does not exist: ends at once.
    pub fn log_follow(&self, app: &AppName, filter: LogFilter) -> mpsc::Receiver<LogLine> {
        let Ok(handle) = self.handle(app) else {
            return mpsc::channel(1).1;
        };
        let _context = self.runtime.enter();
        let logs = &self.world.logs;
        logs.follow(handle.app.id, filter, handle.here())
    }

    /// Stops reconciling. Instances go on; the next `start` adopts them.
    pub async fn shutdown(&self) {
        let tasks = std::mem::take(&mut *self.tasks());
        { tasks }.shutdown().await;
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changes(&self, app: &AppName) -> Result<crate::change::Changes, DeployError> {
        Ok(crate::change::Changes {
            world: Arc::clone(&self.world),
            store: self.store.clone(),
            handle: self.handle(app)?,
        })
    }

    fn handle(&self, app: &AppName) -> Result<Arc<AppHandle>, DeployError> {
        let missing = || LedgerError::NoApp(app.clone()).into();
        self.handles().get(app).cloned().ok_or_else(missing)
    }
}
