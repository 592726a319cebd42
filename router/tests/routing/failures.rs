//! Every code: what the client reads, and what the log says.

use std::{net::TcpListener, sync::mpsc, time::Duration};

use router::NoBackend;

use crate::world::{App, DEADLINE, HOST, SOON, World, endpoint, get, ok, post, refusing, timeouts};

/// Asks once and expects the code, its status, its line.
#[track_caller]
fn check(world: &mut World, code: &str, words: &str, status: u16) {
    let response = world.ask(&get("/"));
    assert_eq!(response.status(), status, "{}", response.head);
    assert_eq!(response.field("slipway-error"), Some(code));
    let id = response.field("x-request-id").expect("an id").to_owned();
    assert!(response.text().contains(&id), "{}", response.text());
    expect_line(world, code, words, status);
}

#[track_caller]
fn expect_line(world: &mut World, code: &str, words: &str, status: u16) {
    let line = world.line();
    let begin = format!(" code={code} desc=\"{words}\" method=");
    assert!(
        line.contains(&begin) && line.contains(&format!(" status={status} ")),
        "{line}"
    );
    assert!(world.no_more_lines());
}

#[test]
fn routes_without_endpoints() {
    let mut world = World::new();
    for (why, code, words, status) in [
        (NoBackend::Crashed, "H10", "App crashed", 503),
        (NoBackend::NoWeb, "H14", "No web processes running", 503),
        (NoBackend::Booting, "H20", "App boot timeout", 503),
        (NoBackend::Blank, "H81", "Blank app", 502),
    ] {
        world.unavailable(why);
        check(&mut world, code, words, status);
    }
}

#[test]
fn maintenance_is_told_in_the_operators_words() {
    let mut world = World::new();
    world.maintenance(None);
    check(&mut world, "H80", "Maintenance mode", 503);
    world.maintenance(Some("Back at <b>9</b> & well"));
    let text = world.ask(&get("/"));
    assert!(text.text().contains("Back at <b>9</b> & well"));
    let html = world.ask(&format!(
        "GET / HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/html\r\n\r\n"
    ));
    let page = html.text();
    assert!(page.contains("Back at &lt;b>9&lt;/b> &amp; well"), "{page}");
    assert!(world.line().starts_with("at=info code=H80 "));
}

#[test]
fn pages_are_for_people_who_ask_for_them() {
    let world = World::new();
    world.unavailable(NoBackend::Crashed);
    let html = world.ask(&format!(
        "GET / HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/html,*/*\r\n\r\n"
    ));
    assert_eq!(html.field("content-type"), Some("text/html; charset=utf-8"));
    assert!(html.text().contains("<h1>Application error</h1>"));
    let text = world.ask(&get("/"));
    assert_eq!(
        text.field("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert!(!text.text().contains('<'));
    let mut client = world.client();
    client.send(format!("HEAD / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    let head = client.head().expect("a head");
    assert_eq!(head.status(), 503);
    client.send(get("/"));
    assert_eq!(client.response().status(), 503);
}

#[test]
fn an_unknown_host_is_no_app() {
    let mut world = World::new();
    let response = world.ask("GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n");
    assert_eq!(response.status(), 404);
    assert!(response.text().contains("No such app"));
    assert!(world.no_more_lines());
}

#[test]
fn h21_refused() {
    let mut world = World::new();
    world.route(&[&refusing()]);
    check(&mut world, "H21", "Backend connection refused", 503);
}

#[test]
fn h19_no_answer_to_connect() {
    let mut world = World::with(timeouts(|t| t.connect = SOON));
    // A listener whose queue is full does not answer; Linux takes one more than the backlog.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    rustix::net::listen(&listener, 0).expect("a backlog of none");
    let address = listener.local_addr().expect("an address");
    let queued: Vec<_> = (0..4)
        .map_while(|_| std::net::TcpStream::connect_timeout(&address, SOON).ok())
        .collect();
    world.route(&[&endpoint(address)]);
    check(&mut world, "H19", "Backend connection timeout", 503);
    drop(queued);
}

#[test]
fn h12_no_answer_in_time() {
    let mut world = World::with(timeouts(|t| t.first_byte = SOON));
    let app = App::new(|mut peer| {
        peer.request();
        assert!(peer.request().is_none(), "the connection is not used again");
    });
    world.route(&[&app.endpoint]);
    check(&mut world, "H12", "Request timeout", 503);
}

#[test]
fn h13_closed_without_answer() {
    let mut world = World::new();
    let app = App::new(|mut peer| drop(peer.request()));
    world.route(&[&app.endpoint]);
    check(&mut world, "H13", "Connection closed without response", 503);
    assert_eq!(app.connections(), 1);
}

#[test]
fn h17_malformed_answers() {
    let mut world = World::new();
    for answer in [
        "hello\r\n\r\n",
        "HTTP/1.1 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ] {
        let app = App::new(move |mut peer| {
            peer.request();
            peer.send(answer);
            peer.rest();
        });
        world.route(&[&app.endpoint]);
        check(&mut world, "H17", "Poorly formatted HTTP response", 503);
    }
}

#[test]
fn h18_ended_in_the_middle() {
    let mut world = World::new();
    for half in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nxyz\r\n",
    ] {
        let app = App::new(move |mut peer| {
            peer.request();
            peer.send(half);
        });
        world.route(&[&app.endpoint]);
        let mut client = world.client();
        client.send(get("/"));
        assert_eq!(client.head().expect("a head").status(), 200);
        let body = client.rest();
        assert!(
            !body.ends_with(b"0\r\n\r\n"),
            "the client must see that it is not whole"
        );
        expect_line(&mut world, "H18", "Server Request Interrupted", 503);
    }
}

#[test]
fn h15_silence_of_the_endpoint() {
    let mut world = World::with(timeouts(|t| t.idle = SOON));
    let app = App::new(|mut peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        peer.rest();
    });
    world.route(&[&app.endpoint]);
    let mut client = world.client();
    client.send(get("/"));
    assert!(client.rest().ends_with(b"half"));
    expect_line(&mut world, "H15", "Idle connection", 503);
}

#[test]
fn h28_silence_of_the_client() {
    let mut world = World::with(timeouts(|t| t.idle = SOON));
    let app = App::new(|mut peer| {
        peer.head();
        peer.rest();
    });
    world.route(&[&app.endpoint]);
    let mut client = world.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nhalf"
    ));
    assert_eq!(client.response().status(), 499);
    expect_line(&mut world, "H28", "Client Connection Idle", 499);
}

