//! The pack's bytes on their way in: hashed and written to the quarantine as they are consumed, so that what has been
//! read once need not be read again.

use std::{
    fs::File,
    io::{self, BufRead, Read, Write},
    mem,
};

use crc32fast::Hasher as Crc;
use gix_hash::{Hasher, ObjectId};

use super::{HEADER, PackError};
use crate::git::HASH;

const BUFFER: usize = 256 << 10;
const TRAILER: usize = 20;

pub(super) struct Source<I> {
    input: I,
    file: File,
    buffer: Vec<u8>,
    /// `buffer[..kept]` is hashed and written, `buffer[kept..start]` consumed, `buffer[start..end]` to be read.
    kept: usize,
    start: usize,
    end: usize,
    /// Offset in the pack of `buffer[0]`.
    offset: u64,
    hasher: Hasher,
    /// Of the entry that is being read, up to `buffer[summed]`.
    crc: Crc,
    summed: usize,
}

impl<I: Read> Source<I> {
    /// `file`: where the pack is written.
    pub(super) fn new(input: I, file: File) -> Self {
        Self {
            input,
            file,
            buffer: vec![0; BUFFER],
            kept: 0,
            start: 0,
            end: 0,
            offset: 0,
            hasher: gix_hash::hasher(HASH),
            crc: Crc::new(),
            summed: 0,
        }
    }

    /// The number of objects that the pack says it has.
    pub(super) fn header(&mut self) -> Result<u32, PackError> {
        let mut header = [0; HEADER];
        self.read_exact(&mut header).map_err(PackError::input)?;
        match header {
            [b'P', b'A', b'C', b'K', 0, 0, 0, 2 | 3, a, b, c, d] => {
                Ok(u32::from_be_bytes([a, b, c, d]))
            }
            _ => Err(PackError::NotAPack),
        }
    }

    /// Where the next byte stands in the pack.
    pub(super) fn offset(&self) -> u64 {
        self.offset + self.start as u64
    }

    pub(super) fn begin_entry(&mut self) {
        self.crc.reset();
        self.summed = self.start;
    }

    /// The checksum of all bytes since `begin_entry`.
    pub(super) fn end_entry(&mut self) -> u32 {
        self.sum();
        self.crc.clone().finalize()
    }

    /// The file, with everything that was consumed.
    pub(super) fn file(&mut self) -> io::Result<&File> {
        self.keep()?;
        Ok(&self.file)
    }

    /// After the last entry: the checksum is right, and nothing follows that has come already. Returns the file, without
    /// its checksum, and the checksum.
    pub(super) fn end(mut self) -> Result<(File, ObjectId), PackError> {
        self.keep().map_err(PackError::Io)?;
        let hasher = mem::replace(&mut self.hasher, gix_hash::hasher(HASH));
        let actual = hasher.try_finalize().map_err(|_| PackError::Checksum)?;
        let mut expected = [0; TRAILER];
        self.read_exact(&mut expected).map_err(PackError::input)?;
        if actual.as_slice() != expected {
            return Err(PackError::Checksum);
        }
        if self.start < self.end {
            return Err(PackError::Junk);
        }
        Ok((self.file, actual))
    }

    fn keep(&mut self) -> io::Result<()> {
        let consumed = &self.buffer[self.kept..self.start];
        self.hasher.update(consumed);
        self.file.write_all(consumed)?;
        self.kept = self.start;
        Ok(())
    }

    fn sum(&mut self) {
        self.crc.update(&self.buffer[self.summed..self.start]);
        self.summed = self.start;
    }
}

impl<I: Read> BufRead for Source<I> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.sum();
            self.keep()?;
            self.offset += self.end as u64;
            (self.kept, self.start, self.end, self.summed) = (0, 0, 0, 0);
            self.end = self.input.read(&mut self.buffer)?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
    }
}

impl<I: Read> Read for Source<I> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}
