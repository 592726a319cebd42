//! Between a channel and its request: bytes in, bytes out, the exit status, and the news that the client has gone.

use russh::{
    ChannelMsg, ChannelWriteHalf, Sig,
    server::{Handle, Msg},
};
use tokio::{
    io::AsyncWriteExt,
    sync::{OwnedSemaphorePermit, watch},
};

use super::{
    Shared,
    connection::Ending,
    inflow::{Feed, Inbox},
    terminal,
};
use crate::{
    client_terminal::{ClientTerminal, RawMode},
    gone::Gone,
    platform::{Caller, Io, Platform},
    request::{Request, RequestError},
    session,
};

const STDERR: u32 = 1;
const OVERFLOWED: &[u8] =
    b" !     More input came than can wait for the command to read it; it was ended.\n";

pub(super) struct Job<P> {
    pub(super) shared: Shared<P>,
    pub(super) caller: Caller,
    pub(super) request: Result<Request, RequestError>,
    pub(super) inbox: Inbox,
    pub(super) write: ChannelWriteHalf<Msg>,
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) git_protocol: Option<String>,
    pub(super) terminal: Option<ClientTerminal>,
    /// The client ends the connection when it hears of both a status and a signal.
    pub(super) takes_one_result: bool,
    pub(super) gone: Gone,
    pub(super) ending: watch::Receiver<Option<Ending>>,
    pub(super) handle: Handle,
}

/// Runs the request and closes the channel: output first, then the exit status, then the end.
pub(super) async fn run<P: Platform>(job: Job<P>) {
    let write = job.write;
    let id = write.id();
    let backlog = job.inbox.backlog();
    let (feed, input) = job.inbox.feed();
    let raw = job.terminal.as_ref().map(|terminal| terminal.raw.clone());
    let nature = Nature {
        line_terminal: raw.clone(),
        detaches: matches!(job.request, Ok(Request::ReceivePack(_))),
    };
    let pump = tokio::spawn(pump(job.inbox, feed, job.gone.clone(), job.ending, nature));
    let stopper = tokio::spawn(stop(job.shared.stopping.clone(), job.gone.clone()));
    let stdout = write.make_writer();
    let io = Io {
        stdin: Box::new(input),
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
    if backlog.overflowed() {
        let mut stderr = write.make_writer_ext(Some(STDERR));
        _ = stderr.write_all(OVERFLOWED).await;
    }
    let signal = status.signal.and_then(signal);
    // The client may be gone; there is nobody left to tell.
    if signal.is_none() || !job.takes_one_result {
        let code = u32::from(status.code);
        _ = job.handle.exit_status_request(id, code).await;
    }
    if let Some(signal) = signal {
        // After the status, for those that know only that.
        let none = String::new;
        _ = job
            .handle
            .exit_signal_request(id, signal, false, none(), none())
            .await;
    }
    _ = job.handle.eof(id).await;
    _ = job.handle.close(id).await;
    // russh knows nothing of the channel from here on, and tells nobody of what the client still sends or that it closes.
    pump.abort();
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

/// Until the client closes the channel, the connection ends, or more has come than can wait.
async fn pump(
    mut inbox: Inbox,
    feed: Feed,
    gone: Gone,
    mut ending: watch::Receiver<Option<Ending>>,
    nature: Nature,
) {
    let mut feed = Some(feed);
    while let Some(message) = inbox.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                if nature.is_typed(&data, terminal::INTERRUPT) {
                    gone.set();
                }
                let end = nature.is_typed(&data, terminal::END);
                let wanted = match &feed {
                    Some(feed) => feed.give(data),
                    None => {
                        inbox.drop_data(&data);
                        false
                    }
                };
                if !wanted || end {
                    feed = None;
                }
            }
            ChannelMsg::Eof => feed = None,
            ChannelMsg::Close => return gone.set(),
            _ => {}
        }
    }
    drop(feed);
    if inbox.backlog().overflowed() {
        return gone.set();
    }
    // The connection has ended; why decides over what runs.
    let how = ending.wait_for(Option::is_some).await.map(|how| *how);
    match how {
        Ok(Some(Ending::Lost)) if nature.detaches => gone.lose(),
        _ => gone.set(),
    }
}
