//! What is known of an endpoint beyond its address, shared by every route and every thread that uses it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::Endpoint;

/// How long an endpoint that refused a connection, or did not answer, is passed over (Heroku: 5 s).
pub(crate) const QUARANTINE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct EndpointState {
    pub(crate) endpoint: Endpoint,
    in_flight: AtomicUsize,
    /// No route names the endpoint any more: nothing new may start on it.
    retired: AtomicBool,
    /// Milliseconds after `born`; 0 when not in quarantine.
    quarantined_until_ms: AtomicU64,
    born: Instant,
    idle: Notify,
}

impl EndpointState {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            in_flight: AtomicUsize::new(0),
            retired: AtomicBool::new(false),
            quarantined_until_ms: AtomicU64::new(0),
            born: Instant::now(),
            idle: Notify::new(),
        }
    }

    /// Counts a request in, or refuses because the endpoint has been retired since it was looked up.
    ///
    /// The count goes up before `retired` is read, and [`retire`](Self::retire) writes before the count is read, all
    /// sequentially consistent: either the request sees that it is too late, or whoever drains sees the request.
    pub(crate) fn lease(self: &Arc<Self>) -> Option<Lease> {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let lease = Lease {
            state: Arc::clone(self),
        };
        (!self.is_retired()).then_some(lease)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
    }

    pub(crate) fn revive(&self) {
        self.retired.store(false, Ordering::SeqCst);
    }

    pub(crate) fn quarantine(&self) {
        let until = (self.born.elapsed() + QUARANTINE).as_millis();
        self.quarantined_until_ms
            .store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn is_quarantined(&self) -> bool {
        let until = self.quarantined_until_ms.load(Ordering::Relaxed);
        until != 0 && self.born.elapsed().as_millis() < u128::from(until)
    }

    /// Resolves when no request is in flight.
    pub(crate) async fn idle(&self) {
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            idle.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// One request in flight to an endpoint, from before the connection is made until its last byte, or its tunnel, ended.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) state: Arc<EndpointState>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.state.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.state.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retired_endpoint_takes_no_request_and_counts_none() {
        let state = Arc::new(EndpointState::new(Endpoint {
            instance: "web.1".into(),
            address: ([127, 0, 0, 1], 1).into(),
        }));
        let lease = state.lease();
        assert!(lease.is_some());
        state.retire();
        assert!(state.lease().is_none());
        assert_eq!(state.in_flight(), 1);
        drop(lease);
        assert_eq!(state.in_flight(), 0);
        state.revive();
        assert!(state.lease().is_some());
    }
}
