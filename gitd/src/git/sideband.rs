//! Live text to the pusher: band 2 of the push's stream (gitprotocol-pack, "side-band-64k").

use std::{
    io, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::Notify,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use super::{pkt_line, screen::Screen};

/// Unsent text; a client that is further behind misses lines and is told how many.
const UNSENT_MAX: usize = 4 << 20;
/// Writers that can wait do so while this much is unsent.
const UNSENT_ROOM: usize = 64 << 10;
/// Bursts are collected for this long.
const COALESCE: Duration = Duration::from_millis(20);
/// A line without an end is sent after this long: a prompt, a progress dot.
const PARTIAL: Duration = Duration::from_millis(150);
/// As git's receive.keepAlive: an empty packet when there was nothing to send, for the NATs on the way.
const KEEPALIVE: Duration = Duration::from_secs(5);
const KEEPALIVE_PACKET: &[u8] = b"0005\x01";

const DATA: u8 = 1;
const TEXT: u8 = 2;

/// A cheap handle; clones write to the same client. Writing never waits and never fails, so it is at home in async code
/// and in blocking threads alike.
#[derive(Debug, Clone)]
pub struct Sideband {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
    closing: Notify,
    sent: Notify,
}

#[derive(Debug)]
struct State {
    screen: Screen,
    /// Seen by `screen`, not sent yet.
    text: Vec<u8>,
    skipped_lines: usize,
    /// Nobody reads any more, or the report has begun.
    closed: bool,
}

/// The task that sends, and gives the stream back for the report.
pub(crate) struct Sender<W> {
    sideband: Sideband,
    task: JoinHandle<io::Result<W>>,
}

impl Sideband {
    /// `colours`: SGR sequences may pass.
    pub(crate) fn start<W>(output: W, colours: bool) -> (Self, Sender<W>)
    where
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let sideband = Self::new(colours);
        let task = tokio::spawn(send(sideband.clone(), output));
        let sender = Sender {
            sideband: sideband.clone(),
            task,
        };
        (sideband, sender)
    }

    /// For clients that cannot show text: it is dropped.
    pub(crate) fn silent() -> Self {
        let sideband = Self::new(false);
        sideband.close();
        sideband
    }

    fn new(colours: bool) -> Self {
        let state = State {
            screen: Screen::new(colours),
            text: Vec::new(),
            skipped_lines: 0,
            closed: false,
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                changed: Notify::new(),
                closing: Notify::new(),
                sent: Notify::new(),
            }),
        }
    }

    /// Any bytes, broken anywhere.
    pub fn write(&self, bytes: &[u8]) {
        let mut state = self.state();
        if state.closed {
            return;
        }
        if state.text.len() + bytes.len() > UNSENT_MAX {
            state.skipped_lines += bytes.iter().filter(|&&byte| byte == b'\n').count();
            return;
        }
        state.push(bytes);
        drop(state);
        self.shared.changed.notify_one();
    }

    /// One line; the newline is added.
    pub fn line(&self, text: &str) {
        self.write(format!("{text}\n").as_bytes());
    }

    /// Waits until the client has taken nearly all that was written: for writers that can. Nothing of theirs is skipped.
    pub(crate) async fn room(&self) {
        loop {
            let sent = self.shared.sent.notified();
            tokio::pin!(sent);
            // Registered before the look at the state, so that nothing falls between.
            sent.as_mut().enable();
            if self.state().has_room() {
                return;
            }
            sent.await;
        }
    }

    fn close(&self) {
        self.state().closed = true;
        self.shared.sent.notify_waiters();
        self.shared.changed.notify_one();
        self.shared.closing.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A writer that panicked left whole text behind.
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, bytes: &[u8]) {
        let Self { screen, text, .. } = self;
        if self.skipped_lines > 0 {
            let notice = format!(
                "\n... {} lines were skipped: the connection is too slow\n",
                self.skipped_lines
            );
            screen.push(notice.as_bytes(), text);
            self.skipped_lines = 0;
        }
        screen.push(bytes, text);
    }

    fn has_room(&self) -> bool {
        self.closed || self.text.len() < UNSENT_ROOM
    }

    /// Whole lines only, or all.
    fn take(&mut self, partial: bool) -> Vec<u8> {
        if partial {
            return mem::take(&mut self.text);
        }
        let lines = self
            .text
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        let rest = self.text.split_off(lines);
        mem::replace(&mut self.text, rest)
    }
}

impl<W: AsyncWrite + Unpin> Sender<W> {
    /// Sends what is left, then the report on band 1, and ends the stream.
    pub(crate) async fn finish(self, report: &[u8]) -> io::Result<W> {
        self.sideband.close();
        let mut output = self.task.await.map_err(io::Error::other)??;
        let mut packets = Vec::new();
        pkt_line::write_band(DATA, report, &mut packets);
        packets.extend_from_slice(pkt_line::FLUSH);
        output.write_all(&packets).await?;
        output.flush().await?;
        Ok(output)
    }
}

