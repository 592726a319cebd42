//! Several transfers at a time.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Docker's own number for uploads is 5, for downloads 3.
const TRANSFERS_MAX: usize = 4;

/// Does `work` to each item, some at a time. After the first failure no other is begun, and that is the result.
pub fn each<T: Sync, E: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let failed = || failure.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        for _ in 0..items.len().min(TRANSFERS_MAX) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = work(item) {
                        next.store(items.len(), Ordering::Relaxed);
                        failed().get_or_insert(error);
                    }
                }
            });
        }
    });
    failure
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once() {
        let sum = AtomicUsize::new(0);
        let items: Vec<usize> = (1..=100).collect();
        let result = each(&items, |item| {
            sum.fetch_add(*item, Ordering::Relaxed);
            Ok::<(), ()>(())
        });
        assert_eq!((result, sum.into_inner()), (Ok(()), 5050));
    }

    #[test]
    fn a_failure_is_the_result_and_the_last() {
        let begun = AtomicUsize::new(0);
        let items = [1; 1000];
        let result = each(&items, |_| {
            begun.fetch_add(1, Ordering::Relaxed);
            Err("no")
        });
        assert_eq!(result, Err("no"));
        assert!(begun.into_inner() <= TRANSFERS_MAX);
    }
}
