//! Fetching from package registries: bounded, tried again when the network stumbles, and never used unverified.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
    thread,
    time::Duration,
};

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256, Sha512};
use ureq::{
    Agent,
    tls::{RootCerts, TlsConfig},
};

use crate::{
    error::{IoContext, IoError},
    key::hex,
};

const CONNECT_TIME_MAX: Duration = Duration::from_secs(15);
const RESPONSE_TIME_MAX: Duration = Duration::from_secs(60);
const BODY_TIME_MAX: Duration = Duration::from_secs(600);
const TRIES_MAX: u32 = 3;
const PAUSE_BETWEEN_TRIES: Duration = Duration::from_millis(500);
/// The longest list of versions known today takes 5 MB.
const JSON_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Node.js, compressed, takes 50 MB.
const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;
const CHUNK_BYTES: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DownloadError {
    #[error("`{url}` could not be fetched")]
    Fetch {
        url: String,
        source: Box<ureq::Error>,
    },
    #[error("`{url}` is not the JSON that was asked for")]
    Json {
        url: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("`{url}` has the digest `{found}`, the registry promised `{expected}`")]
    Digest {
        url: String,
        expected: String,
        found: String,
    },
    #[error("`{url}` is larger than {} MiB", FILE_BYTES_MAX / 1024 / 1024)]
    TooLarge { url: String },
    #[error("`{url}` broke off")]
    Body { url: String, source: io::Error },
    #[error(transparent)]
    Write(#[from] IoError),
}

/// A digest as registries write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    /// npm's `integrity`: `sha512-` and base64.
    Sha512Base64(String),
    /// The simple index's `hashes.sha256`: hex.
    Sha256Hex(String),
}

/// One agent for a build: it keeps its connections.
pub(crate) struct Client {
    agent: Agent,
}

impl Client {
    pub(crate) fn new() -> Client {
        // An error means that one is installed already, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let config = Agent::config_builder()
            .timeout_connect(Some(CONNECT_TIME_MAX))
            .timeout_recv_response(Some(RESPONSE_TIME_MAX))
            .timeout_recv_body(Some(BODY_TIME_MAX))
            .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")))
            // The machine's certificates: companies run registries behind their own authority.
            .tls_config(
                TlsConfig::builder()
                    .root_certs(RootCerts::PlatformVerifier)
                    .build(),
            )
            .build();
        Client {
            agent: config.new_agent(),
        }
    }

    /// The document at `url`. `token` is sent as a bearer token.
    pub(crate) fn json<T: DeserializeOwned>(
        &self,
        url: &str,
        accept: &str,
        token: Option<&str>,
    ) -> Result<T, DownloadError> {
        let mut response = self.get(url, accept, token)?;
        let reader = response
            .body_mut()
            .with_config()
            .limit(JSON_BYTES_MAX)
            .reader();
        serde_json::from_reader(io::BufReader::new(reader)).map_err(|source| DownloadError::Json {
            url: redacted(url),
            source: source.into(),
        })
    }

    /// Writes the file at `url` to `path`, or fails when its digest is not the expected one.
    pub(crate) fn file(
        &self,
        url: &str,
        token: Option<&str>,
        expected: &Expected,
        path: &Path,
    ) -> Result<(), DownloadError> {
        let mut response = self.get(url, "*/*", token)?;
        let reader = response.body_mut().with_config().limit(u64::MAX).reader();
        let file = File::create(path).at("create", path)?;
        let found = match expected {
            Expected::Sha512Base64(_) => {
                let hash = copy_hashed::<Sha512>(reader, file, url, path)?;
                Expected::Sha512Base64(base64(&hash))
            }
            Expected::Sha256Hex(_) => {
                let hash = copy_hashed::<Sha256>(reader, file, url, path)?;
                Expected::Sha256Hex(hex(&hash))
            }
        };
        match found == *expected {
            true => Ok(()),
            false => Err(DownloadError::Digest {
                url: redacted(url),
                expected: expected.to_string(),
                found: found.to_string(),
            }),
        }
    }

