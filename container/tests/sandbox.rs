//! Real sandboxes: what they see, what ends them, what they leave. Run as root, and once more as an ordinary user.
//!
//! Without the test harness, because this binary is also the spawner.

#![expect(
    clippy::unwrap_used,
    reason = "without the harness clippy does not see that this is a test"
)]

#[path = "sandbox/enter.rs"]
mod enter;
#[path = "sandbox/hostile.rs"]
mod hostile;
#[path = "sandbox/lifetime.rs"]
mod lifetime;
#[path = "sandbox/limits.rs"]
mod limits;
#[path = "sandbox/terminal.rs"]
mod terminal;

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio as StdStdio},
    sync::Arc,
    time::{Duration, Instant},
};

use container::{
    Exit, Limits, Mount, Process, Sandbox, Spawner, Stack, Stdio, Store,
    sandbox::{Bind, Lifetime},
    spawner,
};
use rustix::pipe::{PipeFlags, pipe_with};

const NOBODY: u32 = 65_534;
type Case = (&'static str, fn(&World));

const CASES: &[Case] = &[
    (
        "exit statuses and signals are the command's own",
        exit_statuses,
    ),
    ("output and input go through", streams),
    ("inside, the user is 1000 and has no capabilities", identity),
    ("the machine is out of sight", out_of_sight),
    ("a fork bomb is stopped", fork_bomb),
    ("a memory hog is killed and reported", memory_hog),
    (
        "what cannot be started says why and leaves nothing",
        cannot_start,
    ),
    ("when init is killed, everything is", init_killed),
    (
        "a detached sandbox keeps its log and outlives its starter",
        detached,
    ),
    ("fifty at once", fifty_at_once),
    ("each limit stands by itself", limits::each_by_itself),
    ("shared memory counts, once", limits::shared_memory),
    ("system calls that no app needs", hostile::system_calls),
    ("nothing is inherited", hostile::inheritance),
    ("sixty layers with long paths", hostile::many_layers),
    ("links in an image lead nowhere", hostile::links_in_images),
    (
        "no script reaches our own program",
        hostile::our_own_program,
    ),
    ("a description can be too large", hostile::too_large),
    ("an exit record is of this sandbox", lifetime::exit_record),
    ("a log keeps its bounds and its lines", lifetime::log_bounds),
    ("a terminal is a real one", terminal::is_real),
    ("a terminal is resized", terminal::resizes),
    ("a shell controls its jobs", terminal::controls_jobs),
    ("a terminal hangs up", terminal::hangs_up),
    ("whoever enters is in the same world", enter::same_world),
    ("whoever enters leaves nothing", enter::ends),
    (
        "an earlier sandbox is entered",
        enter::of_an_earlier_spawner,
    ),
    ("a shell enters with a terminal", enter::on_a_terminal),
    ("what cannot enter says why", enter::cannot),
    ("the spawner is killed", lifetime::spawner_killed),
    ("slipway is killed", lifetime::slipway_killed),
];

fn main() {
    let name = std::env::args().next().unwrap_or_default();
    match (name.as_str(), std::env::args().nth(1).as_deref()) {
        (spawner::ARGV0, _) => spawner::main(),
        (_, Some("start-detached")) => {
            return start_detached(Path::new(&std::env::args().nth(2).unwrap()));
        }
        (_, Some("start-both")) => {
            return lifetime::start_both(Path::new(&std::env::args().nth(2).unwrap()));
        }
        (_, Some("--list")) => return,
        _ => {}
    }
    let mounts = mounts();
    for (case, run) in CASES {
        run(&World::new());
        println!("test {case} ... ok");
    }
    assert_eq!(self::mounts(), mounts, "mounts are left");
    assert!(
        children(std::process::id()).is_empty(),
        "processes are left"
    );
    if rustix::process::geteuid().is_root() {
        until(
            "the next start has removed what a killed spawner left",
            || {
                drop(Spawner::start(Path::new("/proc/self/exe")).unwrap());
                limits::groups_left().is_empty()
            },
        );
        as_ordinary_user();
    }
    println!("test result: ok. {} passed; 0 failed", CASES.len());
}

/// The same cases, by a copy that nobody may execute.
fn as_ordinary_user() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let exe = dir.path().join("sandbox-test");
    fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
    let status = Command::new(&exe)
        .env("TMPDIR", dir.path())
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .status()
        .unwrap();
    assert!(status.success(), "as an ordinary user: {status}");
}

