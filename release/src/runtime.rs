//! The runtime of this machine: instances are sandboxes that outlive us. Nothing else knows how an app's processes run.
//!
//! Each instance has a directory, made before its process and removed after it:
//! ```text
//! instances/<app id>-<serial>/
//!     instance.json    the record: written before the process exists, again with its pid, again when it answers
//!     exit.json        written by the sandbox's init, which holds the directory open, when the main process has ended
//!     scratch/         the sandbox's writable layer
//! ```

mod orphan;
mod port;
mod record;
pub(crate) mod sockets;
mod tree;
pub(crate) mod usage;

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use container::{
    Digest, Entry, Exit, Limits, Process, Sandbox, Spawner, Stack, Stdio, Store,
    limits::Capabilities,
    sandbox::Lifetime,
    stack,
    store::{Hold, Scratch},
};

pub(crate) use self::record::Record;
use self::{port::Ports, record::ProcessId};
use crate::{
    RunOptions,
    error::StartError,
    formation::Slot,
    launch::{self, Launch},
    logs::Logs,
    plan::Serial,
};

pub(crate) const WORKSPACE: &str = "/workspace";

#[derive(Debug)]
pub(crate) struct Runtime {
    /// `instances/`
    dir: PathBuf,
    logs: Logs,
    store: Store,
    spawner: Arc<Spawner>,
    stack: Stack,
    limits: Limits,
    ports: Ports,
}

/// An instance of an earlier time.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) record: Record,
    /// `None`: it has ended, and this is how, if that is known.
    pub(crate) process: Result<Process, Option<Exit>>,
}

/// A process that ends with us, and its writable layer, which goes when this is dropped.
#[derive(Debug)]
pub(crate) struct OneOff {
    pub(crate) process: Process,
    pub(crate) scratch: Scratch,
    /// Its image stays, however old it becomes.
    pub(crate) hold: Hold,
}

impl Runtime {
    pub(crate) fn new(
        dir: PathBuf,
        logs: Logs,
        store: Store,
        spawner: Arc<Spawner>,
        stack: Stack,
        limits: Limits,
    ) -> Self {
        Self {
            dir,
            logs,
            store,
            spawner,
            stack,
            limits,
            ports: Ports::default(),
        }
    }

