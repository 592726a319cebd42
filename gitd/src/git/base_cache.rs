//! Objects that deltas were applied to, kept for the next delta: found in one step, where gix's own cache of so many would
//! be searched from end to end.

use gix_object::Kind;
use gix_pack::cache::DecodeEntry;

/// A power of two.
const SLOTS: usize = 8192;
const BYTES_MAX: usize = 48 << 20;
/// One that takes the room of so many others is read again instead.
const OBJECT_MAX: usize = BYTES_MAX / 16;

/// Each entry of a pack has one slot, and shares it with others: the last one stays.
#[derive(Default)]
pub(crate) struct BaseCache {
    /// None at all before the first object.
    slots: Vec<Option<Slot>>,
    bytes: usize,
    /// Where room is made next.
    hand: usize,
}

struct Slot {
    pack: u32,
    offset: u64,
    kind: Kind,
    compressed_size: usize,
    data: Vec<u8>,
}

impl BaseCache {
    fn empty(&mut self, slot: usize) {
        if let Some(old) = self.slots[slot].take() {
            self.bytes -= old.data.len();
        }
    }
}

fn slot_of(pack: u32, offset: u64) -> usize {
    // Fibonacci hashing: neighbours in a pack come apart.
    let key = offset ^ (u64::from(pack) << 40);
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % SLOTS
}

impl DecodeEntry for BaseCache {
    fn put(&mut self, pack: u32, offset: u64, data: &[u8], kind: Kind, compressed_size: usize) {
        if data.len() > OBJECT_MAX {
            return;
        }
        self.slots.resize_with(SLOTS, || None);
        let slot = slot_of(pack, offset);
        self.empty(slot);
        while self.bytes + data.len() > BYTES_MAX {
            self.hand = (self.hand + 1) % SLOTS;
            self.empty(self.hand);
        }
        self.bytes += data.len();
        self.slots[slot] = Some(Slot {
            pack,
            offset,
            kind,
            compressed_size,
            data: data.to_vec(),
        });
    }

    fn get(&mut self, pack: u32, offset: u64, out: &mut Vec<u8>) -> Option<(Kind, usize)> {
        let slot = self.slots.get(slot_of(pack, offset))?.as_ref()?;
        if (slot.pack, slot.offset) != (pack, offset) {
            return None;
        }
        out.clear();
        out.extend_from_slice(&slot.data);
        Some((slot.kind, slot.compressed_size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_last_is_found_and_memory_is_bounded() {
        let mut cache = BaseCache::default();
        let mut out = Vec::new();
        assert_eq!(cache.get(0, 12, &mut out), None);
        cache.put(0, 12, b"base", Kind::Tree, 3);
        assert_eq!(cache.get(0, 12, &mut out), Some((Kind::Tree, 3)));
        assert_eq!(out, b"base");
        assert_eq!(cache.get(1, 12, &mut out), None, "of another pack");
        cache.put(0, 12, b"again", Kind::Tree, 4);
        assert_eq!(cache.get(0, 12, &mut out), Some((Kind::Tree, 4)));

        cache.put(0, 13, &vec![0; OBJECT_MAX + 1], Kind::Blob, 1);
        assert_eq!(cache.get(0, 13, &mut out), None, "too large");
        let large = vec![1; 1 << 20];
        for offset in 0..500 {
            cache.put(2, offset, &large, Kind::Blob, 1);
            assert_eq!(cache.get(2, offset, &mut out), Some((Kind::Blob, 1)));
            assert!(cache.bytes <= BYTES_MAX);
        }
        let kept = cache.slots.iter().flatten();
        assert_eq!(kept.map(|slot| slot.data.len()).sum::<usize>(), cache.bytes);
    }
}