    fn get(
        &self,
        url: &str,
        accept: &str,
        token: Option<&str>,
    ) -> Result<ureq::http::Response<ureq::Body>, DownloadError> {
        let mut tries = 1;
        loop {
            let mut request = self.agent.get(url).header("accept", accept);
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            match request.call() {
                Ok(response) => return Ok(response),
                Err(error) if tries < TRIES_MAX && may_pass(&error) => {
                    thread::sleep(PAUSE_BETWEEN_TRIES * tries);
                    tries += 1;
                }
                Err(source) => {
                    return Err(DownloadError::Fetch {
                        url: redacted(url),
                        source: Box::new(source),
                    });
                }
            }
        }
    }
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Expected::Sha512Base64(text) => write!(f, "sha512-{text}"),
            Expected::Sha256Hex(text) => write!(f, "sha256:{text}"),
        }
    }
}

/// Whether trying again can help: the network and overloaded servers, not refusals or certificates.
fn may_pass(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::StatusCode(status) => *status == 429 || *status >= 500,
        ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed => true,
        _ => false,
    }
}

fn copy_hashed<D: Digest>(
    mut from: impl Read,
    mut to: File,
    url: &str,
    path: &Path,
) -> Result<Vec<u8>, DownloadError> {
    let mut hash = D::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut total = 0;
    loop {
        let count = from
            .read(&mut chunk)
            .map_err(|source| DownloadError::Body {
                url: redacted(url),
                source,
            })?;
        if count == 0 {
            return Ok(hash.finalize().to_vec());
        }
        total += count as u64;
        if total > FILE_BYTES_MAX {
            return Err(DownloadError::TooLarge { url: redacted(url) });
        }
        hash.update(&chunk[..count]);
        to.write_all(&chunk[..count]).at("write", path)?;
    }
}

/// The address without the password that a private registry's may hold.
pub(crate) fn redacted(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or(authority);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for index in 0..4 {
            match index <= group.len() {
                true => text.push(ALPHABET[(bits >> (18 - 6 * index) & 63) as usize] as char),
                false => text.push('='),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{io::BufRead, net::TcpListener};

    use super::*;

    /// A server that answers each connection with the next of `responses`.
    fn serve(responses: Vec<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        thread::spawn(move || {
            for response in responses {
                let (stream, _) = listener.accept().expect("a connection");
                let mut lines = io::BufReader::new(&stream).lines();
                while lines
                    .next()
                    .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
                {}
                (&stream).write_all(response.as_bytes()).expect("answered");
            }
        });
        format!("http://{address}/file")
    }

    fn ok(body: &str) -> String {
        format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn fetch(responses: Vec<String>, expected: &Expected) -> Result<String, DownloadError> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("file");
        Client::new().file(&serve(responses), None, expected, &path)?;
        Ok(std::fs::read_to_string(&path).expect("written"))
    }

    #[test]
    fn keeps_what_has_the_promised_digest() {
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let body = fetch(vec![ok("abc")], &Expected::Sha256Hex(sha256.to_owned()));
        assert_eq!(body.expect("verified"), "abc");
        let sha512 = "3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw==";
        let body = fetch(vec![ok("abc")], &Expected::Sha512Base64(sha512.to_owned()));
        assert_eq!(body.expect("verified"), "abc");
    }

    #[test]
    fn refuses_any_other_bytes() {
        let expected = Expected::Sha256Hex("00".repeat(32));
        let error = fetch(vec![ok("abc")], &expected).expect_err("refused");
        assert!(matches!(error, DownloadError::Digest { .. }), "{error}");
    }

    #[test]
    fn a_server_that_stumbles_is_asked_again() {
        let busy = "HTTP/1.1 503 Busy\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned();
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let expected = Expected::Sha256Hex(sha256.to_owned());
        let body = fetch(vec![busy.clone(), busy.clone(), ok("abc")], &expected);
        assert_eq!(body.expect("the third try"), "abc");
        let gone = "HTTP/1.1 404 Gone\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned();
        assert!(fetch(vec![gone], &expected).is_err(), "a refusal is final");
    }

    #[test]
    fn a_body_that_breaks_off_is_an_error() {
        let cut = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_owned();
        assert!(fetch(vec![cut], &Expected::Sha256Hex(String::new())).is_err());
    }

    #[test]
    fn passwords_do_not_reach_messages() {
        assert_eq!(
            redacted("https://me:pw@host/simple/"),
            "https://host/simple/"
        );
        assert_eq!(redacted("https://host/a@b"), "https://host/a@b");
        assert_eq!(redacted("no address"), "no address");
    }

    #[test]
    fn base64_pads() {
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"f"), "Zg==");
        assert_eq!(base64(b"fo"), "Zm8=");
        assert_eq!(base64(b"foobar"), "Zm9vYmFy");
    }
}
