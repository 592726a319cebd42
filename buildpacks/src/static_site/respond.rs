//! From a request to what is sent for it (RFC 9110): which file or part of it, with which status and headers. Pure; the
//! server opens the file.

use http::{
    HeaderMap, Method, StatusCode,
    header::{ACCEPT_ENCODING, HeaderName, IF_NONE_MATCH, IF_RANGE, RANGE},
};

use super::{
    media_type,
    site::{Found, Site},
};

/// Browsers ask again each time, and get 304 while the content is the same: a deploy is seen at once.
const CACHE_CONTROL: &str = "public, max-age=0, must-revalidate";

/// Encodings of files that lie beside the original, the smaller first.
const PRECOMPRESSED: [(&str, &str); 2] = [("br", ".br"), ("gzip", ".gz")];

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) content: Content,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    Text(String),
    /// `length` bytes from `offset` of a file of the site.
    Part {
        name: String,
        offset: u64,
        length: u64,
    },
}

pub(super) fn respond(
    site: &Site,
    method: &Method,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Answer {
    if method != Method::GET && method != Method::HEAD {
        return text(
            StatusCode::METHOD_NOT_ALLOWED,
            "This site has only files to GET\n",
        )
        .with(http::header::ALLOW, "GET, HEAD");
    }
    let Some(decoded) = percent_decode(path) else {
        return text(StatusCode::BAD_REQUEST, "The address is not valid\n");
    };
    match site.find(&decoded) {
        Found::File(name) => file(site, name, method, headers),
        Found::Folder => {
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            text(StatusCode::MOVED_PERMANENTLY, "")
                .with(http::header::LOCATION, format!("{path}/{query}"))
        }
        Found::Nothing => not_found(site),
    }
}

fn file(site: &Site, name: &str, method: &Method, headers: &HeaderMap) -> Answer {
    let header = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    // HEAD has no parts.
    let range = header(RANGE).filter(|_| method == Method::GET);
    let (sent, encoding) = match range {
        // A part of a compressed file is of no use to whoever asks for a part.
        Some(_) => (name.to_owned(), None),
        None => encoded(site, name, header(ACCEPT_ENCODING).unwrap_or("")),
    };
    let Some(file) = site.files.get(&sent) else {
        return not_found(site);
    };
    let answer = |status, offset, length| {
        let mut answer = Answer {
            status,
            headers: Vec::new(),
            content: Content::Part {
                name: sent.clone(),
                offset,
                length,
            },
        }
        .with(http::header::CONTENT_TYPE, media_type::of(name))
        .with(http::header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .with(http::header::ETAG, file.etag.as_str())
        .with(http::header::CACHE_CONTROL, CACHE_CONTROL)
        .with(http::header::ACCEPT_RANGES, "bytes");
        if let Some(encoding) = encoding {
            answer = answer.with(http::header::CONTENT_ENCODING, encoding);
        }
        if has_encoded(site, name) {
            answer = answer.with(http::header::VARY, "accept-encoding");
        }
        answer
    };
    if header(IF_NONE_MATCH).is_some_and(|tags| any_matches(tags, &file.etag)) {
        return answer(StatusCode::NOT_MODIFIED, 0, 0);
    }
    // If-Range holds for this very content only; a date never does, as time stamps say nothing here.
    let range = range.filter(|_| header(IF_RANGE).is_none_or(|tag| tag == file.etag));
    match range.map_or(Range::Whole, |range| parse_range(range, file.bytes)) {
        Range::Whole => answer(StatusCode::OK, 0, file.bytes),
        Range::Part { first, last } => answer(StatusCode::PARTIAL_CONTENT, first, last - first + 1)
            .with(
                http::header::CONTENT_RANGE,
                format!("bytes {first}-{last}/{}", file.bytes),
            ),
        Range::Unsatisfiable => text(StatusCode::RANGE_NOT_SATISFIABLE, "").with(
            http::header::CONTENT_RANGE,
            format!("bytes */{}", file.bytes),
        ),
    }
}

fn not_found(site: &Site) -> Answer {
    let page = site
        .error_page
        .as_ref()
        .and_then(|name| site.files.get_key_value(name));
    match page {
        Some((name, file)) => Answer {
            status: StatusCode::NOT_FOUND,
            headers: Vec::new(),
            content: Content::Part {
                name: name.clone(),
                offset: 0,
                length: file.bytes,
            },
        }
        .with(http::header::CONTENT_TYPE, media_type::of(name)),
        None => text(StatusCode::NOT_FOUND, "Not found\n"),
    }
}

fn text(status: StatusCode, text: &str) -> Answer {
    Answer {
        status,
        headers: Vec::new(),
        content: Content::Text(text.to_owned()),
    }
    .with(http::header::CONTENT_TYPE, "text/plain; charset=utf-8")
}

impl Answer {
    fn with(mut self, name: HeaderName, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }
}

fn has_encoded(site: &Site, name: &str) -> bool {
    PRECOMPRESSED
        .iter()
        .any(|(_, suffix)| site.files.contains_key(&format!("{name}{suffix}")))
}

/// The file to send for `name`, and its encoding.
fn encoded(site: &Site, name: &str, accepted: &str) -> (String, Option<&'static str>) {
    PRECOMPRESSED
        .iter()
        .filter(|(encoding, _)| accepts(accepted, encoding))
        .map(|(encoding, suffix)| (format!("{name}{suffix}"), Some(*encoding)))
        .find(|(sibling, _)| site.files.contains_key(sibling))
        .unwrap_or_else(|| (name.to_owned(), None))
}

/// Whether an Accept-Encoding header names `encoding` with a weight above 0.
fn accepts(header: &str, encoding: &str) -> bool {
    header.split(',').any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let named = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case(encoding));
        let refused = parts
            .filter_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")))
            .any(|weight| weight.trim().parse().is_ok_and(|weight: f32| weight <= 0.0));
        named && !refused
    })
}

