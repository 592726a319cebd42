//! The router between raw sockets: what a client sends, what an app receives, and what comes back.

#![expect(
    clippy::unwrap_used,
    reason = "clippy sees only the test functions as tests, not what they share"
)]

use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use router::{AppLine, Backend, Config, Endpoint, NoBackend, Route, Router, Table, Timeouts};

/// Nothing here takes as long; a test that waits for ever should say where.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    table: Table,
    router: Router,
    lines: tokio::sync::mpsc::Receiver<AppLine>,
}

impl World {
    fn new() -> Self {
        Self::with(Timeouts::default())
    }

    fn with(timeouts: Timeouts) -> Self {
        let table = Table::default();
        let (log, lines) = tokio::sync::mpsc::channel(10_000);
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            threads: 2,
            timeouts,
        };
        let router = Router::start(&config, table.clone(), log).unwrap();
        Self {
            table,
            router,
            lines,
        }
    }

    fn route(&self, addresses: &[SocketAddr]) {
        self.table.set(
            "shop.localhost",
            Route {
                app: "shop".into(),
                backend: Backend::Endpoints(endpoints(addresses)),
            },
        );
    }

    fn connect(&self) -> TcpStream {
        connect(self.router.local_addr())
    }

    /// One raw request on a connection of its own, and all that comes back until it is closed.
    fn exchange(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        // A router that refuses may reset after its answer.
        _ = stream.read_to_string(&mut answer);
        answer
    }

    fn get(&self, path: &str) -> String {
        self.exchange(&format!(
            "GET {path} HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n"
        ))
    }

    fn line(&mut self) -> String {
        self.lines.blocking_recv().unwrap().text
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn endpoints(addresses: &[SocketAddr]) -> Vec<Endpoint> {
    let endpoint = |(n, address): (usize, &SocketAddr)| Endpoint {
        instance: format!("web.{}", n + 1),
        address: *address,
    };
    addresses.iter().enumerate().map(endpoint).collect()
}

/// An app: each connection is given to `serve`, on a thread of its own.
fn app(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// The head of a request, with its empty line; `None` at the end of the connection.
fn head(reader: &mut impl std::io::BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// Answers every request of a connection with its own head as the body.
fn echo(mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(head) = head(&mut reader) {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}",
            head.len()
        );
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn says(text: &'static str) -> SocketAddr {
    app(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while head(&mut reader).is_some() {
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            );
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

#[test]
fn a_request_arrives_with_what_an_app_wants_to_know() {
    let mut world = World::new();
    world.route(&[app(echo)]);
    let answer = world.exchange(
        "GET /a?b=c HTTP/1.1\r\nHost: Shop.localhost:8080\r\nX-Request-Id: mine\r\nX-Forwarded-For: 10.0.0.9\r\n\
         Connection: close, X-Drop\r\nX-Drop: 1\r\nKeep-Alive: 5\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let seen = answer.to_ascii_lowercase();
    for wanted in [
        "get /a?b=c http/1.1\r\n",
        "host: shop.localhost:8080\r\n",
        "x-request-id: mine\r\n",
        "x-forwarded-for: 10.0.0.9, 127.0.0.1\r\n",
        "x-forwarded-proto: http\r\n",
        "x-request-start: ",
        "via: 1.1 slipway\r\n",
    ] {
        assert!(seen.contains(wanted), "{wanted} is missing: {answer}");
    }
    assert!(
        !seen.contains("x-drop") && !seen.contains("keep-alive"),
        "{answer}"
    );
    let line = world.line();
    assert!(line.starts_with("at=info method=GET path=\"/a?b=c\" host=shop.localhost request_id=mine fwd=\"127.0.0.1\" dyno=web.1 "), "{line}");
    assert!(line.contains(" status=200 bytes="), "{line}");
}

#[test]
fn connections_are_kept_on_both_sides() {
    let world = World::new();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    world.route(&[app(move |stream| {
        counted.fetch_add(1, Ordering::SeqCst);
        echo(stream);
    })]);
    let mut client = world.connect();
    let mut reader = BufReader::new(client.try_clone().unwrap());
    for _ in 0..50 {
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
            .unwrap();
        let head = head(&mut reader).unwrap().to_ascii_lowercase();
        let length = head
            .split("content-length: ")
            .nth(1)
            .unwrap()
            .split("\r\n")
            .next()
            .unwrap()
            .parse()
            .unwrap();
        reader.read_exact(&mut vec![0; length]).unwrap();
    }
    assert!(
        connections.load(Ordering::SeqCst) <= 3,
        "{connections:?} connections for 50 requests"
    );
}

#[test]
fn an_answer_streams_before_it_is_complete() {
    let world = World::new();
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    world.route(&[app(move |mut stream| {
        head(&mut BufReader::new(stream.try_clone().unwrap()));
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            .unwrap();
        wait.lock().unwrap().recv().unwrap();
        stream.write_all(b"4\r\nlast\r\n0\r\n\r\n").unwrap();
    })]);
    let mut client = world.connect();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut reader = BufReader::new(client);
    head(&mut reader).unwrap();
    let mut line = String::new();
    while !line.contains("first") {
        reader.read_line(&mut line).unwrap();
    }
    // Only now may the app go on.
    go.send(()).unwrap();
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("last"), "{rest}");
}

#[test]
fn large_bodies_go_through_both_ways() {
    const BYTES: usize = 30_000_000;
    let world = World::new();
    world.route(&[app(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        head(&mut reader);
        stream
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n").as_bytes())
            .unwrap();
        std::io::copy(&mut reader.take(BYTES as u64), &mut stream).unwrap();
    })]);
    let client = world.connect();
    let mut writer = client.try_clone().unwrap();
    let sending = thread::spawn(move || {
        let head = format!(
            "POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: {BYTES}\r\nConnection: close\r\n\r\n"
        );
        writer.write_all(head.as_bytes()).unwrap();
        let block: Vec<u8> = (0..100_000).map(|n| (n % 251) as u8).collect();
        (0..BYTES / block.len()).for_each(|_| writer.write_all(&block).unwrap());
    });
    let mut reader = BufReader::new(client);
    head(&mut reader).unwrap();
    let mut body = Vec::new();
    reader.read_to_end(&mut body).unwrap();
    sending.join().unwrap();
    assert_eq!(body.len(), BYTES);
    assert!(
        body.iter()
            .enumerate()
            .all(|(n, byte)| usize::from(*byte) == n % 100_000 % 251)
    );
}

#[test]
fn an_upgraded_connection_is_a_tunnel_and_counts_as_in_flight() {
    let mut world = World::new();
    let address = app(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let head = head(&mut reader).unwrap().to_ascii_lowercase();
        assert!(
            head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n"),
            "{head}"
        );
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").unwrap();
        std::io::copy(&mut reader, &mut stream).unwrap();
    });
    world.route(&[address]);
    let mut client = world.connect();
    client.write_all(b"GET /ws HTTP/1.1\r\nHost: shop.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").unwrap();
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let head = head(&mut reader).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client.write_all(b"ping").unwrap();
    let mut echoed = [0; 4];
    reader.read_exact(&mut echoed).unwrap();
    assert_eq!(&echoed, b"ping");
    world.route(&[says("new")]);
    let old = &endpoints(&[address])[0];
    assert!(
        !wait(world.table.drained(old, Duration::ZERO)),
        "it is still open"
    );
    client.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(wait(world.table.drained(old, PATIENCE)));
    assert!(world.line().contains(" status=101 "));
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn no_request_fails_while_the_table_is_swapped_and_old_endpoints_go_away() {
    let world = World::new();
    world.route(&[says("first")]);
    let stop = AtomicBool::new(false);
    let served = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let answer = world.get("/");
                    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
                    served.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let mut old: Option<(SocketAddr, Arc<AtomicBool>)> = None;
        for _ in 0..100 {
            let gone = Arc::new(AtomicBool::new(false));
            let listener_gone = gone.clone();
            let address = app(move |stream| {
                // After the drain no connection with a request may come.
                let late = listener_gone.load(Ordering::SeqCst);
                if !late {
                    echo(stream);
                }
            });
            world.route(&[address]);
            if let Some((address, gone)) = old.replace((address, gone)) {
                assert!(wait(
                    world.table.drained(&endpoints(&[address])[0], PATIENCE)
                ));
                gone.store(true, Ordering::SeqCst);
            }
        }
        stop.store(true, Ordering::SeqCst);
    });
}

#[test]
fn a_refused_endpoint_is_passed_over() {
    let world = World::new();
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    world.route(&[closed, says("alive")]);
    for _ in 0..20 {
        assert!(world.get("/").ends_with("alive"));
    }
}

#[test]
fn a_connection_that_the_app_closed_meanwhile_is_replaced() {
    let world = World::new();
    world.route(&[app(|mut stream| {
        // Answers once and closes without having said so.
        head(&mut BufReader::new(stream.try_clone().unwrap()));
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .unwrap();
    })]);
    for _ in 0..50 {
        assert!(world.get("/").ends_with("ok"));
    }
}

#[test]
fn both_endpoints_get_requests() {
    let world = World::new();
    world.route(&[says("one"), says("two")]);
    let seen: HashSet<String> = (0..50)
        .map(|_| world.get("/").chars().rev().take(3).collect())
        .collect();
    assert_eq!(seen.len(), 2);
}

/// One request to an app in this state, its answer and its line.
fn fails(world: &mut World, backend: Backend, status: &str, code: &str) {
    let route = Route {
        app: "shop".into(),
        backend,
    };
    world.table.set("shop.localhost", route);
    let answer = world.get("/");
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} ")),
        "{code}: {answer}"
    );
    assert!(
        answer.contains(&format!("x-slipway-error: {code}\r\n")),
        "{code}: {answer}"
    );
    let line = world.line();
    assert!(
        line.starts_with(&format!("at=error code={code} desc=")),
        "{line}"
    );
    assert!(line.contains(&format!(" status={status} ")), "{line}");
}

