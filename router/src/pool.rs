//! Idle connections to endpoints, one pool per thread: the last one used goes out first, few are kept, none for long.

use std::{
    cell::RefCell,
    collections::HashMap,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::client::conn::http1::SendRequest;

use crate::{forward::Upload, table::EndpointState};

const IDLE_PER_ENDPOINT_MAX: usize = 64;
/// Heroku's; apps that close earlier lose the race now and then, and such a request is sent again.
const IDLE_MAX: Duration = Duration::from_secs(90);
const SWEEP_EVERY: Duration = Duration::from_secs(1);

pub(crate) type Sender = SendRequest<Upload>;

#[derive(Clone, Default)]
pub(crate) struct Pool {
    idle: Rc<RefCell<HashMap<SocketAddr, Vec<Idle>>>>,
}

struct Idle {
    sender: Sender,
    state: Arc<EndpointState>,
    since: Instant,
}

impl Pool {
    pub(crate) fn take(&self, address: &SocketAddr) -> Option<Sender> {
        let mut idle = self.idle.borrow_mut();
        let list = idle.get_mut(address)?;
        // One that has just been given back may not be ready yet; it stays for the next request.
        let at = list.iter().rposition(|idle| idle.sender.is_ready())?;
        Some(list.remove(at).sender)
    }

    /// Takes a connection back when its response has been read to the end.
    pub(crate) fn give_back(&self, sender: Sender, state: Arc<EndpointState>) {
        if sender.is_closed() || state.is_retired() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let list = idle.entry(state.endpoint.address).or_default();
        if list.len() < IDLE_PER_ENDPOINT_MAX {
            list.push(Idle {
                sender,
                state,
                since: Instant::now(),
            });
        }
    }

    /// Closes what has been closed at the other end, has idled too long, or leads to a retired endpoint; for ever.
    pub(crate) async fn sweep(self) {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            self.idle.borrow_mut().retain(|_, list| {
                list.retain(|idle| {
                    !idle.sender.is_closed()
                        && !idle.state.is_retired()
                        && idle.since.elapsed() < IDLE_MAX
                });
                !list.is_empty()
            });
        }
    }
}
