//! A router between a client and endpoints that the test plays itself.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    time::{Duration, Instant},
};

use router::{AppLine, Backend, Config, Endpoint, NoBackend, Route, Router, Table, Timeouts};

/// For anything that must happen; a test that waits so long has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) const HOST: &str = "shop.test";

/// Room for every line of a test.
const LINES: usize = 100_000;

pub(crate) struct World {
    pub(crate) router: Router,
    pub(crate) table: Table,
    pub(crate) address: SocketAddr,
    lines: tokio::sync::mpsc::Receiver<AppLine>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Timeouts::default())
    }

    /// One thread, so that it is known which pool a connection is in.
    pub(crate) fn with(timeouts: Timeouts) -> Self {
        Self::on_threads(1, timeouts)
    }

    pub(crate) fn on_threads(threads: usize, timeouts: Timeouts) -> Self {
        let (sender, lines) = tokio::sync::mpsc::channel(LINES);
        let table = Table::default();
        let config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            threads,
            timeouts,
        };
        let router = Router::start(&config, table.clone(), sender).expect("a router");
        Self {
            address: router.local_addr(),
            router,
            table,
            lines,
        }
    }

    pub(crate) fn route(&self, endpoints: &[&Endpoint]) {
        let endpoints = endpoints.iter().map(|&endpoint| endpoint.clone()).collect();
        self.set(Backend::Endpoints(endpoints));
    }

    pub(crate) fn unavailable(&self, why: NoBackend) {
        self.set(Backend::Unavailable(why));
    }

    pub(crate) fn maintenance(&self, text: Option<&str>) {
        self.set(Backend::Maintenance(text.map(str::to_owned)));
    }

    fn set(&self, backend: Backend) {
        let app = "shop".into();
        self.table.set(HOST, Route { app, backend });
    }

    pub(crate) fn client(&self) -> Peer {
        Peer::new(TcpStream::connect(self.address).expect("the router listens"))
    }

    /// Sends one request on a connection of its own.
    pub(crate) fn ask(&self, request: &str) -> Message {
        let mut client = self.client();
        client.send(request);
        client.response()
    }

    /// The next line of the app's log.
    pub(crate) fn line(&mut self) -> String {
        let mut line = None;
        until("a log line", || {
            line = self.lines.try_recv().ok();
            line.is_some()
        });
        line.expect("a line").text
    }

    pub(crate) fn no_more_lines(&mut self) -> bool {
        self.lines.try_recv().is_err()
    }
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

pub(crate) fn post(body: &str) -> String {
    let length = body.len();
    format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n{body}")
}

pub(crate) fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A request or a response as it was on the wire.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Trailer lines of a chunked body.
    pub(crate) trailers: String,
}

impl Message {
    pub(crate) fn status(&self) -> u16 {
        let status = self.head.split(' ').nth(1).unwrap_or_default();
        status
            .parse()
            .unwrap_or_else(|_| panic!("no status in {:?}", self.head))
    }

    /// All values of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    fn is_chunked(&self) -> bool {
        self.field("transfer-encoding") == Some("chunked")
    }

    fn length(&self) -> Option<usize> {
        self.field("content-length")
            .map(|length| length.parse().expect("a length"))
    }
}

/// One end of a connection, read by hand.
pub(crate) struct Peer {
    pub(crate) tcp: TcpStream,
    held: Vec<u8>,
}

impl Peer {
    fn new(tcp: TcpStream) -> Self {
        tcp.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        tcp.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        tcp.set_nodelay(true).expect("no delay");
        Self {
            tcp,
            held: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.tcp
            .write_all(bytes.as_ref())
            .expect("the other side reads");
    }

    /// Sends what may be refused half way.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.tcp.write_all(bytes.as_ref()).is_ok()
    }

    /// More bytes into `held`; false at the end.
    fn fill(&mut self) -> bool {
        let mut bytes = [0; 65536];
        match self.tcp.read(&mut bytes) {
            Ok(length) => {
                self.held.extend_from_slice(&bytes[..length]);
                length > 0
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}; held: {:?}", String::from_utf8_lossy(&self.held)),
        }
    }

    pub(crate) fn take(&mut self, length: usize) -> Vec<u8> {
        while self.held.len() < length {
            assert!(
                self.fill(),
                "ended before {length} bytes: {:?}",
                String::from_utf8_lossy(&self.held)
            );
        }
        self.held.drain(..length).collect()
    }

