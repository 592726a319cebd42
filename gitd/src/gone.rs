//! Whether the client has gone, for everything that works on its behalf.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Notify;

/// A cheap handle. Once gone, a client stays gone.
///
/// A client is gone when it closed its channel or connection: it wants what it started to end. A connection that was
/// lost to a time-out is not: nobody said so, and what runs goes on.
#[derive(Debug, Clone, Default)]
pub struct Gone {
    flag: Arc<AtomicBool>,
    notify: Arc<Notify>,
}

impl Gone {
    pub fn set(&self) {
        self.flag.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    /// The flag itself, for code that polls.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }

    /// Completes when the client has gone.
    pub async fn wait(&self) {
        let notified = self.notify.notified();
        tokio::pin!(notified);
        // Registered before the look at the flag, so that no `set` falls between.
        notified.as_mut().enable();
        if !self.is_set() {
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_waiter_hears_of_it_early_or_late() {
        let gone = Gone::default();
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let gone = gone.clone();
                tokio::spawn(async move { gone.wait().await })
            })
            .collect();
        assert!(!gone.is_set());
        gone.set();
        for waiter in waiters {
            waiter.await.expect("woken");
        }
        gone.wait().await;
        assert!(gone.flag().load(Ordering::Acquire));
    }
}
