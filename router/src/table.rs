//! The route table: which host belongs to which app, and which endpoints serve it now.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::endpoint::EndpointState;

/// A change copies one shard: at 10,000 hosts some 40 entries, not all of them.
const SHARDS: usize = 256;

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
    /// H80: taken off by the operator, whatever runs; what visitors read, or nothing for the usual words.
    Maintenance(Option<String>),
}

/// An address that takes requests. Two endpoints are the same when both fields are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// For the log line, for example `web.1`.
    pub instance: String,
    pub address: SocketAddr,
}

/// Why a known host has no endpoint: Heroku's code, answered with 503 (H81 with 502, as Heroku does).
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
pub struct Table {
    inner: Arc<Inner>,
}

/// What a request sees of its route. Endpoints' state outlives it: the same endpoint in the next route keeps its
/// counters and its pooled connections.
#[derive(Debug)]
pub(crate) struct RouteState {
    pub(crate) app: String,
    pub(crate) target: Target,
}

#[derive(Debug)]
pub(crate) enum Target {
    Endpoints(Box<[Arc<EndpointState>]>),
    Unavailable(NoBackend),
    Maintenance(Option<String>),
}

type Shard = HashMap<Box<str>, Arc<RouteState>>;

#[derive(Debug)]
struct Inner {
    shards: Box<[ArcSwap<Shard>]>,
    hasher: RandomState,
    /// Writers take turns; requests never wait here.
    known: Mutex<HashMap<Endpoint, Known>>,
    /// Counts retirements, so that every thread closes its idle connections to what has been retired.
    retirements: watch::Sender<u64>,
}

#[derive(Debug)]
struct Known {
    state: Weak<EndpointState>,
    /// How many routes name the endpoint; 0 is retired.
    routes: usize,
}

impl Table {
    /// Sets (or replaces) the route of `host`: lower case, without port. `*.shop.test` is every host below `shop.test`
    /// that has no route of its own; the longest wins.
    pub fn set(&self, host: &str, route: Route) {
        let mut known = self.inner.lock();
        let target = match route.backend {
            Backend::Endpoints(endpoints) if !endpoints.is_empty() => Target::Endpoints(
                endpoints
                    .into_iter()
                    .map(|endpoint| adopt(&mut known, endpoint))
                    .collect(),
            ),
            Backend::Endpoints(_) => Target::Unavailable(NoBackend::NoWeb),
            Backend::Unavailable(why) => Target::Unavailable(why),
            Backend::Maintenance(text) => Target::Maintenance(text),
        };
        let state = Arc::new(RouteState {
            app: route.app,
            target,
        });
        let old = self.inner.swap(host, Some(state));
        self.inner.release(&mut known, old);
    }

    pub fn remove(&self, host: &str) {
        let mut known = self.inner.lock();
        let old = self.inner.swap(host, None);
        self.inner.release(&mut known, old);
    }

    /// The hosts that have a route, in no order.
    pub fn hosts(&self) -> Vec<String> {
        let shards = self.inner.shards.iter().map(ArcSwap::load);
        shards
            .flat_map(|shard| shard.keys().map(ToString::to_string).collect::<Vec<_>>())
            .collect()
    }

    /// Waits until no request is in flight to `endpoint`, which no route names any more, or until `wait_max` has passed
    /// (then false). Idle pooled connections to it are closed at once; upgraded ones count as in flight.
    pub async fn drained(&self, endpoint: &Endpoint, wait_max: Duration) -> bool {
        let state = (self.inner.lock().get(endpoint)).and_then(|known| known.state.upgrade());
        let Some(state) = state else {
            return true;
        };
        tokio::time::timeout(wait_max, state.idle()).await.is_ok()
    }

    pub(crate) fn find(&self, host: &str) -> Option<Arc<RouteState>> {
        let exact = |host: &str| self.inner.shard(host).load().get(host).cloned();
        exact(host).or_else(|| {
            // From the longest to the shortest: a name has at most 126 dots.
            let dots = host.match_indices('.').map(|(at, _)| at);
            let mut wildcards = dots.map(|at| format!("*{}", &host[at..]));
            wildcards.find_map(|wildcard| exact(&wildcard))
        })
    }

