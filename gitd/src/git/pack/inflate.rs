//! zlib streams, one an object.

use std::io::BufRead;

use flate2::{Decompress, FlushDecompress, Status};

use super::Problem;

/// What is reserved before anything is there to prove the size.
const RESERVED_MAX: usize = 1 << 20;
/// With this much room behind the end zlib stays in its fast loop up to the last byte; without, small objects never enter it.
const SLACK: usize = 320;

/// Reusable: its state is larger than most objects.
pub(super) struct Inflater(Decompress);

impl Inflater {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// Reads one stream, which must unpack to exactly `size` bytes, and not a byte behind it: they are all that is in
    /// `out` then. `spent` is told of every byte as it comes, and ends the work by an error.
    pub(super) fn inflate(
        &mut self,
        input: &mut impl BufRead,
        size: usize,
        out: &mut Vec<u8>,
        spent: impl Fn(usize) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let Self(state) = self;
        state.reset(true);
        out.clear();
        out.reserve(size.min(RESERVED_MAX) + SLACK);
        loop {
            let (read, written) = (state.total_in(), out.len());
            let compressed = input.fill_buf()?;
            let at_end = compressed.is_empty();
            let status = state
                .decompress_vec(compressed, out, FlushDecompress::Finish)
                .map_err(|_| Problem::Inflate)?;
            // Fits: it is at most the length of `compressed`.
            input.consume((state.total_in() - read) as usize);
            spent(out.len() - written)?;
            match status {
                Status::StreamEnd if out.len() == size => return Ok(()),
                Status::StreamEnd => return Err(Problem::Size),
                _ if out.len() > size => return Err(Problem::Size),
                _ if out.len() == out.capacity() => {
                    let more = out.len().min(size - out.len());
                    out.reserve_exact(more + SLACK);
                }
                _ if at_end => return Err(Problem::CutOff),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use flate2::{Compression, write::ZlibEncoder};

    use super::*;

    fn deflate(content: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).expect("in memory");
        encoder.finish().expect("in memory")
    }

    #[test]
    fn a_stream_is_read_to_its_end_and_no_further() {
        let mut inflater = Inflater::new();
        let mut out = Vec::new();
        for size in [0, 1, 100, 10_000, RESERVED_MAX + SLACK, 3 << 20] {
            let content: Vec<u8> = (0..size).map(|n| (n * n / 7) as u8).collect();
            let stream = [deflate(&content), b"next".to_vec()].concat();
            for buffer in [1, 7, 64 << 10] {
                let mut input = BufReader::with_capacity(buffer, stream.as_slice());
                inflater
                    .inflate(&mut input, size, &mut out, |_| Ok(()))
                    .expect("inflates");
                assert!(out == content, "{size}");
                let mut rest = String::new();
                std::io::Read::read_to_string(&mut input, &mut rest).expect("reads");
                assert_eq!(rest, "next");
            }
        }
    }

    #[test]
    fn lies_are_found_before_they_cost() {
        let mut inflater = Inflater::new();
        let zeros = deflate(&vec![0; 8 << 20]);
        let mut out = Vec::new();
        let mut inflate =
            |mut input: &[u8], size| inflater.inflate(&mut input, size, &mut out, |_| Ok(()));
        assert!(matches!(inflate(&zeros, 100), Err(Problem::Size)));
        assert!(matches!(inflate(&zeros, 9 << 20), Err(Problem::Size)));
        assert!(matches!(
            inflate(&zeros[..100], 8 << 20),
            Err(Problem::CutOff)
        ));
        assert!(matches!(
            inflate(b"no zlib at all", 10),
            Err(Problem::Inflate)
        ));
        let stop = |_| Err(Problem::Stopped);
        let stopped = inflater.inflate(&mut zeros.as_slice(), 8 << 20, &mut out, stop);
        assert!(matches!(stopped, Err(Problem::Stopped)));
    }
}
