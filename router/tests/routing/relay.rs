//! What passes, and how.

use std::{io::Write, sync::mpsc, time::Duration};

use crate::world::{App, DEADLINE, HOST, World, get, ok, post};

#[test]
fn connections_to_the_endpoint_are_kept() {
    let world = World::new();
    let app = App::answering(|request| ok(request.head.split(' ').nth(1).unwrap_or_default()));
    world.route(&[&app.endpoint]);
    for round in 0..3 {
        let mut client = world.client();
        for request in 0..5 {
            let path = format!("/{round}/{request}?q");
            client.send(get(&path));
            let response = client.response();
            assert_eq!((response.status(), response.text()), (200, path.as_str()));
        }
    }
    assert_eq!(app.connections(), 1);
}

#[test]
fn the_endpoint_learns_who_asks_and_the_client_who_answered() {
    let mut world = World::new();
    let (app, requests) = App::recording();
    world.route(&[&app.endpoint]);
    let port = world.address.port();
    let response = world.ask(&format!(
        "GET http://{HOST}:1/a HTTP/1.1\r\nHost: other.test\r\nX-Forwarded-For: 192.0.2.1\r\nX-Request-Id: r.1\r\n\
         Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nAccept: */*\r\n\r\n"
    ));
    assert_eq!(response.field("via"), Some("1.1 slipway"));
    let request = requests.recv_timeout(DEADLINE).expect("a request");
    assert!(
        request.head.starts_with("GET /a HTTP/1.1\r\n"),
        "{}",
        request.head
    );
    assert_eq!(request.all("host"), [format!("{HOST}:1")]);
    assert_eq!(request.all("x-forwarded-for"), ["192.0.2.1, 127.0.0.1"]);
    assert_eq!(request.all("x-forwarded-proto"), ["http"]);
    assert_eq!(request.all("x-forwarded-port"), [port.to_string()]);
    assert_eq!(request.all("x-request-id"), ["r.1"]);
    assert_eq!(request.all("via"), ["1.1 slipway"]);
    assert_eq!(request.field("x-request-start").map(str::len), Some(13));
    assert_eq!(request.field("x-hop"), None);
    assert_eq!(request.field("keep-alive"), None);
    let line = world.line();
    let (before, after) = line.split_once(" connect=").expect("a line");
    assert_eq!(
        before,
        "at=info method=GET path=\"/a\" host=shop.test request_id=r.1 fwd=\"192.0.2.1, 127.0.0.1\" dyno=web.1"
    );
    assert!(
        after.ends_with("ms status=200 bytes=2 protocol=http"),
        "{line}"
    );
    assert!(world.no_more_lines());
}

#[test]
fn a_response_is_passed_on_as_it_comes() {
    let world = World::new();
    let (seen, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let app = App::new(move |mut peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for event in ["data: 1\n\n", "data: 2\n\n"] {
            peer.send(format!("{:x}\r\n{event}\r\n", event.len()));
            // The next event only after the client has read this one.
            wait.lock()
                .expect("a lock")
                .recv_timeout(DEADLINE)
                .expect("the event was read");
        }
        peer.send("0\r\n\r\n");
    });
    world.route(&[&app.endpoint]);
    let mut client = world.client();
    client.send(get("/events"));
    assert_eq!(client.head().expect("a head").status(), 200);
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        assert_eq!(client.chunk(), event.as_bytes());
        seen.send(()).expect("the endpoint waits");
    }
    assert_eq!(client.chunk(), b"");
}

#[test]
fn a_request_is_passed_on_as_it_comes() {
    let world = World::new();
    let (sender, seen) = mpsc::channel();
    let app = App::new(move |mut peer| {
        peer.head();
        for _ in 0..3 {
            sender.send(peer.chunk()).expect("the test waits");
        }
        peer.take(2);
        peer.send(ok("done"));
    });
    world.route(&[&app.endpoint]);
    let mut client = world.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    for chunk in ["one", "two"] {
        client.send(format!("3\r\n{chunk}\r\n"));
        assert_eq!(
            seen.recv_timeout(DEADLINE).expect("a chunk"),
            chunk.as_bytes()
        );
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.response().text(), "done");
}

#[test]
fn trailers_pass_both_ways() {
    let world = World::new();
    let (sender, requests) = mpsc::channel();
    let app = App::new(move |mut peer| {
        let _ = sender.send(peer.request().expect("a request"));
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n");
    });
    world.route(&[&app.endpoint]);
    let response = world.ask(&format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\nX-Sum: 6\r\n\r\n"
    ));
    assert_eq!(response.trailers.to_ascii_lowercase(), "x-sum: 7\r\n");
    let request = requests.recv_timeout(DEADLINE).expect("a request");
    assert_eq!(request.trailers.to_ascii_lowercase(), "x-sum: 6\r\n");
    assert_eq!(request.field("te"), Some("trailers"));
}

#[test]
fn a_client_that_expects_100_gets_it() {
    let world = World::new();
    let (app, requests) = App::recording();
    world.route(&[&app.endpoint]);
    let mut client = world.client();
    for _ in 0..2 {
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n"
        ));
        assert_eq!(client.response().status(), 100);
        client.send("hello");
        assert_eq!(client.response().status(), 200);
        let request = requests.recv_timeout(DEADLINE).expect("a request");
        assert_eq!((request.text(), request.field("expect")), ("hello", None));
    }
}

