//! The little of a terminal that line output needs: a client with a pty has switched its own to raw mode.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite;

/// Ctrl-C and Ctrl-D as a raw terminal sends them.
pub(super) const INTERRUPT: u8 = 0x03;
pub(super) const END: u8 = 0x04;

pub(super) fn output(
    output: impl AsyncWrite + Send + Unpin + 'static,
    tty: bool,
) -> Box<dyn AsyncWrite + Send + Unpin> {
    match tty {
        true => Box::new(Terminal {
            output,
            returned: false,
        }),
        false => Box::new(output),
    }
}

/// Writes a carriage return before each newline.
struct Terminal<W> {
    output: W,
    /// The carriage return of the newline to come is out.
    returned: bool,
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Terminal<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if bytes.first() == Some(&b'\n') && !this.returned {
            ready!(Pin::new(&mut this.output).poll_write(cx, b"\r"))?;
            this.returned = true;
        }
        // Up to the next newline; a first newline has its carriage return.
        let from = usize::from(this.returned);
        let end = bytes
            .iter()
            .skip(from)
            .position(|&byte| byte == b'\n')
            .map_or(bytes.len(), |at| at + from);
        let written = ready!(Pin::new(&mut this.output).poll_write(cx, &bytes[..end]))?;
        this.returned &= written == 0;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn newlines_become_new_lines() {
        let (mut client, server) = duplex(1024);
        let mut out = output(server, true);
        out.write_all(b"one\n\ntwo\n").await.expect("room");
        out.write_all(b"\nx").await.expect("room");
        drop(out);
        let mut seen = String::new();
        client.read_to_string(&mut seen).await.expect("text");
        assert_eq!(seen, "one\r\n\r\ntwo\r\n\r\nx");
    }
}
