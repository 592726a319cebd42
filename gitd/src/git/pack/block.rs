//! Objects one behind the other, in blocks: what was just unpacked goes to other threads, and is the likely base of the
//! next deltas, without an allocation of its own.

use std::{collections::VecDeque, mem, ops::Range, sync::Arc};

use gix_object::Kind;

/// An object that is larger has a block of its own.
const BLOCK_BYTES: usize = 512 << 10;
/// A bound for blocks of very small objects.
const BLOCK_OBJECTS: usize = 4096;

#[derive(Default)]
pub(super) struct Block {
    bytes: Vec<u8>,
    objects: Vec<Object>,
}

struct Object {
    /// Its place in the pack.
    at: u32,
    kind: Kind,
    range: Range<usize>,
}

/// Blocks to which nothing is added any more.
pub(super) type Full = [Option<Arc<Block>>; 2];

/// The blocks of one pack that are not forgotten yet.
#[derive(Default)]
pub(super) struct Blocks {
    open: Block,
    /// The oldest first, each with the place of its first object.
    closed: VecDeque<(u32, Arc<Block>)>,
    closed_bytes: usize,
    spare: Option<Block>,
}

impl Block {
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn objects(&self) -> impl Iterator<Item = (u32, Kind, &[u8])> {
        let object = |object: &'_ Object| (object.at, object.kind, object.range.clone());
        let objects = self.objects.iter().map(object);
        objects.map(|(at, kind, range)| (at, kind, &self.bytes[range]))
    }

    fn fits(&self, bytes: usize) -> bool {
        self.bytes.len() + bytes <= BLOCK_BYTES && self.objects.len() < BLOCK_OBJECTS
    }

    fn push(&mut self, at: u32, kind: Kind, bytes: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.note(at, kind, start..self.bytes.len());
    }

    fn note(&mut self, at: u32, kind: Kind, range: Range<usize>) {
        self.objects.push(Object { at, kind, range });
    }

    fn find(&self, at: u32) -> Option<&[u8]> {
        let first = self.objects.first()?.at;
        let guess = at.checked_sub(first)? as usize;
        let object = match self.objects.get(guess) {
            // Nearly always: nothing between them waits for its base.
            Some(object) if object.at == at => object,
            _ => {
                let found = self.objects.binary_search_by_key(&at, |object| object.at);
                &self.objects[found.ok()?]
            }
        };
        Some(&self.bytes[object.range.clone()])
    }
}

impl Blocks {
    /// Adds an object; each has a later place than the one before.
    pub(super) fn push(&mut self, at: u32, kind: Kind, bytes: &mut Vec<u8>) -> Full {
        let before = match self.open.fits(bytes.len()) {
            true => None,
            false => self.close(),
        };
        if bytes.len() <= BLOCK_BYTES {
            self.open.push(at, kind, bytes);
            return [before, None];
        }
        self.open.bytes = mem::take(bytes);
        self.open.note(at, kind, 0..self.open.bytes.len());
        [before, self.close()]
    }

    /// The block that was open, if it holds anything.
    pub(super) fn close(&mut self) -> Option<Arc<Block>> {
        let first = self.open.objects.first()?.at;
        let next = self.spare.take().unwrap_or_else(|| Block {
            bytes: Vec::with_capacity(BLOCK_BYTES),
            objects: Vec::new(),
        });
        let block = Arc::new(mem::replace(&mut self.open, next));
        self.closed_bytes += block.bytes();
        self.closed.push_back((first, Arc::clone(&block)));
        Some(block)
    }

    /// Takes out the oldest block if all together have more than so many bytes; the newest stays, whatever its size.
    pub(super) fn oldest_beyond(&mut self, bytes_max: usize) -> Option<Arc<Block>> {
        if self.closed_bytes <= bytes_max || self.closed.len() < 2 {
            return None;
        }
        let (_, oldest) = self.closed.pop_front()?;
        self.closed_bytes -= oldest.bytes();
        Some(oldest)
    }

