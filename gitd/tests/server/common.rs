//! A server with a platform that deploys nothing, and clients: real `git`, real `ssh`.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use gitd::{Server, git::Limits, ssh::Policy};
use tokio::{
    runtime::Runtime,
    sync::{Semaphore, oneshot},
};

use crate::platform::{TestPlatform, UNPACKED_AT_ONCE};

/// Longest wait of a test for something that takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) platform: Arc<TestPlatform>,
    pub(crate) fingerprints: Vec<String>,
    stop: Option<oneshot::Sender<()>>,
    runtime: Option<Runtime>,
}

impl TestServer {
    pub(crate) fn start() -> Self {
        Self::with_limits(Limits::default())
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        Self::with(limits, Self::lenient())
    }

    /// As `slipway up` has it: all of a test comes from here.
    fn lenient() -> Policy {
        Policy {
            exempt: vec!["127.0.0.0/8".parse().expect("a network")],
            ..Policy::default()
        }
    }

    pub(crate) fn with_policy(policy: Policy) -> Self {
        Self::with(Limits::default(), policy)
    }

    fn with(limits: Limits, policy: Policy) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let runtime = Runtime::new().expect("runtime");
        let platform = Arc::new(TestPlatform {
            unpack_turns: Arc::new(Semaphore::new(UNPACKED_AT_ONCE)),
            repos: dir.path().join("repos"),
            keys: Mutex::default(),
            limits,
            queues: Mutex::default(),
            events: Mutex::default(),
        });
        fs::create_dir(&platform.repos).expect("folder");
        let any = "127.0.0.1:0".parse().expect("an address");
        let server = runtime
            .block_on(Server::bind(any, dir.path().join("host_keys")))
            .expect("listens")
            .with_policy(policy);
        let address = server.local_addr().expect("bound");
        let fingerprints = server.fingerprints().to_vec();
        let (stop, stopped) = oneshot::channel();
        runtime.spawn(server.serve(Arc::clone(&platform), async { _ = stopped.await }));
        let server = Self {
            address,
            dir,
            platform,
            fingerprints,
            stop: Some(stop),
            runtime: Some(runtime),
        };
        server.add_key("alice");
        server
    }

    /// Makes a key and lets it in.
    pub(crate) fn add_key(&self, user: &str) -> PathBuf {
        let path = self.make_key(user);
        self.let_in(&path, user);
        path
    }

    pub(crate) fn let_in(&self, key: &Path, user: &str) {
        let mut keys = self.platform.keys.lock().expect("keys");
        keys.insert(fingerprint(key), user.to_owned());
    }

    pub(crate) fn remove_key(&self, path: &Path) {
        self.platform
            .keys
            .lock()
            .expect("keys")
            .remove(&fingerprint(path));
    }

    pub(crate) fn make_key(&self, name: &str) -> PathBuf {
        self.make_key_of(name, &["-t", "ed25519"])
    }

    /// `kind`: as `ssh-keygen` takes it.
    pub(crate) fn make_key_of(&self, name: &str, kind: &[&str]) -> PathBuf {
        let path = self.key(name);
        run(Command::new("ssh-keygen")
            .args(kind)
            .args(["-q", "-N", "", "-C", name, "-f"])
            .arg(&path));
        path
    }

    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("key_{name}"))
    }

    pub(crate) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            _ = stop.send(());
        }
    }

    /// The ssh command line with one key.
    pub(crate) fn ssh_command(&self, key: &str) -> String {
        format!(
            "ssh -F /dev/null -p {} -i {} -o IdentitiesOnly=yes -o IdentityAgent=none -o StrictHostKeyChecking=no \
             -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o BatchMode=yes",
            self.address.port(),
            self.key(key).display()
        )
    }

    pub(crate) fn ssh(&self, extra: &[&str], command: &[&str]) -> Command {
        let line = self.ssh_command("alice");
        let mut words = line.split(' ');
        let mut ssh = Command::new(words.next().expect("ssh"));
        ssh.args(extra)
            .args(words)
            .arg("git@127.0.0.1")
            .args(command)
            .stdin(Stdio::null());
        ssh
    }

    /// A connection that others share, and the option of `ssh` that has them do so.
    pub(crate) fn master(&self) -> (Child, String) {
        let socket = self.dir.path().join("mux");
        let control = format!("-oControlPath={}", socket.display());
        let master = self.ssh(&[&control, "-M", "-N"], &[]).spawn();
        wait_until("the master is up", || socket.exists());
        (master.expect("starts"), control)
    }

    pub(crate) fn repo(&self, app: &str) -> PathBuf {
        self.platform.repos.join(format!("{app}.git"))
    }

    pub(crate) fn head(&self, app: &str, name: &str) -> Option<String> {
        let output = git_in(&self.repo(app))
            .args(["rev-parse", "-q", "--verify", name])
            .output()
            .expect("git");
        output
            .status
            .success()
            .then(|| text(&output.stdout).trim().to_owned())
    }

    /// Stock git finds nothing wrong, and nothing is left in quarantine.
    pub(crate) fn check(&self, app: &str) {
        let fsck = git_in(&self.repo(app))
            .args(["fsck", "--full", "--strict", "--no-dangling"])
            .output()
            .expect("git");
        assert!(
            fsck.status.success(),
            "fsck: {}{}",
            text(&fsck.stdout),
            text(&fsck.stderr)
        );
        self.assert_no_quarantine(app);
    }

    pub(crate) fn assert_no_quarantine(&self, app: &str) {
        let quarantine = || {
            let entries = fs::read_dir(self.repo(app).join("objects")).expect("objects");
            entries
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().starts_with("incoming-"))
        };
        wait_until("the quarantine is gone", || !quarantine());
    }

    pub(crate) fn events(&self) -> Vec<String> {
        self.platform.events.lock().expect("events").clone()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(PATIENCE);
        }
    }
}

