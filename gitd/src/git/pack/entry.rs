//! What stands before each object of a pack: its type, its size unpacked, and a delta's base (gitformat-pack).

use std::io::BufRead;

use gix_hash::ObjectId;
use gix_object::Kind;

use super::{Problem, next_byte};

const MORE: u8 = 0x80;
const OFFSET_DELTA: u8 = 6;
const ID_DELTA: u8 = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) form: Form,
    /// Of the object, or of the delta's instructions.
    pub(super) size: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Whole(Kind),
    /// The base starts so many bytes before this entry.
    OffsetDelta(u64),
    IdDelta(ObjectId),
}

pub(super) fn read(input: &mut impl BufRead) -> Result<Header, Problem> {
    let first = next_byte(input)?;
    let mut size = u64::from(first & 0x0f);
    let mut shift = 4;
    let mut byte = first;
    while byte & MORE != 0 {
        byte = next_byte(input)?;
        let bits = u64::from(byte & !MORE);
        if shift >= u64::BITS || bits > u64::MAX >> shift {
            return Err(Problem::Size);
        }
        size |= bits << shift;
        shift += 7;
    }
    let form = match (first >> 4) & 7 {
        1 => Form::Whole(Kind::Commit),
        2 => Form::Whole(Kind::Tree),
        3 => Form::Whole(Kind::Blob),
        4 => Form::Whole(Kind::Tag),
        OFFSET_DELTA => Form::OffsetDelta(distance(input)?),
        ID_DELTA => Form::IdDelta(base_id(input)?),
        other => return Err(Problem::Type(other)),
    };
    Ok(Header { form, size })
}

/// Seven bits a byte, the highest first; each further byte also adds one, so that no number has two spellings.
fn distance(input: &mut impl BufRead) -> Result<u64, Problem> {
    let mut byte = next_byte(input)?;
    let mut distance = u64::from(byte & !MORE);
    while byte & MORE != 0 {
        byte = next_byte(input)?;
        distance = (distance + 1)
            .checked_mul(1 << 7)
            .and_then(|distance| distance.checked_add(u64::from(byte & !MORE)))
            .ok_or(Problem::NoBase)?;
    }
    Ok(distance)
}

fn base_id(input: &mut impl BufRead) -> Result<ObjectId, Problem> {
    let mut id = [0; 20];
    for byte in &mut id {
        *byte = next_byte(input)?;
    }
    Ok(ObjectId::Sha1(id))
}

/// The header of a whole object.
pub(super) fn write(kind: Kind, size: usize, out: &mut Vec<u8>) {
    let kind = match kind {
        Kind::Commit => 1,
        Kind::Tree => 2,
        Kind::Blob => 3,
        Kind::Tag => 4,
    };
    let mut byte = (kind << 4) | (size & 0x0f) as u8;
    let mut rest = size >> 4;
    while rest > 0 {
        out.push(byte | MORE);
        byte = (rest & 0x7f) as u8;
        rest >>= 7;
    }
    out.push(byte);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headers() {
        let check = |mut bytes: &[u8], form, size| {
            let header = read(&mut bytes).expect("a header");
            assert_eq!((header, bytes.len()), (Header { form, size }, 0));
        };
        check(&[0x35], Form::Whole(Kind::Blob), 5);
        check(&[0x95, 0x0a], Form::Whole(Kind::Commit), 0xa5);
        check(&[0x61, 0x7f], Form::OffsetDelta(0x7f), 1);
        check(&[0x61, 0x80, 0x00], Form::OffsetDelta(0x80), 1);
        let id = [&[0x71][..], &[9; 20]].concat();
        check(&id, Form::IdDelta(ObjectId::Sha1([9; 20])), 1);
    }

    #[test]
    fn impossible_headers() {
        let check = |mut bytes: &[u8]| assert!(read(&mut bytes).is_err(), "{bytes:?}");
        check(&[]);
        check(&[0x00]);
        check(&[0x50]);
        check(&[0xb0]);
        check(&[0xff; 30]);
        check(&[&[0x60][..], &[0xff; 20]].concat());
        check(&[0x70, 1, 2, 3]);
        check(&[&[0xb0][..], &[0x80; 40], &[1]].concat());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(size: u32) {
            for kind in [Kind::Commit, Kind::Tree, Kind::Blob, Kind::Tag] {
                let mut bytes = Vec::new();
                write(kind, size as usize, &mut bytes);
                let header = read(&mut bytes.as_slice()).expect("a header");
                prop_assert_eq!(header, Header { form: Form::Whole(kind), size: u64::from(size) });
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            _ = read(&mut bytes.as_slice());
        }
    }
}
