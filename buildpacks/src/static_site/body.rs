//! A part of a file as a response body.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

const CHUNK_BYTES: u64 = 64 * 1024;

/// Reads when the connection can take more, so that a slow visitor costs one chunk. The reads block: they come from the
/// page cache almost always, and a pool of threads would cost more than the site does.
pub(super) struct FilePart {
    file: File,
    offset: u64,
    left: u64,
}

impl FilePart {
    pub(super) fn new(file: File, offset: u64, length: u64) -> FilePart {
        FilePart {
            file,
            offset,
            left: length,
        }
    }

    fn next_chunk(&mut self) -> io::Result<Bytes> {
        let mut chunk = vec![0; self.left.min(CHUNK_BYTES) as usize];
        self.file.read_exact_at(&mut chunk, self.offset)?;
        self.offset += chunk.len() as u64;
        self.left -= chunk.len() as u64;
        Ok(chunk.into())
    }
}

impl Body for FilePart {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.left {
            0 => Poll::Ready(None),
            _ => Poll::Ready(Some(self.next_chunk().map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
