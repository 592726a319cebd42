//! A layer's bytes, read (and, out of an image, decompressed) and hashed by a thread of their own, while the caller makes
//! files of those that have come.

use std::{
    io::{self, Read},
    panic,
    sync::mpsc::{self, Receiver, Sender},
    thread,
};

use sha2::{Digest as _, Sha256};

use crate::Digest;

const CHUNK_BYTES: usize = 256 * 1024;
/// That are read and not yet taken.
const CHUNKS: usize = 8;

/// The bytes that have come.
pub struct ReadAhead {
    chunks: Receiver<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
    /// In the chunk.
    at: usize,
    /// Chunks to be filled again.
    used: Sender<Vec<u8>>,
}

/// What `take` makes of the bytes, and the digest of all of them, whether it has taken all or not.
pub fn read_ahead<T, E: From<io::Error>>(
    source: impl Read + Send,
    take: impl FnOnce(&mut ReadAhead) -> Result<T, E>,
) -> Result<(T, Digest), E> {
    let (used, empty) = mpsc::channel();
    for _ in 0..CHUNKS {
        _ = used.send(Vec::with_capacity(CHUNK_BYTES));
    }
    let (send, chunks) = mpsc::channel();
    let mut ahead = ReadAhead {
        chunks,
        chunk: Vec::new(),
        at: 0,
        used,
    };
    thread::scope(|scope| {
        let reader = scope.spawn(move || read(source, &empty, &send));
        let taken = take(&mut ahead).and_then(|taken| {
            io::copy(&mut ahead, &mut io::sink())?;
            Ok(taken)
        });
        drop(ahead);
        let digest = reader
            .join()
            .unwrap_or_else(|cause| panic::resume_unwind(cause));
        Ok((taken?, digest))
    })
}

/// Ends with the source, or when nobody takes what it gives any more.
fn read(
    mut source: impl Read,
    empty: &Receiver<Vec<u8>>,
    chunks: &Sender<io::Result<Vec<u8>>>,
) -> Digest {
    let mut hasher = Sha256::new();
    for mut chunk in empty {
        chunk.clear();
        let room = source.by_ref().take(CHUNK_BYTES as u64);
        let result = fill(room, &mut chunk);
        hasher.update(&chunk);
        let is_last = !matches!(result, Ok(length) if length > 0);
        if chunks.send(result.map(|_| chunk)).is_err() || is_last {
            break;
        }
    }
    Digest::finish(hasher)
}

fn fill(mut room: impl Read, chunk: &mut Vec<u8>) -> io::Result<usize> {
    room.read_to_end(chunk)
}

impl Read for ReadAhead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() {
            let Ok(next) = self.chunks.recv() else {
                return Ok(0);
            };
            // The reader has ended when it wants no more.
            _ = self.used.send(std::mem::replace(&mut self.chunk, next?));
            self.at = 0;
        }
        let length = buffer.len().min(self.chunk.len() - self.at);
        buffer[..length].copy_from_slice(&self.chunk[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails after its first bytes.
    struct Breaks(usize);

    impl Read for Breaks {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(self.0);
            self.0 -= length;
            match length {
                0 => Err(io::ErrorKind::BrokenPipe.into()),
                _ => Ok(length),
            }
        }
    }

    #[test]
    fn bytes_come_in_order_and_all_of_them_are_hashed() {
        let bytes: Vec<u8> = (0..CHUNK_BYTES * CHUNKS * 3 + 7)
            .map(|at| (at / 3) as u8)
            .collect();
        for wanted in [0, 1, bytes.len()] {
            let (taken, digest) = read_ahead::<_, io::Error>(&bytes[..], |ahead| {
                let mut taken = Vec::new();
                ahead.take(wanted as u64).read_to_end(&mut taken)?;
                Ok(taken)
            })
            .unwrap();
            assert!(taken == bytes[..wanted]);
            assert_eq!(digest, Digest::of(&bytes));
        }
    }

    #[test]
    fn what_ends_early_hangs_nobody() {
        for length in [0, 5, CHUNK_BYTES * CHUNKS * 3] {
            let broken = read_ahead::<_, io::Error>(Breaks(length), |_| Ok(()));
            assert_eq!(broken.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
        let refused = read_ahead(io::repeat(7), |_| Err::<(), _>(io::Error::other("no more")));
        assert_eq!(refused.unwrap_err().to_string(), "no more");
    }
}
