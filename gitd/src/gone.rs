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
    lost: Arc<AtomicBool>,
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
        self.until(&self.flag).await;
    }

    /// The connection is lost; the client has not gone.
    pub(crate) fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    /// Completes when the connection is lost.
    pub(crate) async fn lost(&self) {
        self.until(&self.lost).await;
    }

    async fn until(&self, flag: &AtomicBool) {
        loop {
            let notified = self.notify.notified();
            tokio::pin!(notified);
            // Registered before the look at the flag, so that no news falls between.
            notified.as_mut().enable();
            if flag.load(Ordering::Acquire) {
                return;
            }
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

    #[tokio::test]
    async fn who_is_lost_has_not_gone() {
        let gone = Gone::default();
        let waiter = tokio::spawn({
            let gone = gone.clone();
            async move { gone.lost().await }
        });
        gone.lose();
        waiter.await.expect("woken");
        assert!(!gone.is_set());
    }
}
