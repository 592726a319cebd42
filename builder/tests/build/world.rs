//! A machine with a store, and on it, per case, a folder of buildpacks and an app.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use builder::{BuildError, Builder, Built, Output, Request};
use container::{Digest, Image, Limits, Sandbox, Spawner, Stack, Stdio, Store, sandbox::Lifetime};
use rustix::pipe::{PipeFlags, pipe_with};

pub(crate) struct Machine {
    dir: tempfile::TempDir,
    store: Store,
    stack: Stack,
    spawner: Arc<Spawner>,
    lifecycle: PathBuf,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let lifecycle = dir.path().join("lifecycle");
        builder::install_lifecycle(&std::env::current_exe().unwrap(), &lifecycle).unwrap();
        Self {
            stack: Stack::open("host", &store).unwrap(),
            spawner: Arc::new(Spawner::start(Path::new("/proc/self/exe")).unwrap()),
            store,
            lifecycle,
            dir,
        }
    }
}

pub(crate) struct World {
    pub(crate) dir: PathBuf,
    pub(crate) builder: Builder,
    pub(crate) cache: PathBuf,
}

/// What differs from build to build.
#[derive(Default)]
pub(crate) struct With {
    pub(crate) previous: Option<Digest>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) clear_cache: bool,
    pub(crate) failed: Option<PathBuf>,
    /// Cancels when a line holds this.
    pub(crate) cancel_at: Option<&'static str>,
}

