//! Between a channel and its request: bytes in, bytes out, the exit status, and the news that the client has gone.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use russh::{
    Channel, ChannelMsg, ChannelReadHalf,
    server::{Handle, Msg},
};
use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::{OwnedSemaphorePermit, mpsc, watch},
};

use super::{Shared, connection::Ending, terminal};
use crate::{
    gone::Gone,
    platform::{Caller, Io, Platform},
    request::{Request, RequestError},
    session,
};

/// Messages of input that a request has not read yet, each at most a packet of 32 KiB. When they are full the connection
/// waits, and with it the client: also for news of the room it has for output, so a command that waits for that room is
/// given much to read before.
const INPUT_QUEUE: usize = 1024;
const STDERR: u32 = 1;

pub(super) struct Job<P> {
    pub(super) shared: Shared<P>,
    pub(super) caller: Caller,
    pub(super) request: Result<Request, RequestError>,
    pub(super) channel: Channel<Msg>,
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) git_protocol: Option<String>,
    pub(super) tty: bool,
    pub(super) gone: Gone,
    pub(super) ending: watch::Receiver<Option<Ending>>,
    pub(super) handle: Handle,
}

/// Runs the request and closes the channel: output first, then the exit status, then the end.
pub(super) async fn run<P: Platform>(job: Job<P>) {
    let id = job.channel.id();
    let (read, write) = job.channel.split();
    let (queue, input) = mpsc::channel(INPUT_QUEUE);
    let pump = tokio::spawn(pump(read, queue, job.gone.clone(), job.ending, job.tty));
    let stopper = tokio::spawn(stop(job.shared.stopping.clone(), job.gone.clone()));
    let stdout = write.make_writer();
    let io = Io {
        stdin: Box::new(Input {
            queue: input,
            current: Bytes::new(),
        }),
        stdout: terminal::output(stdout, job.tty),
        // A terminal has one screen.
        stderr: match job.tty {
            true => terminal::output(write.make_writer(), true),
            false => Box::new(write.make_writer_ext(Some(STDERR))),
        },
        tty: job.tty,
        gone: Box::pin({
            let gone = job.gone.clone();
            async move { gone.wait().await }
        }),
    };
    let protocol = job.git_protocol.as_deref();
    let status = session::run(
        &*job.shared.platform,
        &job.caller,
        job.request,
        protocol,
        io,
        &job.gone,
    )
    .await;
    stopper.abort();
    // The client may be gone; there is nobody left to tell.
    _ = job.handle.exit_status_request(id, u32::from(status)).await;
    _ = job.handle.eof(id).await;
    _ = job.handle.close(id).await;
    // What the client still sends is taken and dropped until it closes too.
    _ = pump.await;
    drop(job.permit);
}

async fn stop(mut stopping: watch::Receiver<bool>, gone: Gone) {
    _ = stopping.wait_for(|stop| *stop).await;
    gone.set();
}

/// Always takes what the connection has: a full channel would stop all others of the connection as well.
async fn pump(
    mut channel: ChannelReadHalf,
    queue: mpsc::Sender<Bytes>,
    gone: Gone,
    mut ending: watch::Receiver<Option<Ending>>,
    tty: bool,
) {
    let mut queue = Some(queue);
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                if tty && data.contains(&terminal::INTERRUPT) {
                    gone.set();
                }
                let end = tty && data.contains(&terminal::END);
                if !deliver(&queue, data, &mut ending).await || end {
                    queue = None;
                }
            }
            ChannelMsg::Eof => queue = None,
            ChannelMsg::Close => return gone.set(),
            _ => {}
        }
    }
    // The connection has ended; why decides over what runs.
    drop(queue);
    let how = ending.wait_for(Option::is_some).await.map(|how| *how);
    match how {
        Ok(Some(Ending::Lost)) => gone.lose(),
        _ => gone.set(),
    }
}

/// `false`: the request has read all it wants.
async fn deliver(
    queue: &Option<mpsc::Sender<Bytes>>,
    data: Bytes,
    ending: &mut watch::Receiver<Option<Ending>>,
) -> bool {
    let Some(queue) = queue else { return false };
    tokio::select! {
        sent = queue.send(data) => sent.is_ok(),
        _ = ending.wait_for(Option::is_some) => false,
    }
}

struct Input {
    queue: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl AsyncRead for Input {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.current.is_empty() {
            match ready!(self.queue.poll_recv(cx)) {
                Some(data) => self.current = data,
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.current.len().min(buffer.remaining());
        buffer.put_slice(&self.current[..length]);
        self.current.advance(length);
        Poll::Ready(Ok(()))
    }
}
