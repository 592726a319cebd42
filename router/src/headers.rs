//! Which fields cross from client to endpoint and back (RFC 9110 section 7.6), and which are added.

use std::net::SocketAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, PROXY_AUTHORIZATION, TE,
        TRANSFER_ENCODING, UPGRADE, VIA,
    },
};

use crate::{log::since_epoch, random::Random};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_START: HeaderName = HeaderName::from_static("x-request-start");

/// What apps believe because the router says it.
const OURS: [HeaderName; 5] = [
    FORWARDED_FOR,
    FORWARDED_PROTO,
    FORWARDED_PORT,
    REQUEST_ID,
    REQUEST_START,
];

const REQUEST_ID_BYTES_MAX: usize = 200;

/// A client that names one of these in `Connection` wants the message to mean something else behind us.
pub(crate) fn nominates_framing(headers: &HeaderMap) -> bool {
    nominated(headers).any(|name| [HOST, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&name))
}

/// The protocol that the client would like to change to.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = nominated(headers).any(|name| name == UPGRADE);
    headers.get(UPGRADE).filter(|_| wanted).cloned()
}

/// What the log line repeats.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) request_id: HeaderValue,
    pub(crate) forwarded_for: HeaderValue,
}

pub(crate) fn to_endpoint(
    headers: &mut HeaderMap,
    version: Version,
    peer: SocketAddr,
    port: u16,
    random: &Random,
) -> Identity {
    let trailers = headers.get_all(TE).iter().any(wants_trailers);
    let upgrade = upgrade(headers);
    strip_hop_by_hop(headers);
    headers.remove(PROXY_AUTHORIZATION);
    headers.remove(EXPECT);
    strip_look_alikes(headers);
    join_cookies(headers);
    match upgrade {
        Some(protocol) => {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, protocol);
        }
        None if trailers => {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        None => {}
    }
    let identity = Identity {
        request_id: request_id(headers, random),
        forwarded_for: forwarded_for(headers, peer),
    };
    headers.insert(REQUEST_ID, identity.request_id.clone());
    headers.insert(FORWARDED_FOR, identity.forwarded_for.clone());
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    headers.insert(FORWARDED_PORT, HeaderValue::from(port));
    let start_ms = u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX);
    headers.insert(REQUEST_START, HeaderValue::from(start_ms));
    headers.append(VIA, via(version));
    identity
}

pub(crate) fn to_client(headers: &mut HeaderMap, version: Version, is_upgrade: bool) {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    let upgrade = headers.get(UPGRADE).filter(|_| is_upgrade).cloned();
    strip_hop_by_hop(headers);
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    headers.append(VIA, via(version));
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let names: Vec<_> = nominated(headers).collect();
        for name in names {
            if ![HOST, CONTENT_LENGTH].contains(&name) {
                headers.remove(name);
            }
        }
    }
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// `X_Forwarded_For` and `X-Forwarded-For` are one variable to CGI, WSGI and Rack.
fn strip_look_alikes(headers: &mut HeaderMap) {
    let look_alike = |name: &&HeaderName| {
        let name = name.as_str();
        name.contains('_')
            && OURS
                .iter()
                .any(|ours| ours.as_str() == name.replace('_', "-"))
    };
    let found: Vec<_> = headers.keys().filter(look_alike).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// HTTP/2 may send a cookie per field, HTTP/1.1 may not (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if cookies.nth(1).is_none() {
        return;
    }
    let all: Vec<_> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// The fields that `Connection` names.
fn nominated(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let values = headers.get_all(CONNECTION).iter();
    values
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
}

