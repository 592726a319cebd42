//! A small lifecycle: an app folder, its layers, and the buildpacks run on them as the specification says.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use libcnb::{
    Env,
    data::launch::Launch,
    layer_env::{LayerEnv, Scope},
};
use sha2::{Digest, Sha256};

const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
const EXIT_TIME_MAX: Duration = Duration::from_secs(60);
/// Nothing listens there.
const DEAD_PROXY: &str = "http://127.0.0.1:9";

pub(crate) struct Lab {
    dir: tempfile::TempDir,
    /// For the buildpacks, besides what the machine needs to reach the registries.
    pub(crate) env: BTreeMap<String, String>,
}

/// What a buildpack said and how it ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
}

impl Lab {
    pub(crate) fn new(files: &[(&str, &str)]) -> Lab {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for name in ["workspace", "home", "platform/env", "layers", "buildpacks"] {
            fs::create_dir_all(dir.path().join(name)).expect("made");
        }
        let this = env::current_exe().expect("this test");
        buildpacks::install(&dir.path().join("buildpacks"), &this).expect("installed");
        let lab = Lab {
            env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            dir,
        };
        for (name, text) in files {
            lab.write(name, text);
        }
        lab
    }

    /// With a copy of one of the sample apps.
    pub(crate) fn sample(name: &str) -> Lab {
        let lab = Lab::new(&[]);
        lab.reset(name);
        lab
    }

    pub(crate) fn app(&self) -> PathBuf {
        self.dir.path().join("workspace")
    }

    pub(crate) fn layers(&self, buildpack: &str) -> PathBuf {
        self.dir.path().join("layers").join(buildpack)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.app().join(name);
        fs::create_dir_all(path.parent().expect("inside the app")).expect("made");
        fs::write(&path, text).expect("written");
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("changed");
    }

    pub(crate) fn detect(&self, buildpack: &str) -> Run {
        let plan = self.dir.path().join("plan.toml");
        let mut command = self.command(buildpack, "detect");
        command
            .arg(self.dir.path().join("platform"))
            .arg(&plan)
            .env("CNB_BUILD_PLAN_PATH", &plan);
        finish(command)
    }

    pub(crate) fn build(&self, buildpack: &str) -> Run {
        let (layers, plan) = (self.layers(buildpack), self.dir.path().join("bp_plan.toml"));
        fs::create_dir_all(&layers).expect("made");
        fs::write(&plan, "").expect("written");
        let mut command = self.command(buildpack, "build");
        command
            .args([&layers, &self.dir.path().join("platform"), &plan])
            .env("CNB_LAYERS_DIR", &layers)
            .env("CNB_BP_PLAN_PATH", &plan);
        finish(command)
    }

    /// Detects and builds; both must succeed.
    #[track_caller]
    pub(crate) fn build_ok(&self, buildpack: &str) -> String {
        let detected = self.detect(buildpack);
        assert_eq!(detected.code, Some(0), "{}", detected.output);
        let built = self.build(buildpack);
        assert_eq!(built.code, Some(0), "{}", built.output);
        built.output
    }

    /// What the next build finds: the app's source afresh, cached layers with their metadata, the metadata alone of those
    /// that are only for launch, no other layer.
    pub(crate) fn restore(&self, buildpack: &str, sample: Option<&str>) {
        let layers = self.layers(buildpack);
        for entry in fs::read_dir(&layers).expect("readable").flatten() {
            let path = entry.path();
            let Some(layer) = path
                .file_name()
                .and_then(|name| name.to_str()?.strip_suffix(".toml"))
            else {
                continue;
            };
            if layer == "launch" {
                continue;
            }
            let text = fs::read_to_string(&path).expect("readable");
            let mut table: toml::Table = text.parse().expect("TOML");
            let types = table.remove("types").expect("the layer's types");
            let is = |name: &str| types.get(name).and_then(|value| value.as_bool()) == Some(true);
            if is("cache") || is("launch") && !is("build") {
                fs::write(&path, table.to_string()).expect("written");
            } else {
                fs::remove_file(&path).expect("removed");
            }
            if !is("cache") {
                let _ = fs::remove_dir_all(layers.join(layer));
            }
        }
        if let Some(sample) = sample {
            self.reset(sample);
        }
    }