    /// Up to and with `end`; `None` when the connection ends before.
    fn take_until(&mut self, end: &str) -> Option<String> {
        let mut from = 0;
        loop {
            let found = self.held[from..]
                .windows(end.len())
                .position(|window| window == end.as_bytes());
            if let Some(at) = found {
                let taken = self.held.drain(..from + at + end.len()).collect();
                return Some(String::from_utf8(taken).expect("text"));
            }
            from = self.held.len().saturating_sub(end.len() - 1);
            if !self.fill() {
                return None;
            }
        }
    }

    pub(crate) fn head(&mut self) -> Option<Message> {
        let head = self.take_until("\r\n\r\n")?;
        Some(Message {
            head,
            ..Message::default()
        })
    }

    pub(crate) fn chunk(&mut self) -> Vec<u8> {
        let size = self.take_until("\r\n").expect("a chunk size");
        let size = usize::from_str_radix(size.trim_end(), 16).expect("a size");
        if size == 0 {
            return Vec::new();
        }
        let data = self.take(size);
        assert_eq!(self.take(2), b"\r\n");
        data
    }

    fn chunks(&mut self, message: &mut Message) {
        loop {
            match self.chunk() {
                data if data.is_empty() => break,
                data => message.body.extend(data),
            }
        }
        loop {
            match self.take_until("\r\n").expect("the end of the trailers") {
                line if line == "\r\n" => return,
                line => message.trailers.push_str(&line),
            }
        }
    }

    /// The next request, or `None` at the end of the connection.
    pub(crate) fn request(&mut self) -> Option<Message> {
        let mut message = self.head()?;
        match message.length() {
            _ if message.is_chunked() => self.chunks(&mut message),
            length => message.body = self.take(length.unwrap_or(0)),
        }
        Some(message)
    }

    pub(crate) fn response(&mut self) -> Message {
        let mut message = self.head().expect("a response");
        match message.length() {
            _ if message.is_chunked() => self.chunks(&mut message),
            Some(length) => message.body = self.take(length),
            None if [101, 100, 204, 304].contains(&message.status()) => {}
            None => message.body = self.rest(),
        }
        message
    }

    /// What has come, or comes next; nothing at the end.
    pub(crate) fn take_some(&mut self) -> Vec<u8> {
        if self.held.is_empty() {
            self.fill();
        }
        std::mem::take(&mut self.held)
    }

    /// Everything until the end of the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.held)
    }
}

/// An endpoint: a listener whose connections are each served by `serve` on a thread, and closed when it returns.
pub(crate) struct App {
    pub(crate) endpoint: Endpoint,
    pub(crate) connections: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
}

impl App {
    pub(crate) fn new(serve: impl Fn(Peer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let app = Self {
            endpoint: endpoint(listener.local_addr().expect("an address")),
            connections: Arc::default(),
            stopped: Arc::default(),
        };
        let (connections, stopped) = (Arc::clone(&app.connections), Arc::clone(&app.stopped));
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for tcp in listener.incoming() {
                if stopped.load(SeqCst) {
                    return;
                }
                connections.fetch_add(1, SeqCst);
                let serve = Arc::clone(&serve);
                let peer = Peer::new(tcp.expect("a connection"));
                std::thread::spawn(move || serve(peer));
            }
        });
        app
    }

    /// Answers each request on kept-alive connections.
    pub(crate) fn answering(answer: impl Fn(&Message) -> String + Send + Sync + 'static) -> Self {
        Self::new(move |mut peer| {
            while let Some(request) = peer.request() {
                if !peer.try_send(answer(&request)) {
                    return;
                }
            }
        })
    }

    /// Says ok, and tells what it was asked.
    pub(crate) fn recording() -> (Self, mpsc::Receiver<Message>) {
        let (sender, requests) = mpsc::channel();
        let app = Self::answering(move |request| {
            // The test may have seen enough.
            let _ = sender.send(request.clone());
            ok("ok")
        });
        (app, requests)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stopped.store(true, SeqCst);
        let _ = TcpStream::connect(self.endpoint.address);
    }
}

pub(crate) fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint {
        instance: "web.1".into(),
        address,
    }
}

/// An address at which nobody listens.
pub(crate) fn refusing() -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    endpoint(listener.local_addr().expect("an address"))
}

/// Shortens what the test waits for.
pub(crate) fn timeouts(change: impl FnOnce(&mut Timeouts)) -> Timeouts {
    let mut timeouts = Timeouts::default();
    change(&mut timeouts);
    timeouts
}

pub(crate) const SOON: Duration = Duration::from_millis(150);
