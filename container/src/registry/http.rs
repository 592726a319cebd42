//! Sends a request until it is answered: authorised, within time, and again after a stumble.

use std::{
    fs::File,
    io::{self, Read, Seek as _},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use jiff::{Timestamp, fmt::rfc2822};
use serde::Deserialize;
use ureq::{
    Agent, Body, SendBody,
    config::Config,
    http::{Method, Request, Response, StatusCode, header, response::Parts},
    tls::{RootCerts, TlsConfig},
    unversioned::transport::DefaultConnector,
};

use super::{
    auth::{Auth, Scope},
    credentials::Credentials,
    error::RegistryError,
    reach::Reach,
    reference::{Repository, host_of, is_loopback},
};

const CONNECT_TIME_MAX: Duration = Duration::from_secs(15);
/// A registry may check a large blob before it answers.
const RESPONSE_TIME_MAX: Duration = Duration::from_secs(120);
/// Between two reads or writes of a body.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Registries send blobs from elsewhere; two hops have been seen.
const REDIRECTS_MAX: u32 = 5;
/// Of one request, or of one blob's transfer.
const TRIES_MAX: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// What a `Retry-After` may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(20);
const ERROR_BYTES_MAX: u64 = 16 * 1024;
const DETAIL_CHARS_MAX: usize = 300;

/// A registry client. Copies share connections, tokens and credentials.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    agent: Agent,
    auth: Auth,
    /// Of somebody else's.
    reach: Option<Reach>,
    /// Registries, as references name them, that are spoken to in plain HTTP.
    insecure: Vec<String>,
}

/// One request.
#[derive(Clone)]
pub(super) struct Call<'a> {
    /// As errors say it: `pull`, `push`.
    pub(super) action: &'static str,
    pub(super) what: &'a str,
    pub(super) scope: &'a Scope,
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: Vec<(header::HeaderName, String)>,
    pub(super) payload: Payload<'a>,
    /// Whether sending it twice does no harm.
    pub(super) again: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Payload<'a> {
    None,
    Bytes(&'a [u8]),
    Part {
        file: &'a Path,
        offset: u64,
        length: u64,
    },
}

/// Tries that are left, and longer pauses between them.
#[derive(Default)]
pub(super) struct Tries {
    done: u32,
}

impl Client {
    /// `insecure` names registries (`host:port`) to be spoken to in plain HTTP; those on a loopback address always are.
    pub fn new(credentials: Credentials, insecure: Vec<String>) -> Self {
        Self {
            shared: Arc::new(Shared {
                agent: config().new_agent(),
                auth: Auth::new(credentials),
                reach: None,
                insecure,
            }),
        }
    }

    /// On behalf of somebody who must not act in our name: without credentials, and to no other place than `reach` has.
    pub fn for_others(reach: Reach) -> Self {
        let agent = Agent::with_parts(config(), DefaultConnector::default(), reach.clone());
        Self {
            shared: Arc::new(Shared {
                agent,
                auth: Auth::new(Credentials::none()),
                reach: Some(reach),
                insecure: vec![],
            }),
        }
    }

    /// `None`: everywhere, in our own name.
    pub fn reach(&self) -> Option<&Reach> {
        self.shared.reach.as_ref()
    }

    pub(super) fn agent(&self) -> &Agent {
        &self.shared.agent
    }

    /// `https://ghcr.io/v2/acme/app`.
    pub(super) fn url(&self, repository: &Repository) -> String {
        format!(
            "{}/v2/{}",
            self.origin(repository.registry()),
            repository.name()
        )
    }

    /// `https://ghcr.io`.
    pub(super) fn origin(&self, registry: &str) -> String {
        let insecure = &self.shared.insecure;
        let plain = is_loopback(registry) || insecure.iter().any(|name| name == registry);
        let scheme = if plain { "http" } else { "https" };
        format!("{scheme}://{}", host_of(registry))
    }

    /// The answer, whatever its status, unless that says to come again later or who we are.
    pub(super) fn send(&self, call: &Call<'_>) -> Result<Response<Body>, RegistryError> {
        let Shared { agent, auth, .. } = &*self.shared;
        let mut tries = Tries::default();
        let mut answered = false;
        loop {
            match self.once(call)? {
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED && !answered => {
                    answered = true;
                    if !auth.answer(agent, response.headers(), call.scope)? {
                        return Ok(response);
                    }
                }
                Ok(response) if is_transient(response.status()) && call.again => {
                    if !tries.pause(retry_after(&response)) {
                        return Ok(response);
                    }
                }
                Ok(response) => return Ok(response),
                Err(error) if call.again && may_pass(&error) && tries.pause(None) => {}
                Err(error) => return Err(call.transport(error)),
            }
        }
    }

    /// An answer of one of the statuses `wanted`; what else there is becomes the error.
    pub(super) fn expect(
        &self,
        call: &Call<'_>,
        wanted: &[u16],
    ) -> Result<Response<Body>, RegistryError> {
        let response = self.send(call)?;
        if wanted.contains(&response.status().as_u16()) {
            return Ok(response);
        }
        Err(self.refused(call, response))
    }

    /// The same, of an answer whose body says nothing: it is read to its end, so that the connection serves again.
    pub(super) fn done(&self, call: &Call<'_>, wanted: &[u16]) -> Result<Parts, RegistryError> {
        let (parts, body) = self.expect(call, wanted)?.into_parts();
        _ = io::copy(
            &mut body.into_reader().take(ERROR_BYTES_MAX),
            &mut io::sink(),
        );
        Ok(parts)
    }