struct World {
    dir: tempfile::TempDir,
    store: Store,
    stack: Stack,
    spawner: Arc<Spawner>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::at(dir)
    }

    fn at(dir: tempfile::TempDir) -> Self {
        let store = Store::open(&dir.path().join("store")).unwrap();
        let stack = Stack::open("host", &store).unwrap();
        let spawner = Arc::new(Spawner::start(Path::new("/proc/self/exe")).unwrap());
        Self {
            dir,
            store,
            stack,
            spawner,
        }
    }

    fn sandbox(&self, script: &str) -> Sandbox {
        Sandbox {
            lowers: vec![self.store.layer(&self.stack.base_layer).unwrap()],
            scratch: self.store.scratch().unwrap().keep(),
            mounts: self.stack.mounts.clone(),
            argv: ["bash", "-c", script].map(str::to_owned).to_vec(),
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            cwd: "/workspace".into(),
            hostname: "box".into(),
            limits: Limits {
                memory_bytes: Some(256 << 20),
                cpu_milli: None,
                processes: Some(64),
            },
            lifetime: Lifetime::Bound,
        }
    }

    fn run(&self, sandbox: &Sandbox) -> (Exit, String) {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let stdin = File::open("/dev/null").unwrap().into();
        let stdio = Stdio::Fds {
            stdin,
            stdout: writer.try_clone().unwrap(),
            stderr: writer,
        };
        let process = self.spawner.spawn(sandbox, stdio).unwrap();
        let mut text = String::new();
        File::from(reader).read_to_string(&mut text).unwrap();
        (process.wait().unwrap(), text)
    }

    fn output(&self, script: &str) -> String {
        let (exit, text) = self.run(&self.sandbox(script));
        assert!(exit.success(), "{script}: {exit:?} {text}");
        text
    }
}

impl Drop for World {
    /// An overlay leaves a directory in its work directory that an ordinary user must open before removing it.
    fn drop(&mut self) {
        let dir = self.dir.path();
        _ = Command::new("chmod")
            .arg("-R")
            .arg("u+rwx")
            .arg(dir)
            .status();
    }
}

fn exit_statuses(world: &World) {
    let exit = |script: &str| world.run(&world.sandbox(script)).0;
    assert_eq!(exit("exit 0").code, Some(0));
    assert_eq!(exit("exit 255").code, Some(255));
    let killed = exit("kill -KILL $$");
    assert_eq!(
        (killed.code, killed.signal, killed.out_of_memory),
        (None, Some(9), false)
    );
    // Children left behind do not keep the sandbox.
    assert_eq!(exit("sleep 1000 & exit 3").code, Some(3));
}

