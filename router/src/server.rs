//! Listeners: one single-threaded runtime per core, all bound to the same address with SO_REUSEPORT.

use std::{io, net::SocketAddr, time::Duration};

use crate::{LogSender, Table};

/// Everything that can be set. Limits and timeouts that Heroku documents are constants beside their use.
#[derive(Debug, Clone)]
pub struct Config {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Number of single-threaded runtimes; normally the number of cores.
    pub threads: usize,
}

/// A running router.
#[derive(Debug)]
pub struct Router {}

impl Router {
    pub fn start(_config: &Config, _table: Table, _log: LogSender) -> io::Result<Self> {
        todo!()
    }
    pub fn local_addr(&self) -> SocketAddr {
        todo!()
    }
    /// Stops accepting, lets requests in flight finish for at most `grace`, then returns.
    pub async fn shutdown(self, _grace: Duration) {
        todo!()
    }
}