#[test]
fn old_and_odd_clients() {
    let world = World::new();
    let app = App::answering(|request| match request.head.starts_with("HEAD") {
        true => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".into(),
        false => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".into(),
    });
    world.route(&[&app.endpoint]);
    let mut client = world.client();
    client.send(format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n"));
    let response = client.response();
    assert_eq!(
        (response.text(), response.field("transfer-encoding")),
        ("ok", None)
    );

    let mut client = world.client();
    client.send(format!("HEAD / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    let head = client.head().expect("a head");
    assert_eq!(head.field("content-length"), Some("5"));
    client.send("\r\n".to_owned() + &get("/"));
    assert_eq!(client.response().text(), "ok");
    client.send(get("/") + &get("/") + &post("x"));
    for _ in 0..3 {
        assert_eq!(client.response().text(), "ok");
    }
    let mut client = world.client();
    client.send(format!("OPTIONS * HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(client.response().status(), 200);
}

#[test]
fn interim_responses_of_the_endpoint_do_not_disturb() {
    let world = World::new();
    let app = App::answering(|_| {
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
        hints.to_owned() + &ok("ok")
    });
    world.route(&[&app.endpoint]);
    let mut client = world.client();
    for _ in 0..2 {
        client.send(get("/"));
        assert_eq!(client.response().text(), "ok");
    }
}

#[test]
fn empty_answers_stay_empty() {
    let world = World::new();
    let app = App::answering(|request| match request.head.split(' ').nth(1) {
        Some("/204") => "HTTP/1.1 204 No Content\r\n\r\n".into(),
        _ => "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n".into(),
    });
    world.route(&[&app.endpoint]);
    let mut client = world.client();
    for (path, status) in [("/204", 204), ("/304", 304), ("/204", 204)] {
        client.send(get(path));
        assert_eq!(client.response().status(), status);
    }
    assert_eq!(app.connections(), 1);
}

const LARGE: usize = 100 * 1024 * 1024;
const PIECE: usize = 64 * 1024;

/// Of this process, in bytes.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon"))
        .expect("a line");
    let kib: usize = line
        .split_whitespace()
        .nth(1)
        .expect("a number")
        .parse()
        .expect("a number");
    kib * 1024
}

#[test]
fn large_bodies_pass_both_ways_in_little_memory() {
    let world = World::new();
    let app = App::new(|mut peer| {
        peer.head();
        // Echoes while it reads: both directions are busy at once.
        peer.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"
        ));
        let mut left = LARGE;
        while left > 0 {
            let piece = peer.take(PIECE.min(left));
            left -= piece.len();
            peer.send(piece);
        }
        peer.head();
    });
    world.route(&[&app.endpoint]);
    let mut client = world.client();
    let before = memory();
    let mut most = 0;
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {LARGE}\r\n\r\n"
    ));
    let mut writer = client.tcp.try_clone().expect("a socket");
    let sender = std::thread::spawn(move || {
        for piece in 0..LARGE / PIECE {
            writer
                .write_all(&[piece as u8; PIECE])
                .expect("the router reads");
        }
    });
    assert_eq!(client.head().expect("a head").status(), 200);
    for piece in 0..LARGE / PIECE {
        assert_eq!(client.take(PIECE), [piece as u8; PIECE]);
        most = most.max(memory());
    }
    sender.join().expect("all sent");
    // Other tests of this process run beside; the bodies are 200 MiB.
    assert!(
        most.saturating_sub(before) < 64 * 1024 * 1024,
        "{before} {most}"
    );
}

#[test]
fn a_slow_client_holds_back_the_endpoint() {
    let world = World::new();
    let (sender, written) = mpsc::channel();
    let app = App::new(move |mut peer| {
        peer.request();
        peer.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"
        ));
        peer.tcp
            .set_write_timeout(Some(Duration::from_millis(500)))
            .expect("a timeout");
        let mut length = 0;
        while let Ok(more @ 1..) = peer.tcp.write(&[0; PIECE]) {
            length += more;
        }
        let _ = sender.send(length);
        peer.tcp
            .set_write_timeout(Some(DEADLINE))
            .expect("a timeout");
        for at in (length..LARGE).step_by(PIECE) {
            peer.send(&[0; PIECE][..PIECE.min(LARGE - at)]);
        }
    });
    world.route(&[&app.endpoint]);
    let mut client = world.client();
    client.send(get("/"));
    // Kernel buffers of two connections, and little of ours.
    let length = written
        .recv_timeout(DEADLINE)
        .expect("the endpoint was held back");
    assert!(
        length < LARGE / 2,
        "{length} bytes were taken from the endpoint"
    );
    assert_eq!(client.response().body.len(), LARGE);
}

#[test]
fn a_slow_endpoint_holds_back_the_client() {
    let world = World::new();
    let (sender, go) = mpsc::channel::<()>();
    let go = std::sync::Mutex::new(go);
    let app = App::new(move |mut peer| {
        peer.head();
        go.lock()
            .expect("a lock")
            .recv_timeout(DEADLINE)
            .expect("the client was held back");
        for at in (0..LARGE).step_by(PIECE) {
            peer.take(PIECE.min(LARGE - at));
        }
        peer.send(ok("ok"));
    });
    world.route(&[&app.endpoint]);
    let mut client = world.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {LARGE}\r\n\r\n"
    ));
    client
        .tcp
        .set_write_timeout(Some(Duration::from_millis(500)))
        .expect("a timeout");
    let mut length = 0;
    while let Ok(more @ 1..) = client.tcp.write(&[0; PIECE][..PIECE.min(LARGE - length)]) {
        length += more;
    }
    assert!(
        length < LARGE / 2,
        "{length} bytes were taken from the client"
    );
    client
        .tcp
        .set_write_timeout(Some(DEADLINE))
        .expect("a timeout");
    sender.send(()).expect("the endpoint waits");
    for at in (length..LARGE).step_by(PIECE) {
        client.send(&[0; PIECE][..PIECE.min(LARGE - at)]);
    }
    assert_eq!(client.response().text(), "ok");
}