    /// The source as it was before the build.
    fn reset(&self, sample: &str) {
        fs::remove_dir_all(self.app()).expect("removed");
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/apps");
        copy(&samples.join(sample), &self.app());
    }

    /// From now on an installer that needs anything fails: its cache is gone, and the network leads nowhere.
    pub(crate) fn cut_off(&mut self, buildpack: &str) {
        let cache = self.layers(buildpack).join("cache");
        fs::remove_dir_all(&cache).expect("removed");
        fs::create_dir(&cache).expect("made");
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            self.env.insert(name.to_owned(), DEAD_PROXY.to_owned());
        }
        for name in ["npm_config_fetch_retries", "UV_HTTP_RETRIES"] {
            self.env.insert(name.to_owned(), "0".to_owned());
        }
    }

    fn forget_layers(&self) {
        let layers = self.dir.path().join("layers");
        fs::remove_dir_all(&layers).expect("removed");
        fs::create_dir(&layers).expect("made");
    }

    pub(crate) fn launch(&self, buildpack: &str) -> Launch {
        let path = self.layers(buildpack).join("launch.toml");
        let text = fs::read_to_string(path).unwrap_or_default();
        toml::from_str(&text).expect("launch.toml")
    }

    #[track_caller]
    pub(crate) fn command_line(&self, buildpack: &str, kind: &str) -> String {
        let launch = self.launch(buildpack);
        let process = launch
            .processes
            .iter()
            .find(|process| process.r#type.as_str() == kind);
        let process = process.expect("the process type");
        [process.command.as_slice(), process.args.as_slice()]
            .concat()
            .join(" ")
    }

    /// Starts the process type in the environment that the launcher would give it.
    pub(crate) fn start(&self, buildpack: &str, kind: &str) -> Running {
        let launch = self.launch(buildpack);
        let process = launch
            .processes
            .into_iter()
            .find(|process| process.r#type.as_str() == kind)
            .expect("the process type");
        let mut variables = Env::new();
        variables.insert("PATH", &self.env["PATH"]);
        variables.insert("HOME", self.dir.path().join("home"));
        for layer in self.launch_layers(buildpack) {
            let layer = LayerEnv::read_from_layer_dir(layer).expect("a layer's variables");
            variables = layer.apply(Scope::Launch, &variables);
        }
        let port = free_port();
        let mut words = process.command.into_iter().chain(process.args);
        let path = variables.get("PATH").cloned().unwrap_or_default();
        let program = words.next().expect("a program");
        let program = env::split_paths(&path)
            .map(|dir| dir.join(&program))
            .find(|path| path.is_file())
            .unwrap_or_else(|| PathBuf::from(&program));
        let log = self.dir.path().join(format!("log-{port}"));
        let file = fs::File::create(&log).expect("a log");
        let child = Command::new(program)
            .args(words)
            .current_dir(self.app())
            .env_clear()
            .envs(&variables)
            .env("PORT", port.to_string())
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .process_group(0)
            .spawn()
            .expect("started");
        Running { child, port, log }
    }

    fn launch_layers(&self, buildpack: &str) -> Vec<PathBuf> {
        let layers = self.layers(buildpack);
        let mut names: Vec<PathBuf> = fs::read_dir(&layers)
            .expect("readable")
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "toml")
            })
            .filter(|path| {
                let text = fs::read_to_string(path).expect("readable");
                let table: toml::Table = text.parse().expect("TOML");
                let launch = table
                    .get("types")
                    .and_then(|types| types.get("launch")?.as_bool());
                launch.unwrap_or(false)
            })
            .map(|path| path.with_extension(""))
            .collect();
        names.sort();
        names
    }

    /// Builds the sample once more from nothing: all that goes into the image must come out the same.
    #[track_caller]
    pub(crate) fn check_reproducible(&self, buildpack: &str, sample: &str) {
        let first = self.image_digests(buildpack);
        self.forget_layers();
        self.reset(sample);
        self.build_ok(buildpack);
        let second = self.image_digests(buildpack);
        let differing: Vec<&String> = first
            .keys()
            .chain(second.keys())
            .filter(|name| first.get(*name) != second.get(*name))
            .collect();
        assert!(differing.is_empty(), "{differing:?}");
    }

    /// Names, modes, links and bytes.
    fn image_digests(&self, buildpack: &str) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        for layer in self.launch_layers(buildpack) {
            describe(&layer, &layer, &mut files);
        }
        describe(&self.app(), &self.app(), &mut files);
        files
    }

    fn command(&self, buildpack: &str, phase: &str) -> Command {
        let folder = self
            .dir
            .path()
            .join("buildpacks")
            .join(buildpack)
            .join(env!("CARGO_PKG_VERSION"));
        let mut command = Command::new(folder.join("bin").join(phase));
        command.current_dir(self.app()).env_clear();
        for name in ["SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"] {
            command.envs(env::var_os(name).map(|value| (name, value)));
        }
        command
            .env("HOME", self.dir.path().join("home"))
            .env("SOURCE_DATE_EPOCH", "315532801")
            .env("CNB_BUILDPACK_DIR", folder)
            .env("CNB_PLATFORM_DIR", self.dir.path().join("platform"))
            .env("CNB_STACK_ID", "host")
            .env("CNB_TARGET_OS", "linux")
            .env(
                "CNB_TARGET_ARCH",
                if cfg!(target_arch = "aarch64") {
                    "arm64"
                } else {
                    "amd64"
                },
            )
            .env("CNB_TARGET_DISTRO_NAME", "debian")
            .env("CNB_TARGET_DISTRO_VERSION", "12")
            .envs(&self.env);
        command
    }
}

