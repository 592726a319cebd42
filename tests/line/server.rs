//! One `slipway up` of a test's own, with a user beside it: a home, an SSH key, and a shell that knows the server.

use std::{
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    http::{self, Answer},
    processes,
    shell::{self, Said},
};

const SLIPWAY: &str = env!("CARGO_BIN_EXE_slipway");
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Also ends when instances do not hear SIGTERM: their grace is 30 s.
const ENDED_WITHIN: Duration = Duration::from_secs(60);
/// The slowest command is a first push that installs packages while other tests do so too.
const COMMAND_WITHIN: Duration = Duration::from_secs(240);

pub(crate) struct Server {
    folder: TempDir,
    user: Option<u32>,
    /// More of the command line.
    options: Vec<String>,
    child: Mutex<Child>,
    narration: PathBuf,
    pub(crate) ssh: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_as(None)
    }

    /// With another user's id for the server and the user beside it. Only root can.
    pub(crate) fn start_as(user: Option<u32>) -> Self {
        Self::start_with(user, &[])
    }

    pub(crate) fn start_with(user: Option<u32>, options: &[&str]) -> Self {
        let folder = new_folder();
        make_home(folder.path(), user);
        let options = options.iter().map(|&word| word.to_owned()).collect();
        Self::start_in(folder, user, options)
    }

    /// With a program of the test's own before all others of its PATH.
    pub(crate) fn start_with_program(name: &str, script: &str) -> Self {
        let folder = new_folder();
        make_home(folder.path(), None);
        let program = programs(folder.path()).join(name);
        fs::create_dir(programs(folder.path())).expect("a folder");
        write(&program, script, None);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
            .expect("its mode can be set");
        Self::start_in(folder, None, vec![])
    }

    /// Another one, made of a backup, with the same user and home beside it.
    pub(crate) fn restored(&self, backup: &Path) -> Self {
        let folder = new_folder();
        run(Command::new("cp")
            .arg("-r")
            .arg(self.home())
            .arg(folder.path()));
        run(Command::new(SLIPWAY)
            .arg("restore")
            .arg(backup)
            .arg("--data")
            .arg(folder.path().join("data")));
        Self::start_in(folder, self.user, self.options.clone())
    }

    fn start_in(folder: TempDir, user: Option<u32>, options: Vec<String>) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (child, ready) = up(folder.path(), user, any, any, &options);
        let server = Self {
            user,
            options,
            child: Mutex::new(child),
            narration: folder.path().join("narration"),
            ssh: ready.ssh,
            http: ready.http,
            folder,
        };
        server.write_ssh_config();
        server
    }

    /// Starts it again on the same data folder and ports. It must have ended.
    pub(crate) fn restart(&self) {
        self.restart_with(&self.options);
    }

    /// With another command line.
    pub(crate) fn restart_with(&self, options: &[String]) {
        let (child, ready) = up(self.folder.path(), self.user, self.ssh, self.http, options);
        assert_eq!(
            (ready.ssh, ready.http),
            (self.ssh, self.http),
            "the same ports again"
        );
        *self.child() = child;
    }

    pub(crate) fn kill_9(&self) {
        let mut child = self.child();
        child.kill().expect("the server is there to be killed");
        child.wait().expect("a killed server ends");
    }

    /// SIGTERM, and its exit status.
    pub(crate) fn terminate(&self) -> Option<i32> {
        let mut child = self.child();
        processes::signal(child.id() as i32, Signal::TERM);
        let end = Instant::now() + ENDED_WITHIN;
        while Instant::now() < end {
            if let Some(status) = child.try_wait().expect("the server can be waited for") {
                return status.code();
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!(
            "the server still runs {ENDED_WITHIN:?} after SIGTERM; it said:\n{}",
            self.narration()
        );
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child().id()
    }

    /// What it told its operator so far.
    pub(crate) fn narration(&self) -> String {
        fs::read_to_string(&self.narration).unwrap_or_default()
    }

    /// A line of bash in the user's home, as `prelude.sh` prepares it.
    pub(crate) fn sh(&self, line: &str) -> Said {
        shell::run(&mut self.user_command(), &self.home(), line, COMMAND_WITHIN)
    }

    /// The same, under way; see [`Started::wait`].
    pub(crate) fn sh_beside(&self, line: &str) -> Started {
        let mut command = self.user_command();
        let child = shell::prepared(&mut command, &self.home(), line, COMMAND_WITHIN)
            .spawn()
            .expect("bash starts");
        Started {
            line: line.to_owned(),
            child,
        }
    }

    /// An admin command: `ssh slipway TOPIC:VERB ...`.
    pub(crate) fn ssh(&self, command: &str) -> Said {
        self.sh(&format!("ssh slipway {command}"))
    }

    pub(crate) fn push(&self, app: &str) -> Said {
        self.sh(&format!("push {app}"))
    }

    /// Makes `./NAME` an app's repository: a copy of a fixture.
    pub(crate) fn app(&self, name: &str, fixture: &str) {
        self.sh(&format!("app {name} {fixture}")).ok();
    }

    /// Edits a file of an app and commits.
    pub(crate) fn change(&self, app: &str, file: &str, from: &str, to: &str) {
        self.sh(&format!("change {app} {file} '{from}' '{to}'"))
            .ok();
    }

    #[track_caller]
    pub(crate) fn get(&self, app: &str, path: &str) -> Answer {
        http::get(self.http, &format!("{app}.localhost"), path).expect("the router answers")
    }

    /// The unique name of its folder, by which everything that belongs to it is found from outside.
    pub(crate) fn tag(&self) -> &str {
        self.folder
            .path()
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a printable name")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub(crate) fn user_command(&self) -> Command {
        let mut command = as_user(self.user, "env");
        command
            .args(["--unset=SSH_AUTH_SOCK", "--unset=XDG_CONFIG_HOME"])
            .args(as_settings([
                ("HOME", self.home().into_os_string()),
                ("FIXTURES", fixtures(&self.home()).into_os_string()),
                ("HTTP", self.http.port().to_string().into()),
                ("SSH", self.ssh.port().to_string().into()),
                (
                    "GIT_SSH_COMMAND",
                    format!("ssh -F {}/.ssh/config", self.home().display()).into(),
                ),
                (
                    "SLIPWAY",
                    binary(self.folder.path(), self.user).into_os_string(),
                ),
                ("DATA", self.data().into_os_string()),
                ("GIT_CONFIG_NOSYSTEM", "1".into()),
                ("LC_ALL", "C.UTF-8".into()),
            ]));
        command
    }

    fn write_ssh_config(&self) {
        let (ssh, home) = (self.home().join(".ssh"), self.home());
        let config = format!(
            "Host slipway localhost\n  HostName 127.0.0.1\n  Port {}\n  User git\n  IdentityFile {home}/.ssh/id_ed25519\n  \
             IdentitiesOnly yes\n  BatchMode yes\n  UserKnownHostsFile {home}/.ssh/known_hosts\n  \
             StrictHostKeyChecking accept-new\n  LogLevel ERROR\n",
            self.ssh.port(),
            home = home.display(),
        );
        write(&ssh.join("config"), &config, self.user);
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child
            .lock()
            .expect("no test panics while it holds the server")
    }
}

/// Everything that the server started ends with it, instances too, also when the test panics.
impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the server said:\n{}", self.narration());
        }
        if let Ok(child) = self.child.get_mut() {
            _ = child.kill();
            _ = child.wait();
        }
        processes::kill(self.tag());
        // overlayfs leaves a folder that an ordinary user cannot look into, and so not delete.
        _ = Command::new("chmod")
            .args(["-R", "u+rwX"])
            .arg(self.folder.path())
            .stderr(Stdio::null())
            .status();
    }
}