#[test]
fn failures_have_herokus_codes() {
    let mut world = World::new();
    fails(
        &mut world,
        Backend::Unavailable(NoBackend::Crashed),
        "503",
        "H10",
    );
    fails(
        &mut world,
        Backend::Unavailable(NoBackend::NoWeb),
        "503",
        "H14",
    );
    fails(
        &mut world,
        Backend::Unavailable(NoBackend::Booting),
        "503",
        "H20",
    );
    fails(
        &mut world,
        Backend::Unavailable(NoBackend::Blank),
        "502",
        "H81",
    );
    let hangs_up = app(|stream| _ = head(&mut BufReader::new(stream)));
    fails(
        &mut world,
        Backend::Endpoints(endpoints(&[hangs_up])),
        "503",
        "H13",
    );
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    fails(
        &mut world,
        Backend::Endpoints(endpoints(&[closed])),
        "503",
        "H21",
    );
}

#[test]
fn an_app_that_does_not_answer_in_time_is_not_waited_for() {
    let first_byte = Duration::from_millis(50);
    let mut world = World::with(Timeouts {
        first_byte,
        ..Timeouts::default()
    });
    let silent = app(|stream| _ = std::io::copy(&mut &stream, &mut std::io::sink()));
    fails(
        &mut world,
        Backend::Endpoints(endpoints(&[silent])),
        "503",
        "H12",
    );
}

