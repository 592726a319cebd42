//! One thread: its listener, its runtime, its connections.

use std::{io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind as bind_socket, listen, socket_with, sockopt,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::LocalSet,
};

use crate::{
    LogSender, Table, Timeouts, connection,
    log::Outlet,
    pool::Pool,
    random::Random,
    vitals::Vitals,
    worker::{self, Shared, Worker},
};

/// Client connections of the whole router; further ones wait in the listeners' queues.
pub(crate) const CONNECTIONS_MAX: usize = 32_768;

const BACKLOG: i32 = 4096;

/// After an accept failed for want of descriptors or memory: trying at once would only burn the CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds `count` listeners to one address.
pub(crate) fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<std::net::TcpListener>> {
    // SO_REUSEPORT would let a second router of the same user share the port unnoticed; this one finds out.
    let probe = bind_one(address, false)?;
    let address = probe.local_addr()?;
    drop(probe);
    (0..count).map(|_| bind_one(address, true)).collect()
}

fn bind_one(address: SocketAddr, reuse_port: bool) -> io::Result<std::net::TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, reuse_port)?;
    bind_socket(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

pub(crate) struct Thread {
    pub(crate) listener: std::net::TcpListener,
    pub(crate) connections_max: usize,
    pub(crate) table: Table,
    pub(crate) timeouts: Arc<Timeouts>,
    pub(crate) port: u16,
    pub(crate) log: LogSender,
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Thread {
    pub(crate) fn run(self) {
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!(%error, "no runtime for a router thread"),
        };
        // Dropping the set ends every task that is left.
        if let Err(error) = LocalSet::new().block_on(&runtime, self.serve()) {
            tracing::error!(%error, "a router thread cannot listen");
        }
    }

    async fn serve(self) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let mut stopping = self.stopping.clone();
        let worker = Rc::new(Worker {
            table: self.table,
            timeouts: self.timeouts,
            port: self.port,
            pool: Pool::default(),
            random: Random::new(),
            log: Outlet::new(self.log),
            stopping: self.stopping,
        });
        tokio::task::spawn_local(worker::keep_pool(Rc::clone(&worker)));
        tokio::task::spawn_local({
            let worker = Rc::clone(&worker);
            async move { worker.log.keep_passing().await }
        });
        let places = Arc::new(Semaphore::new(self.connections_max));
        tokio::select! {
            () = accept(&listener, &places, &worker) => {}
            () = worker::stopped(&mut stopping) => {}
        }
        // What the kernel has already accepted for this listener would be reset by closing it.
        accept_queued(&listener, &places, &worker);
        drop(listener);
        let all = u32::try_from(self.connections_max).unwrap_or(u32::MAX);
        tokio::select! {
            _ = places.acquire_many(all) => {}
            () = closed(&mut stopping) => {}
        }
        Ok(())
    }
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>, worker: &Shared) {
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(places).acquire_owned().await {
        match listener.accept().await {
            Ok((tcp, peer)) => start(tcp, peer, place, worker),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn accept_queued(listener: &TcpListener, places: &Arc<Semaphore>, worker: &Shared) {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    while let Ok(place) = Arc::clone(places).try_acquire_owned() {
        match listener.poll_accept(&mut cx) {
            std::task::Poll::Ready(Ok((tcp, peer))) => start(tcp, peer, place, worker),
            _ => return,
        }
    }
}

fn start(tcp: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit, worker: &Shared) {
    // Fails on a connection that is already gone, which its first read will tell.
    let _ = tcp.set_nodelay(true);
    let vitals = Arc::new(Vitals::new(peer, place));
    tokio::task::spawn_local(connection::serve(tcp, vitals, Rc::clone(worker)));
}

/// The client went away between its handshake and our accept.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// Resolves when the router waits no longer.
async fn closed(stopping: &mut watch::Receiver<bool>) {
    while stopping.changed().await.is_ok() {}
}