/// A work tree with a remote.
pub(crate) struct Work {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) ssh: String,
    pub(crate) url: String,
}

impl Work {
    pub(crate) fn new(server: &TestServer, app: &str) -> Self {
        let work = Self {
            dir: tempfile::tempdir().expect("temporary directory"),
            ssh: server.ssh_command("alice"),
            url: format!("ssh://git@127.0.0.1/{app}"),
        };
        work.ok(&["init", "-q", "-b", "main", "."]);
        work.ok(&["remote", "add", "slipway", &work.url]);
        work
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn git(&self, args: &[&str]) -> Command {
        let mut git = git_in(self.path());
        git.env("GIT_SSH_COMMAND", &self.ssh)
            .args(args)
            .stdin(Stdio::null());
        git
    }

    pub(crate) fn ok(&self, args: &[&str]) -> String {
        text(&run(&mut self.git(args)).stdout)
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("in the work tree")).expect("folder");
        fs::write(path, content).expect("writes");
    }

    pub(crate) fn commit(&self, message: &str) -> String {
        self.ok(&["add", "-A"]);
        self.ok(&["commit", "-q", "--allow-empty", "-m", message]);
        self.head()
    }

    /// Commits without a work tree.
    pub(crate) fn fast_import(&self, stream: &str) {
        let file = self.path().join(".git/stream");
        fs::write(&file, stream).expect("writes");
        let stream = fs::File::open(&file).expect("opens");
        run(self.git(&["fast-import", "--quiet"]).stdin(stream));
    }

    pub(crate) fn head(&self) -> String {
        self.ok(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Exit status, and all that git said.
    pub(crate) fn push(&self, args: &[&str]) -> (i32, String) {
        let args: Vec<&str> = ["push", "slipway"].iter().chain(args).copied().collect();
        outcome(&mut self.git(&args))
    }
}

pub(crate) fn git_in(dir: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        .args([
            "-c",
            "user.name=Ada",
            "-c",
            "user.email=ada@example.com",
            "-c",
            "protocol.version=2",
        ])
        .args([
            "-c",
            "advice.detachedHead=false",
            "-c",
            "safe.directory=*",
            "-c",
            "init.defaultBranch=main",
        ]);
    git
}

pub(crate) fn outcome(command: &mut Command) -> (i32, String) {
    let output = command.output().expect("starts");
    let said = text(&output.stdout) + &text(&output.stderr);
    (output.status.code().expect("exits"), said)
}

pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().expect("starts");
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// From PyPI; `.ci/run` installs them.
pub(crate) fn tool(name: &str) -> Option<Command> {
    let Some(folder) = env::var_os("SLIPWAY_SSH_TOOLS") else {
        assert!(
            env::var_os("CI").is_none(),
            "SLIPWAY_SSH_TOOLS does not name the folder of `{name}`"
        );
        return None;
    };
    Some(Command::new(Path::new(&folder).join(name)))
}

pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn fingerprint(key: &Path) -> String {
    let output = run(Command::new("ssh-keygen").args(["-l", "-f"]).arg(key));
    text(&output.stdout)
        .split(' ')
        .nth(1)
        .expect("a fingerprint")
        .to_owned()
}
