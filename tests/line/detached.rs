//! Deploys whose pusher has gone, willingly or not, or does not read.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{gate::Gate, server::Server};

#[test]
fn a_detached_push_ends_and_its_deploy_moves_the_branch_later() {
    let server = Server::start();
    let gate = Gate::new(&server);
    gate.app(&server, "shop", "build");
    let said = server.sh("git -C shop push -o detach slipway main").ok();
    assert!(
        said.contains("[new reference]") && said.contains("main -> refs/builds/1"),
        "{said}"
    );
    assert!(
        !said.contains("main -> main"),
        "the branch has not moved: {said}"
    );
    assert!(said.contains("builds:attach shop 1"), "{said}");
    let held = gate.wait("build one");
    assert_eq!(refs(&server), "refs/builds/1\n");
    let tracking = server.sh("git -C shop rev-parse -q --verify refs/remotes/slipway/main");
    assert_eq!(
        tracking.status, 1,
        "the client does not believe that it has"
    );
    let forged = server
        .sh("git -C shop push slipway main:refs/builds/9")
        .fails(1);
    assert!(
        forged.contains("(releases and builds are made by deploys and cannot be pushed)"),
        "{forged}"
    );
    let watcher = server.sh_beside("ssh slipway builds:attach shop 1");
    held.open();
    assert!(watcher.wait().ok().contains("v1 is live"));
    server
        .sh("git -C shop push slipway main 2>&1 | grep up-to-date")
        .ok();
    only_main_is_left(&server);
    server.ssh("builds:attach shop 1").ok();

    // One that fails leaves nothing behind.
    server.sh("touch shop/broken").ok();
    gate.commit(&server, "shop", "two", "");
    server.sh("git -C shop push -o detach slipway main").ok();
    server
        .sh("eventually bash -c 'ssh slipway builds:info shop 2 | grep failed'")
        .ok();
    server.ssh("builds:attach shop 2").fails(1);
    only_main_is_left(&server);
    assert_eq!(server.get("shop", "/version").body, "one\n");
}

#[test]
fn a_connection_that_is_lost_leaves_its_deploy_going() {
    let server = Server::start_with(None, &["--ssh-keepalive", "1"]);
    let gate = Gate::new(&server);
    gate.app(&server, "shop", "build");
    let proxy = Proxy::start(server.ssh);
    let push = server.sh_beside(&format!(
        "GIT_SSH_COMMAND=\"$GIT_SSH_COMMAND -p {}\" git -C shop push slipway main",
        proxy.port
    ));
    let held = gate.wait("build one");
    proxy.stall();
    server
        .sh("eventually bash -c 'ssh slipway builds:output shop | grep \"lost\"'")
        .ok();
    held.open();
    server
        .sh("eventually bash -c 'ssh slipway builds:info shop | grep succeeded'")
        .ok();
    assert_eq!(refs(&server), "refs/heads/main\n");
    assert_eq!(server.get("shop", "/version").body, "one\n");
    push.interrupt();
    assert_ne!(push.wait().status, 0, "the client has heard of nothing");
}

#[test]
fn a_pusher_who_does_not_read_slows_nobody_and_misses_nothing() {
    let server = Server::start();
    let gate = Gate::new(&server);
    gate.app(&server, "shop", "build");
    // 12 MB: more than any buffer on the way, less than a log keeps.
    server.sh("echo 750000 > shop/noise").ok();
    gate.commit(&server, "shop", "two", "detect build");
    let push = server.sh_beside(
        "git -C shop push slipway main > push.txt 2>&1 & pid=$!; echo $pid > pid; wait $pid",
    );
    let held = gate.wait("detect two");
    server
        .sh("eventually test -s pid; kill -STOP $(cat pid)")
        .ok();
    held.open();
    gate.wait("build two").open();
    server
        .sh("eventually bash -c 'ssh slipway builds:info shop | grep succeeded'")
        .ok();
    server.sh("kill -CONT $(cat pid)").ok();
    push.wait().ok();
    assert_eq!(
        server.sh("grep -c 'a line of noise' push.txt").ok(),
        "750000\n"
    );
    server.sh("grep 'v1 is live' push.txt").ok();
}

#[test]
fn unknown_options_are_refused_before_anything_is_unpacked() {
    let server = Server::start();
    Gate::new(&server).app(&server, "shop", "");
    let said = server
        .sh("git -C shop push -o plan -o skip.ci slipway main")
        .fails(1);
    let reason = "(push option `skip.ci` is not known; known are no-cache, detach, supersede, plan, message=TEXT)";
    assert!(said.contains(reason), "{said}");
    assert_eq!(server.ssh("builds shop").ok(), "");
    let packs = server.sh("find $DATA/repos -name '*.pack'").ok();
    assert_eq!(packs, "");
    server.push("shop").ok();
}

/// The ref of a build goes when it has ended.
fn only_main_is_left(server: &Server) {
    let end = Instant::now() + Duration::from_secs(30);
    while refs(server) != "refs/heads/main\n" {
        assert!(Instant::now() < end, "{}", refs(server));
        thread::sleep(Duration::from_millis(50));
    }
}

/// As they are on the server's disk.
fn refs(server: &Server) -> String {
    server
        .sh("git -c safe.directory='*' -C $DATA/repos/1.git for-each-ref --format='%(refname)' | grep -v refs/releases/; true")
        .ok()
}

/// Between a client and the server, until it stops: then it forwards nothing, and closes nothing.
struct Proxy {
    port: u16,
    stalled: Arc<AtomicBool>,
}

impl Proxy {
    fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let stalled = Arc::new(AtomicBool::new(false));
        let all = Arc::clone(&stalled);
        // Ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(to).expect("the server listens");
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone(), to.try_clone());
                    let stalled = Arc::clone(&all);
                    let (from, to) = (from.expect("a handle"), to.expect("a handle"));
                    thread::spawn(move || forward(from, to, &stalled));
                }
                // Kept open, whatever the two threads do.
                std::mem::forget((client, server));
            }
        });
        Self { port, stalled }
    }

    fn stall(&self) {
        self.stalled.store(true, Ordering::Release);
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, stalled: &AtomicBool) {
    use io::{Read as _, Write as _};
    let mut buffer = [0; 64 << 10];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer) else {
            return;
        };
        while stalled.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(100));
        }
        if to.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}
