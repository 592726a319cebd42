//! The route table: which host belongs to which app, and which endpoints serve it now.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

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

/// Why a known host has no endpoint: Heroku's code.
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

/// Shared and cheap to clone; every change is one atomic swap.
#[derive(Debug, Clone, Default)]
pub struct Table {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    hosts: ArcSwap<HashMap<String, Arc<RouteState>>>,
    /// Held while the table is changed: endpoints that are kept keep their state, those that are not stay findable for
    /// as long as a request is in flight to them.
    known: Mutex<HashMap<Endpoint, Weak<EndpointState>>>,
}

#[derive(Debug)]
pub(crate) struct RouteState {
    pub(crate) app: String,
    pub(crate) backend: BackendState,
}

#[derive(Debug)]
pub(crate) enum BackendState {
    Endpoints(Vec<Arc<EndpointState>>),
    Unavailable(NoBackend),
}

#[derive(Debug)]
pub(crate) struct EndpointState {
    pub(crate) endpoint: Endpoint,
    in_flight: AtomicUsize,
    /// No route names it any more: takes no new request, and its idle connections are closed.
    retired: AtomicBool,
    changed: Notify,
}

/// A request in flight to an endpoint, from before the choice could be noticed until its last byte.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) state: Arc<EndpointState>,
}

impl Table {
    /// Sets (or replaces) the route of `host`: lower case, without port.
    pub fn set(&self, host: &str, route: Route) {
        self.change(host, Some(route));
    }

    pub fn remove(&self, host: &str) {
        self.change(host, None);
    }

    /// Waits until no request is in flight to `endpoint`, which no route names any more, or until `wait_max` has passed
    /// (then false). Upgraded connections count as in flight.
    pub async fn drained(&self, endpoint: &Endpoint, wait_max: Duration) -> bool {
        let Some(state) = self.known().get(endpoint).and_then(Weak::upgrade) else {
            return true;
        };
        let idle = async {
            loop {
                let changed = state.changed.notified();
                if state.in_flight.load(SeqCst) == 0 {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(wait_max, idle).await.is_ok()
    }

    pub(crate) fn route(&self, host: &str) -> Option<Arc<RouteState>> {
        self.shared.hosts.load().get(host).cloned()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<Endpoint, Weak<EndpointState>>> {
        self.shared
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, host: &str, route: Option<Route>) {
        let mut known = self.known();
        known.retain(|_, state| state.strong_count() > 0);
        let mut hosts = HashMap::clone(&self.shared.hosts.load());
        let old = match route {
            Some(route) => hosts.insert(
                host.to_owned(),
                Arc::new(RouteState::new(route, &mut known)),
            ),
            None => hosts.remove(host),
        };
        let new = hosts.get(host).cloned();
        self.shared.hosts.store(Arc::new(hosts));
        // Only after the swap: whoever finds an endpoint retired looks again and finds the new route.
        for state in old.iter().flat_map(|route| route.endpoints()) {
            let kept = new
                .iter()
                .flat_map(|route| route.endpoints())
                .any(|other| Arc::ptr_eq(state, other));
            if !kept {
                state.retired.store(true, SeqCst);
                state.changed.notify_waiters();
            }
        }
    }
}

impl RouteState {
    fn new(route: Route, known: &mut HashMap<Endpoint, Weak<EndpointState>>) -> Self {
        let backend = match route.backend {
            Backend::Unavailable(reason) => BackendState::Unavailable(reason),
            Backend::Endpoints(endpoints) => BackendState::Endpoints(
                endpoints
                    .into_iter()
                    .map(|endpoint| state_of(endpoint, known))
                    .collect(),
            ),
        };
        Self {
            app: route.app,
            backend,
        }
    }

    fn endpoints(&self) -> &[Arc<EndpointState>] {
        match &self.backend {
            BackendState::Endpoints(endpoints) => endpoints,
            BackendState::Unavailable(_) => &[],
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.endpoints()
            .iter()
            .map(|state| state.in_flight.load(SeqCst))
            .sum()
    }
}

/// The state that an endpoint has, unless it was retired: it starts anew then.
fn state_of(
    endpoint: Endpoint,
    known: &mut HashMap<Endpoint, Weak<EndpointState>>,
) -> Arc<EndpointState> {
    let found = known
        .get(&endpoint)
        .and_then(Weak::upgrade)
        .filter(|state| !state.retired.load(SeqCst));
    found.unwrap_or_else(|| {
        let state = Arc::new(EndpointState {
            endpoint: endpoint.clone(),
            in_flight: AtomicUsize::new(0),
            retired: AtomicBool::new(false),
            changed: Notify::new(),
        });
        known.insert(endpoint, Arc::downgrade(&state));
        state
    })
}

impl EndpointState {
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(SeqCst)
    }

    pub(crate) fn load(&self) -> usize {
        self.in_flight.load(SeqCst)
    }

    /// Counts first and looks then: a drain that saw no request has retired the endpoint before, so one of the two
    /// notices the other.
    pub(crate) fn claim(self: &Arc<Self>) -> Option<Claim> {
        self.in_flight.fetch_add(1, SeqCst);
        let claim = Claim {
            state: self.clone(),
        };
        (!self.is_retired()).then_some(claim)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.state.in_flight.fetch_sub(1, SeqCst) == 1 {
            self.state.changed.notify_waiters();
        }
    }
}
