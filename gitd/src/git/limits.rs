//! What one push may bring and cost.

use std::time::Duration;

/// The defaults let every honest history through and stop a bomb within seconds.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes on the wire.
    pub pack_bytes: u64,
    pub objects: u32,
    /// One object, unpacked; also a delta's result.
    pub object_bytes: usize,
    /// All objects, unpacked. A pack may exceed this by its own size times [`Limits::INFLATION`].
    pub inflated_bytes: u64,
    /// Deltas upon deltas until an object is whole. git writes 50, and never reads more than its default.
    pub delta_depth: u16,
    /// Time in which the server works on the pack; waiting for the client does not count.
    pub busy: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pack_bytes: 512 << 20,
            objects: 1_000_000,
            object_bytes: 100 << 20,
            inflated_bytes: 2 << 30,
            delta_depth: 4095,
            busy: Duration::from_secs(120),
        }
    }
}

impl Limits {
    /// The histories of git and Linux unpack to 25 and 65 times the size of their packs; a bomb to thousands.
    pub const INFLATION: u64 = 100;

    /// Others that the objects of a pack may name, for each object that it may have.
    pub(super) const NAMES: u64 = 8;
}
