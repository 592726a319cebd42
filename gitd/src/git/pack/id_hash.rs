//! Hashing of what is random already, but chosen by somebody else: a few multiplications by a secret. A pack names a
//! million ids of its author's choice; without the secret they could all meet in one place of a table.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A secret of each table.
#[derive(Clone)]
pub(super) struct IdHash(u64);

pub(super) struct IdHasher {
    secret: u64,
    state: u64,
}

impl Default for IdHash {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0) | 1)
    }
}

impl BuildHasher for IdHash {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher {
            secret: self.0,
            state: self.0,
        }
    }
}

impl IdHasher {
    fn add(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.secret);
        self.state = product as u64 ^ (product >> u64::BITS) as u64;
    }
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.add(u64::from_le_bytes(last));
    }

    fn write_usize(&mut self, number: usize) {
        self.add(number as u64);
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use gix_hash::ObjectId;

    use super::*;

    /// Ids that differ in one byte, wherever it is, do not meet.
    #[test]
    fn like_ids_are_spread() {
        let hash = IdHash::default();
        for at in 0..20 {
            let slots = (0..=255).map(|byte| {
                let mut id = [7; 20];
                id[at] = byte;
                hash.hash_one((ObjectId::Sha1(id), Some(gix_object::Kind::Blob)))
            });
            let hashes: Vec<u64> = slots.collect();
            let low: HashSet<u64> = hashes.iter().map(|hash| hash & 0xffff).collect();
            let high: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
            assert!(low.len() > 200 && high.len() > 60, "byte {at}");
        }
    }
}
