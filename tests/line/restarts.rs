//! The server ends and starts again; apps do not notice.

use std::time::{Duration, Instant};

use crate::{processes, server::Server};

#[test]
fn sigterm_ends_it_cleanly_and_the_app_is_live_again_without_a_push() {
    let server = Server::start();
    server.app("shop", "hello");
    server.push("shop").ok();
    assert_eq!(server.terminate(), Some(0));
    server.restart();
    server.sh("eventually get shop").ok();
    assert_eq!(server.get("shop", "/").body, "Hello, world\n");
}

#[test]
fn instances_outlive_a_kill_9_and_are_adopted() {
    let server = Server::start();
    server.app("shop", "hello");
    server.push("shop").ok();
    server.ssh("ps:scale shop web=2 worker=1").ok();
    let before = without_memory(&server.ssh("ps shop --json").ok());
    let apps = instances(&server);

    server.kill_9();
    assert_eq!(
        instances(&server),
        apps,
        "the instances go on without the server"
    );
    server.restart();

    assert_eq!(
        answered_within(&server, Duration::from_secs(60)),
        "Hello, world\n"
    );
    assert_eq!(
        without_memory(&server.ssh("ps shop --json").ok()),
        before,
        "the same instances, up since then"
    );
    assert_eq!(instances(&server), apps);
    let log = server.ssh("logs shop -n 500 -p web").ok();
    assert_eq!(
        log.matches("hello is listening").count(),
        2,
        "none was started again:\n{log}"
    );
}

#[test]
fn an_instance_that_died_meanwhile_is_started_again() {
    let server = Server::start();
    server.app("shop", "hello");
    server.push("shop").ok();
    server.kill_9();
    for process in processes::of(server.tag()) {
        processes::signal(process.pid, rustix::process::Signal::KILL);
    }
    server.restart();
    assert_eq!(
        answered_within(&server, Duration::from_secs(60)),
        "Hello, world\n"
    );
}

#[test]
fn an_instance_that_crashes_is_started_again_and_logged() {
    let server = Server::start();
    server.app("shop", "hello");
    server.push("shop").ok();
    for process in instances(&server) {
        processes::signal(process.0, rustix::process::Signal::KILL);
    }
    assert_eq!(
        answered_within(&server, Duration::from_secs(60)),
        "Hello, world\n"
    );
    let log = server.ssh("logs shop -n 500").ok();
    assert!(log.contains("State changed from up to crashed"), "{log}");
}

/// The Python processes of the app, by pid: the app itself, not what holds it.
fn instances(server: &Server) -> Vec<(i32, String)> {
    let all = processes::of(server.tag()).into_iter();
    all.filter(|process| process.command.starts_with("python3"))
        .map(|process| (process.pid, process.command))
        .collect()
}

fn answered_within(server: &Server, limit: Duration) -> String {
    let end = Instant::now() + limit;
    loop {
        let answer = server.get("shop", "/");
        if answer.status == 200 || Instant::now() > end {
            return answer.body;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What changes by itself.
fn without_memory(json: &str) -> String {
    let lines = json.lines().filter(|line| !line.contains("memory_bytes"));
    lines.map(|line| format!("{line}\n")).collect()
}
