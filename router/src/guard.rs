//! A client's socket, of which the parser reads only requests that `framing` has let through.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::{
    framing::{Framing, Passage},
    head::Refused,
    vitals::Vitals,
};

/// RFC 9113 section 3.4.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the parser is given in place of a refused head: no method begins with NUL, so it answers 400 and closes.
const NO_REQUEST: &[u8] = b"\0\r\n\r\n";

const READ_BYTES: usize = 8192;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

#[derive(Debug)]
pub(crate) struct Guard {
    tcp: TcpStream,
    vitals: Arc<Vitals>,
    framing: Framing,
    /// Read from the socket, not yet read by the parser: part of a head, or what follows a request. At most a head and
    /// a read.
    held: BytesMut,
    /// Of `held`, what may pass.
    passing: usize,
    refused: bool,
}

impl Guard {
    pub(crate) fn new(tcp: TcpStream, vitals: Arc<Vitals>) -> Self {
        Self {
            tcp,
            vitals,
            framing: Framing::Head,
            held: BytesMut::new(),
            passing: 0,
            refused: false,
        }
    }

    /// Reads until it is clear which protocol the client speaks.
    pub(crate) async fn sniff(&mut self) -> io::Result<Protocol> {
        loop {
            let compared = self.held.len().min(HTTP2_PREFACE.len());
            if self.held[..compared] != HTTP2_PREFACE[..compared] {
                self.vitals.head_began();
                return Ok(Protocol::Http1);
            }
            if compared == HTTP2_PREFACE.len() {
                self.framing = Framing::Raw;
                return Ok(Protocol::Http2);
            }
            if self.tcp.read_buf(&mut self.held).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.vitals.moved();
        }
    }

    /// Gives the parser what may pass of `held`; false when that is nothing.
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let length = self.passing.min(buf.remaining());
        buf.put_slice(&self.held[..length]);
        self.held.advance(length);
        self.passing -= length;
        if self.held.is_empty() {
            // An idle connection holds no memory here.
            self.held = BytesMut::new();
        }
        length > 0
    }

    /// Asks the framing about bytes that begin where it stopped.
    fn pass(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        let Passage { bytes, head_ended } = self.framing.pass(bytes)?;
        if head_ended {
            self.vitals.head_ended();
            if self.framing == Framing::Undecided {
                self.vitals.await_upgrade();
            }
        } else if self.framing == Framing::Head && bytes == 0 {
            self.vitals.head_began();
        }
        Ok(bytes)
    }

    fn refuse(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        let in_head = self.framing == Framing::Head;
        self.refused = true;
        self.held = BytesMut::new();
        if in_head {
            self.vitals.head_ended();
            buf.put_slice(&NO_REQUEST[..NO_REQUEST.len().min(buf.remaining())]);
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "malformed chunk",
        ))
    }

    fn poll_upgrade(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.framing == Framing::Undecided {
            let tunnel = ready!(self.vitals.poll_upgrade(cx.waker()));
            self.framing = if tunnel { Framing::Raw } else { Framing::Head };
        }
        Poll::Ready(())
    }

    /// Reads straight into the parser's buffer, and takes back what may not pass yet.
    fn poll_direct(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Step>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(cx, buf))?;
        let length = buf.filled().len() - before;
        if length == 0 {
            return Poll::Ready(Ok(Step::Given));
        }
        self.vitals.moved();
        let Ok(passed) = self.pass(&buf.filled()[before..]) else {
            buf.set_filled(before);
            return Poll::Ready(Ok(Step::Refused));
        };
        self.held
            .extend_from_slice(&buf.filled()[before + passed..]);
        buf.set_filled(before + passed);
        Poll::Ready(Ok(if passed > 0 { Step::Given } else { Step::Again }))
    }

    /// Adds to `held`, in which a head is not complete.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = [0; READ_BYTES];
        let mut more = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut more))?;
        self.vitals.moved();
        self.held.extend_from_slice(more.filled());
        Poll::Ready(Ok(more.filled().len()))
    }
}

enum Step {
    Given,
    Again,
    Refused,
}

impl AsyncRead for Guard {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        loop {
            if guard.refused || guard.give(buf) || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            ready!(guard.poll_upgrade(cx));
            if guard.held.is_empty() {
                match ready!(guard.poll_direct(cx, buf))? {
                    Step::Given => return Poll::Ready(Ok(())),
                    Step::Again => continue,
                    Step::Refused => return Poll::Ready(guard.refuse(buf)),
                }
            }
            let held = std::mem::take(&mut guard.held);
            let passed = guard.pass(&held);
            guard.held = held;
            match passed {
                Err(Refused) => return Poll::Ready(guard.refuse(buf)),
                Ok(0) => {
                    if ready!(guard.poll_more(cx))? == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                Ok(passed) => guard.passing = passed,
            }
        }
    }
}

impl AsyncWrite for Guard {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let guard = self.get_mut();
        let written = ready!(Pin::new(&mut guard.tcp).poll_write(cx, buf));
        guard.vitals.moved();
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let guard = self.get_mut();
        let written = ready!(Pin::new(&mut guard.tcp).poll_write_vectored(cx, bufs));
        guard.vitals.moved();
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}
