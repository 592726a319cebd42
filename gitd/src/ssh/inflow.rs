//! What a client sends on a channel and the request has not read yet.
//!
//! russh hands messages over in its own loop: a channel that does not take them stops all of the connection, also the news
//! of the room that the client has for output. So they are taken at once, always, and the client is held back by the
//! window of the channel instead. russh widens that on receipt and has no say in it but [`Windows::next`], which it
//! asks for the width that all channels get from the next message on. While a backlog is long we say [`PROBE`]: the
//! client then sends what its window has left, and after that [`PROBE`] bytes at a time, each of which asks again. (As TCP
//! probes a closed window.)

use std::{
    collections::HashMap,
    hash::Hash,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use russh::{ChannelId, ChannelMsg, ChannelReadHalf};
use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::mpsc,
    task::AbortHandle,
};

/// Throughput is at most the window per round trip: 80 MB/s at 100 ms.
pub(super) const WINDOW: u32 = 8 << 20;
/// The narrowest that russh widens again: it does so below half of it.
const PROBE: u32 = 2;
/// Between probes.
const PROBE_PAUSE: Duration = Duration::from_millis(20);
/// From here on the client is held back.
const LONG: usize = 4 << 20;
/// A client that keeps to its window comes to `LONG + WINDOW`; with others on the connection that are read, to more.
const BACKLOG_MAX: usize = 48 << 20;
/// Of a message without data: many of them are a backlog too.
const MESSAGE_BYTES: usize = 128;

/// A cheap handle on the bytes of one channel that wait.
#[derive(Debug, Clone, Default)]
pub(super) struct Backlog {
    bytes: Arc<AtomicUsize>,
    overflowed: Arc<AtomicBool>,
}

/// The backlogs of a connection's channels.
#[derive(Debug)]
pub(super) struct Windows<C = ChannelId>(HashMap<C, Backlog>);

/// The messages of a channel, from its opening.
pub(super) struct Inbox {
    messages: mpsc::UnboundedReceiver<ChannelMsg>,
    backlog: Backlog,
    drain: AbortHandle,
}

/// Into the input of a request; never waits.
pub(super) struct Feed {
    queue: mpsc::UnboundedSender<Bytes>,
    backlog: Backlog,
}

/// The input of a request.
pub(super) struct Input {
    queue: mpsc::UnboundedReceiver<Bytes>,
    backlog: Backlog,
    current: Bytes,
}

impl<C> Default for Windows<C> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<C: Copy + Eq + Hash> Windows<C> {
    pub(super) fn open(&mut self, channel: C) -> Backlog {
        self.0.entry(channel).or_default().clone()
    }

    pub(super) fn close(&mut self, channel: C) {
        self.0.remove(&channel);
    }

    /// Whether anything still takes what comes on it.
    pub(super) fn is_open(&self, channel: C) -> bool {
        let backlog = self.0.get(&channel);
        backlog.is_some_and(|backlog| Arc::strong_count(&backlog.bytes) > 1)
    }

    pub(super) fn forget_closed(&mut self) {
        self.0
            .retain(|_, backlog| Arc::strong_count(&backlog.bytes) > 1);
    }

    /// The width from now on, after `channel` was widened to `now`. Beside a channel with a long backlog, one that is
    /// read is widened once by the next message, and then the width is narrow again.
    pub(super) fn next(&self, channel: C, now: u32) -> u32 {
        let is_long = |backlog: &Backlog| backlog.bytes() >= LONG;
        let this = self.0.get(&channel).is_some_and(is_long);
        let any = self.0.values().any(is_long);
        match (this, any) {
            (true, _) => PROBE,
            (false, true) if now == WINDOW => PROBE,
            _ => WINDOW,
        }
    }

    /// A message of that many bytes has come.
    pub(super) async fn probed(&self, channel: C, bytes: usize) {
        let is_long = self
            .0
            .get(&channel)
            .is_some_and(|backlog| backlog.bytes() >= LONG);
        if is_long && bytes <= PROBE as usize {
            tokio::time::sleep(PROBE_PAUSE).await;
        }
    }
}

impl Backlog {
    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn add(&self, message: &ChannelMsg) {
        self.bytes.fetch_add(weight(message), Ordering::Relaxed);
    }

    fn take(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The client has sent more than its window allowed, or than may wait.
    pub(super) fn overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Acquire)
    }
}

