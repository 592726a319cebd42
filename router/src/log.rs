//! Request lines in Heroku's logfmt, one per request, handed to whoever keeps the app's log.

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt::Write,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use http::{HeaderValue, Method, Uri};
use tokio::sync::{Notify, mpsc::error::TrySendError};

use crate::{
    endpoint::EndpointState, failure::Code, table::RouteState, vitals::Serving, worker::Shared,
};

/// One line for the log of `app`, from source `router`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppLine {
    pub app: String,
    /// Microseconds since the Unix epoch.
    pub at_us: i64,
    /// `at=info method=GET path="/" host=h request_id=u fwd="ip" dyno=web.1 connect=1ms service=18ms status=200 bytes=13 protocol=http`
    ///
    /// A failure begins `at=error code=H10 desc="App crashed"`. After lines had to be dropped, one says how many:
    /// `Error L10 (output buffer overflow): 3 messages dropped`.
    pub text: String,
}

/// Bounded; a line that finds it full is counted and dropped, never waited for.
pub type LogSender = tokio::sync::mpsc::Sender<AppLine>;

/// Waking the receiver costs more than all else that a line costs: lines wait this long for company.
const HELD_FOR: Duration = Duration::from_millis(5);

const HELD_MAX: usize = 512;

/// Where one thread puts its lines.
#[derive(Debug)]
pub(crate) struct Outlet {
    lines: LogSender,
    held: RefCell<Vec<AppLine>>,
    first_held: Notify,
    /// Lines dropped since the last that went through; at most one entry per app.
    dropped: RefCell<HashMap<String, u64>>,
}

impl Outlet {
    pub(crate) fn new(lines: LogSender) -> Self {
        Self {
            lines,
            held: RefCell::default(),
            first_held: Notify::new(),
            dropped: RefCell::default(),
        }
    }

    /// Passes on what has been held, again and again.
    pub(crate) async fn keep_passing(&self) {
        loop {
            self.first_held.notified().await;
            tokio::time::sleep(HELD_FOR).await;
            self.pass();
        }
    }

    fn write(&self, app: &str, text: String) {
        let mut held = self.held.borrow_mut();
        held.push(AppLine {
            app: app.to_owned(),
            at_us: now_us(),
            text,
        });
        match held.len() {
            1 => self.first_held.notify_one(),
            HELD_MAX => {
                drop(held);
                self.pass();
            }
            _ => {}
        }
    }

    fn pass(&self) {
        for line in self.held.borrow_mut().drain(..) {
            self.pass_one(line);
        }
    }

    fn pass_one(&self, line: AppLine) {
        let mut dropped = self.dropped.borrow_mut();
        if let Some(count) = dropped.get_mut(&line.app) {
            let text = format!("Error L10 (output buffer overflow): {count} messages dropped");
            let overflow = AppLine {
                app: line.app.clone(),
                at_us: now_us(),
                text,
            };
            if self.lines.try_send(overflow).is_err() {
                *count += 1;
                return;
            }
            dropped.remove(&line.app);
        }
        if let Err(TrySendError::Full(line) | TrySendError::Closed(line)) =
            self.lines.try_send(line)
        {
            dropped.insert(line.app, 1);
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.pass();
    }
}

fn now_us() -> i64 {
    i64::try_from(since_epoch().as_micros()).unwrap_or(i64::MAX)
}

pub(crate) fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// What a request's line says. Written when dropped: whatever ends a request, its client's death included, leaves one.
#[derive(Debug)]
pub(crate) struct RequestLine {
    pub(crate) shared: Shared,
    pub(crate) serving: Serving,
    pub(crate) route: Arc<RouteState>,
    pub(crate) facts: Facts,
}

#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) host: String,
    pub(crate) request_id: HeaderValue,
    pub(crate) forwarded_for: HeaderValue,
    pub(crate) endpoint: Option<Arc<EndpointState>>,
    pub(crate) connect: Duration,
    pub(crate) began: Instant,
    pub(crate) bytes: u64,
    pub(crate) outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Still going on; when the line is written now, the client went away.
    Open,
    Answered(u16),
    Failed(Code),
}

