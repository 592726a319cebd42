//! What a client may not do to others.

use std::time::Duration;

use crate::world::{App, HOST, SOON, World, get, ok, timeouts};

#[test]
fn heads_have_a_size() {
    let world = World::new();
    let app = App::answering(|_| ok("ok"));
    world.route(&[&app.endpoint]);
    let fields = |count: usize, length: usize| {
        let field = format!("X-{}: {}\r\n", "n".repeat(8), "v".repeat(length));
        format!(
            "GET / HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n",
            field.repeat(count)
        )
    };
    let status = |request: String| {
        let mut client = world.client();
        client.try_send(request);
        client.head().map_or(0, |head| head.status())
    };
    assert_eq!(status(fields(90, 100)), 200);
    assert_eq!(status(fields(1, 8100)), 200);
    assert_eq!(status(fields(1, 9000)), 400);
    assert_eq!(status(fields(10, 8000)), 400);
    assert_eq!(status(fields(200, 1)), 431);
    assert_eq!(status(get(&format!("/{}", "p".repeat(8000)))), 200);
    assert_eq!(status(get(&format!("/{}", "p".repeat(9000)))), 400);
    // Without an end.
    assert_eq!(
        status(format!("GET / HTTP/1.1\r\n{}", "X: y\r\n".repeat(20_000))),
        400
    );
}

#[test]
fn a_head_that_drips_is_cut_off() {
    let world = World::with(timeouts(|t| t.head = Duration::from_millis(1500)));
    let app = App::answering(|_| ok("ok"));
    world.route(&[&app.endpoint]);
    for begun in ["", "G", "GET / HTTP/1.1\r\nHost: "] {
        let mut client = world.client();
        client.send(begun);
        // Each byte comes in time; all of them do not.
        crate::world::until("the end of the connection", || {
            std::thread::sleep(Duration::from_millis(20));
            begun.is_empty() || !client.try_send("x")
        });
        assert_eq!(client.rest(), b"");
    }
    // After a first request as well.
    let mut client = world.client();
    client.send(get("/"));
    assert_eq!(client.response().status(), 200);
    client.send("GET / HT");
    assert_eq!(client.rest(), b"");
}

#[test]
fn idle_connections_end() {
    let world = World::with(timeouts(|t| t.keep_alive = SOON));
    let app = App::answering(|_| ok("ok"));
    world.route(&[&app.endpoint]);
    let mut client = world.client();
    client.send(get("/"));
    assert_eq!(client.response().status(), 200);
    assert_eq!(client.rest(), b"");
}

#[test]
fn idle_connections_to_endpoints_end() {
    let world = World::with(timeouts(|t| t.pooled = SOON));
    let (sender, ended) = std::sync::mpsc::channel();
    let app = App::new(move |mut peer| {
        peer.request();
        peer.send(ok("ok"));
        let _ = sender.send(peer.request().is_none());
    });
    world.route(&[&app.endpoint]);
    assert_eq!(world.ask(&get("/")).status(), 200);
    assert_eq!(ended.recv_timeout(crate::world::DEADLINE), Ok(true));
}