    /// The memory of a block that nobody needs any more, for the next of the usual size.
    pub(super) fn reuse(&mut self, block: Arc<Block>) {
        if let Some(mut block) = Arc::into_inner(block)
            && block.bytes.capacity() == BLOCK_BYTES
        {
            block.bytes.clear();
            block.objects.clear();
            self.spare = Some(block);
        }
    }

    /// The object at a place, unless it was forgotten.
    pub(super) fn find(&self, at: u32) -> Option<&[u8]> {
        let after = self.closed.partition_point(|(first, _)| *first <= at);
        let closed = after
            .checked_sub(1)
            .and_then(|block| self.closed.get(block));
        let closed = closed.and_then(|(_, block)| block.find(at));
        closed.or_else(|| self.open.find(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(blocks: &mut Blocks, at: u32, bytes: &[u8]) -> Vec<Arc<Block>> {
        let full = blocks.push(at, Kind::Blob, &mut bytes.to_vec());
        full.into_iter().flatten().collect()
    }

    fn places(block: &Block) -> Vec<u32> {
        block.objects().map(|(at, ..)| at).collect()
    }

    #[test]
    fn objects_are_found_wherever_they_are() {
        let mut blocks = Blocks::default();
        let content = |at: u32| vec![at as u8; 1000 * (at as usize % 50)];
        // Some places are missing: they wait for their bases.
        let all = (0..600).filter(|at| at % 7 != 3);
        let mut closed = Vec::new();
        for at in all.clone() {
            closed.extend(push(&mut blocks, at, &content(at)));
        }
        assert!(closed.len() > 10 && closed.iter().all(|block| block.bytes() <= BLOCK_BYTES));
        closed.extend(blocks.close());
        let handed_over: Vec<u32> = closed.iter().flat_map(|block| places(block)).collect();
        assert_eq!(handed_over, all.clone().collect::<Vec<_>>());
        for at in 0..700 {
            let expected = all.clone().any(|place| place == at).then(|| content(at));
            assert_eq!(blocks.find(at).map(<[u8]>::to_vec), expected, "{at}");
        }
        assert!(blocks.close().is_none());
    }

    #[test]
    fn the_oldest_go_and_lend_their_memory() {
        let mut blocks = Blocks::default();
        for at in 0..5 {
            drop(push(&mut blocks, at, &vec![1; BLOCK_BYTES - 1]));
        }
        // The first has grown from nothing, and has not the usual size.
        let oldest = blocks.oldest_beyond(3 * BLOCK_BYTES).expect("too many");
        assert_eq!(places(&oldest), [0]);
        blocks.reuse(oldest);
        assert!(blocks.spare.is_none());
        let oldest = blocks.oldest_beyond(2 * BLOCK_BYTES).expect("too many");
        assert!(blocks.oldest_beyond(3 * BLOCK_BYTES).is_none());
        assert!(blocks.find(1).is_none() && blocks.find(2).is_some());
        let memory = oldest.bytes.as_ptr();
        blocks.reuse(oldest);
        drop(push(&mut blocks, 5, b"next"));
        assert_eq!(blocks.open.bytes.as_ptr(), memory);
        assert_eq!(blocks.find(5), Some(b"next".as_slice()));
    }

    #[test]
    fn a_large_object_is_alone_and_the_newest_stays() {
        let mut blocks = Blocks::default();
        drop(push(&mut blocks, 0, b"small"));
        let full = push(&mut blocks, 1, &vec![7; 3 * BLOCK_BYTES]);
        let full: Vec<_> = full.iter().map(|block| places(block)).collect();
        assert_eq!(full, [[0], [1]]);
        assert!(push(&mut blocks, 2, b"small").is_empty());
        assert!(blocks.oldest_beyond(1).is_some() && blocks.oldest_beyond(1).is_none());
        assert_eq!(blocks.find(1).map(<[u8]>::len), Some(3 * BLOCK_BYTES));
    }
}