/// Promises a hundred bytes and sends four; then hangs up, or stays.
fn half_an_answer(stays: bool) -> SocketAddr {
    app(move |mut stream| {
        head(&mut BufReader::new(stream.try_clone().unwrap()));
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            .unwrap();
        if stays {
            _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    })
}

#[test]
fn an_answer_that_is_cut_off_is_said_so_in_the_log() {
    let mut world = World::new();
    world.route(&[half_an_answer(false)]);
    assert!(world.get("/").ends_with("half"));
    let line = world.line();
    assert!(
        line.starts_with("at=error code=H18 ") && line.contains(" bytes=4 "),
        "{line}"
    );
}

#[test]
fn an_answer_that_dries_up_is_said_so_in_the_log() {
    let idle = Duration::from_millis(100);
    let mut world = World::with(Timeouts {
        idle,
        ..Timeouts::default()
    });
    world.route(&[half_an_answer(true)]);
    world.get("/");
    let line = world.line();
    assert!(line.starts_with("at=error code=H15 "), "{line}");
}

/// What could be read differently by us and by an app is refused, or reaches the app in one reading only.
#[test]
fn requests_that_smuggle_are_refused() {
    let world = World::new();
    world.route(&[app(echo)]);
    let refused = [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: shop.localhost\r\nHost: shop.localhost\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: +1\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: shop.localhost\r\nX-A : b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: shop.localhost\r\nX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: shop.localhost\r\nX: a\0b\r\n\r\n",
        "CONNECT shop.localhost:80 HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: shop.localhost/x\r\n\r\n",
    ];
    for request in refused {
        let request = request.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
        let answer = world.exchange(&request);
        assert!(
            answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.0 4"),
            "{request:?}: {answer}"
        );
    }
    let chunked_wins = "POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\
                        Connection: close\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: shop.localhost\r\n\r\n";
    let answer = world.exchange(chunked_wins);
    assert!(
        !answer.contains("evil") && !answer.to_ascii_lowercase().contains("content-length: 6"),
        "{answer}"
    );
}

#[test]
fn a_flood_of_headers_is_refused() {
    let world = World::new();
    world.route(&[app(echo)]);
    let many = "X-A: b\r\n".repeat(2000);
    let huge = format!("X-A: {}\r\n", "b".repeat(200_000));
    for headers in [many, huge] {
        let answer = world.exchange(&format!(
            "GET / HTTP/1.1\r\nHost: shop.localhost\r\n{headers}\r\n"
        ));
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}

#[test]
fn an_unknown_host_is_told_so() {
    let world = World::new();
    let answer = world.get("/");
    assert!(
        answer.starts_with("HTTP/1.1 404 ")
            && answer.ends_with("there is no app at shop.localhost\n"),
        "{answer}"
    );
}

#[test]
fn http_2_without_tls_is_served() {
    let world = World::new();
    world.route(&[says("over h2")]);
    let output = std::process::Command::new("curl")
        .args([
            "-s",
            "--http2-prior-knowledge",
            "-w",
            " %{http_version}",
            "-H",
            "Host: shop.localhost",
        ])
        .arg(format!("http://{}/", world.router.local_addr()))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "over h2 2");
}

#[test]
fn shutdown_lets_a_request_in_flight_finish() {
    let world = World::new();
    let (started, wait_started) = mpsc::channel();
    let (go, wait_go) = mpsc::channel::<()>();
    let wait_go = std::sync::Mutex::new(wait_go);
    world.route(&[app(move |mut stream| {
        head(&mut BufReader::new(stream.try_clone().unwrap()));
        started.send(()).unwrap();
        wait_go.lock().unwrap().recv().unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
            .unwrap();
    })]);
    let address = world.router.local_addr();
    let client = thread::spawn(move || {
        let mut stream = connect(address);
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    wait_started.recv().unwrap();
    let stopping = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(world.router.shutdown(PATIENCE));
    });
    // New connections are refused while the old one is still served.
    let deadline = std::time::Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(std::time::Instant::now() < deadline, "it still accepts");
        thread::sleep(Duration::from_millis(5));
    }
    go.send(()).unwrap();
    assert!(client.join().unwrap().ends_with("done"));
    stopping.join().unwrap();
}