/// A command under way.
pub(crate) struct Started {
    line: String,
    child: Child,
}

impl Started {
    pub(crate) fn wait(self) -> Said {
        shell::said(
            &self.line,
            &self.child.wait_with_output().expect("bash ends"),
        )
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        processes::signal(self.child.id() as i32, Signal::INT);
    }
}

fn new_folder() -> TempDir {
    tempfile::Builder::new()
        .prefix("slipway-line-")
        .tempdir()
        .expect("a temporary folder")
}

struct Ready {
    ssh: SocketAddr,
    http: SocketAddr,
}

/// Starts the server and waits for its one line on stdout.
fn up(
    folder: &Path,
    user: Option<u32>,
    ssh: SocketAddr,
    http: SocketAddr,
    options: &[String],
) -> (Child, Ready) {
    let narration = fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("narration"));
    let mut child = as_user(user, "env")
        .args(["--unset=XDG_STATE_HOME", "--unset=SSH_AUTH_SOCK"])
        .args(as_settings([
            ("HOME", folder.join("home").into_os_string()),
            ("PATH", search_path(folder)),
        ]))
        .arg(binary(folder, user))
        .arg("up")
        .args(["--ssh", &ssh.to_string(), "--http", &http.to_string()])
        .arg("--data")
        .arg(folder.join("data"))
        .arg("--admin-key")
        .arg(folder.join("home/.ssh/id_ed25519.pub"))
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(narration.expect("the narration can be written"))
        .spawn()
        .expect("slipway starts");
    let stdout = child.stdout.take().expect("stdout is a pipe");
    let (send, lines) = mpsc::channel();
    // The thread ends with the server; until then it keeps the pipe open.
    thread::spawn(move || {
        BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| send.send(line))
    });
    let line = lines.recv_timeout(READY_WITHIN).unwrap_or_else(|error| {
        _ = child.kill();
        _ = child.wait();
        let said = fs::read_to_string(folder.join("narration")).unwrap_or_default();
        panic!("no `ready` line ({error}); the server said:\n{said}")
    });
    (
        child,
        parse_ready(&line).unwrap_or_else(|| panic!("this is no `ready` line: {line}")),
    )
}

