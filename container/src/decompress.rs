//! What a layer is compressed with, as its first bytes tell: gzip, zstd, or nothing. A media type is a claim.

use std::io::{self, BufRead as _, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{
    BlockDecodingStrategy, FrameDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Frames that hold something for others, such as an index of the rest (RFC 8878 section 3.1.2): any of sixteen.
const SKIPPED_MAGIC: [u8; 3] = [0x2a, 0x4d, 0x18];
/// What a decoder has to keep in memory. The usual tools stay at 8 MiB, and go up to this when they are told to do their best.
const WINDOW_BYTES_MAX: u64 = 128 * 1024 * 1024;
const BUFFER_BYTES: usize = 128 * 1024;

/// The uncompressed bytes.
pub enum Plain<R> {
    Stored(BufReader<R>),
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
    Zstd(Box<Frames<R>>),
}

impl<R: Read> Plain<R> {
    pub fn new(inner: R) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, inner);
        let start = reader.fill_buf()?;
        let is_skipped = start.first().is_some_and(|byte| byte >> 4 == 5)
            && start.get(1..4) == Some(&SKIPPED_MAGIC);
        Ok(if start.starts_with(&GZIP_MAGIC) {
            Self::Gzip(Box::new(MultiGzDecoder::new(reader)))
        } else if start.starts_with(&ZSTD_MAGIC) || is_skipped {
            Self::Zstd(Box::new(Frames::new(reader)))
        } else {
            Self::Stored(reader)
        })
    }
}

impl<R: Read> Read for Plain<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stored(inner) => inner.read(buffer),
            Self::Gzip(inner) => inner.read(buffer),
            Self::Zstd(inner) => inner.read(buffer),
        }
    }
}

/// zstd: frames one after the other, to the end.
pub struct Frames<R> {
    inner: BufReader<R>,
    decoder: FrameDecoder,
    is_within: bool,
}

impl<R: Read> Frames<R> {
    fn new(inner: BufReader<R>) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_BYTES_MAX);
        Self {
            inner,
            decoder,
            is_within: false,
        }
    }

    /// False at the end.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.is_within {
            if self.inner.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.reset(&mut self.inner) {
                Ok(()) => self.is_within = true,
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => self.skip(length.into())?,
                Err(error) => return Err(bad(error)),
            }
        }
        Ok(true)
    }

    fn skip(&mut self, length: u64) -> io::Result<()> {
        let skipped = io::copy(&mut (&mut self.inner).take(length), &mut io::sink())?;
        match skipped == length {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.begin()? {
            let decoder = &mut self.decoder;
            while decoder.can_collect() == 0 && !decoder.is_finished() {
                decoder
                    .decode_blocks(&mut self.inner, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(bad)?;
            }
            let length = decoder.read(buffer)?;
            if length > 0 {
                return Ok(length);
            }
            self.is_within = false;
        }
        Ok(0)
    }
}

fn bad(error: FrameDecoderError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    fn plain(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = vec![];
        Plain::new(bytes)?.read_to_end(&mut out)?;
        Ok(out)
    }

    /// 16 bytes that nobody reads.
    fn skipped(nibble: u8) -> Vec<u8> {
        let mut frame = vec![0x50 | nibble];
        frame.extend(SKIPPED_MAGIC);
        frame.extend(16_u32.to_le_bytes());
        frame.extend([0xff; 16]);
        frame
    }

    #[test]
    fn frames_follow_each_other() {
        let text = b"the content ".repeat(50_000);
        let frame = zstd(&text);
        let parts = [
            skipped(0),
            frame.clone(),
            skipped(15),
            zstd(b""),
            zstd(b"and more"),
        ];
        assert_eq!(
            plain(&parts.concat()).unwrap(),
            [text.as_slice(), b"and more"].concat()
        );
        for cut in [2, 5, 10, frame.len() / 2, frame.len() - 1] {
            let whole = plain(&frame[..cut]);
            assert!(!whole.is_ok_and(|bytes| bytes.len() >= text.len()), "{cut}");
        }
        let garbage = [frame.as_slice(), b"garbage"].concat();
        assert!(plain(&garbage).is_err());
        assert!(plain(&skipped(3)[..20]).is_err());
    }

    #[test]
    fn a_window_is_bounded() {
        // A frame that asks for 2 GiB, and one that asks for 64 MiB (RFC 8878 section 3.1.1.1.2), of one empty block.
        let frame = |window: u8| [&ZSTD_MAGIC[..], &[0, window], &[1, 0, 0]].concat();
        let error = plain(&frame(21 << 3)).unwrap_err();
        assert!(error.to_string().contains("window_size"), "{error}");
        assert_eq!(plain(&frame(16 << 3)).unwrap(), b"");
    }

    #[test]
    fn what_is_not_compressed_is_as_it_is() {
        for bytes in [&b""[..], b"P", b"PK\x03\x04", b"\x50\x2a\x4d"] {
            assert_eq!(plain(bytes).unwrap(), bytes);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes: Vec<u8>, at: usize, byte: u8) {
            _ = plain(&[&ZSTD_MAGIC[..], &bytes].concat());
            bytes = zstd(&bytes);
            let at = at % bytes.len();
            bytes[at] = byte;
            _ = plain(&bytes);
        }
    }
}
