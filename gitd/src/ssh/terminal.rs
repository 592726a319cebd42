//! The little of a terminal that line output needs: a client with a pty has switched its own to raw mode.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite;

use crate::client_terminal::RawMode;

/// Ctrl-C and Ctrl-D as a raw terminal sends them.
pub(super) const INTERRUPT: u8 = 0x03;
pub(super) const END: u8 = 0x04;

pub(super) fn output(
    output: impl AsyncWrite + Send + Unpin + 'static,
    terminal: Option<RawMode>,
) -> Box<dyn AsyncWrite + Send + Unpin> {
    match terminal {
        Some(raw) => Box::new(Terminal {
            output,
            raw,
            returned: false,
        }),
        None => Box::new(output),
    }
}

/// Writes a carriage return before each newline, but in raw mode.
struct Terminal<W> {
    output: W,
    raw: RawMode,
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
        if this.raw.is_on() {
            return Pin::new(&mut this.output).poll_write(cx, bytes);
        }
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
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        sync::watch,
    };

    use super::*;
    use crate::client_terminal::{ClientTerminal, size};

    #[tokio::test]
    async fn newlines_become_new_lines() {
        let (mut client, server) = duplex(1024);
        let (_, size) = watch::channel(size(0, 0));
        let terminal = ClientTerminal {
            name: String::new(),
            env: vec![],
            size,
            raw: RawMode::default(),
        };
        let mut out = output(server, Some(terminal.raw.clone()));
        out.write_all(b"one\n\ntwo\n").await.expect("room");
        out.write_all(b"\nx").await.expect("room");
        let raw = terminal.raw();
        out.write_all(b"\nraw\n").await.expect("room");
        drop(raw);
        out.write_all(b"\n").await.expect("room");
        drop(out);
        let mut seen = String::new();
        client.read_to_string(&mut seen).await.expect("text");
        assert_eq!(seen, "one\r\n\r\ntwo\r\n\r\nx\nraw\n\r\n");
    }
}
