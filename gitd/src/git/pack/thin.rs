//! A thin pack lacks bases that the receiver has. Kept as a pack it must have them: they are added at its end.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
};

use flate2::{Compression, write::ZlibEncoder};
use gix_hash::ObjectId;

use super::{PackError, entry, table::Table, unpack::Unpacker};
use crate::git::HASH;

/// Where the number of objects stands.
const COUNT_AT: u64 = 8;
const BUFFER: usize = 256 << 10;

/// Ends the file by its checksum, which is another one if something had to be added. Returns all objects, and the
/// checksum.
pub(super) fn complete(
    file: &mut File,
    unpacker: &mut Unpacker<'_>,
    mut table: Table,
    checksum: ObjectId,
) -> Result<(Table, ObjectId), PackError> {
    let missing: Vec<u32> = (0..)
        .zip(unpacker.outsiders())
        .filter(|(_, outside)| table.find(&outside.id).is_none())
        .map(|(at, _)| at)
        .collect();
    let mut added = Vec::with_capacity(missing.len());
    let mut end = file.seek(SeekFrom::End(0)).map_err(PackError::Io)?;
    for outside in missing {
        let bytes = unpacker
            .outside_bytes(outside)
            .map_err(PackError::entry(end))?;
        let base = unpacker.outsiders()[outside as usize];
        let entry = encode(base.kind, &bytes).map_err(PackError::Io)?;
        file.write_all(&entry).map_err(PackError::Io)?;
        added.push((
            base.id,
            unpacker.push(end, crc32fast::hash(&entry), base.kind),
        ));
        end += entry.len() as u64;
    }
    let grown = !added.is_empty();
    table.extend(added.into_iter());
    let checksum = match grown {
        true => count_again(file, table.rows().count()).map_err(PackError::Io)?,
        false => checksum,
    };
    file.write_all(checksum.as_slice()).map_err(PackError::Io)?;
    Ok((table, checksum))
}

fn encode(kind: gix_object::Kind, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    entry::write(kind, bytes.len(), &mut out);
    let mut encoder = ZlibEncoder::new(out, Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Writes the number of objects, and returns the checksum of the file as it is then.
fn count_again(file: &File, objects: usize) -> io::Result<ObjectId> {
    let objects = u32::try_from(objects).map_err(io::Error::other)?;
    file.write_all_at(&objects.to_be_bytes(), COUNT_AT)?;
    let mut hasher = gix_hash::hasher(HASH);
    let mut buffer = vec![0; BUFFER];
    let mut offset = 0;
    loop {
        match file.read_at(&mut buffer, offset)? {
            0 => return hasher.try_finalize().map_err(io::Error::other),
            read => {
                hasher.update(&buffer[..read]);
                offset += read as u64;
            }
        }
    }
}