async fn send<W: AsyncWrite + Unpin>(sideband: Sideband, mut output: W) -> io::Result<W> {
    let result = send_until_closed(&sideband, &mut output).await;
    // The client is gone or wants the report: whatever is written from now on has no reader.
    sideband.state().closed = true;
    sideband.shared.sent.notify_waiters();
    result.map(|()| output)
}

async fn send_until_closed(
    sideband: &Sideband,
    output: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    loop {
        let Ok(()) = timeout(KEEPALIVE, sideband.shared.changed.notified()).await else {
            output.write_all(KEEPALIVE_PACKET).await?;
            output.flush().await?;
            continue;
        };
        let partial_at = Instant::now() + PARTIAL;
        loop {
            let closed = sideband.state().closed;
            if !closed {
                _ = timeout(COALESCE, sideband.shared.closing.notified()).await;
            }
            let text = sideband
                .state()
                .take(closed || Instant::now() >= partial_at);
            if !text.is_empty() {
                let mut packets = Vec::with_capacity(text.len() + 16);
                pkt_line::write_band(TEXT, &text, &mut packets);
                output.write_all(&packets).await?;
                output.flush().await?;
                sideband.shared.sent.notify_waiters();
            }
            if closed {
                return Ok(());
            }
            if sideband.state().text.is_empty() {
                break;
            }
            // The rest is a line without an end: until it grows, or its time has come.
            _ = timeout_at(partial_at, sideband.shared.changed.notified()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    async fn all_of(write: impl FnOnce(&Sideband)) -> Vec<u8> {
        let (client, server) = duplex(1 << 20);
        let (sideband, sender) = Sideband::start(server, false);
        write(&sideband);
        drop(sender.finish(b"report").await.expect("the reader is there"));
        sideband.line("too late");
        let mut client = client;
        let mut seen = Vec::new();
        client.read_to_end(&mut seen).await.expect("reads");
        seen
    }

    #[tokio::test]
    async fn text_comes_before_the_report() {
        let seen = all_of(|out| {
            out.line("one");
            out.write(b"tw");
            out.write(b"o");
        })
        .await;
        assert_eq!(seen, b"000c\x02one\ntwo000b\x01report0000");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_kept_alive() {
        let (mut client, server) = duplex(1024);
        let (_sideband, _sender) = Sideband::start(server, false);
        let mut seen = [0; 10];
        client.read_exact(&mut seen).await.expect("two keepalives");
        assert_eq!(&seen, b"0005\x010005\x01");
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_without_an_end_is_sent_after_a_while() {
        let (mut client, server) = duplex(1024);
        let (sideband, _sender) = Sideband::start(server, false);
        sideband.write(b"continue?");
        let mut seen = [0; 14];
        client.read_exact(&mut seen).await.expect("the line");
        assert_eq!(&seen, b"000e\x02continue?");
    }

    /// Of time that passes only while everybody waits.
    #[tokio::test(start_paused = true)]
    async fn a_line_is_sent_within_a_tenth_of_a_second() {
        let (mut client, server) = duplex(1024);
        let (sideband, _sender) = Sideband::start(server, false);
        for line in ["one", "two"] {
            let written = Instant::now();
            sideband.line(line);
            let mut seen = [0; 9];
            client.read_exact(&mut seen).await.expect("the line");
            assert_eq!(seen[5..], *format!("{line}\n").as_bytes());
            assert!(written.elapsed() <= Duration::from_millis(100));
        }
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_costs_bounded_memory_and_is_told() {
        let (mut client, server) = duplex(16);
        let (sideband, sender) = Sideband::start(server, false);
        let line = [b'x'; 1023];
        for _ in 0..8192 {
            sideband.line(std::str::from_utf8(&line).expect("ascii"));
        }
        assert!(sideband.state().text.len() <= UNSENT_MAX);
        let skipped = sideband.state().skipped_lines;
        assert!(skipped > 0);
        let reader = tokio::spawn(async move {
            let mut seen = Vec::new();
            client.read_to_end(&mut seen).await.expect("reads");
            seen
        });
        while sideband.state().text.len() + 1024 > UNSENT_MAX {
            tokio::task::yield_now().await;
        }
        sideband.line("last");
        drop(sender.finish(b"").await.expect("the reader is there"));
        let seen = reader.await.expect("reader");
        let text = String::from_utf8_lossy(&seen);
        assert!(text.contains("lines were skipped"), "told");
        assert!(text.contains("last\n"));
    }

    #[tokio::test]
    async fn a_writer_that_waits_for_room_skips_nothing() {
        let (mut client, server) = duplex(16);
        let (sideband, sender) = Sideband::start(server, false);
        let reader = tokio::spawn(async move {
            let mut seen = Vec::new();
            client.read_to_end(&mut seen).await.expect("reads");
            seen
        });
        let line = "x".repeat(1023);
        for _ in 0..1000 {
            sideband.room().await;
            sideband.line(&line);
            assert!(sideband.state().text.len() <= UNSENT_ROOM + 1024);
        }
        drop(sender.finish(b"").await.expect("the reader is there"));
        sideband.room().await;
        let seen = reader.await.expect("reader");
        let lines = seen.iter().filter(|&&byte| byte == b'\n').count();
        assert_eq!(lines, 1000);
    }
}