/// `ready ssh=HOST:PORT http=HOST:PORT domain=DOMAIN data=DIR`
fn parse_ready(line: &str) -> Option<Ready> {
    let rest = line.strip_prefix("ready ")?;
    let value = |name: &str| {
        rest.split(' ')
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    (value("domain")? == "localhost" && Path::new(value("data")?).is_dir()).then_some(())?;
    Some(Ready {
        ssh: value("ssh")?.parse().ok()?,
        http: value("http")?.parse().ok()?,
    })
}

/// What another user must be able to read is copied: the target folder may not be open to everyone.
fn binary(folder: &Path, user: Option<u32>) -> PathBuf {
    let Some(_) = user else { return SLIPWAY.into() };
    let copy = folder.join("slipway");
    if !copy.exists() {
        fs::copy(SLIPWAY, &copy).expect("the binary can be copied");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("its mode can be set");
    }
    copy
}

/// Programs that only the server finds.
fn programs(folder: &Path) -> PathBuf {
    folder.join("programs")
}

fn search_path(folder: &Path) -> OsString {
    let usual = std::env::var_os("PATH").unwrap_or_default();
    let mut path = programs(folder).into_os_string();
    path.push(":");
    path.push(usual);
    path
}

fn fixtures(home: &Path) -> PathBuf {
    home.join("fixtures")
}

fn make_home(folder: &Path, user: Option<u32>) {
    let home = folder.join("home");
    let ssh = home.join(".ssh");
    fs::create_dir_all(&ssh).expect("a home");
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o700)).expect("its mode can be set");
    let key = ssh.join("id_ed25519");
    run(Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "ada", "-f"])
        .arg(key));
    let git = "[user]\n  name = Ada\n  email = ada@example.com\n[init]\n  defaultBranch = main\n[protocol]\n  version = 2\n";
    write(&home.join(".gitconfig"), git, user);
    fs::create_dir(fixtures(&home)).expect("a folder");
    for apps in ["tests/fixtures/apps", "tests/line/apps"] {
        let apps = Path::new(env!("CARGO_MANIFEST_DIR")).join(apps).join(".");
        run(Command::new("cp").arg("-r").arg(apps).arg(fixtures(&home)));
    }
    if let Some(user) = user {
        run(Command::new("chown")
            .arg("-R")
            .arg(format!("{user}:{user}"))
            .arg(folder));
    }
}

fn write(path: &Path, text: &str, user: Option<u32>) {
    fs::write(path, text).expect("the file can be written");
    if let Some(user) = user {
        chown(path, Some(user), Some(user)).expect("root can give it away");
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("the command starts");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn as_user(user: Option<u32>, program: &str) -> Command {
    let Some(user) = user else {
        return Command::new(program);
    };
    let mut command = Command::new("setpriv");
    command
        .args([
            format!("--reuid={user}"),
            format!("--regid={user}"),
            "--clear-groups".to_owned(),
        ])
        .arg(program);
    command
}

/// `NAME=value` as env(1) takes them.
fn as_settings<const N: usize>(settings: [(&str, OsString); N]) -> impl Iterator<Item = OsString> {
    settings.into_iter().map(|(name, value)| {
        let mut setting = OsString::from(format!("{name}="));
        setting.push(value);
        setting
    })
}
