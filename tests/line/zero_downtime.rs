//! A load generator sees no failed request, whatever is deployed, scaled or restarted meanwhile.

use crate::{load::Load, server::Server};

const DEPLOYS: usize = 50;

#[test]
fn fifty_deploys_in_a_row() {
    let server = Server::start();
    server.app("shop", "hello");
    server.push("shop").ok();
    let load = Load::start(server.http, "shop.localhost");
    let mut words = "Hello, world".to_owned();
    for number in 1..=DEPLOYS {
        let next = format!("Deploy {number}");
        server.change("shop", "web.py", &words, &next);
        server.push("shop").ok();
        assert_eq!(
            server.get("shop", "/").body,
            format!("{next}\n"),
            "live when git push returns"
        );
        words = next;
    }
    none_failed(load);
    let releases = server.ssh("releases shop -n 100").ok();
    assert!(
        releases.contains(&format!("v{} ", DEPLOYS + 1)),
        "{releases}"
    );
}

#[test]
fn every_change_of_what_runs() {
    let server = Server::start();
    server.app("shop", "hello");
    server.push("shop").ok();
    let load = Load::start(server.http, "shop.localhost");
    for command in [
        "ps:scale shop web=3",
        "ps:restart shop",
        "config:set shop A=1 B=2",
        "ps:restart shop web.2",
        "rollback shop",
        "ps:scale shop web=1 worker=1",
        "config:unset shop A",
        "ps:restart shop web",
    ] {
        server.ssh(command).ok();
    }
    server.change("shop", "web.py", "import os", "import broken");
    server.push("shop").fails(1);
    none_failed(load);
}

#[track_caller]
fn none_failed(load: Load) {
    let tally = load.stop();
    assert!(
        tally.answered > 100,
        "the load was no load: {}",
        tally.answered
    );
    let failed = tally.failures.len();
    assert_eq!(
        failed,
        0,
        "of {}: {:?}",
        tally.answered + failed,
        &tally.failures[..failed.min(5)]
    );
}
