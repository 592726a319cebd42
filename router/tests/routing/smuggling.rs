//! Requests that two parsers could read differently, raw, against an endpoint that records what it gets. None is
//! accepted that nginx or HAProxy refuses.

use crate::world::{App, DEADLINE, Message, Peer, World};

/// Sends `request` and then a second one, which must be answered or refused as itself.
fn exchange(request: &str) -> (Vec<u16>, Vec<Message>) {
    let world = World::new();
    let (app, requests) = App::recording();
    world.route(&[&app.endpoint]);
    let mut client = world.client();
    client.try_send(request);
    client.try_send("GET /second HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n");
    let statuses = statuses(&mut client);
    drop((world, app));
    let mut seen = Vec::new();
    while let Ok(request) = requests.recv_timeout(DEADLINE) {
        seen.push(request);
    }
    (statuses, seen)
}

fn statuses(client: &mut Peer) -> Vec<u16> {
    let all = String::from_utf8(client.rest()).expect("text");
    all.split("HTTP/1.1 ")
        .skip(1)
        .map(|response| response[..3].parse().expect("a status"))
        .collect()
}

#[track_caller]
fn refused(request: &str) {
    let (statuses, seen) = exchange(request);
    assert_eq!(statuses, [400], "{request:?}");
    assert!(
        seen.is_empty(),
        "{request:?} reached the endpoint as {seen:?}"
    );
}

/// Refused once part of it has already been passed on: the endpoint must not take it for whole.
#[track_caller]
fn cut_off(request: &str) {
    let (statuses, seen) = exchange(request);
    assert!(
        matches!(statuses[..], [] | [400]),
        "{request:?} {statuses:?}"
    );
    assert!(
        seen.is_empty(),
        "{request:?} reached the endpoint as {seen:?}"
    );
}

#[track_caller]
fn passed(request: &str, body: &str) {
    let (statuses, seen) = exchange(request);
    let bodies: Vec<_> = seen.iter().map(Message::text).collect();
    assert_eq!(
        (statuses.as_slice(), bodies.as_slice()),
        (&[200, 200][..], &[body, ""][..]),
        "{request:?}"
    );
    assert!(seen[1].head.starts_with("GET /second "), "{request:?}");
}

fn with(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: shop.test\r\n{fields}\r\n{body}")
}

#[test]
fn lengths() {
    passed(&with("Content-Length: 2\r\n", "hi"), "hi");
    passed(&with("Content-Length: 002\r\n", "hi"), "hi");
    passed(&with("Content-Length: 0\r\n", ""), "");
    passed(&with("", ""), "");
    for fields in [
        "Content-Length: 2\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2, 2\r\n",
        "Content-Length: 2, 3\r\n",
        "Content-Length: +2\r\n",
        "Content-Length: -2\r\n",
        "Content-Length: 2.0\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length: 2 \t3\r\n",
        "Content-Length: \"2\"\r\n",
        "Content-Length:\r\n",
        "Content-Length: two\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 99999999999999999999999999\r\n",
        "Content-Length : 2\r\n",
        "Content-Length\t: 2\r\n",
        "Content-Length\r\n",
        " Content-Length: 2\r\n",
        "\0Content-Length: 2\r\n",
        "Content-Length: 2\0\r\n",
        "Content-Length: 2\x0b\r\n",
    ] {
        refused(&with(fields, "hi"));
    }
}

#[test]
fn transfer_encodings() {
    let body = "2\r\nhi\r\n0\r\n\r\n";
    passed(&with("Transfer-Encoding: chunked\r\n", body), "hi");
    passed(&with("Transfer-Encoding: CHUNKED\r\n", body), "hi");
    passed(&with("Transfer-Encoding: \t chunked \r\n", body), "hi");
    for fields in [
        "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 12\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: , chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunkedx\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding: chunked\0\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding: chu\r\n nked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
    ] {
        refused(&with(fields, body));
    }
    refused(&with("Transfer-Encoding: chunked\r\n", body).replace("HTTP/1.1", "HTTP/1.0"));
    // A name that only looks like it is another field, and passes as one.
    let (_, seen) = exchange(&with("Transfer_Encoding: chunked\r\n", ""));
    assert!(
        seen.iter()
            .all(|request| request.field("transfer-encoding").is_none())
    );
}