    fn refused(&self, call: &Call<'_>, response: Response<Body>) -> RegistryError {
        let (what, registry) = (call.what.to_owned(), call.scope.registry().to_owned());
        let anonymous = self.shared.auth.is_anonymous(&registry);
        match response.status().as_u16() {
            404 => RegistryError::NotFound {
                what,
                registry,
                // A public registry without its login is asked for what does not exist more often than for secrets.
                anonymous: false,
            },
            401 | 403 => RegistryError::Denied {
                what,
                registry,
                anonymous,
            },
            status => RegistryError::Status {
                action: call.action,
                what,
                registry,
                status,
                again_after: retry_after(&response),
                detail: detail(response),
            },
        }
    }

    /// The outer error ends it; the inner one may pass.
    fn once(&self, call: &Call<'_>) -> Result<Result<Response<Body>, ureq::Error>, RegistryError> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(&call.url);
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        // An upload may be sent to another host, which has no business with our credentials.
        let home = format!("{}/", self.origin(call.scope.registry()));
        if call.url.starts_with(&home) {
            let authorization = self.shared.auth.header(call.scope)?;
            if let Some(value) = authorization {
                request = request.header(header::AUTHORIZATION, value);
            }
        }
        if let Some(length) = call.payload.length(&call.method) {
            request = request.header(header::CONTENT_LENGTH, length);
        }
        let nonsense = |error: ureq::http::Error| RegistryError::Nonsense {
            registry: call.scope.registry().to_owned(),
            why: error.to_string(),
        };
        let Some(mut reader) = call.payload.open()? else {
            return Ok(self.shared.agent.run(request.body(()).map_err(nonsense)?));
        };
        let body = SendBody::from_reader(&mut *reader);
        Ok(self.shared.agent.run(request.body(body).map_err(nonsense)?))
    }
}

fn config() -> Config {
    // An error means that one is installed already, which is as good.
    _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier);
    Agent::config_builder()
        .tls_config(tls.build())
        .timeout_connect(Some(CONNECT_TIME_MAX))
        .timeout_recv_response(Some(RESPONSE_TIME_MAX))
        .timeout_per_read(Some(SILENCE_MAX))
        .timeout_per_write(Some(SILENCE_MAX))
        .http_status_as_error(false)
        .max_redirects(REDIRECTS_MAX)
        .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")))
        .build()
}

impl Call<'_> {
    fn transport(&self, error: ureq::Error) -> RegistryError {
        RegistryError::Transport {
            action: self.action,
            what: self.what.to_owned(),
            source: Box::new(error),
        }
    }
}

impl Payload<'_> {
    /// A request that may have a body says so, even without one: some registries insist.
    fn length(&self, method: &Method) -> Option<u64> {
        match self {
            Self::None if matches!(*method, Method::GET | Method::HEAD) => None,
            Self::None => Some(0),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Part { length, .. } => Some(*length),
        }
    }

    fn open(&self) -> Result<Option<Box<dyn Read + '_>>, RegistryError> {
        match *self {
            Self::None => Ok(None),
            Self::Bytes(bytes) => Ok(Some(Box::new(bytes))),
            Self::Part {
                file: path,
                offset,
                length,
            } => {
                let open = || {
                    let mut file = File::open(path)?;
                    file.seek(io::SeekFrom::Start(offset))?;
                    Ok(file.take(length))
                };
                let file = open().map_err(|source| RegistryError::Io {
                    action: "read",
                    path: path.to_owned(),
                    source,
                })?;
                Ok(Some(Box::new(file)))
            }
        }
    }
}

impl Tries {
    /// Waits before the next try; false when there has been the last.
    pub(super) fn pause(&mut self, asked: Option<Duration>) -> bool {
        self.done += 1;
        if self.done >= TRIES_MAX {
            return false;
        }
        let usual = FIRST_PAUSE * 2_u32.pow(self.done - 1);
        thread::sleep(asked.unwrap_or(usual).min(PAUSE_MAX));
        true
    }
}

fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// What another try can mend: neither a name that is wrong, nor a certificate.
pub(super) fn may_pass(error: &ureq::Error) -> bool {
    matches!(
        error,
        ureq::Error::Io(_)
            | ureq::Error::Timeout(_)
            | ureq::Error::ConnectionFailed
            | ureq::Error::Protocol(_)
    )
}

fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    pause_of(value.trim(), Timestamp::now())
}

/// Seconds, or a date (RFC 9110 section 10.2.3); one that has passed means now.
fn pause_of(value: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

/// The registry's own words (distribution-spec "Error Codes"), fit for a terminal.
fn detail(mut response: Response<Body>) -> Option<String> {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Error>,
    }
    #[derive(Deserialize)]
    struct Error {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let body = response.body_mut().with_config().limit(ERROR_BYTES_MAX);
    let errors: Errors = body.read_json().ok()?;
    let error = errors.errors.into_iter().next()?;
    let text = if error.message.is_empty() {
        error.code
    } else {
        error.message
    };
    let plain = text.chars().filter(|char| !char.is_control());
    Some(plain.take(DETAIL_CHARS_MAX).collect()).filter(|text: &String| !text.is_empty())
}

/// For a query: what is not unreserved becomes `%XX` (RFC 3986 section 2.3).
pub(super) fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_says_when_to_come_again_in_seconds_or_by_a_date() {
        let now = Timestamp::from_second(784_111_777).unwrap();
        for (value, expected) in [
            ("7", Some(7)),
            ("0", Some(0)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:27 GMT", Some(0)),
            ("Sun, 06 Nov 1994", None),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            let pause = pause_of(value, now).map(|pause| pause.as_secs());
            assert_eq!(pause, expected, "{value}");
        }
    }
}
