//! Objects unpacked a moment ago: the likely bases of the next deltas.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{Base, id_hash::IdHash};

/// Bounded by bytes; what was used since it came in is kept for another round.
pub(super) struct Recent {
    bytes_max: usize,
    bytes: usize,
    objects: HashMap<Base, Kept, IdHash>,
    order: VecDeque<Base>,
}

struct Kept {
    bytes: Arc<[u8]>,
    used: bool,
}

impl Recent {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            objects: HashMap::default(),
            order: VecDeque::new(),
        }
    }

    pub(super) fn get(&mut self, name: Base) -> Option<Arc<[u8]>> {
        let kept = self.objects.get_mut(&name)?;
        kept.used = true;
        Some(Arc::clone(&kept.bytes))
    }

    /// The newest object always stays, whatever its size: a chain of large ones needs each only once.
    pub(super) fn put(&mut self, name: Base, bytes: &Arc<[u8]>) {
        let kept = Kept {
            bytes: Arc::clone(bytes),
            used: false,
        };
        if self.objects.insert(name, kept).is_none() {
            self.bytes += bytes.len();
            self.order.push_back(name);
        }
        while self.bytes > self.bytes_max && self.order.len() > 1 {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(name) = self.order.pop_front() else {
            return;
        };
        match self.objects.get_mut(&name) {
            Some(kept) if kept.used => {
                kept.used = false;
                self.order.push_back(name);
            }
            Some(kept) => {
                self.bytes -= kept.bytes.len();
                self.objects.remove(&name);
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(recent: &mut Recent, name: u32, size: usize) {
        recent.put(Base::Entry(name), &Arc::from(vec![0; size]));
    }

    fn names(recent: &mut Recent) -> Vec<u32> {
        (0..9)
            .filter(|name| recent.objects.contains_key(&Base::Entry(*name)))
            .collect()
    }

    #[test]
    fn the_oldest_go_but_not_those_in_use() {
        let mut recent = Recent::new(300);
        (0..3).for_each(|name| put(&mut recent, name, 100));
        assert!(recent.get(Base::Entry(0)).is_some());
        put(&mut recent, 3, 100);
        assert_eq!(names(&mut recent), [0, 2, 3]);
        (4..7).for_each(|name| put(&mut recent, name, 100));
        assert_eq!(names(&mut recent), [4, 5, 6]);
        assert_eq!(recent.bytes, 300);
    }

    #[test]
    fn one_large_object_stays_alone() {
        let mut recent = Recent::new(300);
        (0..3).for_each(|name| put(&mut recent, name, 100));
        put(&mut recent, 3, 1000);
        assert_eq!(names(&mut recent), [3]);
        put(&mut recent, 4, 1);
        assert_eq!(names(&mut recent), [4]);
        assert_eq!(recent.bytes, 1);
    }
}