impl Drop for RequestLine {
    fn drop(&mut self) {
        if self.facts.outcome == Outcome::Open {
            let expired = self.serving.0.is_expired();
            let code = if expired { Code::H28 } else { Code::H27 };
            self.facts.outcome = Outcome::Failed(code);
        }
        let service = self.facts.began.elapsed();
        self.shared
            .log
            .write(&self.route.app, self.facts.line(service));
    }
}

impl Facts {
    fn line(&self, service: Duration) -> String {
        let mut text = String::with_capacity(320);
        // Writing to a String does not fail.
        let _ = self.write(&mut text, service);
        text
    }

    fn write(&self, text: &mut String, service: Duration) -> std::fmt::Result {
        let status = match self.outcome {
            Outcome::Open => 0,
            Outcome::Answered(status) => status,
            Outcome::Failed(code) => code.status().as_u16(),
        };
        match self.outcome {
            Outcome::Failed(code) => {
                let (severity, words) = (code.severity(), code.description());
                write!(text, "at={severity} code={code:?} desc=\"{words}\" ")?;
            }
            _ => text.push_str("at=info "),
        }
        write!(text, "method={} path=\"", self.method)?;
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        push_unquoted(text, path);
        write!(text, "\" host={} request_id=", self.host)?;
        push_unquoted(text, self.request_id.to_str().unwrap_or_default());
        text.push_str(" fwd=\"");
        push_unquoted(text, self.forwarded_for.to_str().unwrap_or_default());
        text.push_str("\" dyno=");
        if let Some(endpoint) = &self.endpoint {
            text.push_str(&endpoint.endpoint.instance);
        }
        let (connect, service) = (self.connect.as_millis(), service.as_millis());
        write!(
            text,
            " connect={connect}ms service={service}ms status={status} "
        )?;
        write!(text, "bytes={} protocol=http", self.bytes)
    }
}

/// A quote would end the value early.
fn push_unquoted(text: &mut String, value: &str) {
    let mut parts = value.split('"');
    text.push_str(parts.next().unwrap_or_default());
    for part in parts {
        text.push_str("%22");
        text.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Endpoint;

    fn facts(outcome: Outcome) -> Facts {
        let endpoint = Endpoint {
            instance: "web.1".into(),
            address: ([127, 0, 0, 1], 1).into(),
        };
        Facts {
            method: Method::GET,
            uri: Uri::from_static("http://shop.test/cart?id=1"),
            host: "shop.test".into(),
            request_id: HeaderValue::from_static("r-1"),
            forwarded_for: HeaderValue::from_static("a\" at=info, 127.0.0.1"),
            endpoint: Some(Arc::new(EndpointState::new(endpoint))),
            connect: Duration::from_millis(1),
            began: Instant::now(),
            bytes: 13,
            outcome,
        }
    }

    #[test]
    fn lines() {
        let line = |outcome| facts(outcome).line(Duration::from_millis(18));
        assert_eq!(
            line(Outcome::Answered(200)),
            "at=info method=GET path=\"/cart?id=1\" host=shop.test request_id=r-1 \
             fwd=\"a%22 at=info, 127.0.0.1\" dyno=web.1 connect=1ms service=18ms status=200 bytes=13 protocol=http"
        );
        assert_eq!(
            line(Outcome::Failed(Code::H12)),
            "at=error code=H12 desc=\"Request timeout\" method=GET path=\"/cart?id=1\" host=shop.test \
             request_id=r-1 fwd=\"a%22 at=info, 127.0.0.1\" dyno=web.1 connect=1ms service=18ms status=503 bytes=13 \
             protocol=http"
        );
        assert!(line(Outcome::Failed(Code::H27)).starts_with("at=warning code=H27 "));
    }

    #[test]
    fn dropped_lines_are_counted_and_told() {
        let (sender, mut lines) = tokio::sync::mpsc::channel(2);
        let outlet = Outlet::new(sender);
        for text in ["one", "two", "three", "four"] {
            outlet.write("shop", text.into());
        }
        outlet.pass();
        let mut next = || lines.try_recv().map(|line| line.text).ok();
        assert_eq!(next().as_deref(), Some("one"));
        assert_eq!(next().as_deref(), Some("two"));
        outlet.write("shop", "five".into());
        drop(outlet);
        assert_eq!(
            next().as_deref(),
            Some("Error L10 (output buffer overflow): 2 messages dropped")
        );
        assert_eq!(next().as_deref(), Some("five"));
    }
}
