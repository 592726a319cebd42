//! The TCP stream under a connection: acknowledges at once while the handshake runs, and can be cut from outside.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::net::{Shutdown, shutdown, sockopt};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// OpenSSH's client leaves Nagle's algorithm on, so its second small write waits for our acknowledgement, which the
/// kernel delays by 40 ms. The kernel forgets the option, so it is set again for this many bytes: handshake,
/// authentication, and the first command.
const QUICKACK_BYTES: usize = 64 << 10;
/// Unacknowledged data: the peer is gone without a word. Also when it does not read for that long.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(600);

pub(super) struct Socket {
    tcp: Arc<TcpStream>,
    quickack_left: usize,
}

/// Ends the connection whatever its session is doing.
pub(super) struct Cut(Arc<TcpStream>);

impl Socket {
    pub(super) fn new(tcp: TcpStream) -> io::Result<(Self, Cut)> {
        tcp.set_nodelay(true)?;
        let unacknowledged_ms = u32::try_from(UNACKNOWLEDGED_MAX.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(&tcp, unacknowledged_ms)?;
        let tcp = Arc::new(tcp);
        let socket = Self {
            tcp: Arc::clone(&tcp),
            quickack_left: QUICKACK_BYTES,
        };
        socket.acknowledge_at_once();
        Ok((socket, Cut(tcp)))
    }

    fn acknowledge_at_once(&self) {
        // Without it everything works, slowly.
        _ = sockopt::set_tcp_quickack(&*self.tcp, true);
    }
}

impl Cut {
    pub(super) fn cut(&self) {
        // It may be closed already.
        _ = shutdown(&*self.0, Shutdown::Both);
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.tcp.poll_read_ready(cx))?;
            match self.tcp.try_read(buffer.initialize_unfilled()) {
                Ok(read) => {
                    buffer.advance(read);
                    if self.quickack_left > 0 {
                        self.quickack_left = self.quickack_left.saturating_sub(read);
                        self.acknowledge_at_once();
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.tcp.poll_write_ready(cx))?;
            match self.tcp.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown(&*self.tcp, Shutdown::Write).map_err(Into::into))
    }
}