    pub(crate) fn stack_layers(&self) -> Vec<Digest> {
        vec![self.stack.base_layer, self.stack.build_layer]
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// How limits are kept here.
    pub(crate) fn capabilities(&self) -> &Capabilities {
        self.spawner.capabilities()
    }

    /// Blocks for the few milliseconds that it takes. When it fails nothing is left.
    pub(crate) fn start(
        &self,
        launch: &Launch,
        slot: &Slot,
        serial: Serial,
    ) -> Result<(Record, Process), StartError> {
        let port = slot.is_web().then(|| self.ports.take()).transpose()?;
        let record = Record {
            app: launch.app_id,
            release: launch.release,
            slot: slot.clone(),
            serial,
            port,
            started_at: now(),
            process: None,
            address: None,
        };
        let started = self.spawn(launch, record.clone());
        if started.is_err() {
            self.forget(&record);
        }
        started
    }

    fn spawn(&self, launch: &Launch, mut record: Record) -> Result<(Record, Process), StartError> {
        let dir = self.dir_of(&record);
        let scratch = dir.join("scratch");
        make_private(&scratch)?;
        // From here on a start after a crash knows of it.
        record.write(&dir)?;
        let log = self
            .logs
            .instance_file(record.app, record.serial, record.release)?;
        let sandbox = Sandbox {
            lifetime: Lifetime::Detached {
                log,
                log_bytes_max: crate::logs::INSTANCE_BYTES_MAX / 2,
                label: format!("app[{}]", record.slot),
                exit_record: dir.join("exit.json"),
            },
            scratch,
            ..self.sandbox(
                launch,
                &record.slot.to_string(),
                launch.environment(&record.slot.to_string(), record.port, &BTreeMap::new()),
                launch::of_process_type(&record.slot.process_type),
                launch
                    .limits
                    .of(Some(&record.slot.process_type), self.limits),
            )?
        };
        let process = self.spawner.spawn(&sandbox, Stdio::Null)?;
        record.process = Some(ProcessId {
            pid: process.pid(),
            start_time: process.start_time(),
        });
        if let Err(error) = record.write(&dir) {
            // Without its pid on disk nobody could adopt it.
            _ = process.kill();
            return Err(error);
        }
        Ok((record, process))
    }

    /// A process of the release that ends with us: the release phase, or somebody's command.
    pub(crate) fn one_off(
        &self,
        launch: &Launch,
        name: &str,
        argv: Vec<String>,
        options: &RunOptions,
        stdio: Stdio,
    ) -> Result<OneOff, StartError> {
        let scratch = self.store.scratch()?;
        let hold = self.store.hold();
        let env = launch.environment_of_run(name, None, options);
        let limits = launch.limits.of(None, self.limits);
        let sandbox = Sandbox {
            scratch: scratch.path().to_owned(),
            ..self.sandbox(launch, name, env, argv, limits)?
        };
        Ok(OneOff {
            process: self.spawner.spawn(&sandbox, stdio)?,
            scratch,
            hold,
        })
    }

    /// Another process in an instance that runs.
    pub(crate) fn enter(
        &self,
        instance: &Process,
        entry: Entry,
        stdio: Stdio,
    ) -> Result<Process, StartError> {
        Ok(self.spawner.enter(instance, entry, stdio)?)
    }

    fn sandbox(
        &self,
        launch: &Launch,
        name: &str,
        env: Vec<(String, String)>,
        argv: Vec<String>,
        limits: Limits,
    ) -> Result<Sandbox, StartError> {
        // The image lists them from the bottom up, a sandbox wants the topmost first.
        let layers = launch.image.layers.iter().rev();
        let lowers =
            layers.map(|layer| self.store.layer(&layer.diff_id).ok_or(StartError::NoLayer));
        Ok(Sandbox {
            lowers: lowers.collect::<Result<_, _>>()?,
            scratch: PathBuf::new(),
            mounts: stack::mounts_of(&launch.image),
            argv,
            env,
            cwd: WORKSPACE.to_owned(),
            hostname: name.to_owned(),
            limits,
            lifetime: Lifetime::Bound,
        })
    }

    /// It answers: an adopted instance can be given requests at once.
    pub(crate) fn note_up(&self, record: &Record) {
        if let Err(error) = record.write(&self.dir_of(record)) {
            // It will be probed again.
            tracing::warn!(%error, slot = %record.slot, "cannot note that an instance is up");
        }
    }

    /// The process has ended; its directory and its port are free again.
    pub(crate) fn forget(&self, record: &Record) {
        let dir = self.dir_of(record);
        self.discard(&dir);
        if let Some(port) = record.port {
            self.ports.give_back(port);
        }
    }

    fn discard(&self, dir: &Path) {
        // The kernel makes overlay's own directory without any permission, so an ordinary user could not remove it.
        let work = dir.join("scratch/work/work");
        _ = fs::set_permissions(work, fs::Permissions::from_mode(0o700));
        if self.store.discard(dir).is_err() && dir.exists() {
            // Another file system: slower, and tried again at the next start.
            _ = fs::remove_dir_all(dir);
        }
    }

    /// The instances of earlier times. A process whose start was cut off before its pid was on disk is ended here.
    pub(crate) fn find(&self) -> Result<Vec<Found>, StartError> {
        make_private(&self.dir)?;
        let entries = fs::read_dir(&self.dir).map_err(io_error("read", &self.dir))?;
        let mut found = Vec::new();
        for dir in entries.flatten().map(|entry| entry.path()) {
            match Record::read(&dir) {
                Some(record) if record.process.is_some() => found.push(self.adopt(&dir, record)),
                _ => self.undo_start(&dir),
            }
        }
        Ok(found)
    }

    fn adopt(&self, dir: &Path, record: Record) -> Found {
        let exit_record = dir.join("exit.json");
        let process = record.process.as_ref().and_then(|id| {
            let adopted = Process::adopt(id.pid, id.start_time, &exit_record);
            adopted.unwrap_or_else(|error| {
                tracing::error!(%error, pid = id.pid, "cannot look at a process");
                None
            })
        });
        if let Some(port) = record.port {
            self.ports.note_taken(port);
        }
        let exit = || serde_json::from_slice(&fs::read(&exit_record).ok()?).ok();
        Found {
            record,
            process: process.ok_or_else(exit),
        }
    }

    /// Nobody wants it any more. Blocks until it has ended.
    pub(crate) fn end(&self, found: Found) {
        if let Ok(process) = found.process {
            let ended = process.kill().and_then(|()| process.wait());
            if let Err(error) = ended {
                tracing::error!(%error, pid = process.pid(), "cannot end a process");
            }
        }
        self.forget(&found.record);
    }

    /// Moved first: an init that has not opened the directory yet fails when it tries, and one that has is found by it.
    fn undo_start(&self, dir: &Path) {
        let gone = dir.with_extension("gone");
        if fs::rename(dir, &gone).is_ok() {
            orphan::end_holders_of(&gone);
            self.discard(&gone);
        }
    }

    fn dir_of(&self, record: &Record) -> PathBuf {
        self.dir.join(format!("{}-{}", record.app, record.serial))
    }
}

/// Also its parents, where they are absent.
fn make_private(dir: &Path) -> Result<(), StartError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(io_error("make", dir))
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_owned();
    move |source| StartError::Io {
        doing,
        path,
        source,
    }
}

/// Seconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    now_ms() / 1000
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
