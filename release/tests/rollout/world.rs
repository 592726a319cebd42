//! A platform of its own: store, spawner, router and apps, with images put together by hand.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use container::{
    Digest, ImageConfig, Limits, Spawner, Stack, Store,
    image::ImageLayer,
    layer::{Form, Owner},
    sandbox::SANDBOX_ID,
    store::Tree,
};
use release::{AppName, Apps, Candidate, Config, DeployError, Event, LogFilter, Release};
use router::{AppLine, Router, Table};
use tokio::{runtime::Runtime, sync::mpsc};

pub(crate) const DOMAIN: &str = "test";
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct World {
    pub(crate) dir: PathBuf,
    runtime: Option<Runtime>,
    pub(crate) store: Store,
    pub(crate) apps: Arc<Apps>,
    pub(crate) config: Config,
    router: Option<Router>,
    lines: Option<mpsc::Receiver<AppLine>>,
    /// Removed when the first world on it goes.
    _temporary: Option<tempfile::TempDir>,
}

/// A process type and the bash script that it runs.
pub(crate) type Process<'a> = (&'a str, &'a str);

impl World {
    pub(crate) fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut world = Self::at(temporary.path());
        world._temporary = Some(temporary);
        world
    }

    pub(crate) fn at(dir: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .worker_threads(2)
            .build()
            .unwrap();
        let store = Store::open(&dir.join("store")).unwrap();
        let stack = Stack::open("host", &store).unwrap();
        let routes = Table::default();
        let (log, lines) = mpsc::channel(1000);
        let listen = router::Config {
            listen: ([127, 0, 0, 1], 0).into(),
            threads: 1,
            timeouts: router::Timeouts::default(),
        };
        let router = Router::start(&listen, routes.clone(), log).unwrap();
        let config = Config {
            data: dir.to_owned(),
            store: store.clone(),
            spawner: Arc::new(Spawner::start(Path::new("/proc/self/exe")).unwrap()),
            stack,
            routes: routes.clone(),
            domain: DOMAIN.into(),
            boot_timeout: Duration::from_secs(8),
            stop_grace: Duration::from_secs(2),
            drain_max: Duration::from_secs(5),
            instance_limits: Limits {
                memory_bytes: Some(256 << 20),
                cpu_milli: None,
                processes: Some(100),
            },
        };
        let apps = runtime.block_on(Apps::start(config.clone())).unwrap();
        Self {
            dir: dir.to_owned(),
            runtime: Some(runtime),
            store,
            apps,
            config,
            router: Some(router),
            lines: Some(lines),
            _temporary: None,
        }
    }

    /// As after `kill -9`: nothing is told that it ends.
    pub(crate) fn killed(mut self) -> PathBuf {
        self.runtime.take().unwrap().shutdown_background();
        if let Some(temporary) = self._temporary.take() {
            return temporary.keep();
        }
        self.dir.clone()
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().unwrap()
    }

    pub(crate) fn app(&self, name: &str) -> AppName {
        let name = name.parse().unwrap();
        self.apps.create(&name, "ann").unwrap();
        name
    }

    pub(crate) fn router(&self) -> SocketAddr {
        self.router.as_ref().unwrap().local_addr()
    }

    pub(crate) fn keep_router_log(&mut self) {
        let (apps, lines) = (Arc::clone(&self.apps), self.lines.take().unwrap());
        self.runtime()
            .spawn(async move { apps.keep_router_log(lines).await });
    }

    /// The layers of the stack, and one with these processes.
    pub(crate) fn image(&self, processes: &[Process<'_>]) -> Digest {
        let scratch = self.store.scratch().unwrap();
        let root = scratch.path().join("cnb");
        let launcher = "#!/bin/bash\n[ \"$1\" = -- ] && shift\nexec \"$@\"\n";
        let mut files = vec![("lifecycle/launcher".to_owned(), launcher.to_owned())];
        // Without a script it is declared, and not there.
        let there = processes.iter().filter(|(_, script)| !script.is_empty());
        files.extend(there.map(|(name, script)| {
            let script = format!("#!/bin/bash\n{script}\n");
            (format!("process/{name}"), script)
        }));
        for (name, content) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let owner = Owner {
            uid: SANDBOX_ID,
            gid: SANDBOX_ID,
        };
        let app = self
            .store
            .commit_layer(Tree::Whole(&root), "/cnb", owner, Form::Dir)
            .unwrap();
        let layers = [self.config.stack.base_layer, app].map(|diff_id| ImageLayer {
            diff_id,
            created_by: self.config.stack.created_by(),
        });
        let types: Vec<_> = processes
            .iter()
            .map(|(name, _)| serde_json::json!({"type": name, "command": [name], "args": []}))
            .collect();
        let metadata = serde_json::json!({ "processes": types }).to_string();
        self.store
            .put_image(&ImageConfig {
                env: vec!["PATH=/usr/local/bin:/usr/bin:/bin".into()],
                entrypoint: vec!["/cnb/process/web".into()],
                working_dir: "/workspace".into(),
                user: "1000:1000".into(),
                labels: BTreeMap::from([("io.buildpacks.build.metadata".into(), metadata)]),
                layers: layers.to_vec(),
                ..ImageConfig::default()
            })
            .unwrap()
    }

    pub(crate) fn deploy(
        &self,
        app: &AppName,
        processes: &[Process<'_>],
    ) -> (Result<Release, DeployError>, Vec<Event>) {
        let candidate = Candidate {
            image: self.image(processes),
            description: "Deploy 1a2b3c4d".into(),
            build: None,
            commit: Some("1a2b3c4d".repeat(5)),
            git_ref: Some("refs/heads/main".into()),
        };
        self.events(|events| self.apps.deploy(app, candidate, "ann", events))
    }

    /// Carries a change out, and everything that was told meanwhile.
    pub(crate) fn events<T, F: Future<Output = Result<T, DeployError>>>(
        &self,
        change: impl FnOnce(mpsc::Sender<Event>) -> F,
    ) -> (Result<T, DeployError>, Vec<Event>) {
        let (sender, mut receiver) = mpsc::channel(1000);
        let result = self.runtime().block_on(change(sender));
        let mut events = Vec::new();
        while let Ok(event) = receiver.try_recv() {
            events.push(event);
        }
        (result, events)
    }

    /// Status and body of a request through the router.
    pub(crate) fn get(&self, app: &AppName) -> (u16, String) {
        get(self.router(), app).unwrap()
    }

    pub(crate) fn log(&self, app: &AppName) -> String {
        let lines = self
            .apps
            .log_tail(app, 10_000, &LogFilter::default())
            .unwrap();
        lines
            .iter()
            .map(|line| format!("{}[{}]: {}\n", line.source, line.process, line.text))
            .collect()
    }

    /// `web.1 v2 up`, sorted.
    pub(crate) fn ps(&self, app: &AppName) -> Vec<String> {
        let instances = self.apps.instances(app).unwrap();
        let row = |instance: &release::InstanceStatus| {
            format!("{} v{} {}", instance.name, instance.release, instance.state)
        };
        instances.iter().map(row).collect()
    }

    pub(crate) fn until_ps(&self, app: &AppName, expected: &[&str]) {
        until(
            &format!("ps shows {expected:?}, not {:?}", self.ps(app)),
            || self.ps(app) == expected,
        );
    }

    pub(crate) fn instance_dirs(&self) -> usize {
        fs::read_dir(self.dir.join("instances")).unwrap().count()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let Some(runtime) = &self.runtime else {
            return;
        };
        // What a test leaves running goes with it.
        for app in self.apps.ledger().apps().unwrap_or_default() {
            _ = runtime.block_on(self.apps.destroy(&app.name, "ann"));
        }
        if !std::thread::panicking() {
            let tmp = self.dir.join("store/tmp");
            until("what was discarded is removed", || {
                fs::read_dir(&tmp).unwrap().count() == 0
            });
        }
    }
}

pub(crate) fn get(router: SocketAddr, app: &AppName) -> std::io::Result<(u16, String)> {
    get_host(router, &format!("{app}.{DOMAIN}"))
}

pub(crate) fn get_host(router: SocketAddr, host: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(router)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let status = status.ok_or(std::io::ErrorKind::InvalidData)?;
    Ok((status, body.trim().to_owned()))
}

pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