#[test]
fn chunks() {
    let chunked = |body: &str| with("Transfer-Encoding: chunked\r\n", body);
    passed(&chunked("2;name=value\r\nhi\r\n0\r\n\r\n"), "hi");
    passed(&chunked("0002\r\nhi\r\n000\r\n\r\n"), "hi");
    passed(&chunked("0\r\nX-Trailer: 1\r\n\r\n"), "");
    for body in [
        "2\nhi\r\n0\r\n\r\n",
        "2\r\nhi\n0\r\n\r\n",
        "2\r\nhi\r\n0\n\n",
        "2 \r\nhi\r\n0\r\n\r\n",
        " 2\r\nhi\r\n0\r\n\r\n",
        "+2\r\nhi\r\n0\r\n\r\n",
        "-2\r\nhi\r\n0\r\n\r\n",
        "0x2\r\nhi\r\n0\r\n\r\n",
        "2_0\r\nhi\r\n0\r\n\r\n",
        "\r\nhi\r\n0\r\n\r\n",
        ";x\r\nhi\r\n0\r\n\r\n",
        "2\r\nhip\r\n0\r\n\r\n",
        "3\r\nhi\r\n0\r\n\r\n",
        "2\r\nhi0\r\n\r\n",
        "10000000000000002\r\nhi\r\n0\r\n\r\n",
        "2;a\nb\r\nhi\r\n0\r\n\r\n",
        "2;a\rb\r\nhi\r\n0\r\n\r\n",
        "0\r\nX: 1\nY: 2\r\n\r\n",
        "0\r\n X: 1\r\n\r\n",
    ] {
        cut_off(&chunked(body));
    }
}

#[test]
fn request_lines() {
    for line in [
        "GET /a b HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        " GET / HTTP/1.1",
        "GET /",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / HTTP/9",
        "GET / HTTP/1.1\rX: y",
        "GET / http/1.1",
        "GET /\0 HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "GET /#a HTTP/1.1",
        "G\0T / HTTP/1.1",
        "GET : / HTTP/1.1",
        "GET ftp: HTTP/1.1",
        "GET http:// HTTP/1.1",
    ] {
        refused(&format!("{line}\r\nHost: shop.test\r\n\r\n"));
    }
    refused("GET / HTTP/1.1\nHost: shop.test\n\n\r\n\r\n");
    refused("\r\n\r\nGET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
}

#[test]
fn hosts() {
    for fields in [
        "",
        "Host: shop.test\r\nHost: shop.test\r\n",
        "Host: shop.test\r\nHost: other.test\r\n",
        "Host: shop.test, other.test\r\n",
        "Host: shop.test/path\r\n",
        "Host: user@shop.test\r\n",
        "Host: shop.test:port\r\n",
        "Host: shop test\r\n",
        "Host:\r\n",
        "Host: shop.test\r\nConnection: close, Host\r\n",
        "Host: shop.test\r\nConnection: content-length\r\n",
        "Host: shop.test\r\nConnection: Transfer-Encoding\r\n",
    ] {
        let request = format!("GET / HTTP/1.1\r\n{fields}\r\n");
        let world = World::new();
        let (app, requests) = App::recording();
        world.route(&[&app.endpoint]);
        assert_eq!(world.ask(&request).status(), 400, "{fields:?}");
        assert!(requests.try_recv().is_err(), "{fields:?}");
    }
}

#[test]
fn methods_and_expectations() {
    let world = World::new();
    let (app, requests) = App::recording();
    world.route(&[&app.endpoint]);
    let connect = world.ask("CONNECT shop.test:80 HTTP/1.1\r\nHost: shop.test:80\r\n\r\n");
    assert_eq!(connect.status(), 405);
    let expect = world
        .ask("POST / HTTP/1.1\r\nHost: shop.test\r\nExpect: gold\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(expect.status(), 417);
    assert!(requests.try_recv().is_err());
}
