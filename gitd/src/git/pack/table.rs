//! The objects of a pack in the order of their ids.

use gix_hash::ObjectId;

use super::PackError;

/// Each id with the object's place in the pack.
#[derive(Default)]
pub(super) struct Table(Vec<(ObjectId, u32)>);

impl Table {
    /// Refuses a pack that has an object twice: stock git reads no such pack.
    pub(super) fn new(ids: Vec<(u32, ObjectId)>) -> Result<Self, PackError> {
        let mut rows: Vec<_> = ids.into_iter().map(|(at, id)| (id, at)).collect();
        rows.sort_unstable();
        match rows.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(PackError::Duplicate(pair[0].0)),
            None => Ok(Self(rows)),
        }
    }

    pub(super) fn find(&self, id: &ObjectId) -> Option<u32> {
        let row = self.0.binary_search_by_key(id, |row| row.0).ok()?;
        Some(self.0[row].1)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (ObjectId, u32)> + Clone {
        self.0.iter().copied()
    }

    /// The id of the object at a place; slow, for words only.
    pub(super) fn id_at(&self, at: u32) -> Option<ObjectId> {
        self.0.iter().find(|row| row.1 == at).map(|row| row.0)
    }

    /// More objects, which are not there yet.
    pub(super) fn extend(&mut self, more: impl Iterator<Item = (ObjectId, u32)>) {
        self.0.extend(more);
        self.0.sort_unstable();
    }
}
