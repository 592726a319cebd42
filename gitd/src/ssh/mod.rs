//! The SSH server. russh speaks the protocol; everything that makes it safe to put on a network is here: who gets to
//! the handshake ([`door`], [`penalty`]), how long they may take, which algorithms they may use ([`config`]), what they may ask for
//! once they are known ([`client`]), and how bytes and endings pass between a channel and its request ([`channel`]).
//!
//! russh's types do not leave this module.

mod certificate;
mod channel;
mod client;
mod config;
mod connection;
mod door;
mod host_keys;
mod inflow;
mod penalty;
mod socket;
mod terminal;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

pub use host_keys::{HostKeyError, make_user_key};

use crate::{network::Network, platform::Platform};
use door::Door;
use penalty::Penalties;

/// After a failed `accept`: out of file descriptors, most likely, until a connection ends.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
const AUTHENTICATION_MAX: Duration = Duration::from_secs(20);
/// What requests get to end in when the server stops.
const STOP_GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error(transparent)]
    HostKeys(#[from] HostKeyError),
}

/// How strangers are treated.
#[derive(Debug, Clone)]
pub struct Policy {
    /// From the first byte to a verified signature.
    pub authentication_max: Duration,
    /// Whose failed logins are not punished: many people behind one address, a load balancer.
    pub exempt: Vec<Network>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            authentication_max: AUTHENTICATION_MAX,
            exempt: Vec::new(),
        }
    }
}

/// A listening server that does not serve yet.
pub struct Server {
    listener: TcpListener,
    policy: Policy,
    config: Arc<russh::server::Config>,
    fingerprints: Vec<String>,
}

/// What all connections share.
struct Shared<P> {
    platform: Arc<P>,
    config: Arc<russh::server::Config>,
    door: Door,
    penalties: Penalties,
    authentication_max: Duration,
    stopping: watch::Receiver<bool>,
    /// Held by each connection and request; the server ends when all are dropped.
    working: mpsc::Sender<()>,
}

impl<P> Clone for Shared<P> {
    fn clone(&self) -> Self {
        Self {
            platform: Arc::clone(&self.platform),
            config: Arc::clone(&self.config),
            door: self.door.clone(),
            penalties: self.penalties.clone(),
            authentication_max: self.authentication_max,
            stopping: self.stopping.clone(),
            working: self.working.clone(),
        }
    }
}

impl Server {
    /// Port 0 takes any free port: see [`Server::local_addr`]. Host keys are made in their folder when there are none.
    pub async fn bind(address: SocketAddr, host_keys: PathBuf) -> Result<Self, BindError> {
        let keys = host_keys::load_or_create(&host_keys)?;
        let listen = |source| BindError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let fingerprints = keys
            .iter()
            .map(|key| key.fingerprint(Default::default()).to_string())
            .collect();
        Ok(Self {
            listener,
            policy: Policy::default(),
            config: Arc::new(config::config(keys)),
            fingerprints,
        })
    }

    /// How often a silent client is asked for a sign of life; after four without an answer its connection is lost.
    pub fn with_keepalive(mut self, interval: Duration) -> Self {
        if let Some(config) = Arc::get_mut(&mut self.config) {
            config.keepalive_interval = Some(interval);
        }
        self
    }

    pub fn with_policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// `SHA256:…` of each host key, for the operator to compare.
    pub fn fingerprints(&self) -> &[String] {
        &self.fingerprints
    }

    /// Serves until `shutdown` completes. Requests that run then are told that their client has gone, and get a moment
    /// to answer.
    pub async fn serve<P: Platform>(self, platform: Arc<P>, shutdown: impl Future<Output = ()>) {
        let (stop, stopping) = watch::channel(false);
        let (working, mut all_done) = mpsc::channel(1);
        let shared = Shared {
            platform,
            config: self.config,
            door: Door::default(),
            penalties: Penalties::new(&self.policy.exempt),
            authentication_max: self.policy.authentication_max,
            stopping,
            working,
        };
        tokio::select! {
            () = accept(&self.listener, &shared) => {}
            () = shutdown => {}
        }
        drop(self.listener);
        drop(shared);
        _ = stop.send(true);
        if timeout(STOP_GRACE, all_done.recv()).await.is_err() {
            tracing::warn!("requests were still running when the server stopped");
        }
    }
}

async fn accept<P: Platform>(listener: &TcpListener, shared: &Shared<P>) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                // In the order of arrival, which tasks do not keep: the oldest has to go first.
                let place = shared.door.enter(remote.ip());
                tokio::spawn(connection::serve(shared.clone(), stream, remote, place));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}
