//! Bodies on their way through: bounded in silence, counted, and followed by what has to happen at their end.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::{sync::oneshot, time::Sleep};

use crate::{
    failure::Failure,
    log::{LogSender, Record},
    pool::{Pool, Sender},
    table::Claim,
};

/// A body whose next frame may not be later than `idle` after the last.
struct Watched {
    inner: Incoming,
    idle: Duration,
    late: Pin<Box<Sleep>>,
}

impl Watched {
    fn new(inner: Incoming, idle: Duration) -> Self {
        Self {
            inner,
            idle,
            late: Box::pin(tokio::time::sleep(idle)),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.late
                    .as_mut()
                    .reset(tokio::time::Instant::now() + self.idle);
                Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)))
            }
            Poll::Pending => {
                ready!(self.late.as_mut().poll(cx));
                Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())))
            }
        }
    }
}

/// A request's body. Dropped by the connection when it has been sent, which its receiver notices.
pub(crate) struct Upload {
    /// None: empty, of a request that is sent again.
    body: Option<Watched>,
    _done: Option<oneshot::Sender<()>>,
}

impl Upload {
    pub(super) fn new(inner: Incoming, idle: Duration, done: oneshot::Sender<()>) -> Self {
        Self {
            body: Some(Watched::new(inner, idle)),
            _done: Some(done),
        }
    }

    pub(super) fn empty() -> Self {
        Self {
            body: None,
            _done: None,
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.body
            .as_mut()
            .map_or(Poll::Ready(None), |body| body.poll(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.body
            .as_ref()
            .is_none_or(|body| body.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or(SizeHint::with_exact(0), |body| body.inner.size_hint())
    }
}

/// What happens when a response has gone through, or has been cut.
pub(super) struct Finish {
    pub(super) record: Record,
    pub(super) started: Instant,
    pub(super) log: LogSender,
    pub(super) pool: Pool,
    pub(super) sender: Sender,
    pub(super) claim: Claim,
}

/// A response's body, with the claim on its endpoint.
pub(crate) struct Download {
    body: Watched,
    bytes: u64,
    ended: bool,
    failure: Option<Failure>,
    finish: Option<Finish>,
}

impl Download {
    pub(super) fn new(inner: Incoming, finish: Finish, idle: Duration) -> Self {
        Self {
            body: Watched::new(inner, idle),
            bytes: 0,
            ended: false,
            failure: None,
            finish: Some(finish),
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let frame = ready!(self.body.poll(cx));
        match &frame {
            None => self.ended = true,
            Some(Ok(frame)) => self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
            Some(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
                self.failure = Some(Failure::IdleConnection)
            }
            Some(Err(_)) => self.failure = Some(Failure::ServerInterrupted),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.inner.size_hint()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let Some(mut finish) = self.finish.take() else {
            return;
        };
        let ended = self.ended || self.body.inner.is_end_stream();
        finish.record.failure = self
            .failure
            .or((!ended).then_some(Failure::ClientInterrupted));
        finish.record.bytes = self.bytes;
        finish.record.service = finish.started.elapsed();
        finish.record.send(&finish.log);
        if ended && self.failure.is_none() {
            finish
                .pool
                .give_back(finish.sender, finish.claim.state.clone());
        }
    }
}
