//! Turns of those who fetch: so many at once, and of one user fewer, who may have forgotten what is under way.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Each holds a thread while its client thinks; pushes and builds need some too.
const FETCHES_MAX: usize = 64;
const OF_ONE_USER_MAX: usize = 24;

pub(super) struct Turns {
    all: Semaphore,
    /// Of users who have or want a turn.
    of_users: Mutex<BTreeMap<String, Weak<Semaphore>>>,
}

/// Given back when it is dropped.
pub(super) struct Turn<'a> {
    _of_all: SemaphorePermit<'a>,
    _of_user: OwnedSemaphorePermit,
}

impl Turns {
    pub(super) const fn new() -> Self {
        Self {
            all: Semaphore::const_new(FETCHES_MAX),
            of_users: Mutex::new(BTreeMap::new()),
        }
    }

    /// Waits for one. `None`: never, which does not happen.
    pub(super) async fn take(&self, user: &str) -> Option<Turn<'_>> {
        // In this order: who waits for an own turn keeps nobody else waiting.
        let of_user = self.of_user(user).acquire_owned().await.ok()?;
        Some(Turn {
            _of_all: self.all.acquire().await.ok()?,
            _of_user: of_user,
        })
    }

    fn of_user(&self, user: &str) -> Arc<Semaphore> {
        let mut of_users = self.of_users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = of_users.get(user).and_then(Weak::upgrade) {
            return turns;
        }
        of_users.retain(|_, turns| turns.strong_count() > 0);
        let turns = Arc::new(Semaphore::new(OF_ONE_USER_MAX));
        of_users.insert(user.to_owned(), Arc::downgrade(&turns));
        turns
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn at_once<T>(future: impl Future<Output = Option<T>>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_user_does_not_take_the_turns_of_all() {
        let turns = Turns::new();
        let take = |user| at_once(turns.take(user));
        let mut held: Vec<_> = (0..OF_ONE_USER_MAX).map_while(|_| take("ann")).collect();
        assert_eq!(held.len(), OF_ONE_USER_MAX);
        assert!(take("ann").is_none());
        let others = ["bob", "eve", "joe"].into_iter().cycle();
        held.extend(others.map_while(take));
        assert_eq!(held.len(), FETCHES_MAX);
        assert!(take("tim").is_none());
        held.truncate(1);
        assert!(take("ann").is_some() && take("tim").is_some());
        held.clear();
        assert!(take("zoe").is_some());
        assert_eq!(turns.of_users.lock().expect("lives").len(), 1, "zoe's");
    }
}