fn weight(message: &ChannelMsg) -> usize {
    match message {
        ChannelMsg::Data { data } => MESSAGE_BYTES + data.len(),
        _ => MESSAGE_BYTES,
    }
}

impl Inbox {
    pub(super) fn open(channel: ChannelReadHalf, backlog: Backlog) -> Self {
        let (queue, messages) = mpsc::unbounded_channel();
        let drain = tokio::spawn(drain(channel, queue, backlog.clone())).abort_handle();
        Self {
            messages,
            backlog,
            drain,
        }
    }

    /// `None`: the connection has ended, or the backlog has overflowed.
    pub(super) async fn wait(&mut self) -> Option<ChannelMsg> {
        let message = self.messages.recv().await?;
        // Data is waiting until the request has it.
        if !matches!(message, ChannelMsg::Data { .. }) {
            self.backlog.take(weight(&message));
        }
        Some(message)
    }

    pub(super) fn backlog(&self) -> Backlog {
        self.backlog.clone()
    }

    pub(super) fn feed(&self) -> (Feed, Input) {
        let (queue, input) = mpsc::unbounded_channel();
        let feed = Feed {
            queue,
            backlog: self.backlog.clone(),
        };
        let input = Input {
            queue: input,
            backlog: self.backlog.clone(),
            current: Bytes::new(),
        };
        (feed, input)
    }

    /// Data that no request wants.
    pub(super) fn drop_data(&self, data: &Bytes) {
        self.backlog.take(MESSAGE_BYTES + data.len());
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.drain.abort();
    }
}

/// Takes what the connection has until it ends; past the most that may wait, to no avail.
async fn drain(
    mut channel: ChannelReadHalf,
    queue: mpsc::UnboundedSender<ChannelMsg>,
    backlog: Backlog,
) {
    while let Some(message) = channel.wait().await {
        backlog.add(&message);
        if backlog.bytes() > BACKLOG_MAX {
            backlog.overflowed.store(true, Ordering::Release);
            break;
        }
        let weight = weight(&message);
        if queue.send(message).is_err() {
            backlog.take(weight);
        }
    }
    drop(queue);
    while channel.wait().await.is_some() {}
}

impl Feed {
    /// `false`: the request has read all it wants.
    pub(super) fn give(&self, data: Bytes) -> bool {
        let length = data.len();
        let given = self.queue.send(data).is_ok();
        if !given {
            self.backlog.take(MESSAGE_BYTES + length);
        }
        given
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.queue.close();
        while let Ok(data) = self.queue.try_recv() {
            self.backlog.take(MESSAGE_BYTES + data.len());
        }
    }
}

impl AsyncRead for Input {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.current.is_empty() {
            match ready!(self.queue.poll_recv(cx)) {
                Some(data) => {
                    self.backlog.take(MESSAGE_BYTES + data.len());
                    self.current = data;
                }
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.current.len().min(buffer.remaining());
        buffer.put_slice(&self.current[..length]);
        self.current.advance(length);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(bytes: usize) -> ChannelMsg {
        ChannelMsg::Data {
            data: vec![0; bytes].into(),
        }
    }

    #[test]
    fn a_long_backlog_narrows_the_windows_and_one_that_is_read_still_gets_its_own() {
        let (read, stalled) = (1, 2);
        let mut windows = Windows::default();
        let quiet = windows.open(read);
        let backlog = windows.open(stalled);
        assert_eq!(windows.next(stalled, WINDOW), WINDOW);
        backlog.add(&data(LONG));
        assert_eq!(windows.next(stalled, WINDOW), PROBE);
        assert_eq!(windows.next(read, PROBE), WINDOW);
        assert_eq!(windows.next(read, WINDOW), PROBE);
        backlog.take(LONG);
        assert_eq!(windows.next(stalled, PROBE), WINDOW);
        assert!(windows.is_open(read) && windows.is_open(stalled));
        drop(quiet);
        windows.forget_closed();
        assert!(!windows.is_open(read) && windows.is_open(stalled));
        windows.close(stalled);
        assert!(!windows.is_open(stalled));
    }

    #[test]
    fn small_messages_weigh_too() {
        let backlog = Backlog::default();
        (0..LONG / MESSAGE_BYTES).for_each(|_| backlog.add(&ChannelMsg::Eof));
        assert!(backlog.bytes() >= LONG);
    }
}