impl World {
    pub(crate) fn on(machine: &Machine) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = machine.dir.path().join(format!("case-{number}"));
        fs::create_dir_all(dir.join("buildpacks")).unwrap();
        Self {
            builder: Builder {
                store: machine.store.clone(),
                spawner: machine.spawner.clone(),
                stack: machine.stack.clone(),
                buildpacks: dir.join("buildpacks"),
                lifecycle: machine.lifecycle.clone(),
                limits: Limits {
                    memory_bytes: Some(512 << 20),
                    cpu_milli: None,
                    processes: Some(200),
                },
                // Some builds write much, on machines that do much else.
                wall_time_max: Duration::from_secs(600),
            },
            cache: dir.join("cache"),
            dir,
        }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.builder.store
    }

    /// A buildpack of one version whose programs are bash scripts.
    pub(crate) fn buildpack(&self, id: &str, detect: &str, build: &str) {
        self.buildpack_of("0.10", id, "", detect, build);
    }

    pub(crate) fn buildpack_of(&self, api: &str, id: &str, more: &str, detect: &str, build: &str) {
        let dir = self
            .dir
            .join("buildpacks")
            .join(id.replace('/', "_"))
            .join("1");
        let toml = format!("api='{api}'\n[buildpack]\nid='{id}'\nversion='1'\n{more}\n");
        fs::create_dir_all(dir.join("bin")).unwrap();
        fs::write(dir.join("buildpack.toml"), toml).unwrap();
        for (name, script) in [("detect", detect), ("build", build)] {
            let path = dir.join("bin").join(name);
            fs::write(&path, format!("#!/bin/bash\nset -e\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    /// One group; a `?` makes a buildpack optional.
    pub(crate) fn order(&self, group: &[&str]) {
        self.orders(&[group]);
    }

    pub(crate) fn orders(&self, groups: &[&[&str]]) {
        let mut text = String::new();
        for group in groups {
            text.push_str("[[order]]\n");
            for name in *group {
                let (id, optional) = (name.trim_end_matches('?'), name.ends_with('?'));
                text.push_str(&format!(
                    "[[order.group]]\nid='{id}'\nversion='1'\noptional={optional}\n"
                ));
            }
        }
        fs::write(self.dir.join("buildpacks/order.toml"), text).unwrap();
    }

    /// One buildpack that always passes.
    pub(crate) fn only(&self, build: &str) {
        self.buildpack("acme/a", "exit 0", build);
        self.order(&["acme/a"]);
    }

    pub(crate) fn build(&self, with: With) -> (Result<Built, BuildError>, Shown) {
        let source = self.store().scratch().unwrap().keep();
        fs::write(source.join("app.txt"), "the app\n").unwrap();
        let cancel = Arc::new(AtomicBool::new(false));
        let mut shown = Shown {
            text: String::new(),
            bytes: 0,
            cancel: cancel.clone(),
            cancel_at: with.cancel_at,
        };
        let request = Request {
            source: source.clone(),
            cache: &self.cache,
            previous: with.previous,
            env: &with.env,
            source_version: Some("c0ffee".to_owned()),
            clear_cache: with.clear_cache,
            keep_image: true,
            failed: with.failed.as_deref(),
            cancel,
        };
        let built = self.builder.build(request, &mut shown);
        assert!(!source.exists(), "the source is consumed");
        (built, shown)
    }

    /// A build that has to succeed.
    pub(crate) fn built(&self, with: With) -> (Built, String) {
        let (built, shown) = self.build(with);
        let built = built.unwrap_or_else(|error| panic!("{error}\n{}", shown.text));
        (built, shown.text)
    }

    pub(crate) fn again(&self, built: &Built) -> (Built, String) {
        self.built(With {
            previous: Some(built.image),
            ..With::default()
        })
    }

    /// A build that has to fail.
    pub(crate) fn failed(&self, with: With) -> (BuildError, String) {
        let (built, shown) = self.build(with);
        (built.unwrap_err(), shown.text)
    }

    pub(crate) fn image(&self, built: &Built) -> Image {
        self.store().image(&built.image).unwrap()
    }

    /// The diffID of the layer that was created by `by`.
    pub(crate) fn layer(&self, built: &Built, by: &str) -> Digest {
        let layers = self.image(built).config.layers;
        let found = layers.iter().find(|layer| layer.created_by.contains(by));
        found.unwrap_or_else(|| panic!("{by}: {layers:?}")).diff_id
    }

    /// A file of the image, at its absolute path.
    pub(crate) fn read(&self, built: &Built, path: &str) -> Option<String> {
        let layers = self.image(built).config.layers;
        layers.iter().rev().find_map(|layer| {
            let tree = self.store().layer(&layer.diff_id).unwrap();
            fs::read_to_string(tree.join(path.trim_start_matches('/'))).ok()
        })
    }

    /// Runs the image as an instance would be.
    pub(crate) fn run(&self, built: &Built, argv: &[&str], env: &[(&str, &str)]) -> (i32, String) {
        let config = self.image(built).config;
        let scratch = self.store().scratch().unwrap();
        let lowers = config.layers.iter().rev();
        let env_of_image = config.env.iter().filter_map(|pair| pair.split_once('='));
        let argv = argv.iter().map(|word| (*word).to_owned());
        let sandbox = Sandbox {
            lowers: lowers
                .map(|layer| self.store().layer(&layer.diff_id).unwrap())
                .collect(),
            scratch: scratch.path().to_owned(),
            mounts: self.builder.stack.mounts.clone(),
            argv: if argv.len() == 0 {
                config.entrypoint.clone()
            } else {
                argv.collect()
            },
            env: env_of_image
                .chain(env.iter().copied())
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            cwd: config.working_dir.clone(),
            hostname: "app".to_owned(),
            limits: self.builder.limits,
            lifetime: Lifetime::Bound,
        };
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let stdio = Stdio::Fds {
            stdin: File::open("/dev/null").unwrap().into(),
            stdout: writer.try_clone().unwrap(),
            stderr: writer,
        };
        let process = self.builder.spawner.spawn(&sandbox, stdio).unwrap();
        let mut text = String::new();
        File::from(reader).read_to_string(&mut text).unwrap();
        let code = process.wait().unwrap().code.unwrap_or(-1);
        // The kernel leaves it without permissions, and an ordinary user could not remove it.
        let overlay_work = scratch.path().join("work/work");
        fs::set_permissions(overlay_work, fs::Permissions::from_mode(0o700)).unwrap();
        (code, text)
    }

    /// Of a build only the store's layers, its image and the cache stay.
    pub(crate) fn assert_nothing_left(&self) {
        let tmp = self.dir.parent().unwrap().join("store/tmp");
        // Trees of thousands of levels take minutes on a busy disk.
        let deadline = Instant::now() + Duration::from_secs(300);
        loop {
            let left: Vec<_> = fs::read_dir(&tmp).unwrap().flatten().collect();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left in the store: {left:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What a build has shown: `# step`, `- detail`, and the buildpacks' own lines.
#[derive(Default)]
pub(crate) struct Shown {
    pub(crate) text: String,
    pub(crate) bytes: usize,
    cancel: Arc<AtomicBool>,
    cancel_at: Option<&'static str>,
}

/// Enough for every case; the flood is only counted.
const TEXT_BYTES_MAX: usize = 1 << 20;

impl Output for Shown {
    fn step(&mut self, text: &str) {
        self.text.push_str(&format!("# {text}\n"));
    }

    fn detail(&mut self, text: &str) {
        self.text.push_str(&format!("- {text}\n"));
    }

    fn raw(&mut self, line: &[u8]) {
        self.bytes += line.len();
        let line = String::from_utf8_lossy(line);
        if self.cancel_at.is_some_and(|at| line.contains(at)) {
            self.cancel.store(true, Ordering::Relaxed);
        }
        if self.text.len() < TEXT_BYTES_MAX {
            self.text.push_str(&format!("{line}\n"));
        }
    }
}
