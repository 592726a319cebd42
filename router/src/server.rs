//! Listeners: one single-threaded runtime per core, all bound to the same address with SO_REUSEPORT.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    thread::JoinHandle,
    time::Duration,
};

use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::{JoinSet, LocalSet},
};

use crate::{LogSender, Table, forward::Forwarder, pool::Pool};

const BACKLOG: u32 = 1024;
/// Per thread; later ones wait in the kernel's backlog.
const CONNECTIONS_MAX: usize = 10_000;
/// When no descriptor is free, accepting again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Also bounds how long a client connection may idle between requests.
const HEADER_READ_MAX: Duration = Duration::from_secs(60);
/// Heroku allows 1,000; their bytes are bounded by the buffer.
const HEADERS_MAX: usize = 1000;
const BUFFER_BYTES_MAX: usize = 128 * 1024;
const H2_STREAMS_MAX: u32 = 100;
const H2_HEADER_BYTES_MAX: u32 = 64 * 1024;

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Config {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Number of single-threaded runtimes; normally the number of cores, at least 1.
    pub threads: usize,
    pub timeouts: Timeouts,
}

/// Waits for an app; the defaults are Heroku's.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a connection (H19).
    pub connect: Duration,
    /// From the end of the request to the head of the response (H12).
    pub first_byte: Duration,
    /// Between two pieces of a body, either way (H15).
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(30),
            idle: Duration::from_secs(55),
        }
    }
}

/// A running router. Dropped without [`Router::shutdown`], it stops accepting and lets its threads end by themselves.
#[derive(Debug)]
pub struct Router {
    address: SocketAddr,
    stop: watch::Sender<Option<Duration>>,
    threads: Vec<JoinHandle<()>>,
}

impl Router {
    pub fn start(config: &Config, table: Table, log: LogSender) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(None);
        let first = listen(config.listen)?;
        let address = first.local_addr()?;
        let mut listeners = vec![first];
        for _ in 1..config.threads {
            listeners.push(listen(address)?);
        }
        let mut router = Self {
            address,
            stop,
            threads: vec![],
        };
        for (number, listener) in listeners.into_iter().enumerate() {
            let (table, log, stopped) = (table.clone(), log.clone(), stopped.clone());
            let timeouts = config.timeouts;
            let thread = std::thread::Builder::new()
                .name(format!("router-{number}"))
                .spawn(move || {
                    // A thread that cannot serve ends; its socket closes and the kernel gives connections to the others.
                    _ = run(listener, table, log, timeouts, stopped);
                })?;
            router.threads.push(thread);
        }
        Ok(router)
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets requests in flight finish for at most `grace`, then returns.
    pub async fn shutdown(self, grace: Duration) {
        // No receiver is left when every thread has ended already.
        _ = self.stop.send(Some(grace));
        // A thread that panicked has ended too.
        _ = tokio::task::spawn_blocking(move || {
            self.threads
                .into_iter()
                .for_each(|thread| _ = thread.join())
        })
        .await;
    }
}

/// Bound and listening before anybody is told, so that no connection is refused afterwards.
fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let _context = runtime.enter();
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

fn run(
    listener: std::net::TcpListener,
    table: Table,
    log: LogSender,
    timeouts: Timeouts,
    stopped: watch::Receiver<Option<Duration>>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::from_std(listener)?;
        let port = listener.local_addr()?.port();
        let pool = Pool::default();
        tokio::task::spawn_local(pool.clone().sweep());
        let forwarder = Rc::new(Forwarder {
            table,
            log,
            pool,
            timeouts,
            port,
        });
        accept(listener, forwarder, stopped).await;
        Ok(())
    })
}

async fn accept(
    listener: TcpListener,
    forwarder: Rc<Forwarder>,
    stopped: watch::Receiver<Option<Duration>>,
) {
    let mut connections = JoinSet::new();
    let mut stop = stopped.clone();
    loop {
        let full = connections.len() >= CONNECTIONS_MAX;
        tokio::select! {
            // An error is the end of the handle: as good as a stop.
            _ = stop.wait_for(Option::is_some) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if !full => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn_local(connection(stream, peer.ip(), forwarder.clone(), stopped.clone()));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    let grace = (*stopped.borrow()).unwrap_or_default();
    let finished = async { while connections.join_next().await.is_some() {} };
    // What has not finished in time is cut with its thread.
    _ = tokio::time::timeout(grace, finished).await;
}

async fn connection(
    stream: TcpStream,
    client: IpAddr,
    forwarder: Rc<Forwarder>,
    mut stopped: watch::Receiver<Option<Duration>>,
) {
    // Latency only; a socket without it still works.
    _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let forwarder = forwarder.clone();
        async move { Ok::<_, Infallible>(forwarder.serve(request, client).await) }
    });
    let mut builder = auto::Builder::new(Local);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS_MAX)
        .max_header_list_size(H2_HEADER_BYTES_MAX);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(serving);
    tokio::select! {
        // The client's own affair: it is gone, or spoke no HTTP and was told so.
        _ = serving.as_mut() => return,
        _ = stopped.wait_for(Option::is_some) => {}
    }
    serving.as_mut().graceful_shutdown();
    _ = serving.await;
}

/// Runs hyper's tasks on this thread.
#[derive(Clone)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move {
            task.await;
        });
    }
}
