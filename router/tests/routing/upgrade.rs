//! WebSockets and their kin.

use std::time::Duration;

use crate::world::{App, DEADLINE, HOST, Peer, SOON, World, get, ok, timeouts};

fn echoing() -> App {
    App::new(|mut peer| {
        let request = peer.request().expect("a request");
        if request.field("upgrade") != Some("echo")
            || request.field("connection") != Some("upgrade")
        {
            return peer.send(ok("no upgrade"));
        }
        // The first bytes of the tunnel come with the head of the answer.
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello",
        );
        loop {
            match peer.take_some() {
                some if some.is_empty() => return,
                some => peer.send(some),
            }
        }
    })
}

fn ask() -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\n"
    )
}

fn open(world: &World) -> Peer {
    let mut client = world.client();
    client.send(ask());
    let answer = client.head().expect("an answer");
    assert_eq!(
        (answer.status(), answer.field("upgrade")),
        (101, Some("echo"))
    );
    assert_eq!(client.take(5), b"hello");
    client
}

#[test]
fn bytes_cross_both_ways_until_one_side_ends() {
    let mut world = World::new();
    let app = echoing();
    world.route(&[&app.endpoint]);
    let mut client = open(&world);
    // Neither requests nor good ones.
    for text in ["\0\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "\n"] {
        client.send(text);
        assert_eq!(client.take(text.len()), text.as_bytes());
    }
    client
        .tcp
        .shutdown(std::net::Shutdown::Write)
        .expect("an open socket");
    assert_eq!(client.rest(), b"");
    let line = world.line();
    assert!(line.contains(" status=101 bytes=29 "), "{line}");
}

#[test]
fn early_bytes_wait_for_the_answer() {
    let world = World::new();
    let app = echoing();
    world.route(&[&app.endpoint]);
    let mut client = world.client();
    client.send(ask() + "early");
    assert_eq!(client.head().expect("an answer").status(), 101);
    assert_eq!(client.take(10), b"helloearly");
}

#[test]
fn an_upgrade_that_is_declined_leaves_the_connection_as_it_was() {
    let world = World::new();
    let app = App::answering(|_| ok("no"));
    world.route(&[&app.endpoint]);
    let mut client = world.client();
    client.send(ask() + &get("/next"));
    assert_eq!(client.response().text(), "no");
    assert_eq!(client.response().text(), "no");
    client.send(get("/"));
    assert_eq!(client.response().text(), "no");
}

#[test]
fn a_drain_waits_for_the_tunnel() {
    let world = World::new();
    let app = echoing();
    world.route(&[&app.endpoint]);
    let client = open(&world);
    world.table.remove(HOST);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let drained = |wait_max| runtime.block_on(world.table.drained(&app.endpoint, wait_max));
    assert!(!drained(Duration::from_millis(100)));
    drop(client);
    assert!(drained(DEADLINE));
}

#[test]
fn a_silent_tunnel_ends() {
    let mut world = World::with(timeouts(|t| t.idle = SOON));
    let app = echoing();
    world.route(&[&app.endpoint]);
    let mut client = open(&world);
    assert_eq!(client.rest(), b"");
    assert!(world.line().contains("code=H15"));
}
