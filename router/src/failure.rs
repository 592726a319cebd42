//! Requests that get no answer from an endpoint: Heroku's codes, and what the client reads.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode, Version,
    header::{ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_TYPE},
};

use crate::{NoBackend, body::Reply};

/// The response field that carries the code.
const ERROR_FIELD: &str = "slipway-error";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    H10,
    H11,
    H12,
    H13,
    H14,
    H15,
    H17,
    H18,
    H19,
    H20,
    H21,
    H26,
    H27,
    H28,
    H80,
    H81,
}

impl Code {
    pub(crate) fn description(self) -> &'static str {
        match self {
            Code::H10 => "App crashed",
            Code::H11 => "Backlog too deep",
            Code::H12 => "Request timeout",
            Code::H13 => "Connection closed without response",
            Code::H14 => "No web processes running",
            Code::H15 => "Idle connection",
            Code::H17 => "Poorly formatted HTTP response",
            Code::H18 => "Server Request Interrupted",
            Code::H19 => "Backend connection timeout",
            Code::H20 => "App boot timeout",
            Code::H21 => "Backend connection refused",
            Code::H26 => "Request Error",
            Code::H27 => "Client Request Interrupted",
            Code::H28 => "Client Connection Idle",
            Code::H80 => "Maintenance mode",
            Code::H81 => "Blank app",
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Code::H26 => StatusCode::BAD_REQUEST,
            Code::H81 => StatusCode::BAD_GATEWAY,
            // nginx's "client closed request", which nobody is there to read.
            Code::H27 | Code::H28 => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The client's doing is a warning, the operator's a notice.
    pub(crate) fn severity(self) -> &'static str {
        match self {
            Code::H80 => "info",
            Code::H26 | Code::H27 | Code::H28 => "warning",
            _ => "error",
        }
    }

    /// For the visitor of the app, who is not the one to repair it.
    fn page(self) -> (&'static str, &'static str) {
        match self {
            Code::H81 => (
                "There is nothing here yet",
                "The app has not been deployed. Push it to see it here.",
            ),
            Code::H80 => (
                "Down for maintenance",
                "The app is being worked on. Try again in a while.",
            ),
            Code::H20 => ("The app is starting", "Try again in a moment."),
            Code::H26 => ("Bad request", "The request's body was malformed."),
            _ => (
                "Application error",
                "The app could not answer. Its owner finds the reason in the app's logs.",
            ),
        }
    }
}

impl From<NoBackend> for Code {
    fn from(why: NoBackend) -> Self {
        match why {
            NoBackend::Crashed => Code::H10,
            NoBackend::NoWeb => Code::H14,
            NoBackend::Booting => Code::H20,
            NoBackend::Blank => Code::H81,
        }
    }
}

/// Requests that belong to no app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    BadRequest,
    NoSuchApp,
    Connect,
    Expectation,
}

impl Refusal {
    pub(crate) fn response(self, accept: Accept, version: Version) -> Response<Reply> {
        let (status, title, text) = match self {
            Refusal::BadRequest => (
                StatusCode::BAD_REQUEST,
                "Bad request",
                "The request could be understood in more than one way.",
            ),
            Refusal::NoSuchApp => (
                StatusCode::NOT_FOUND,
                "No such app",
                "There is no app at this address.",
            ),
            Refusal::Connect => (
                StatusCode::METHOD_NOT_ALLOWED,
                "Method not allowed",
                "This is no proxy to other servers.",
            ),
            Refusal::Expectation => (
                StatusCode::EXPECTATION_FAILED,
                "Expectation failed",
                "The only expectation met here is `100-continue`.",
            ),
        };
        let mut response = page(status, title, text, "", accept);
        // Whoever sends such a request means something else by it; what follows could be part of that.
        if self != Refusal::NoSuchApp && version != Version::HTTP_2 {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response
    }
}

/// `own`: the operator's words instead of ours.
pub(crate) fn response(
    code: Code,
    own: Option<&str>,
    request_id: &HeaderValue,
    accept: Accept,
) -> Response<Reply> {
    let (title, usual) = code.page();
    let own = own.map(|text| match accept {
        Accept::Html => escaped(text),
        Accept::Text => text.to_owned(),
    });
    let text = own.as_deref().unwrap_or(usual);
    let id = request_id.to_str().unwrap_or_default();
    let reference = format!("{code:?} {id}");
    let mut response = page(code.status(), title, text, &reference, accept);
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&format!("{code:?}")) {
        headers.insert(ERROR_FIELD, value);
    }
    headers.insert("x-request-id", request_id.clone());
    response
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accept {
    Html,
    Text,
}

impl Accept {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let html =
            |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains("text/html"));
        if headers.get_all(ACCEPT).iter().any(html) {
            Accept::Html
        } else {
            Accept::Text
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// `text` is HTML where HTML is accepted; `reference` holds only a code and a request id, which need no escaping.
fn page(
    status: StatusCode,
    title: &str,
    text: &str,
    reference: &str,
    accept: Accept,
) -> Response<Reply> {
    let (kind, body) = match accept {
        Accept::Html => (
            "text/html; charset=utf-8",
            format!(
                "<!doctype html><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>{title}</title>\
                 <style>body{{font:1.1em/1.5 system-ui,sans-serif;max-width:32em;margin:20vh auto;padding:0 1em;\
                 color-scheme:light dark}}small{{opacity:.6}}</style><h1>{title}</h1><p>{text}</p><small>{reference}</small>\n"
            ),
        ),
        Accept::Text if reference.is_empty() => {
            ("text/plain; charset=utf-8", format!("{title}: {text}\n"))
        }
        Accept::Text => (
            "text/plain; charset=utf-8",
            format!("{title}: {text} ({reference})\n"),
        ),
    };
    let mut response = Response::new(Reply::Page(Some(Bytes::from(body))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
