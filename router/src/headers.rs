//! What a request and a response lose and gain on their way through (RFC 9110 section 7.6, Heroku's X- headers).

use std::{
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use hyper::{
    HeaderMap, Request,
    header::{self, HeaderName, HeaderValue},
};

const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_START: HeaderName = HeaderName::from_static("x-request-start");
const REQUEST_ID_BYTES_MAX: usize = 200;

/// The host that a request is for: of the target if it names one, else the Host header; lower case, no port. An error
/// says what is wrong (RFC 9112 section 3.2).
pub(crate) fn host<B>(request: &Request<B>) -> Result<String, &'static str> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err("more than one Host header");
    }
    let named = match (request.uri().authority(), first) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host.to_str().map_err(|_| "the Host header is not text")?,
        (None, None) => return Err("no Host header"),
    };
    let host = match named.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => named,
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let valid = !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte));
    if valid {
        Ok(host)
    } else {
        Err("the Host header is not a host name")
    }
}

/// The protocol that both sides may switch to, when the request asks for it.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let asked = asked
        .flat_map(|value| value.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case("upgrade"));
    // `h2c` is the one that concerns the connection to us, not the app.
    let to = headers
        .get(header::UPGRADE)
        .filter(|to| !to.as_bytes().eq_ignore_ascii_case(b"h2c"));
    to.filter(|_| asked).cloned()
}

/// Takes out what concerns one connection only, also what the Connection header names.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    for name in named {
        headers.remove(name);
    }
}

pub(crate) fn restore_upgrade(headers: &mut HeaderMap, to: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, to);
}

/// Adds what an app behind a router wants to know; returns the request's id.
pub(crate) fn add_forwarded(headers: &mut HeaderMap, client: IpAddr, port: u16) -> String {
    let mut chain = String::new();
    for value in headers
        .get_all(&FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
    {
        chain.push_str(value);
        chain.push_str(", ");
    }
    chain.push_str(&client.to_canonical().to_string());
    set(headers, FORWARDED_FOR, &chain);
    set(headers, FORWARDED_PROTO, "http");
    set(headers, FORWARDED_PORT, &port.to_string());
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    set(headers, REQUEST_START, &now.as_millis().to_string());
    headers.insert(header::VIA, HeaderValue::from_static("1.1 slipway"));
    let given = headers
        .get(&REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(|id| is_request_id(id));
    let id = given.map_or_else(new_request_id, str::to_owned);
    set(headers, REQUEST_ID, &id);
    id
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // All values are made of what has been a header value before, or of digits.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn is_request_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(allowed)
}

/// A random UUID (RFC 9562, version 4).
fn new_request_id() -> String {
    let mut bytes = [0u8; 16];
    // The kernel's generator does not fail once the machine has started.
    _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_read_as_the_rfc_says() {
        let check = |uri: &str, hosts: &[&str], expected: Result<&str, &str>| {
            let mut request = Request::builder().uri(uri);
            for host in hosts {
                request = request.header(header::HOST, *host);
            }
            let seen = host(&request.body(()).unwrap());
            assert_eq!(
                seen.as_deref().map_err(|error| *error),
                expected,
                "{uri} {hosts:?}"
            );
        };
        check("/", &["shop.localhost"], Ok("shop.localhost"));
        check("/", &["Shop.LocalHost:8080"], Ok("shop.localhost"));
        check("/", &["shop.localhost."], Ok("shop.localhost"));
        check("http://a.localhost:1/", &["b.localhost"], Ok("a.localhost"));
        check("/", &["[::1]:80"], Ok("[::1]"));
        check("/", &[], Err("no Host header"));
        check("/", &["a", "b"], Err("more than one Host header"));
        check("/", &["a/b"], Err("the Host header is not a host name"));
        check("/", &[""], Err("the Host header is not a host name"));
    }

    #[test]
    fn what_concerns_one_connection_is_taken_out() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("keep-alive", "1"),
            ("te", "trailers"),
            ("x-stays", "1"),
        ] {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        strip_hop_by_hop(&mut headers);
        assert_eq!(
            headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["x-stays"]
        );
    }

    #[test]
    fn a_clients_request_id_is_kept_when_it_is_harmless() {
        let id_of = |given: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_static(given));
            headers.insert(FORWARDED_FOR, HeaderValue::from_static("10.0.0.1"));
            let id = add_forwarded(&mut headers, [127, 0, 0, 1].into(), 8080);
            assert_eq!(headers[FORWARDED_FOR], "10.0.0.1, 127.0.0.1");
            assert_eq!(headers[REQUEST_ID], id);
            id
        };
        assert_eq!(id_of("abc-1_2.3"), "abc-1_2.3");
        assert_eq!(id_of("with space").len(), 36);
    }
}