    /// Changes whenever an endpoint has been retired.
    pub(crate) fn retirements(&self) -> watch::Receiver<u64> {
        self.inner.retirements.subscribe()
    }
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| ArcSwap::default()).collect(),
            hasher: RandomState::new(),
            known: Mutex::default(),
            retirements: watch::Sender::new(0),
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<Endpoint, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, host: &str) -> &ArcSwap<Shard> {
        // The remainder is below SHARDS, so the cast loses nothing.
        &self.shards[(self.hasher.hash_one(host) % SHARDS as u64) as usize]
    }

    /// Only called with `known` locked: load, copy and store are not racing another writer.
    fn swap(&self, host: &str, route: Option<Arc<RouteState>>) -> Option<Arc<RouteState>> {
        let shard = self.shard(host);
        let mut next = Shard::clone(&shard.load());
        let old = match route {
            Some(route) => next.insert(host.into(), route),
            None => next.remove(host),
        };
        shard.store(Arc::new(next));
        old
    }

    /// Retires the endpoints that only `old` named, after the swap: whoever is turned away finds the new route.
    fn release(&self, known: &mut HashMap<Endpoint, Known>, old: Option<Arc<RouteState>>) {
        let Some(old) = old else { return };
        let Target::Endpoints(endpoints) = &old.target else {
            return;
        };
        let mut any_retired = false;
        for state in endpoints {
            if let Some(entry) = known.get_mut(&state.endpoint) {
                entry.routes -= 1;
                if entry.routes == 0 {
                    state.retire();
                    any_retired = true;
                }
            }
        }
        drop(old);
        if any_retired {
            self.retirements.send_modify(|count| *count += 1);
            known.retain(|_, entry| entry.routes > 0 || entry.state.strong_count() > 0);
        }
    }
}

fn adopt(known: &mut HashMap<Endpoint, Known>, endpoint: Endpoint) -> Arc<EndpointState> {
    if let Some(entry) = known.get_mut(&endpoint)
        && let Some(state) = entry.state.upgrade()
    {
        entry.routes += 1;
        state.revive();
        return state;
    }
    let state = Arc::new(EndpointState::new(endpoint.clone()));
    let entry = Known {
        state: Arc::downgrade(&state),
        routes: 1,
    };
    known.insert(endpoint, entry);
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(port: u16) -> Endpoint {
        Endpoint {
            instance: "web.1".into(),
            address: ([127, 0, 0, 1], port).into(),
        }
    }

    fn route(ports: &[u16]) -> Route {
        Route {
            app: "shop".into(),
            backend: Backend::Endpoints(ports.iter().map(|&port| endpoint(port)).collect()),
        }
    }

    fn states(table: &Table, host: &str) -> Vec<Arc<EndpointState>> {
        match &table.find(host).expect("a route").target {
            Target::Endpoints(endpoints) => endpoints.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_endpoint_that_stays_keeps_its_state_and_one_that_goes_is_retired() {
        let table = Table::default();
        table.set("a.test", route(&[1, 2]));
        let old = states(&table, "a.test");
        table.set("a.test", route(&[2, 3]));
        let new = states(&table, "a.test");
        assert!(Arc::ptr_eq(&old[1], &new[0]));
        assert!(old[0].is_retired());
        assert!(!old[1].is_retired());
    }

    #[test]
    fn an_endpoint_of_two_hosts_is_retired_with_the_last() {
        let table = Table::default();
        table.set("a.test", route(&[1]));
        table.set("b.test", route(&[1]));
        let state = states(&table, "a.test").remove(0);
        table.remove("a.test");
        assert!(!state.is_retired());
        table.remove("b.test");
        assert!(state.is_retired());
        table.set("c.test", route(&[1]));
        assert!(!state.is_retired());
        assert_eq!(table.hosts(), ["c.test"]);
    }

    #[test]
    fn a_wildcard_takes_what_has_no_route_of_its_own() {
        let table = Table::default();
        for (port, host) in [(1, "*.test"), (2, "*.a.test"), (3, "b.a.test")] {
            table.set(host, route(&[port]));
        }
        let check = |host: &str, port: Option<u16>| {
            let found = table.find(host).map(|_| states(&table, host));
            let found = found.map(|states| states[0].endpoint.address.port());
            assert_eq!(found, port, "{host}");
        };
        check("b.a.test", Some(3));
        check("c.a.test", Some(2));
        check("d.c.a.test", Some(2));
        check("a.test", Some(1));
        check("test", None);
        check("b.other", None);
        check("", None);
    }

    #[test]
    fn no_endpoints_is_no_web_process() {
        let table = Table::default();
        table.set("a.test", route(&[]));
        let found = table.find("a.test").expect("a route");
        assert!(matches!(
            found.target,
            Target::Unavailable(NoBackend::NoWeb)
        ));
    }

    #[tokio::test]
    async fn drained_waits_for_the_lease() {
        let table = Table::default();
        table.set("a.test", route(&[1]));
        let lease = states(&table, "a.test")[0].lease();
        table.remove("a.test");
        assert!(!table.drained(&endpoint(1), Duration::from_millis(20)).await);
        let endpoint = endpoint(1);
        let waiting = table.drained(&endpoint, Duration::from_secs(20));
        let (drained, ()) = tokio::join!(waiting, async { drop(lease) });
        assert!(drained);
        assert!(table.drained(&endpoint, Duration::ZERO).await);
    }
}