fn finish(mut command: Command) -> Run {
    let output = command.stdin(Stdio::null()).output().expect("started");
    Run {
        code: output.status.code(),
        output: String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr),
    }
}

/// An instance of the app; it and all that it started end with this value.
pub(crate) struct Running {
    child: Child,
    port: u16,
    log: PathBuf,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Running {
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[])
    }

    /// Asks until the app listens.
    #[track_caller]
    pub(crate) fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        loop {
            match exchange(self.port, method, path, headers) {
                Ok(answer) => return answer,
                Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
                Err(error) => panic!("no answer: {error}\n{}", self.log()),
            }
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGTERM to the process itself, as the platform sends it; its exit status.
    pub(crate) fn stop(mut self) -> Option<i32> {
        signal(self.child.id(), rustix::process::Signal::TERM, false);
        let deadline = Instant::now() + EXIT_TIME_MAX;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("waited") {
                return status.code();
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("still running after SIGTERM\n{}", self.log());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        signal(self.child.id(), rustix::process::Signal::KILL, true);
        let _ = self.child.wait();
    }
}

fn signal(pid: u32, signal: rustix::process::Signal, is_group: bool) {
    let Some(pid) = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    else {
        return;
    };
    let _ = match is_group {
        true => rustix::process::kill_process_group(pid, signal),
        false => rustix::process::kill_process(pid, signal),
    };
}

fn exchange(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n"
    )?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok());
    Ok(Answer {
        status: status.ok_or(std::io::ErrorKind::InvalidData)?,
        headers: lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
        body: body.to_owned(),
    })
}

/// Never the same twice: the cases run side by side, and a port is free until the app binds it.
fn free_port() -> u16 {
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        if TAKEN.lock().expect("not poisoned").insert(port) {
            return port;
        }
    }
}

/// `to` must not exist.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.expect("cp").success());
}

fn describe(root: &Path, path: &Path, files: &mut BTreeMap<String, String>) {
    let metadata = fs::symlink_metadata(path).expect("there");
    let name = path
        .strip_prefix(root.parent().expect("a parent"))
        .expect("below")
        .display()
        .to_string();
    let mode = metadata.permissions().mode();
    if metadata.is_dir() {
        files.insert(name, format!("{mode:o}"));
        for entry in fs::read_dir(path).expect("readable").flatten() {
            describe(root, &entry.path(), files);
        }
    } else if metadata.is_symlink() {
        files.insert(
            name,
            fs::read_link(path).expect("a link").display().to_string(),
        );
    } else {
        let digest = Sha256::digest(fs::read(path).expect("readable"));
        files.insert(name, format!("{mode:o} {digest:x?}"));
    }
}
