//! The route table: which host belongs to which app, and which endpoints serve it now.

use std::{net::SocketAddr, time::Duration};

/// Where the requests of one host go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// For the log line.
    pub app: String,
    pub backend: Backend,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// At least one.
    Endpoints(Vec<Endpoint>),
    Unavailable(NoBackend),
}

/// An address that takes requests. Two endpoints are the same when both fields are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// For the log line, for example `web.1`.
    pub instance: String,
    pub address: SocketAddr,
}

/// Why a known host has no endpoint: Heroku's code, answered with 503 (peers.md section 5, item 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoBackend {
    /// H10: the app's processes have crashed.
    Crashed,
    /// H14: no web process is running (scaled to zero, or none declared).
    NoWeb,
    /// H20: starting, not bound yet.
    Booting,
    /// H81: nothing deployed yet.
    Blank,
}

/// Shared, cheap to clone; every change is one atomic swap.
#[derive(Debug, Clone, Default)]
pub struct Table {}

impl Table {
    /// Sets (or replaces) the route of `host`: lower case, without port.
    pub fn set(&self, _host: &str, _route: Route) {
        todo!()
    }
    pub fn remove(&self, _host: &str) {
        todo!()
    }
    /// Waits until no request is in flight to `endpoint`, which no route names any more, or until `wait_max` has passed
    /// (then false). Idle pooled connections to it are closed at once; upgraded ones count as in flight.
    pub async fn drained(&self, _endpoint: &Endpoint, _wait_max: Duration) -> bool {
        todo!()
    }
}