fn wants_trailers(value: &HeaderValue) -> bool {
    let mut items = value.as_bytes().split(|&byte| byte == b',');
    items.any(|item| item.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// The client's own, when it cannot be mistaken for anything else in a log.
fn request_id(headers: &HeaderMap, random: &Random) -> HeaderValue {
    let sane = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        let good = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
        (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(good)
    };
    let own = headers.get(REQUEST_ID).filter(sane).cloned();
    own.unwrap_or_else(|| value_of(random.uuid()))
}

fn forwarded_for(headers: &HeaderMap, peer: SocketAddr) -> HeaderValue {
    let before = headers.get_all(FORWARDED_FOR).iter();
    let mut all: Vec<_> = before.filter_map(|value| value.to_str().ok()).collect();
    // An IPv4 client of an IPv6 listener is still an IPv4 client.
    let peer = peer.ip().to_canonical().to_string();
    all.push(&peer);
    value_of(all.join(", "))
}

/// Only called with text that was a field's value before, or is made here.
fn value_of(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_2 => "2.0 slipway",
        Version::HTTP_10 => "1.0 slipway",
        _ => "1.1 slipway",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    fn forwarded(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = fields(pairs);
        let peer = ([192, 0, 2, 7], 4711).into();
        to_endpoint(&mut headers, Version::HTTP_11, peer, 8080, &Random::new());
        headers
    }

    #[track_caller]
    fn check(pairs: &[(&str, &str)], name: &str, expected: Option<&str>) {
        let headers = forwarded(pairs);
        let seen = headers.get(name).map(|value| value.to_str().expect("text"));
        assert_eq!(seen, expected, "{pairs:?} {name}");
    }

    #[test]
    fn requests() {
        check(&[], "x-forwarded-for", Some("192.0.2.7"));
        check(
            &[("x-forwarded-for", "a"), ("x-forwarded-for", "b, c")],
            "x-forwarded-for",
            Some("a, b, c, 192.0.2.7"),
        );
        check(
            &[("x-forwarded-proto", "https")],
            "x-forwarded-proto",
            Some("http"),
        );
        check(
            &[("x-forwarded-port", "443")],
            "x-forwarded-port",
            Some("8080"),
        );
        check(
            &[("x-request-id", "a-Z_0.9")],
            "x-request-id",
            Some("a-Z_0.9"),
        );
        check(&[("via", "1.1 edge")], "via", Some("1.1 edge"));
        check(&[("keep-alive", "5")], "keep-alive", None);
        check(&[("proxy-connection", "x")], "proxy-connection", None);
        check(&[("proxy-authorization", "x")], "proxy-authorization", None);
        check(&[("expect", "100-continue")], "expect", None);
        check(
            &[("connection", "x-secret"), ("x-secret", "1")],
            "x-secret",
            None,
        );
        check(
            &[("connection", "close"), ("connection", "a, B"), ("b", "1")],
            "b",
            None,
        );
        check(
            &[("connection", "x-forwarded-for"), ("x-forwarded-for", "a")],
            "x-forwarded-for",
            Some("192.0.2.7"),
        );
        check(&[("x_forwarded_for", "a")], "x_forwarded_for", None);
        check(&[("x-forwarded_proto", "https")], "x-forwarded_proto", None);
        check(&[("x_other", "a")], "x_other", Some("a"));
        check(
            &[("cookie", "a=1"), ("cookie", "b=2; c=3")],
            "cookie",
            Some("a=1; b=2; c=3"),
        );
        check(&[("upgrade", "h2c")], "upgrade", None);
        check(
            &[("connection", "Upgrade"), ("upgrade", "websocket")],
            "upgrade",
            Some("websocket"),
        );
        check(&[("te", "gzip, trailers")], "te", Some("trailers"));
        check(&[("te", "gzip")], "te", None);
        assert_eq!(
            forwarded(&[("via", "1.1 edge")])
                .get_all(VIA)
                .iter()
                .count(),
            2
        );
    }

    #[test]
    fn odd_request_ids_are_replaced() {
        for id in ["", "a b", "a\"b", "a/b", &"a".repeat(201)] {
            let headers = forwarded(&[("x-request-id", id)]);
            assert_eq!(headers["x-request-id"].len(), 36, "{id:?}");
            assert_eq!(headers.get_all(REQUEST_ID).iter().count(), 1);
        }
    }

    #[test]
    fn framing_is_not_to_be_nominated() {
        assert!(nominates_framing(&fields(&[("connection", "close, Host")])));
        assert!(nominates_framing(&fields(&[(
            "connection",
            "content-length"
        )])));
        assert!(!nominates_framing(&fields(&[(
            "connection",
            "keep-alive, x"
        )])));
    }

    #[test]
    fn responses() {
        let mut headers = fields(&[
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("upgrade", "h2c"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("server", "app"),
            ("trailer", "x-sum"),
        ]);
        to_client(&mut headers, Version::HTTP_11, false);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["server", "trailer", "via"]);
    }
}
