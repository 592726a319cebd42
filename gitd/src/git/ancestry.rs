//! Whether one commit builds upon another.

use std::collections::{HashSet, VecDeque};

use gix_hash::ObjectId;
use gix_object::FindExt as _;

use super::Repo;

/// Pushes that wait for each other lie a few commits apart; a search through all of history is not worth its time.
const COMMITS_MAX: usize = 1000;

impl Repo {
    /// `true`: `ancestor` is among the nearest thousand commits below `commit`. What cannot be read says no.
    pub(crate) fn builds_upon(&self, commit: ObjectId, ancestor: ObjectId) -> bool {
        let Ok(objects) = self.objects() else {
            return false;
        };
        let mut seen = HashSet::from([commit]);
        let mut next = VecDeque::from([commit]);
        let mut buffer = Vec::new();
        while let Some(id) = next.pop_front() {
            if id == ancestor {
                return true;
            }
            let Ok(found) = objects.find_commit(&id, &mut buffer) else {
                continue;
            };
            for parent in found.parents() {
                if seen.len() < COMMITS_MAX && seen.insert(parent) {
                    next.push_back(parent);
                }
            }
        }
        false
    }
}
