//! Who may stand in the doorway: connections that have not proved who they are.
//!
//! When it is full the oldest has to go, of the same source first. An honest client is through in a fraction of a
//! second, so strangers who only stand there push out each other.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::network::source;

const WAITING_MAX: usize = 128;
/// Also many honest clients may come from one address at once: an office, a CI service.
const WAITING_PER_SOURCE_MAX: usize = 32;

#[derive(Debug, Clone, Default)]
pub(super) struct Door {
    waiting: Arc<Mutex<VecDeque<Waiting>>>,
}

#[derive(Debug)]
struct Waiting {
    source: IpAddr,
    out: Arc<Notify>,
}

/// A place in the doorway; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    door: Door,
    out: Arc<Notify>,
}

impl Door {
    pub(super) fn enter(&self, address: IpAddr) -> Place {
        let source = source(address);
        let out = Arc::new(Notify::new());
        let mut waiting = self.waiting();
        let of_source = waiting
            .iter()
            .filter(|other| other.source == source)
            .count();
        let leaves = if of_source >= WAITING_PER_SOURCE_MAX {
            waiting.iter().position(|other| other.source == source)
        } else {
            (waiting.len() >= WAITING_MAX).then_some(0)
        };
        if let Some(oldest) = leaves.and_then(|at| waiting.remove(at)) {
            oldest.out.notify_one();
        }
        waiting.push_back(Waiting {
            source,
            out: Arc::clone(&out),
        });
        Place {
            door: self.clone(),
            out,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Completes when somebody else needs it.
    pub(super) async fn lost(&self) {
        self.out.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.door
            .waiting()
            .retain(|waiting| !Arc::ptr_eq(&waiting.out, &self.out));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    async fn is_lost(place: &Place) -> bool {
        timeout(Duration::ZERO, place.lost()).await.is_ok()
    }

    #[tokio::test]
    async fn the_oldest_of_the_same_source_has_to_go() {
        let door = Door::default();
        let other = door.enter(address("192.0.2.1"));
        let first = door.enter(address("2001:db8::1"));
        let mut rest: Vec<_> = (2..=32)
            .map(|n| door.enter(address(&format!("2001:db8::{n:x}"))))
            .collect();
        assert!(!is_lost(&first).await);
        rest.push(door.enter(address("2001:db8::ffff:1")));
        assert!(is_lost(&first).await);
        assert!(!is_lost(&other).await && !is_lost(&rest[0]).await);
    }

    #[tokio::test]
    async fn the_oldest_of_all_has_to_go_when_all_places_are_taken() {
        let door = Door::default();
        let mut places: Vec<_> = (0..WAITING_MAX)
            .map(|n| door.enter(address(&format!("198.51.{}.{}", n / 16, n % 16))))
            .collect();
        assert!(!is_lost(&places[0]).await);
        places.push(door.enter(address("192.0.2.1")));
        assert!(is_lost(&places[0]).await && !is_lost(&places[1]).await);
        places.clear();
        assert!(door.waiting().is_empty());
    }
}
