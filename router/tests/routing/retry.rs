//! When a request is sent again, and when it must not be.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
    mpsc,
};

use crate::world::{App, DEADLINE, HOST, World, get, ok, post, refusing};

#[test]
fn an_endpoint_that_refuses_is_passed_over() {
    let mut world = World::new();
    let app = App::answering(|_| ok("ok"));
    let (a, b, c) = (refusing(), refusing(), refusing());
    world.route(&[&a, &b, &app.endpoint, &c]);
    for _ in 0..20 {
        assert_eq!(world.ask(&post("body")).text(), "ok");
        assert!(world.line().starts_with("at=info "));
    }
}

/// Answers one request per connection and closes it without a word when the second arrives.
fn forgetful(requests: Arc<AtomicUsize>) -> App {
    App::new(move |mut peer| {
        peer.request();
        requests.fetch_add(1, SeqCst);
        peer.send(ok("ok"));
        if peer.head().is_some() {
            requests.fetch_add(1, SeqCst);
        }
    })
}

#[test]
fn a_request_that_may_be_repeated_survives_a_stale_connection() {
    let world = World::new();
    let app = forgetful(Arc::default());
    world.route(&[&app.endpoint]);
    for _ in 0..20 {
        assert_eq!(world.ask(&get("/")).text(), "ok");
    }
    assert!(app.connections() >= 10);
}

#[test]
fn one_that_may_not_is_sent_once() {
    let mut world = World::new();
    let requests = Arc::new(AtomicUsize::new(0));
    let app = forgetful(Arc::clone(&requests));
    world.route(&[&app.endpoint]);
    assert_eq!(world.ask(&get("/")).text(), "ok");
    let response = world.ask(&post("pay"));
    assert_eq!(response.field("slipway-error"), Some("H13"));
    assert_eq!(requests.load(SeqCst), 2);
    world.line();
    assert!(world.line().contains("code=H13"));
    // Without a body it is still not idempotent.
    assert_eq!(world.ask(&get("/")).text(), "ok");
    let bare = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    assert_eq!(world.ask(&bare).field("slipway-error"), Some("H13"));
    assert_eq!(requests.load(SeqCst), 4);
}

#[test]
fn a_connection_closed_while_idle_is_not_used() {
    let mut world = World::new();
    let (sender, closed) = mpsc::channel();
    let app = App::new(move |mut peer| {
        peer.request();
        peer.send(ok("ok"));
        drop(peer);
        let _ = sender.send(());
    });
    world.route(&[&app.endpoint]);
    for _ in 0..50 {
        assert_eq!(world.ask(&post("x")).text(), "ok");
        assert!(world.line().starts_with("at=info "));
        closed
            .recv_timeout(DEADLINE)
            .expect("the connection is closed");
    }
}
