//! Idle connections to endpoints, of one thread.

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{body::RequestBody, endpoint::EndpointState};

/// Per endpoint and thread; what is beyond it is closed.
const IDLE_MAX: usize = 64;

/// A connection that carries no request.
#[derive(Debug)]
pub(crate) struct Pooled {
    pub(crate) sender: SendRequest<RequestBody>,
    state: Arc<EndpointState>,
    since: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: RefCell<HashMap<*const EndpointState, Vec<Pooled>>>,
}

impl Pool {
    /// The connection that was used last: the older ones may then grow old and be closed.
    pub(crate) fn take(&self, state: &Arc<EndpointState>) -> Option<Pooled> {
        let mut idle = self.idle.borrow_mut();
        let connections = idle.get_mut(&Arc::as_ptr(state))?;
        connections.retain(|connection| !connection.sender.is_closed());
        let ready = connections
            .iter()
            .rposition(|connection| connection.sender.is_ready())?;
        Some(connections.remove(ready))
    }

    pub(crate) fn put(&self, mut connection: Pooled) {
        if connection.state.is_retired() || connection.sender.is_closed() {
            return;
        }
        connection.since = Instant::now();
        let mut idle = self.idle.borrow_mut();
        let connections = idle.entry(Arc::as_ptr(&connection.state)).or_default();
        if connections.len() == IDLE_MAX {
            connections.remove(0);
        }
        connections.push(connection);
    }

    /// Closes what is too old, and all that leads to a retired endpoint.
    pub(crate) fn sweep(&self, idle_max: Duration) {
        self.idle.borrow_mut().retain(|_, connections| {
            connections.retain(|connection| {
                let current = !connection.state.is_retired() && !connection.sender.is_closed();
                current && connection.since.elapsed() < idle_max
            });
            !connections.is_empty()
        });
    }
}

pub(crate) async fn connect(state: &Arc<EndpointState>) -> io::Result<Pooled> {
    let tcp = TcpStream::connect(state.endpoint.address).await?;
    tcp.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(tcp))
        .await
        .map_err(io::Error::other)?;
    // Ends when the sender is dropped, the endpoint closes, or the connection has become a tunnel.
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "endpoint connection ended");
        }
    });
    Ok(Pooled {
        sender,
        state: Arc::clone(state),
        since: Instant::now(),
    })
}
