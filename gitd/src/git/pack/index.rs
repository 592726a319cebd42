//! The index beside a pack, version 2 (gitformat-pack, "pack-*.idx files").

use std::io::{self, BufWriter, Write};

use gix_hash::{Hasher, ObjectId};

use crate::git::HASH;

const MAGIC_AND_VERSION: &[u8] = b"\xfftOc\0\0\0\x02";
/// Offsets from here on stand in a table of their own.
const LARGE_OFFSET: u64 = 1 << 31;
const BUFFER: usize = 256 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: ObjectId,
    pub(super) crc: u32,
    pub(super) offset: u64,
}

/// `rows`: in the order of their ids. `pack`: the checksum of the pack.
pub(super) fn write(
    rows: impl Iterator<Item = Row> + Clone,
    pack: &ObjectId,
    out: impl Write,
) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER, out);
    let mut out = Hashed {
        out: &mut out,
        hasher: gix_hash::hasher(HASH),
    };
    out.write_all(MAGIC_AND_VERSION)?;
    for count in fanout(rows.clone()) {
        out.write_all(&count.to_be_bytes())?;
    }
    for row in rows.clone() {
        out.write_all(row.id.as_slice())?;
    }
    for row in rows.clone() {
        out.write_all(&row.crc.to_be_bytes())?;
    }
    let mut large = Vec::new();
    for row in rows {
        let offset = if row.offset < LARGE_OFFSET {
            row.offset
        } else {
            large.push(row.offset);
            LARGE_OFFSET | (large.len() as u64 - 1)
        };
        out.write_all(&(offset as u32).to_be_bytes())?;
    }
    for offset in large {
        out.write_all(&offset.to_be_bytes())?;
    }
    out.write_all(pack.as_slice())?;
    let checksum = out.hasher.try_finalize().map_err(io::Error::other)?;
    out.out.write_all(checksum.as_slice())?;
    out.out.flush()
}

/// For each first byte of an id, how many ids begin with it or a lower one.
fn fanout(rows: impl Iterator<Item = Row>) -> [u32; 256] {
    let mut counts = [0; 256];
    for row in rows {
        counts[usize::from(row.id.first_byte())] += 1;
    }
    let mut sum = 0;
    counts.map(|count| {
        sum += count;
        sum
    })
}

struct Hashed<W> {
    out: W,
    hasher: Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_read_back() {
        let rows: Vec<Row> = [(1, 12), (1, 900), (7, 3 << 30), (255, 5 << 30)]
            .iter()
            .zip(0u8..)
            .map(|(&(first, offset), at)| {
                let mut id = [at; 20];
                id[0] = first;
                Row {
                    id: ObjectId::Sha1(id),
                    crc: u32::from(at) * 1000,
                    offset,
                }
            })
            .collect();
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("pack-1.idx");
        let file = std::fs::File::create(&path).expect("creates");
        write(rows.iter().copied(), &ObjectId::Sha1([9; 20]), file).expect("writes");
        let index = gix_pack::index::File::at(&path, HASH).expect("an index");
        let read: Vec<Row> = index
            .iter()
            .map(|entry| Row {
                id: entry.oid,
                crc: entry.crc32.expect("of version 2"),
                offset: entry.pack_offset,
            })
            .collect();
        assert_eq!(read, rows);
        assert_eq!(index.pack_checksum(), ObjectId::Sha1([9; 20]));
        assert_eq!(index.lookup(rows[2].id), Some(2));
    }
}
