//! The head of an HTTP/1.1 request, judged before the parser sees it (RFC 9112 sections 2.2, 5, 6).
//!
//! Two parties that disagree where a message ends can be made to see different requests. Whatever could be read in two
//! ways is refused here, also where the RFC lets a recipient guess.

/// Limits as Heroku documents them, but for the number of fields: the parser's, and HAProxy's, is 100.
pub(crate) const LINE_BYTES_MAX: usize = 8192;
pub(crate) const HEAD_BYTES_MAX: usize = 64 * 1024;
const FIELD_NAME_BYTES_MAX: usize = 1000;
const METHOD_BYTES_MAX: usize = 127;

/// What follows the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follows {
    /// This many bytes of body, often none.
    Length(u64),
    Chunked,
    /// Whatever the backend's answer makes of it: the next head, or a tunnel.
    Upgrade,
}

/// The head could be read in two ways, or is larger than anyone needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

/// Judges `head`: from the first byte of the request line to the empty line, both included.
pub(crate) fn judge(head: &[u8]) -> Result<Follows, Refused> {
    let mut lines = Lines(head);
    let version = request_line(lines.next().ok_or(Refused)??)?;
    let mut fields = Fields::default();
    for line in lines {
        match line? {
            b"" => break,
            line => fields.note(line)?,
        }
    }
    fields.follows(version)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

fn request_line(line: &[u8]) -> Result<Version, Refused> {
    let mut words = line.split(|&byte| byte == b' ');
    let method = words.next().ok_or(Refused)?;
    let target = words.next().ok_or(Refused)?;
    let version = match words.next().ok_or(Refused)? {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return Err(Refused),
    };
    let method_is_good =
        !method.is_empty() && method.len() <= METHOD_BYTES_MAX && method.iter().all(is_token_byte);
    // The fragment stays with the client (RFC 9110 section 7.1); other octets are for the URI parser to judge.
    let target_is_good =
        !target.is_empty() && target.iter().all(|&b| b > b' ' && b != 0x7f && b != b'#');
    let good = method_is_good && target_is_good && words.next().is_none();
    good.then_some(version).ok_or(Refused)
}

#[derive(Debug, Default)]
struct Fields {
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    connection_upgrade: bool,
}

impl Fields {
    fn note(&mut self, line: &[u8]) -> Result<(), Refused> {
        let colon = line.iter().position(|&b| b == b':').ok_or(Refused)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // A folded line begins with a space, and `Name :` ends with one: neither is a token.
        if name.is_empty() || name.len() > FIELD_NAME_BYTES_MAX || !name.iter().all(is_token_byte) {
            return Err(Refused);
        }
        if value.iter().any(|&b| (b < b' ' && b != b'\t') || b == 0x7f) {
            return Err(Refused);
        }
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding(value),
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.connection_upgrade |= has_token(value, b"upgrade");
                Ok(())
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrade = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// One plain number: no sign, no list, no second field even when equal.
    fn content_length(&mut self, value: &[u8]) -> Result<(), Refused> {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
        match (digits, self.length, length) {
            // The parser behind us counts to two below the maximum.
            (true, None, Some(length)) if length < u64::MAX - 2 => self.length = Some(length),
            _ => return Err(Refused),
        }
        Ok(())
    }

    /// `chunked` and nothing else: we decode no other coding, and passing one on would change the message.
    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refused> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Refused);
        }
        self.chunked = true;
        Ok(())
    }

    fn follows(&self, version: Version) -> Result<Follows, Refused> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Refused),
            (true, None) if version == Version::Http10 => Err(Refused),
            (true, None) => Ok(Follows::Chunked),
            (false, None | Some(0)) if self.upgrade && self.connection_upgrade => {
                Ok(Follows::Upgrade)
            }
            (false, length) => Ok(Follows::Length(length.unwrap_or(0))),
        }
    }
}

/// Whether a comma-separated list has `token`, in any case.
fn has_token(list: &[u8], token: &[u8]) -> bool {
    list.split(|&byte| byte == b',')
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// Lines that end in CR LF; a bare CR or LF is refused.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], Refused>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.iter().position(|&b| b == b'\r' || b == b'\n');
        let Some(end) = end.filter(|&end| self.0[end..].starts_with(b"\r\n")) else {
            return Some(Err(Refused));
        };
        let line = &self.0[..end];
        self.0 = &self.0[end + 2..];
        Some(
            (line.len() <= LINE_BYTES_MAX)
                .then_some(line)
                .ok_or(Refused),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(fields: &str, expected: Result<Follows, Refused>) {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(judge(head.as_bytes()), expected, "{fields:?}");
    }

    #[test]
    fn framing() {
        check("", Ok(Follows::Length(0)));
        check("Content-Length: 5\r\n", Ok(Follows::Length(5)));
        check("content-length:\t5 \r\n", Ok(Follows::Length(5)));
        check("Transfer-Encoding: Chunked\r\n", Ok(Follows::Chunked));
        check(
            "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n",
            Ok(Follows::Upgrade),
        );
        check("Upgrade: websocket\r\n", Ok(Follows::Length(0)));
        for refused in [
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: -5\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length: 5 5\r\n",
            "Content-Length:\r\n",
            "Content-Length: 18446744073709551615\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length : 5\r\n",
            " Content-Length: 5\r\n",
            "X: 1\r\n Content-Length: 5\r\n",
            "X: 1\r\n\tfold\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: \"chunked\"\r\n",
            "Transfer-Encoding:\x0bchunked\r\n",
            "Transfer-Encoding:\r\n",
            "X\0: 1\r\n",
            "X: a\0b\r\n",
            "X: a\rb\r\n",
            "X: a\nTransfer-Encoding: chunked\r\n",
            "no colon\r\n",
            ": empty\r\n",
            "X(: 1\r\n",
        ] {
            check(refused, Err(Refused));
        }
        check(
            &format!("X: {}\r\n", "a".repeat(8189)),
            Ok(Follows::Length(0)),
        );
        check(&format!("X: {}\r\n", "a".repeat(8190)), Err(Refused));
        check(&format!("{}: a\r\n", "x".repeat(1001)), Err(Refused));
    }

    #[test]
    fn request_lines() {
        for (line, good) in [
            ("GET / HTTP/1.1", true),
            ("GET http://a/ HTTP/1.1", true),
            ("OPTIONS * HTTP/1.1", true),
            ("M-SEARCH / HTTP/1.0", true),
            ("GET /a b HTTP/1.1", false),
            ("GET  / HTTP/1.1", false),
            ("GET\t/ HTTP/1.1", false),
            (" GET / HTTP/1.1", false),
            ("GET / HTTP/1.1 ", false),
            ("GET /", false),
            ("GET / HTTP/1.2", false),
            ("GET / HTTP/2.0", false),
            ("GET / http/1.1", false),
            ("GET / HTTP/01.1", false),
            ("G(T / HTTP/1.1", false),
            ("GET /a#b HTTP/1.1", false),
            ("GET /\u{7f} HTTP/1.1", false),
        ] {
            let head = format!("{line}\r\nHost: a\r\n\r\n");
            assert_eq!(judge(head.as_bytes()).is_ok(), good, "{line:?}");
        }
    }

    #[test]
    fn http_1_0_has_no_chunks() {
        let head = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(judge(head), Err(Refused));
    }
}
