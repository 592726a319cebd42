//! The objects of a pack in the order of their ids.

use std::cmp::Ordering;

use gix_hash::ObjectId;

use super::PackError;

/// A table of the first bits of the ids leaves a few rows to look at. More bits than these would no longer fit a cache.
const FIRST_BITS_MAX: u32 = 16;

/// Each id with the object's place in the pack.
#[derive(Default)]
pub(super) struct Table {
    rows: Vec<(ObjectId, u32)>,
    /// Where the rows with given first bits begin, and a last one where all end.
    starts: Vec<u32>,
    /// What is not of the first bits.
    shift: u32,
}

impl Table {
    /// Refuses a pack that has an object twice: stock git reads no such pack.
    pub(super) fn new(ids: Vec<(u32, ObjectId)>) -> Result<Self, PackError> {
        let table = Self::sorted(ids.into_iter().map(|(at, id)| (id, at)).collect());
        match table.rows.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(PackError::Duplicate(pair[0].0)),
            None => Ok(table),
        }
    }

    /// They are spread evenly: put where the first bits say, each is nearly at its place.
    fn sorted(rows: Vec<(ObjectId, u32)>) -> Self {
        let bits = rows.len().max(1).ilog2().min(FIRST_BITS_MAX);
        let shift = u64::BITS - bits;
        let mut starts = vec![0; (1 << bits) + 1];
        for (id, _) in &rows {
            starts[first(id, shift) + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut free = starts.clone();
        let mut sorted = rows.clone();
        for row in rows {
            let at = &mut free[first(&row.0, shift)];
            sorted[*at as usize] = row;
            *at += 1;
        }
        for bounds in starts.windows(2) {
            let rows = &mut sorted[bounds[0] as usize..bounds[1] as usize];
            rows.sort_unstable_by(|a, b| order(&a.0, &b.0));
        }
        Self {
            rows: sorted,
            starts,
            shift,
        }
    }

    pub(super) fn find(&self, id: &ObjectId) -> Option<u32> {
        let first = first(id, self.shift);
        let (&from, &to) = self.starts.get(first).zip(self.starts.get(first + 1))?;
        let rows = &self.rows[from as usize..to as usize];
        let row = rows.binary_search_by(|row| order(&row.0, id)).ok()?;
        Some(rows[row].1)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (ObjectId, u32)> + Clone {
        self.rows.iter().copied()
    }

    /// The id of the object at a place; slow, for words only.
    pub(super) fn id_at(&self, at: u32) -> Option<ObjectId> {
        self.rows.iter().find(|row| row.1 == at).map(|row| row.0)
    }

    /// More objects, which are not there yet.
    pub(super) fn extend(&mut self, more: impl Iterator<Item = (ObjectId, u32)>) {
        let mut more = more.peekable();
        if more.peek().is_some() {
            let mut rows = std::mem::take(&mut self.rows);
            rows.extend(more);
            *self = Self::sorted(rows);
        }
    }
}

fn first(id: &ObjectId, shift: u32) -> usize {
    head(id).checked_shr(shift).unwrap_or(0) as usize
}

fn order(a: &ObjectId, b: &ObjectId) -> Ordering {
    head(a).cmp(&head(b)).then_with(|| a.cmp(b))
}

/// The first eight bytes: they nearly always decide an order.
fn head(id: &ObjectId) -> u64 {
    let (head, _) = id.as_slice().split_first_chunk().unwrap_or((&[0; 8], &[]));
    u64::from_be_bytes(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> ObjectId {
        let content = n.to_string();
        gix_object::compute_hash(crate::git::HASH, gix_object::Kind::Blob, content.as_bytes())
            .expect("a hash")
    }

    #[test]
    fn everything_is_found_and_nothing_else() {
        for count in [0, 1, 2, 3, 255, 256, 257, 5000] {
            let table = Table::new((0..count).map(|n| (n, id(n))).collect()).expect("no twins");
            for n in 0..count {
                assert_eq!(table.find(&id(n)), Some(n), "of {count}");
                assert_eq!(table.id_at(n), Some(id(n)));
            }
            for n in count..count + 100 {
                assert_eq!(table.find(&id(n)), None);
            }
            for byte in [0, 0x7f, 0xff] {
                assert_eq!(table.find(&ObjectId::Sha1([byte; 20])), None);
            }
            assert!(table.rows().is_sorted());
        }
    }

    #[test]
    fn what_is_added_is_found_in_its_place() {
        let mut table = Table::new((0..10).map(|n| (n, id(n))).collect()).expect("no twins");
        table.extend((10..1000).map(|n| (id(n), n)));
        assert!((0..1000).all(|n| table.find(&id(n)) == Some(n)));
        assert!(table.rows().is_sorted());
        assert_eq!(Table::default().find(&id(1)), None);
    }

    #[test]
    fn twins() {
        let twice = Table::new(vec![(0, id(7)), (1, id(8)), (2, id(7))]);
        assert!(matches!(twice, Err(PackError::Duplicate(found)) if found == id(7)));
    }
}