fn streams(world: &World) {
    let (in_reader, in_writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (out_reader, out_writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (err_reader, err_writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let stdio = Stdio::Fds {
        stdin: in_reader,
        stdout: out_writer,
        stderr: err_writer,
    };
    let process = world
        .spawner
        .spawn(&world.sandbox("cat; echo bad >&2"), stdio)
        .unwrap();
    rustix::io::write(&in_writer, b"hello").unwrap();
    drop(in_writer);
    let read = |fd| {
        let mut text = String::new();
        File::from(fd).read_to_string(&mut text).unwrap();
        text
    };
    assert_eq!(
        (read(out_reader), read(err_reader)),
        ("hello".into(), "bad\n".into())
    );
    assert!(process.wait().unwrap().success());
}

fn identity(world: &World) {
    assert_eq!(
        world.output("id -un; id -u; id -g; hostname"),
        "app\n1000\n1000\nbox\n"
    );
    let status = world.output("grep -E 'CapEff|CapPrm|NoNewPrivs' /proc/self/status");
    assert!(
        status.contains("CapEff:\t0000000000000000")
            && status.contains("CapPrm:\t0000000000000000"),
        "{status}"
    );
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    assert_eq!(
        world.output("env | sort | grep -v -E '^(PWD|SHLVL|_)='"),
        "PATH=/usr/bin:/bin\n"
    );
    assert_eq!(
        world.output(
            "touch /workspace/a /home/app/b /tmp/c && ls /workspace /home/app /tmp | wc -w"
        ),
        "6\n"
    );
}

fn out_of_sight(world: &World) {
    let secret = world.dir.path().join("secret");
    fs::write(&secret, "hidden").unwrap();
    let seen = world.sandbox(&format!(
        "cat {}; cat /etc/shadow; ls /root /proc | grep -c '^[0-9]'",
        secret.display()
    ));
    let (_, text) = world.run(&seen);
    assert!(
        !text.contains("hidden") && !text.contains("root:"),
        "{text}"
    );
    // Init, the shell and what it runs: no process of the machine.
    let processes: u32 = world
        .output("ls /proc | grep -c '^[0-9]'")
        .trim()
        .parse()
        .unwrap();
    assert!(processes <= 5, "{processes}");
    for refused in [
        "mount -t tmpfs x /mnt",
        "unshare -Ur true",
        "touch /usr/x",
        "touch /etc/hosts",
        "echo > /proc/sysrq-trigger",
        "kill -9 1; sleep 0.2; test -d /proc/1 && false",
    ] {
        let (exit, text) = world.run(&world.sandbox(refused));
        assert!(!exit.success(), "{refused}: {text}");
    }
    let mut sandbox = world.sandbox("cat /given/file; echo x > /given/file");
    let given = world.dir.path().join("given");
    fs::create_dir(&given).unwrap();
    fs::write(given.join("file"), "shown").unwrap();
    fs::set_permissions(given.join("file"), fs::Permissions::from_mode(0o666)).unwrap();
    sandbox.mounts.push(Mount::Bind(Bind {
        source: given.clone(),
        target: "/given".into(),
        read_only: true,
    }));
    let (exit, text) = world.run(&sandbox);
    assert!(text.starts_with("shown") && !exit.success(), "{text}");
    assert_eq!(fs::read_to_string(given.join("file")).unwrap(), "shown");
}

fn fork_bomb(world: &World) {
    let bomb = "import os, time\nn = 0\ntry:\n  while n < 1000:\n    if os.fork() == 0: time.sleep(100)\n    n += 1\n\
                except BlockingIOError: print(n)";
    let (_, text) = world.run(&world.sandbox(&format!("exec python3 -c '{bomb}'")));
    let children: u32 = text.trim().parse().unwrap();
    assert!((50..=64).contains(&children), "the limit is 64: {text}");
}

fn memory_hog(world: &World) {
    let hog = "python3 -c 'x = bytearray(1 << 30); x[::4096] = bytes(len(x[::4096])); import time; time.sleep(60)'";
    let (exit, text) = world.run(&world.sandbox(hog));
    assert!(exit.out_of_memory && !exit.success(), "{exit:?} {text}");
    // Also when the one that was killed was a child.
    let (exit, _) = world.run(&world.sandbox(&format!("{hog}; exit 7")));
    assert!(exit.out_of_memory && !exit.success(), "{exit:?}");
}

fn cannot_start(world: &World) {
    let fails = |change: fn(&mut Sandbox)| {
        let mut sandbox = world.sandbox("true");
        change(&mut sandbox);
        world
            .spawner
            .spawn(&sandbox, Stdio::Null)
            .err()
            .map(|error| error.to_string())
            .unwrap()
    };
    assert_eq!(
        fails(|s| s.argv = vec!["/no/such".into()]),
        "cannot start the sandbox: exec /no/such"
    );
    assert_eq!(
        fails(|s| s.cwd = "/nowhere".into()),
        "cannot start the sandbox: chdir /nowhere"
    );
    let error = fails(|s| {
        s.mounts.push(Mount::Bind(Bind {
            source: "/absent".into(),
            target: "/x".into(),
            read_only: true,
        }))
    });
    assert_eq!(error, "cannot start the sandbox: mount /absent at /x");
    assert_eq!(sandboxes_of(&world.spawner), 0);
}

fn init_killed(world: &World) {
    let process = world
        .spawner
        .spawn(&world.sandbox("sleep 1000 & sleep 1000"), Stdio::Null)
        .unwrap();
    process.kill().unwrap();
    assert_eq!(process.wait().unwrap().signal, Some(9));
    until("the spawner has reaped it", || {
        sandboxes_of(&world.spawner) == 0
    });
}

fn detached(world: &World) {
    let dir = world.dir.path();
    // A starter of its own, which is gone before the sandbox is.
    let mut starter = Command::new(std::env::current_exe().unwrap())
        .arg("start-detached")
        .arg(dir)
        .stdout(StdStdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    starter
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    starter.wait().unwrap();
    let numbers: Vec<u64> = said
        .split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect();
    let pid = u32::try_from(numbers[0]).unwrap();
    let record = dir.join("exit.json");
    assert!(
        Process::adopt(pid, numbers[1] + 1, &record)
            .unwrap()
            .is_none(),
        "a reused pid is not adopted"
    );
    let process = Process::adopt(pid, numbers[1], &record)
        .unwrap()
        .expect("it runs");
    let log = dir.join("log");
    until("it logs", || {
        fs::read_to_string(&log).is_ok_and(|text| text.ends_with("app[web.1]: ready\n"))
    });
    process.terminate().unwrap();
    let exit = process.wait().unwrap();
    assert_eq!(exit.code, Some(42));
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.ends_with("app[web.1]: goodbye\n"), "{text}");
    assert!(
        text.lines().all(|line| line.len() < 10_100),
        "lines are split"
    );
    assert!(
        text.as_bytes()
            .windows(10_000)
            .any(|w| w.iter().all(|b| *b == b'x')),
        "at 10,000 bytes"
    );
    assert!(log.with_extension("1").exists() || text.len() < 100_000);
}

/// Prints the init's pid and start time, and ends.
fn start_detached(dir: &Path) {
    let store = Store::open(&dir.join("store-2")).unwrap();
    let stack = Stack::open("host", &store).unwrap();
    let spawner = Spawner::start(Path::new("/proc/self/exe")).unwrap();
    let world = World {
        dir: tempfile::tempdir().unwrap(),
        store,
        stack,
        spawner: Arc::new(spawner),
    };
    let script = "trap 'echo goodbye; exit 42' TERM; for i in 1 2 3; do echo line $i; done; \
                  head -c 25000 /dev/zero | tr '\\0' x; echo; echo ready; while :; do sleep 0.05; done";
    let mut sandbox = world.sandbox(script);
    sandbox.lifetime = Lifetime::Detached {
        log: dir.join("log"),
        log_bytes_max: 100_000,
        label: "app[web.1]".into(),
        exit_record: dir.join("exit.json"),
    };
    let process = world.spawner.spawn(&sandbox, Stdio::Null).unwrap();
    println!("{} {}", process.pid(), process.start_time());
}

fn fifty_at_once(world: &World) {
    std::thread::scope(|scope| {
        for n in 0..50 {
            scope.spawn(move || assert_eq!(world.output(&format!("echo {n}")), format!("{n}\n")));
        }
    });
    until("all are reaped", || sandboxes_of(&world.spawner) == 0);
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// Children of the spawner: none may be left, also no zombies.
fn sandboxes_of(_spawner: &Spawner) -> usize {
    let spawners = children(std::process::id());
    spawners.iter().map(|pid| children(*pid).len()).sum()
}

fn children(pid: u32) -> Vec<u32> {
    let tasks: PathBuf = format!("/proc/{pid}/task").into();
    let lists = fs::read_dir(tasks)
        .into_iter()
        .flatten()
        .flatten()
        .map(|task| task.path().join("children"));
    lists
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|text| {
            text.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
