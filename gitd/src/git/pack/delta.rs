//! A delta: instructions that make an object out of another one (gitformat-pack, "Deltified representation").

use super::Problem;

const COPY: u8 = 0x80;
/// A copy that names no length.
const COPY_BYTES_DEFAULT: usize = 0x1_0000;
const MALFORMED: Problem = Problem::Delta;

/// Leaves in `out` the object that `delta` makes out of `base`, at most `bytes_max` long.
pub(super) fn apply(
    base: &[u8],
    delta: &[u8],
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), Problem> {
    let (base_size, rest) = size(delta)?;
    let (size, mut rest) = size(rest)?;
    if base_size != base.len() as u64 {
        return Err(MALFORMED);
    }
    let size = usize::try_from(size)
        .ok()
        .filter(|size| *size <= bytes_max)
        .ok_or(Problem::TooLarge { size, bytes_max })?;
    out.clear();
    out.reserve(size);
    while let Some((&op, tail)) = rest.split_first() {
        let piece = if op & COPY != 0 {
            let (from, tail) = argument(op, 4, tail)?;
            let (length, tail) = argument(op >> 4, 3, tail)?;
            let length = if length == 0 {
                COPY_BYTES_DEFAULT
            } else {
                length
            };
            rest = tail;
            base.get(from..from + length).ok_or(MALFORMED)?
        } else {
            let (piece, tail) = tail.split_at_checked(op.into()).ok_or(MALFORMED)?;
            rest = tail;
            piece
        };
        // Nothing is written past the declared size. An instruction that is zero does nothing: it is reserved.
        if op == 0 || piece.len() > size - out.len() {
            return Err(MALFORMED);
        }
        out.extend_from_slice(piece);
    }
    if out.len() == size {
        Ok(())
    } else {
        Err(MALFORMED)
    }
}

/// Seven bits a byte, the lowest first.
fn size(mut bytes: &[u8]) -> Result<(u64, &[u8]), Problem> {
    let mut size = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(MALFORMED)?;
        bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if bits > u64::MAX >> shift {
            break;
        }
        size |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok((size, bytes));
        }
    }
    Err(MALFORMED)
}

/// A number of up to `bytes` bytes, the lowest first; those that are zero are left out, and `present` says which.
fn argument(present: u8, bytes: usize, mut rest: &[u8]) -> Result<(usize, &[u8]), Problem> {
    let mut value = 0;
    for at in 0..bytes {
        if present & (1 << at) != 0 {
            let (&byte, tail) = rest.split_first().ok_or(MALFORMED)?;
            value |= usize::from(byte) << (8 * at);
            rest = tail;
        }
    }
    Ok((value, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 1 << 20;

    fn apply(base: &[u8], delta: &[u8]) -> Result<Vec<u8>, Problem> {
        let mut out = b"what was there before".to_vec();
        super::apply(base, delta, MAX, &mut out).map(|()| out)
    }

    #[test]
    fn copies_and_insertions() {
        let check = |delta: &[u8], result: &[u8]| {
            assert_eq!(apply(b"0123456789", delta).expect("applies"), result);
        };
        check(&[10, 0], b"");
        check(&[10, 3, 3, b'a', b'b', b'c'], b"abc");
        check(&[10, 4, 0b1001_0001, 2, 4], b"2345");
        check(&[10, 5, 0b1001_0000, 4, 1, b'x'], b"0123x");
        let long = vec![7; 0x1_0001];
        assert_eq!(
            apply(&long, &[0x81, 0x80, 4, 0x80, 0x80, 4, 0b1000_0001, 1]).expect("applies"),
            &long[1..]
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let check = |delta: &[u8]| {
            assert!(apply(b"0123456789", delta).is_err(), "{delta:?}");
        };
        check(b"");
        check(&[10]);
        check(&[9, 1, 1, b'x']);
        check(&[10, 2, 1, b'x']);
        check(&[10, 1, 2, b'x', b'y']);
        check(&[10, 3, 3, b'x']);
        check(&[10, 1, 0]);
        check(&[10, 4, 0b1001_0001, 7, 4]);
        check(&[10, 4, 0b1001_1111, 0xff, 0xff, 0xff, 0xff, 4]);
        check(&[10, 4, 0b1001_0001, 7]);
        check(&[&[0x80; 12][..], &[1]].concat());
        check(&[&[10][..], &[0xff; 9], &[0x7f]].concat());
        assert!(matches!(
            apply(b"", &[0, 0x80, 0x80, 0x80, 1]),
            Err(Problem::TooLarge {
                size: 0x20_0000,
                ..
            })
        ));
    }

    proptest! {
        #[test]
        fn any_delta_is_applied_or_refused(base: Vec<u8>, instructions: Vec<u8>, size in 0u8..128) {
            _ = apply(&base, &instructions);
            let headed = [&[base.len() as u8 & 0x7f, size][..], &instructions].concat();
            if let Ok(result) = apply(&base[..base.len() & 0x7f], &headed) {
                prop_assert_eq!(result.len(), usize::from(size));
            }
        }
    }
}
