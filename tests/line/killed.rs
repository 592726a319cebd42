//! `kill -9` at any moment of a deploy, then a start: the old or the new release serves, nothing is left half done, and
//! the next push goes through.

use std::{thread, time::Duration};

use crate::{leaks, processes, server::Server};

const ROUNDS: u64 = 12;
/// As long as a deploy of the app takes on a slow machine: kills are spread over it.
const DEPLOY_MS_MAX: u64 = 1500;

#[test]
fn a_deploy_killed_at_any_point_leaves_no_half_state() {
    let seed = std::env::var("SLIPWAY_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(2_026);
    println!("SLIPWAY_SEED={seed}");
    let mut random = seed;
    let server = Server::start();
    server.app("shop", "hello");
    server.push("shop").ok();
    let mut words = "Hello, world".to_owned();
    let at_rest = processes::of(server.tag()).len();

    for round in 1..=ROUNDS {
        let next = format!("Round {round}");
        server.change("shop", "web.py", &words, &next);
        let push = server.sh_beside("push shop");
        let after = Duration::from_millis(next_random(&mut random) % DEPLOY_MS_MAX);
        // Not for luck: the moment of the kill is what is varied.
        thread::sleep(after);
        server.kill_9();
        _ = push.wait();
        server.restart();

        let served = served(&server);
        assert!(
            [&words, &next].contains(&&served),
            "round {round}, killed after {after:?}: `{served}` is served"
        );
        no_half_state(&server, round, after);
        server.push("shop").ok();
        assert_eq!(
            server.get("shop", "/").body.trim_end(),
            next,
            "round {round}, killed after {after:?}"
        );
        words = next;
    }
    leaks::none(&server, at_rest);
}

fn no_half_state(server: &Server, round: u64, after: Duration) {
    let releases = server.ssh("releases shop -n 100").ok();
    assert!(
        !releases.contains("pending"),
        "round {round}, killed after {after:?}:\n{releases}"
    );
    let builds = server.ssh("builds shop -n 100").ok();
    assert!(
        !builds.contains("running") && !builds.contains("queued"),
        "round {round}, killed after {after:?}:\n{builds}"
    );
}

fn served(server: &Server) -> String {
    server
        .sh("eventually curl -fsS --max-time 20 http://shop.localhost:$HTTP/")
        .ok()
        .trim_end()
        .to_owned()
}

/// xorshift64: the same kills for the same seed.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
