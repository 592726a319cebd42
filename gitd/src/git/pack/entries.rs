//! The entries of a pack, in their order.

use std::ops::{Index, IndexMut};

use gix_object::Kind;

use super::Base;

const PAGE_BITS: u32 = 10;

#[derive(Default)]
pub(super) struct Entries {
    entries: Vec<Entry>,
    /// For each KiB of the pack, the first entry that starts there or later: finding a base is a short way then.
    pages: Vec<u32>,
}

#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) offset: u64,
    pub(super) crc: u32,
    /// `None`: a delta whose base is not known yet.
    pub(super) kind: Option<Kind>,
    pub(super) base: Option<Base>,
    pub(super) depth: u16,
}

impl Entries {
    /// Returns the entry's place. It starts behind all others.
    pub(super) fn push(&mut self, entry: Entry) -> u32 {
        let at = self.entries.len() as u32;
        let page = (entry.offset >> PAGE_BITS) as usize;
        self.pages.resize(self.pages.len().max(page + 1), at);
        self.entries.push(entry);
        at
    }

    pub(super) fn starting_at(&self, offset: u64) -> Option<u32> {
        let page = (offset >> PAGE_BITS) as usize;
        let from = *self.pages.get(page)?;
        let to = self.pages.get(page + 1).copied().unwrap_or(self.len());
        let entries = &self.entries[from as usize..to as usize];
        let at = entries.binary_search_by_key(&offset, |entry| entry.offset);
        at.ok().map(|at| from + at as u32)
    }

    /// Where the entry behind one starts.
    pub(super) fn end(&self, at: u32) -> Option<u64> {
        let next = self.entries.get(at as usize + 1)?;
        Some(next.offset)
    }

    pub(super) fn len(&self) -> u32 {
        self.entries.len() as u32
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }
}

impl Index<u32> for Entries {
    type Output = Entry;

    fn index(&self, at: u32) -> &Entry {
        &self.entries[at as usize]
    }
}

impl IndexMut<u32> for Entries {
    fn index_mut(&mut self, at: u32) -> &mut Entry {
        &mut self.entries[at as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_where_it_starts_and_nowhere_else() {
        let mut entries = Entries::default();
        // Close together, far apart, and at the borders of pages.
        let offsets = [
            12, 13, 700, 1023, 1024, 1025, 2048, 9000, 9001, 70_000, 71_680,
        ];
        for (place, offset) in (0..).zip(offsets) {
            let entry = Entry {
                offset,
                crc: 0,
                kind: None,
                base: None,
                depth: 0,
            };
            assert_eq!(entries.push(entry), place);
            for other in 0..80_000 {
                let found = offsets[..=place as usize]
                    .iter()
                    .position(|at| *at == other);
                assert_eq!(entries.starting_at(other), found.map(|at| at as u32));
            }
        }
        assert_eq!(entries.end(0), Some(13));
        assert_eq!(entries.end(entries.len() - 1), None);
    }
}
