//! Listeners: one single-threaded runtime per core, all bound to the same address with SO_REUSEPORT.

use std::{io, net::SocketAddr, num::NonZero, sync::Arc, thread::JoinHandle, time::Duration};

use tokio::sync::watch;

use crate::{
    LogSender, Table,
    listener::{self, Thread},
};

/// Everything that can be set. Limits that Heroku documents are constants beside their use.
#[derive(Debug, Clone)]
pub struct Config {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Number of single-threaded runtimes; normally the number of cores. At least one is started.
    pub threads: usize,
    pub timeouts: Timeouts,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8080).into(),
            threads: std::thread::available_parallelism().map_or(1, NonZero::get),
            timeouts: Timeouts::default(),
        }
    }
}

/// Heroku's where it has them ("HTTP Routing" in its documentation); shorter ones are for tests.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// For one connection to an endpoint (H19).
    pub connect: Duration,
    /// For all endpoints that are tried for one request.
    pub attempts: Duration,
    /// From the last byte of the request to the first of the response (H12).
    pub first_byte: Duration,
    /// Without a byte in either direction (H15, H28).
    pub idle: Duration,
    /// For a client to send a request's head, however it drips.
    pub head: Duration,
    /// Between two requests of a client's connection.
    pub keep_alive: Duration,
    /// For an unused connection to an endpoint.
    pub pooled: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            attempts: Duration::from_secs(75),
            first_byte: Duration::from_secs(30),
            idle: Duration::from_secs(55),
            head: Duration::from_secs(30),
            keep_alive: Duration::from_secs(90),
            pooled: Duration::from_secs(90),
        }
    }
}

impl Timeouts {
    /// The shortest that a client's connection can run into.
    pub(crate) fn client(&self) -> Duration {
        self.head.min(self.keep_alive).min(self.idle)
    }
}

/// A running router. Dropped, it stops at once.
#[derive(Debug)]
pub struct Router {
    address: SocketAddr,
    stopping: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Router {
    pub fn start(config: &Config, table: Table, log: LogSender) -> io::Result<Self> {
        let listeners = listener::bind(config.listen, config.threads.max(1))?;
        let address = listeners[0].local_addr()?;
        let (stopping, stop) = watch::channel(false);
        let timeouts = Arc::new(config.timeouts.clone());
        let connections_max = listener::CONNECTIONS_MAX / listeners.len();
        let mut threads = Vec::with_capacity(listeners.len());
        for (index, listener) in listeners.into_iter().enumerate() {
            let thread = Thread {
                listener,
                connections_max,
                table: table.clone(),
                timeouts: Arc::clone(&timeouts),
                port: address.port(),
                log: log.clone(),
                stopping: stop.clone(),
            };
            let name = format!("router-{index}");
            threads.push(
                std::thread::Builder::new()
                    .name(name)
                    .spawn(|| thread.run())?,
            );
        }
        Ok(Self {
            address,
            stopping,
            threads,
        })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets requests in flight finish for at most `grace`, then returns.
    pub async fn shutdown(self, grace: Duration) {
        let Self {
            stopping, threads, ..
        } = self;
        stopping.send_replace(true);
        // The threads hold the receivers until their last connection has ended; dropping the sender ends them all.
        let _ = tokio::time::timeout(grace, stopping.closed()).await;
        drop(stopping);
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a router thread panicked");
                }
            }
        });
        let _ = joined.await;
    }
}
