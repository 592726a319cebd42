//! Request lines in Heroku's logfmt, one per request, handed to whoever keeps the app's log.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::failure::Failure;

/// One line for the log of `app`, from source `router`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppLine {
    pub app: String,
    /// Microseconds since the Unix epoch.
    pub at_us: u64,
    pub text: String,
}

/// Bounded; a line that finds it full is dropped, never waited for.
pub type LogSender = tokio::sync::mpsc::Sender<AppLine>;

/// What is known of a request when it has been answered.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) app: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) host: String,
    pub(crate) request_id: String,
    pub(crate) client: IpAddr,
    pub(crate) instance: String,
    pub(crate) connect: Duration,
    pub(crate) service: Duration,
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    pub(crate) failure: Option<Failure>,
}

impl Record {
    pub(crate) fn send(&self, log: &LogSender) {
        let at = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let at_us = u64::try_from(at.as_micros()).unwrap_or(0);
        // Full: the app's log is slower than its traffic, and traffic comes first.
        _ = log.try_send(AppLine {
            app: self.app.clone(),
            at_us,
            text: self.line(),
        });
    }

    fn line(&self) -> String {
        let head = match self.failure {
            Some(failure) => format!(
                "at=error code={} desc=\"{}\"",
                failure.code(),
                failure.description()
            ),
            None => "at=info".to_owned(),
        };
        format!(
            "{head} method={} path=\"{}\" host={} request_id={} fwd=\"{}\" dyno={} connect={}ms service={}ms status={} \
             bytes={} protocol=http",
            self.method,
            self.path.replace('"', "%22"),
            self.host,
            self.request_id,
            self.client,
            self.instance,
            self.connect.as_millis(),
            self.service.as_millis(),
            self.status,
            self.bytes,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_herokus() {
        let mut record = Record {
            app: "shop".into(),
            method: "GET".into(),
            path: "/a?b=\"c\"".into(),
            host: "shop.localhost".into(),
            request_id: "u".into(),
            client: [127, 0, 0, 1].into(),
            instance: "web.1".into(),
            connect: Duration::from_millis(1),
            service: Duration::from_millis(18),
            status: 200,
            bytes: 13,
            failure: None,
        };
        let tail = "method=GET path=\"/a?b=%22c%22\" host=shop.localhost request_id=u fwd=\"127.0.0.1\" dyno=web.1 \
                    connect=1ms service=18ms status=200 bytes=13 protocol=http";
        assert_eq!(record.line(), format!("at=info {tail}"));
        record.failure = Some(Failure::RequestTimeout);
        assert_eq!(
            record.line(),
            format!("at=error code=H12 desc=\"Request timeout\" {tail}")
        );
    }
}