/// If-None-Match compares weakly.
fn any_matches(tags: &str, etag: &str) -> bool {
    tags.split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    Part { first: u64, last: u64 },
    Unsatisfiable,
}

/// One range; several, or what is not valid, are answered with the whole, which RFC 9110 allows.
fn parse_range(header: &str, length: u64) -> Range {
    let bounds = header
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'));
    let Some((first, last)) = bounds.map(|(first, last)| (first.trim(), last.trim())) else {
        return Range::Whole;
    };
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<u64>().ok(),
        false => None,
    };
    match (number(first), number(last)) {
        (None, Some(count)) if first.is_empty() => match count.min(length) {
            0 => Range::Unsatisfiable,
            count => Range::Part {
                first: length - count,
                last: length - 1,
            },
        },
        (Some(first), _) if first >= length => Range::Unsatisfiable,
        (Some(first), None) if last.is_empty() => Range::Part {
            first,
            last: length - 1,
        },
        (Some(first), Some(last)) if first <= last => Range::Part {
            first,
            last: last.min(length - 1),
        },
        _ => Range::Whole,
    }
}

/// `None` for what is not UTF-8 behind a `%`, a `%` without two digits, or a NUL.
fn percent_decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        };
        if byte == 0 {
            return None;
        }
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::PathBuf};

    use super::{super::site::SiteFile, *};

    fn site(files: &[(&str, &str, u64)]) -> Site {
        let files: BTreeMap<String, SiteFile> = files
            .iter()
            .map(|(name, etag, bytes)| {
                let file = SiteFile {
                    etag: format!("\"{etag}\""),
                    bytes: *bytes,
                };
                ((*name).to_owned(), file)
            })
            .collect();
        Site {
            root: PathBuf::from("/workspace"),
            clean_urls: true,
            routes: Vec::new(),
            error_page: files
                .contains_key("404.html")
                .then(|| "404.html".to_owned()),
            files,
        }
    }

    fn get(site: &Site, path: &str, headers: &[(HeaderName, &str)]) -> Answer {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().expect("a header value")))
            .collect();
        respond(site, &Method::GET, path, None, &headers)
    }

    fn header<'a>(answer: &'a Answer, name: &HeaderName) -> Option<&'a str> {
        answer
            .headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    fn part(answer: &Answer) -> (u16, &str, u64, u64) {
        match &answer.content {
            Content::Part {
                name,
                offset,
                length,
            } => (answer.status.as_u16(), name, *offset, *length),
            Content::Text(_) => (answer.status.as_u16(), "", 0, 0),
        }
    }

    #[test]
    fn the_same_content_is_not_sent_again() {
        let site = site(&[("index.html", "a", 5)]);
        for (tags, status) in [
            ("\"a\"", 304),
            ("W/\"a\"", 304),
            ("\"x\", \"a\"", 304),
            ("*", 304),
            ("\"b\"", 200),
            ("a", 200),
        ] {
            let answer = get(&site, "/", &[(IF_NONE_MATCH, tags)]);
            assert_eq!(answer.status.as_u16(), status, "{tags}");
            assert_eq!(header(&answer, &http::header::ETAG), Some("\"a\""));
        }
    }

    #[test]
    fn time_stamps_are_neither_sent_nor_believed() {
        let site = site(&[("index.html", "a", 5)]);
        let since = (
            http::header::IF_MODIFIED_SINCE,
            "Wed, 01 Jan 2031 00:00:00 GMT",
        );
        let answer = get(&site, "/", &[since]);
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(header(&answer, &http::header::LAST_MODIFIED), None);
    }

    #[test]
    fn a_range_is_a_part_of_the_original() {
        let site = site(&[("a.mp4", "a", 10), ("a.mp4.gz", "z", 3)]);
        for (range, expected) in [
            ("bytes=0-3", (206, "a.mp4", 0, 4)),
            ("bytes=4-", (206, "a.mp4", 4, 6)),
            ("bytes=-3", (206, "a.mp4", 7, 3)),
            ("bytes=-99", (206, "a.mp4", 0, 10)),
            ("bytes=8-99", (206, "a.mp4", 8, 2)),
            ("bytes=0-18446744073709551615", (206, "a.mp4", 0, 10)),
            ("bytes=0-99999999999999999999", (200, "a.mp4", 0, 10)),
            ("bytes=3-1", (200, "a.mp4", 0, 10)),
            ("bytes=0-1,3-4", (200, "a.mp4", 0, 10)),
            ("bytes=+1-2", (200, "a.mp4", 0, 10)),
            ("bytes=-", (200, "a.mp4", 0, 10)),
            ("lines=0-1", (200, "a.mp4", 0, 10)),
            ("bytes=10-", (416, "", 0, 0)),
            ("bytes=-0", (416, "", 0, 0)),
        ] {
            let answer = get(
                &site,
                "/a.mp4",
                &[(RANGE, range), (ACCEPT_ENCODING, "gzip")],
            );
            assert_eq!(part(&answer), expected, "{range}");
        }
        let old = get(
            &site,
            "/a.mp4",
            &[(RANGE, "bytes=0-3"), (IF_RANGE, "\"old\"")],
        );
        assert_eq!(old.status, StatusCode::OK);
        let same = get(
            &site,
            "/a.mp4",
            &[(RANGE, "bytes=0-3"), (IF_RANGE, "\"a\"")],
        );
        assert_eq!(same.status, StatusCode::PARTIAL_CONTENT);
    }

    #[test]
    fn an_empty_file_has_no_part() {
        let site = site(&[("empty", "e", 0)]);
        for range in ["bytes=0-0", "bytes=-1", "bytes=0-"] {
            let answer = get(&site, "/empty", &[(RANGE, range)]);
            assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
        }
        assert_eq!(part(&get(&site, "/empty", &[])), (200, "empty", 0, 0));
    }

    #[test]
    fn a_compressed_sibling_is_sent_to_whoever_takes_it() {
        let site = site(&[("a.js", "a", 9), ("a.js.br", "b", 2), ("a.js.gz", "g", 3)]);
        for (accepted, name) in [
            ("gzip, br", "a.js.br"),
            ("gzip", "a.js.gz"),
            ("br;q=0, gzip;q=0.5", "a.js.gz"),
            ("identity", "a.js"),
            ("", "a.js"),
        ] {
            let answer = get(&site, "/a.js", &[(ACCEPT_ENCODING, accepted)]);
            assert_eq!(part(&answer).1, name, "{accepted}");
            assert_eq!(
                header(&answer, &http::header::VARY),
                Some("accept-encoding")
            );
            let media_type = header(&answer, &http::header::CONTENT_TYPE);
            assert_eq!(media_type, Some("text/javascript; charset=utf-8"));
        }
    }

    #[test]
    fn hostile_addresses_find_nothing() {
        let site = site(&[("index.html", "a", 5), ("404.html", "n", 7)]);
        for path in [
            "/../etc/passwd",
            "/%2e%2e/etc/passwd",
            "/..%2fetc",
            "//etc/passwd",
            "/.env",
        ] {
            assert_eq!(
                part(&get(&site, path, &[])),
                (404, "404.html", 0, 7),
                "{path}"
            );
        }
        for path in ["/%", "/%zz", "/%00", "/a%ff"] {
            assert_eq!(
                get(&site, path, &[]).status,
                StatusCode::BAD_REQUEST,
                "{path}"
            );
        }
    }

    #[test]
    fn a_folder_without_its_slash_is_sent_to_it() {
        let site = site(&[("a b/index.html", "a", 5)]);
        let answer = respond(
            &site,
            &Method::GET,
            "/a%20b",
            Some("q=1"),
            &HeaderMap::new(),
        );
        assert_eq!(answer.status, StatusCode::MOVED_PERMANENTLY);
        assert_eq!(
            header(&answer, &http::header::LOCATION),
            Some("/a%20b/?q=1")
        );
        assert_eq!(part(&get(&site, "/a%20b/", &[])).0, 200);
    }

    #[test]
    fn other_methods_are_refused() {
        let site = site(&[("index.html", "a", 5)]);
        let answer = respond(&site, &Method::POST, "/", None, &HeaderMap::new());
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(header(&answer, &http::header::ALLOW), Some("GET, HEAD"));
    }
}
