//! Bodies on their way through: counted, timed, and each holding what must end with it.

use std::{
    cell::Cell,
    error::Error,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::{
    endpoint::Lease,
    failure::Code,
    log::{Outcome, RequestLine},
    pool::Pooled,
};

/// How far a request's body has come.
#[derive(Debug)]
pub(crate) struct Upload {
    progress: Cell<Instant>,
    /// Something was taken from the client: it cannot be sent to another endpoint any more.
    started: Cell<bool>,
    done: Cell<bool>,
    failed: Cell<bool>,
    /// The endpoint would take more, the client has not sent it.
    starved: Cell<bool>,
}

impl Upload {
    fn new(done: bool) -> Rc<Self> {
        Rc::new(Self {
            progress: Cell::new(Instant::now()),
            started: Cell::new(false),
            done: Cell::new(done),
            failed: Cell::new(false),
            starved: Cell::new(false),
        })
    }

    pub(crate) fn touch(&self) {
        self.progress.set(Instant::now());
    }

    pub(crate) fn progress(&self) -> Instant {
        self.progress.get()
    }

    pub(crate) fn is_started(&self) -> bool {
        self.started.get()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done.get()
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.failed.get()
    }

    pub(crate) fn is_starved(&self) -> bool {
        self.starved.get()
    }
}

/// A request's body; `None` when it has none.
#[derive(Debug)]
pub(crate) struct RequestBody {
    incoming: Option<Incoming>,
    upload: Rc<Upload>,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming) -> (Self, Rc<Upload>) {
        let done = incoming.is_end_stream();
        let upload = Upload::new(done);
        let body = Self {
            incoming: (!done).then_some(incoming),
            upload: Rc::clone(&upload),
        };
        (body, upload)
    }

    /// The same body again, which is possible when there is none.
    pub(crate) fn again(&self) -> Option<Self> {
        self.incoming.is_none().then(|| Self {
            incoming: None,
            upload: Rc::clone(&self.upload),
        })
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let body = self.get_mut();
        let Some(incoming) = &mut body.incoming else {
            return Poll::Ready(None);
        };
        let upload = &body.upload;
        upload.started.set(true);
        upload.starved.set(true);
        let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
        upload.starved.set(false);
        upload.touch();
        match &frame {
            Some(Ok(_)) => upload.done.set(incoming.is_end_stream()),
            Some(Err(_)) => upload.failed.set(true),
            None => upload.done.set(true),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.incoming {
            Some(incoming) => incoming.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

/// What a client receives.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A page of ours, or nothing.
    Page(Option<Bytes>),
    Endpoint(Box<ResponseBody>),
}

type BoxError = Box<dyn Error + Send + Sync>;

impl Body for Reply {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Reply::Page(page) => Poll::Ready(page.take().map(|page| Ok(Frame::data(page)))),
            Reply::Endpoint(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Reply::Page(page) => page.is_none(),
            Reply::Endpoint(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Reply::Page(page) => {
                SizeHint::with_exact(page.as_ref().map_or(0, |page| page.len() as u64))
            }
            Reply::Endpoint(body) => body.incoming.size_hint(),
        }
    }
}

/// An endpoint's answer. When it ends, so do the lease and the log line, and the connection goes back to the pool.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    incoming: Incoming,
    status: u16,
    ended: bool,
    idle_max: Duration,
    upload: Rc<Upload>,
    silence: Silence,
    connection: Option<Pooled>,
    line: RequestLine,
    _lease: Lease,
}

impl ResponseBody {
    pub(crate) fn new(
        (incoming, status): (Incoming, u16),
        idle_max: Duration,
        upload: Rc<Upload>,
        connection: Pooled,
        line: RequestLine,
        lease: Lease,
    ) -> Self {
        Self {
            incoming,
            status,
            ended: false,
            idle_max,
            upload,
            silence: Silence::default(),
            connection: Some(connection),
            line,
            _lease: lease,
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            ready!(self.silence.poll(cx, self.idle_max, &self.upload));
            return Poll::Ready(Some(Err(self.fail(Code::H15))));
        };
        self.silence.end();
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.line.facts.bytes += length as u64;
                Some(Ok(frame))
            }
            Some(Err(_)) => Some(Err(self.fail(Code::H18))),
            None => {
                self.ended = true;
                None
            }
        })
    }

    fn fail(&mut self, code: Code) -> BoxError {
        self.line.facts.outcome = Outcome::Failed(code);
        self.connection = None;
        code.description().into()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let complete = self.ended || self.incoming.is_end_stream();
        if !complete || self.line.facts.outcome != Outcome::Open {
            return;
        }
        self.line.facts.outcome = Outcome::Answered(self.status);
        // An endpoint that answers before it has read the request has a connection with half a request on it.
        if let Some(connection) = self.connection.take().filter(|_| self.upload.is_done()) {
            self.line.shared.pool.put(connection);
        }
    }
}

/// How long the endpoint has sent nothing although the client would take it. The time in which the client does not
/// read is not the endpoint's.
#[derive(Debug, Default)]
struct Silence {
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Silence {
    fn end(&mut self) {
        self.since = None;
    }

    /// Ready when neither side has sent anything for `idle_max`.
    fn poll(&mut self, cx: &mut Context<'_>, idle_max: Duration, upload: &Upload) -> Poll<()> {
        let mut began = self.since.is_none();
        loop {
            let since = *self.since.get_or_insert_with(Instant::now);
            let due = since.max(upload.progress()) + idle_max;
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if began {
                timer.as_mut().reset(due);
                began = false;
            }
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}
