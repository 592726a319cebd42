//! Between a channel and its request: bytes in, bytes out, the exit status, and the news that the client has gone.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use russh::{
    Channel, ChannelMsg, ChannelReadHalf, Sig,
    server::{Handle, Msg},
};
use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::{OwnedSemaphorePermit, mpsc, watch},
};

use super::{Shared, connection::Ending, terminal};
use crate::{
    client_terminal::{ClientTerminal, RawMode},
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
    pub(super) terminal: Option<ClientTerminal>,
    pub(super) gone: Gone,
    pub(super) ending: watch::Receiver<Option<Ending>>,
    pub(super) handle: Handle,
}

/// Runs the request and closes the channel: output first, then the exit status, then the end.
pub(super) async fn run<P: Platform>(job: Job<P>) {
    let id = job.channel.id();
    let (read, write) = job.channel.split();
    let (queue, input) = mpsc::channel(INPUT_QUEUE);
    let raw = job.terminal.as_ref().map(|terminal| terminal.raw.clone());
    let pump = tokio::spawn(pump(
        read,
        queue,
        job.gone.clone(),
        job.ending,
        Nature {
            line_terminal: raw.clone(),
            detaches: matches!(job.request, Ok(Request::ReceivePack(_))),
        },
    ));
    let stopper = tokio::spawn(stop(job.shared.stopping.clone(), job.gone.clone()));
    let stdout = write.make_writer();
    let io = Io {
        stdin: Box::new(Input {
            queue: input,
            current: Bytes::new(),
        }),
        stdout: terminal::output(stdout, raw.clone()),
        // A terminal has one screen.
        stderr: match raw {
            Some(_) => terminal::output(write.make_writer(), raw),
            None => Box::new(write.make_writer_ext(Some(STDERR))),
        },
        terminal: job.terminal,
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
    _ = job
        .handle
        .exit_status_request(id, u32::from(status.code))
        .await;
    if let Some(signal) = status.signal.and_then(signal) {
        // After the status, for those that know only that.
        let none = String::new;
        _ = job
            .handle
            .exit_signal_request(id, signal, false, none(), none())
            .await;
    }
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

/// What a request makes of its input and its client.
struct Nature {
    /// It is typed at a terminal; while that is not raw, control characters are ours.
    line_terminal: Option<RawMode>,
    /// Goes on when the connection was lost without anybody's will.
    detaches: bool,
}

impl Nature {
    fn is_typed(&self, data: &[u8], control: u8) -> bool {
        let cooked = self.line_terminal.as_ref().is_some_and(|raw| !raw.is_on());
        cooked && data.contains(&control)
    }
}

/// Those that have a name in RFC 4254 6.10.
fn signal(number: i32) -> Option<Sig> {
    Some(match number {
        1 => Sig::HUP,
        2 => Sig::INT,
        3 => Sig::QUIT,
        4 => Sig::ILL,
        6 => Sig::ABRT,
        8 => Sig::FPE,
        9 => Sig::KILL,
        10 => Sig::USR1,
        11 => Sig::SEGV,
        13 => Sig::PIPE,
        14 => Sig::ALRM,
        15 => Sig::TERM,
        _ => return None,
    })
}

/// Always takes what the connection has: a full channel would stop all others of the connection as well.
async fn pump(
    mut channel: ChannelReadHalf,
    queue: mpsc::Sender<Bytes>,
    gone: Gone,
    mut ending: watch::Receiver<Option<Ending>>,
    nature: Nature,
) {
    let mut queue = Some(queue);
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                if nature.is_typed(&data, terminal::INTERRUPT) {
                    gone.set();
                }
                let end = nature.is_typed(&data, terminal::END);
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
    if !nature.detaches || !matches!(how, Ok(Some(Ending::Lost))) {
        gone.set();
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
