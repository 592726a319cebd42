//! Channels that nobody reads cost a bounded amount of memory. Alone in its process, which it measures.

mod nowhere;

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use gitd::{
    Caller, Gone, Io, Platform, Proof, RepoPath, Server, Status,
    git::{Limits, Repo},
};
use release::Holder;
use tokio::io::AsyncWriteExt as _;

use self::nowhere::Nowhere;

/// Longest wait for what takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// What each stalled channel would carry.
const MUCH: usize = 200 << 20;
const STALLED_EACH_WAY: usize = 4;
/// All that waits: in, a window and the backlog from which on a client is held back; out, a window; and the allocator's
/// share. Far below what is offered.
const GROWTH_MAX: usize = STALLED_EACH_WAY * (24 << 20) + (64 << 20);

/// Lets everybody in.
#[derive(Default)]
struct Open {
    limits: Limits,
    running: AtomicUsize,
}

impl Platform for Open {
    type Landing = Nowhere;

    fn caller(&self, proof: &Proof, remote: SocketAddr) -> Option<Caller> {
        let Proof::Key(fingerprint) = proof else {
            return None;
        };
        Some(Caller {
            user: "anybody".to_owned(),
            fingerprint: fingerprint.clone(),
            remote,
            holder: Holder::User("anybody".to_owned()),
            admin: false,
        })
    }

    fn takes_certificates(&self) -> bool {
        false
    }

    fn pushed(&self, _: &Caller, _: &RepoPath, _: &str, _: Result<(), &str>) {}

    async fn open(&self, _: &Caller, _: &RepoPath, _: &Gone) -> Result<(Repo, Nowhere), String> {
        Err("nowhere".to_owned())
    }

    async fn open_to_read(&self, _: &Caller, _: &RepoPath) -> Result<Repo, String> {
        Err("nowhere".to_owned())
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    /// `deaf` reads nothing, `talk` says much, anything else ends at once.
    async fn run(&self, _: &Caller, words: Vec<String>, mut io: Io) -> Status {
        self.running.fetch_add(1, Ordering::Relaxed);
        match words.first().map(String::as_str) {
            Some("deaf") => io.gone.await,
            Some("talk") => {
                for _ in 0..MUCH >> 16 {
                    if io.stdout.write_all(&[b'y'; 1 << 16]).await.is_err() {
                        break;
                    }
                }
            }
            _ => return 6.into(),
        }
        0.into()
    }
}

#[test]
fn stalled_channels_hold_little_and_keep_no_other_from_working() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let any = "127.0.0.1:0".parse().expect("an address");
    let server = runtime
        .block_on(Server::bind(any, dir.path().join("host_keys")))
        .expect("listens");
    let port = server.local_addr().expect("bound").port();
    let platform = Arc::new(Open::default());
    runtime.spawn(server.serve(Arc::clone(&platform), std::future::pending()));

    let client = client(dir.path(), port);
    let socket = dir.path().join("mux");
    let mut master = client(&["-M", "-N"], &[]).spawn().expect("starts");
    wait_until("the master is up", || socket.exists());
    let working = || {
        let status = client(&[], &["work"]).status().expect("starts");
        assert_eq!(status.code(), Some(6));
    };
    working();
    let before = resident();

    let much = dir.path().join("much");
    let made = File::create(&much).expect("makes");
    made.set_len(MUCH as u64).expect("grows");
    let mut stalled: Vec<_> = (0..STALLED_EACH_WAY)
        .flat_map(|_| {
            let input = File::open(&much).expect("opens");
            let deaf = client(&[], &["deaf"]).stdin(input).spawn();
            let unread = client(&[], &["talk"]).stdout(Stdio::piped()).spawn();
            [deaf, unread].map(|child| child.expect("starts"))
        })
        .collect();
    let all = 1 + 2 * STALLED_EACH_WAY;
    wait_until("all run", || {
        platform.running.load(Ordering::Relaxed) == all
    });
    let mut most = 0;
    for _ in 0..30 {
        working();
        most = most.max(resident());
    }
    let growth = most.saturating_sub(before);
    println!("{} MiB more than before", growth >> 20);
    assert!(growth < GROWTH_MAX, "{} MiB", growth >> 20);
    for child in stalled.iter_mut().chain([&mut master]) {
        child.kill().expect("kills");
        child.wait().expect("ends");
    }
}

/// `ssh` with a key of its own, on one connection.
fn client(dir: &Path, port: u16) -> impl Fn(&[&str], &[&str]) -> Command {
    let key = dir.join("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status();
    assert!(made.expect("starts").success());
    let line = format!(
        "-F /dev/null -p {port} -i {} -o IdentitiesOnly=yes -o IdentityAgent=none -o StrictHostKeyChecking=no \
         -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o BatchMode=yes -o ControlPath={}",
        key.display(),
        dir.join("mux").display()
    );
    move |extra, command| {
        let mut ssh = Command::new("ssh");
        ssh.args(extra)
            .args(line.split(' '))
            .arg("git@127.0.0.1")
            .args(command)
            .stdin(Stdio::null());
        ssh
    }
}

/// Bytes of this process's memory that are in use (proc(5), `VmRSS`).
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("reads");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.and_then(|kib| kib.parse::<usize>().ok())
        .expect("a number")
        << 10
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}
