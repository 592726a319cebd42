//! Which host a request is for (RFC 9112 section 3.2).

use http::{HeaderMap, Request, Version, header::HOST, uri::Authority};

/// Longest name in the DNS.
const HOST_BYTES_MAX: usize = 253;

/// The host in lower case, without port and trailing dot. `None` answers 400: no host in HTTP/1.1, two of them, or one
/// that cannot be. The host of an absolute-form target, or of `:authority`, wins over the field.
pub(crate) fn of<B>(request: &Request<B>) -> Option<String> {
    let field = host_field(request.headers())?;
    if let Some(authority) = request.uri().authority() {
        // An authority alone is for CONNECT; a name before `@` has no place in a target (RFC 9110 section 4.2.4).
        let is_web = matches!(request.uri().scheme_str(), Some("http" | "https"));
        return (is_web && !authority.as_str().contains('@'))
            .then(|| normal(authority))
            .flatten();
    }
    match field {
        Some(field) => normal(&field.parse().ok()?),
        // HTTP/1.0 may leave it out; no route has the empty name.
        None if request.version() == Version::HTTP_10 => Some(String::new()),
        None => None,
    }
}

/// Outer `None`: more than one field, or bytes that are no text.
fn host_field(headers: &HeaderMap) -> Option<Option<&str>> {
    let mut fields = headers.get_all(HOST).iter();
    let first = fields.next();
    if fields.next().is_some() {
        return None;
    }
    match first {
        Some(value) => {
            let text = value.to_str().ok()?;
            (!text.contains('@')).then_some(Some(text))
        }
        None => Some(None),
    }
}

fn normal(authority: &Authority) -> Option<String> {
    let host = authority.host();
    // What follows the host must be a port, or nothing.
    let port = authority.as_str().get(host.len()..)?;
    let port_is_good = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| digits.is_empty() || digits.parse::<u16>().is_ok());
    let host = host.strip_suffix('.').unwrap_or(host);
    let name_is_good = host.starts_with('[') || host.bytes().all(is_name_byte);
    let good = port_is_good && name_is_good && !host.is_empty() && host.len() <= HOST_BYTES_MAX;
    good.then(|| host.to_ascii_lowercase())
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uri: &str, hosts: &[&str], expected: Option<&str>) {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let request = request.body(()).expect("a request");
        assert_eq!(of(&request).as_deref(), expected, "{uri} {hosts:?}");
    }

    #[test]
    fn hosts() {
        check("/", &["shop.test"], Some("shop.test"));
        check("/", &["Shop.TEST:8080"], Some("shop.test"));
        check("/", &["shop.test."], Some("shop.test"));
        check("/", &["shop.test.:80"], Some("shop.test"));
        check("/", &["shop.test:"], Some("shop.test"));
        check("/", &["127.0.0.1:80"], Some("127.0.0.1"));
        check("/", &["[::1]:80"], Some("[::1]"));
        check("http://a.test/", &["b.test"], Some("a.test"));
        check("http://a.test:81/", &[], Some("a.test"));
        check("http://a.test/", &["b.test", "c.test"], None);
        check("https://a.test/", &[], Some("a.test"));
        check("ftp://a.test/", &["a.test"], None);
        check("a.test:80", &["a.test"], None);
        check("http://u@a.test/", &["a.test"], None);
        check("/", &[], None);
        check("/", &["a.test", "a.test"], None);
        check("/", &[""], None);
        check("/", &["."], None);
        check("/", &["a b"], None);
        check("/", &["a.test:80:80"], None);
        check("/", &["a.test:99999"], None);
        check("/", &["a.test:x"], None);
        check("/", &["u@a.test"], None);
        check("/", &["a.test/x"], None);
        check("/", &["a,b"], None);
        check("/", &["a%2e.test"], None);
        check("/", &[&"a".repeat(254)], None);
    }

    #[test]
    fn http_1_0_without_host_is_the_empty_name() {
        let request = Request::builder().version(Version::HTTP_10).body(());
        let request = request.expect("a request");
        assert_eq!(of(&request).as_deref(), Some(""));
    }
}
