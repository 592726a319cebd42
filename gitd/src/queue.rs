//! Who builds and deploys when: one push at a time to an app, in the order they came, and a few builds at a time on the
//! machine.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex as StdMutex, PoisonError},
};

use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// More side by side only take longer each.
const BUILDS_MAX_MIN: usize = 2;

pub(crate) struct Queue {
    apps: StdMutex<HashMap<i64, Arc<Mutex<()>>>>,
    builds: Arc<Semaphore>,
}

/// Held while one push to the app deploys.
pub(crate) type AppTurn = OwnedMutexGuard<()>;

impl Queue {
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            apps: StdMutex::default(),
            builds: Arc::new(Semaphore::new(cores.max(BUILDS_MAX_MIN))),
        }
    }

    /// The turn, if nobody has it.
    pub(crate) fn app_turn_now(&self, app: i64) -> Option<AppTurn> {
        self.app(app).try_lock_owned().ok()
    }

    pub(crate) async fn app_turn(&self, app: i64) -> AppTurn {
        self.app(app).lock_owned().await
    }

    pub(crate) fn build_slot_now(&self) -> Option<OwnedSemaphorePermit> {
        self.builds.clone().try_acquire_owned().ok()
    }

    /// `None` never comes: the semaphore is not closed.
    pub(crate) async fn build_slot(&self) -> Option<OwnedSemaphorePermit> {
        self.builds.clone().acquire_owned().await.ok()
    }

    fn app(&self, app: i64) -> Arc<Mutex<()>> {
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody holds or waits for are not needed to be the same next time.
        apps.retain(|id, turn| *id == app || Arc::strong_count(turn) > 1);
        apps.entry(app).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_app_waits_and_another_does_not() {
        let queue = Queue::new();
        let first = queue.app_turn(1).await;
        assert!(queue.app_turn_now(1).is_none());
        assert!(queue.app_turn_now(2).is_some());
        drop(first);
        assert!(queue.app_turn_now(1).is_some());
    }
}
