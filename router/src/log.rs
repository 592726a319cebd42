//! Request lines in Heroku's logfmt, one per request, handed to whoever keeps the app's log.

/// One line for the log of `app`, from source `router`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppLine {
    pub app: String,
    /// Microseconds since the Unix epoch.
    pub at_us: i64,
    /// `at=info method=GET path="/" host=h request_id=u fwd="ip" dyno=web.1 connect=1ms service=18ms status=200 bytes=13 protocol=http`
    pub text: String,
}

/// Bounded; a line that finds it full is counted and dropped, never waited for.
pub type LogSender = tokio::sync::mpsc::Sender<AppLine>;
