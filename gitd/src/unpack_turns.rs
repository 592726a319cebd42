//! How many packs of one user are unpacked at a time. Each takes up to half a gigabyte of memory while the largest objects
//! that there may be are in it; who pushes more at once has them unpacked one after the other, and keeps nobody else waiting.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::Semaphore;

const OF_ONE_USER: usize = 4;

/// Users who push right now.
#[derive(Debug, Default)]
pub(crate) struct UnpackTurns(Mutex<HashMap<String, Weak<Semaphore>>>);

impl UnpackTurns {
    pub(crate) fn of(&self, user: &str) -> Arc<Semaphore> {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        users.retain(|_, turns| turns.strong_count() > 0);
        if let Some(turns) = users.get(user).and_then(Weak::upgrade) {
            return turns;
        }
        let turns = Arc::new(Semaphore::new(OF_ONE_USER));
        users.insert(user.to_owned(), Arc::downgrade(&turns));
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_some_at_a_time_and_leaves_nothing_behind() {
        let all = UnpackTurns::default();
        let turns: Vec<_> = (0..OF_ONE_USER)
            .map(|_| all.of("ada").try_acquire_owned().expect("a turn"))
            .collect();
        assert!(all.of("ada").try_acquire_owned().is_err());
        assert!(all.of("bob").try_acquire_owned().is_ok());
        drop(turns);
        assert!(all.of("ada").try_acquire_owned().is_ok());
        assert_eq!(all.0.lock().expect("whole").len(), 1);
    }
}