#[test]
fn every_byte_of_the_client_gives_it_more_time() {
    let world = World::with(timeouts(|t| {
        t.idle = Duration::from_secs(2);
        t.first_byte = Duration::from_secs(2);
    }));
    let (app, requests) = App::recording();
    world.route(&[&app.endpoint]);
    let mut client = world.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\n"
    ));
    for _ in 0..10 {
        // All together longer than the router waits.
        std::thread::sleep(Duration::from_millis(250));
        client.send("x");
    }
    assert_eq!(client.response().status(), 200);
    assert_eq!(
        requests
            .recv_timeout(DEADLINE)
            .expect("a request")
            .body
            .len(),
        10
    );
}

#[test]
fn h27_the_client_goes_away() {
    let mut world = World::new();
    let (sender, asked) = mpsc::channel();
    let app = App::new(move |mut peer| {
        let request = peer.request().expect("a request");
        if request.head.starts_with("GET /half ") {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        }
        let _ = sender.send(());
        assert!(
            peer.request().is_none(),
            "the endpoint's connection is closed too"
        );
        let _ = sender.send(());
    });
    world.route(&[&app.endpoint]);
    for path in ["/none", "/half"] {
        let mut client = world.client();
        client.send(get(path));
        asked.recv_timeout(DEADLINE).expect("a request");
        drop(client);
        asked.recv_timeout(DEADLINE).expect("the end");
        expect_line(&mut world, "H27", "Client Request Interrupted", 499);
    }
}

#[test]
fn h11_more_than_the_endpoints_may_have() {
    const MAX: usize = 200;
    let mut world = World::new();
    let app = App::answering(|_| ok("ok"));
    let (stuck, release) = {
        let (sender, receiver) = mpsc::channel::<()>();
        let receiver = std::sync::Arc::new(std::sync::Mutex::new(receiver));
        let stuck = App::new(move |mut peer| {
            peer.request();
            let _ = receiver.lock().expect("a lock").recv_timeout(DEADLINE);
            peer.send(ok("late"));
        });
        (stuck, sender)
    };
    world.route(&[&stuck.endpoint]);
    let mut clients: Vec<_> = (0..MAX).map(|_| world.client()).collect();
    for client in &mut clients {
        client.send(get("/"));
    }
    crate::world::until("all requests in flight", || stuck.connections() == MAX);
    check(&mut world, "H11", "Backlog too deep", 503);
    // A second endpoint makes room at once.
    world.route(&[&stuck.endpoint, &app.endpoint]);
    assert_eq!(world.ask(&get("/")).text(), "ok");
    for _ in 0..MAX {
        release.send(()).expect("the endpoint waits");
    }
    for client in &mut clients {
        assert_eq!(client.response().text(), "late");
    }
}

#[test]
fn an_early_answer_ends_the_upload() {
    let world = World::new();
    let app = App::new(|mut peer| {
        peer.head();
        peer.send(
            "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
        peer.rest();
    });
    world.route(&[&app.endpoint]);
    let mut client = world.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100000000\r\n\r\nhalf"
    ));
    assert_eq!(client.response().status(), 413);
    drop(client);
    let (app, _requests) = App::recording();
    world.route(&[&app.endpoint]);
    assert_eq!(world.ask(&post("x")).status(), 200);
}
