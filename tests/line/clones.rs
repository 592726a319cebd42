//! Many clones at once, clones beside pushes, and clients that stall or die half-way.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::server::Server;

/// Longest wait for what takes less than a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
const AT_ONCE: usize = 20;
const STALLED: usize = 16;
/// Anonymous memory, in KiB: for one more client, whether it takes the pack or not.
const PER_CLIENT_MAX: u64 = 12 << 10;

/// An app that deploys nothing, with 300 commits on the branch `work` and 12 MiB that cannot be compressed.
fn history(server: &Server) {
    server
        .sh("set -e; ssh slipway apps:create shop; git init -q work; cd work; git checkout -q -b work
             for n in $(seq 12); do head -c 1M /dev/urandom > large$n; done
             git add -A; git commit -q -m files; from='from refs/heads/work^0'
             for n in $(seq 300); do
                 printf 'commit refs/heads/work\ncommitter A <a@b> 1800000000 +0000\ndata 1\nn\n'
                 [ -z \"$from\" ] || echo \"$from\"; from=
                 printf 'M 100644 inline n\ndata 4\n%04d\n' $n
             done | git fast-import --quiet; git reset -q --hard
             git remote add slipway slipway:shop; git push -q slipway work")
        .ok();
}

#[test]
fn twenty_clones_at_once_beside_pushes() {
    let server = Server::start();
    history(&server);
    let before = anonymous_kib(&server);
    let pushes = server.sh_beside(
        "cd work; for n in $(seq 10); do echo $n > pushed; git add pushed; git commit -q -m pushed
         git push -q slipway work || exit 1; done",
    );
    let clones = format!(
        "for n in $(seq {AT_ONCE}); do git clone -q -b work slipway:shop clone$n & done; wait"
    );
    let peak = thread::scope(|scope| {
        let clones = scope.spawn(|| server.sh(&clones).ok());
        let mut peak = 0;
        while !clones.is_finished() {
            peak = peak.max(anonymous_kib(&server));
            thread::sleep(POLL);
        }
        peak
    });
    let growth = peak.saturating_sub(before);
    pushes.wait().ok();
    // Each has a history as it was at some moment, whole.
    server
        .sh(&format!(
            "for n in $(seq {AT_ONCE}); do git -C clone$n fsck --full --strict --no-progress || exit 1
             git -C work merge-base --is-ancestor $(git -C clone$n rev-parse HEAD) work || exit 1
             git -C clone$n pull -q || exit 1
             [ $(git -C clone$n rev-parse HEAD) = $(git -C work rev-parse HEAD) ] || exit 1; done"
        ))
        .ok();
    assert!(growth < PER_CLIENT_MAX * AT_ONCE as u64, "{growth} KiB");
}

#[test]
fn clients_that_stall_cost_little_and_leave_nothing_when_they_die() {
    let server = Server::start();
    history(&server);
    let commit = server.sh("git -C work rev-parse work").ok();
    let (memory, descriptors) = (anonymous_kib(&server), descriptors(&server));
    let mut stalled: Vec<Child> = (0..STALLED)
        .map(|_| stall(&server, commit.trim()))
        .collect();
    // Each has a connection, and a pack that waits for room.
    wait_until("all of them wait", || {
        self::descriptors(&server) >= descriptors + STALLED
    });
    let clone = "rm -rf clone; git clone -q -b work slipway:shop clone";
    server.sh(clone).ok();
    let growth = anonymous_kib(&server).saturating_sub(memory);
    assert!(
        growth < PER_CLIENT_MAX * (STALLED as u64 + 1),
        "{growth} KiB"
    );

    for client in &mut stalled {
        client.kill().expect("it is there to be killed");
        client.wait().expect("a killed client ends");
    }
    wait_until("nothing is left of them", || {
        self::descriptors(&server) <= descriptors
    });
    server.sh(clone).ok();
    server.sh("git -C work push -q slipway work:other").ok();
    assert!(
        !server.narration().contains("panic"),
        "{}",
        server.narration()
    );
}

/// A client that asks for all of it, and reads the first bytes only.
fn stall(server: &Server, commit: &str) -> Child {
    let request = format!("want {commit} side-band-64k ofs-delta\n");
    let request = format!("{:04x}{request}00000009done\n", request.len() + 4);
    let mut child = Command::new("ssh")
        .arg("-F")
        .arg(server.home().join(".ssh/config"))
        .args(["slipway", "git-upload-pack '/shop'"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ssh starts");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    std::io::Write::write_all(&mut stdin, request.as_bytes()).expect("ssh takes it");
    // Open, as of a client that thinks.
    child.stdin = Some(stdin);
    child
}

fn anonymous_kib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid()));
    let status = status.expect("the server runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number.expect("a line of memory").parse().expect("a number")
}

fn descriptors(server: &Server) -> usize {
    let open = fs::read_dir(format!("/proc/{}/fd", server.pid()));
    open.expect("the server runs").count()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        thread::sleep(POLL);
    }
}
