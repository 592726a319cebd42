//! Heroku's H-codes: why a request could not be served, in the log line and in the response.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode, header};

use crate::table::NoBackend;

/// Names the code in a response, for people and for tests of the app's clients.
const HEADER: &str = "x-slipway-error";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    Unavailable(NoBackend),
    BacklogTooDeep,
    RequestTimeout,
    ClosedWithoutResponse,
    ConnectTimeout,
    ConnectionRefused,
    IdleConnection,
    ServerInterrupted,
    ClientInterrupted,
}

impl Failure {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Unavailable(NoBackend::Crashed) => "H10",
            Self::BacklogTooDeep => "H11",
            Self::RequestTimeout => "H12",
            Self::ClosedWithoutResponse => "H13",
            Self::Unavailable(NoBackend::NoWeb) => "H14",
            Self::IdleConnection => "H15",
            Self::ServerInterrupted => "H18",
            Self::ConnectTimeout => "H19",
            Self::Unavailable(NoBackend::Booting) => "H20",
            Self::ConnectionRefused => "H21",
            Self::ClientInterrupted => "H27",
            Self::Unavailable(NoBackend::Blank) => "H81",
        }
    }

    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::Unavailable(NoBackend::Crashed) => "App crashed",
            Self::BacklogTooDeep => "Backlog too deep",
            Self::RequestTimeout => "Request timeout",
            Self::ClosedWithoutResponse => "Connection closed without response",
            Self::Unavailable(NoBackend::NoWeb) => "No web processes running",
            Self::IdleConnection => "Idle connection",
            Self::ServerInterrupted => "Server Request Interrupted",
            Self::ConnectTimeout => "Backend connection timeout",
            Self::Unavailable(NoBackend::Booting) => "App boot timeout",
            Self::ConnectionRefused => "Backend connection refused",
            Self::ClientInterrupted => "Client Request Interrupted",
            Self::Unavailable(NoBackend::Blank) => "Blank app",
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Unavailable(NoBackend::Blank) => StatusCode::BAD_GATEWAY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(crate) fn response(self) -> Response<Full<Bytes>> {
        let text = format!("{}: {}\n", self.code(), self.description());
        let mut response = page(self.status(), text);
        response
            .headers_mut()
            .insert(HEADER, header::HeaderValue::from_static(self.code()));
        response
    }
}

pub(crate) fn page(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}
