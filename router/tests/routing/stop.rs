//! Starting and stopping.

use std::{
    net::TcpStream,
    sync::{Mutex, mpsc},
    time::Duration,
};

use router::{Config, Router, Table};

use crate::world::{App, DEADLINE, World, get, ok};

fn shutdown(router: Router, grace: Duration) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build();
    runtime.expect("a runtime").block_on(router.shutdown(grace));
}

#[test]
fn a_request_in_flight_is_finished() {
    let world = World::new();
    let (release, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let (sender, asked) = mpsc::channel();
    let app = App::new(move |mut peer| {
        peer.request();
        let _ = sender.send(());
        wait.lock()
            .expect("a lock")
            .recv_timeout(DEADLINE)
            .expect("released");
        peer.send(ok("done"));
    });
    world.route(&[&app.endpoint]);
    let (mut busy, mut idle) = (world.client(), world.client());
    busy.send(get("/"));
    asked.recv_timeout(DEADLINE).expect("a request");
    let (address, router) = (world.address, world.router);
    let stopping = std::thread::spawn(move || shutdown(router, DEADLINE));
    assert_eq!(idle.rest(), b"");
    crate::world::until("the listener to close", || {
        TcpStream::connect(address).is_err()
    });
    release.send(()).expect("the endpoint waits");
    let response = busy.response();
    assert_eq!(
        (response.text(), response.field("connection")),
        ("done", Some("close"))
    );
    stopping.join().expect("a clean stop");
}

#[test]
fn grace_ends() {
    let world = World::new();
    let app = App::new(|mut peer| {
        peer.request();
        peer.rest();
    });
    world.route(&[&app.endpoint]);
    let mut client = world.client();
    client.send(get("/"));
    crate::world::until("a request", || app.connections() == 1);
    shutdown(world.router, Duration::from_millis(100));
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_port_is_not_shared_unnoticed() {
    let world = World::new();
    let config = Config {
        listen: world.address,
        ..Config::default()
    };
    let (sender, _lines) = tokio::sync::mpsc::channel(1);
    let second = Router::start(&config, Table::default(), sender);
    assert_eq!(
        second.expect_err("the port is taken").kind(),
        std::io::ErrorKind::AddrInUse
    );
}
