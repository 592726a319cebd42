//! One blob's upload (distribution-spec "Pushing Blobs"): small ones in one piece, large ones in chunks, taken up where
//! the registry says that it stands.

use std::{io, path::Path, time::Duration};

use ureq::http::{HeaderName, Method, header, response::Parts};

use super::{
    auth::Scope,
    error::RegistryError,
    http::{Call, Client, Payload, Tries, percent},
    pull::{named, text},
    push::{Content, Sent},
    reference::Repository,
};
use crate::manifest::Descriptor;

/// What is lost when a connection is: some seconds of work. Registries that want larger pieces say so.
const CHUNK_BYTES: u64 = 16 * 1024 * 1024;
/// A registry may ask for this much at the most.
const CHUNK_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Repositories that are asked for a blob before it is sent.
const ORIGINS_MAX: usize = 4;
const MIN_CHUNK: &str = "oci-chunk-min-length";
const OCTETS: &str = "application/octet-stream";

pub(super) struct Upload<'a> {
    client: &'a Client,
    to: &'a Repository,
    blob: &'a Descriptor,
    content: Content<'a>,
    scope: Scope,
    what: String,
}

/// Where the next chunk goes.
struct Session {
    url: String,
    /// Bytes that the registry has.
    at: u64,
    chunk_bytes: u64,
}

/// The answer to the request for an upload.
enum Begun {
    Mounted,
    Session(Session),
}

impl<'a> Upload<'a> {
    pub(super) fn new(
        client: &'a Client,
        to: &'a Repository,
        blob: &'a Descriptor,
        content: Content<'a>,
    ) -> Self {
        Self {
            client,
            to,
            blob,
            content,
            scope: Scope::push(to),
            what: named(to, blob),
        }
    }

    pub(super) fn run(self, origins: &[&Repository]) -> Result<Sent, RegistryError> {
        let mut begun = None;
        for from in origins.iter().take(ORIGINS_MAX) {
            match self.mount(from)? {
                Some(Begun::Mounted) => return Ok(Sent::Mounted),
                Some(Begun::Session(session)) => {
                    if let Some(before) = begun.replace(session) {
                        self.give_up(before);
                    }
                }
                None => {}
            }
        }
        // Only now: what is mounted need not be here.
        self.check_content()?;
        let mut tries = Tries::default();
        loop {
            let mut session = match begun.take() {
                Some(session) => session,
                None => match self.begin(&self.scope, "")? {
                    Begun::Mounted => return Ok(Sent::Mounted),
                    Begun::Session(session) => session,
                },
            };
            match self.send(&mut session, &mut tries) {
                Ok(()) => return Ok(Sent::Uploaded),
                Err(error) if is_passing(&error) && tries.pause(pause_asked(&error)) => {
                    // The last answer may have been lost after the deed was done.
                    if self.client.has_blob(self.to, self.blob)? {
                        return Ok(Sent::Uploaded);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Begins an upload and gives it up, which shows whether there may be one.
    pub(super) fn rehearse(&self) -> Result<(), RegistryError> {
        if let Begun::Session(session) = self.begin(&self.scope, "")? {
            self.give_up(session);
        }
        Ok(())
    }

    /// From another repository of the registry. `None` where that, or what we may do there, is not known: an upload will
    /// tell.
    fn mount(&self, from: &Repository) -> Result<Option<Begun>, RegistryError> {
        let scope = Scope::push(self.to).and_pull(from);
        let digest = self.blob.digest.to_string();
        let query = format!("?mount={}&from={}", percent(&digest), percent(from.name()));
        match self.begin(&scope, &query) {
            Err(RegistryError::Denied { .. } | RegistryError::NotFound { .. }) => Ok(None),
            Err(RegistryError::Status { status, .. }) if status < 500 => Ok(None),
            begun => begun.map(Some),
        }
    }

    /// Where that cannot be done, the registry forgets it after a while.
    fn give_up(&self, session: Session) {
        let call = self.call(Method::DELETE, session.url, Payload::None);
        _ = self.client.done(&call, &[202, 204]);
    }

    fn begin(&self, scope: &Scope, query: &str) -> Result<Begun, RegistryError> {
        let url = format!("{}/blobs/uploads/{query}", self.client.url(self.to));
        let call = Call {
            scope,
            again: true,
            ..self.call(Method::POST, url, Payload::None)
        };
        let response = self.client.done(&call, &[201, 202])?;
        if response.status == 201 {
            return Ok(Begun::Mounted);
        }
        let asked = text(&response.headers, MIN_CHUNK).and_then(|length| length.parse().ok());
        Ok(Begun::Session(Session {
            url: self.location(&response, &call.url)?,
            at: 0,
            chunk_bytes: CHUNK_BYTES.max(asked.unwrap_or(0)).min(CHUNK_BYTES_MAX),
        }))
    }

    fn send(&self, session: &mut Session, tries: &mut Tries) -> Result<(), RegistryError> {
        if self.blob.size <= session.chunk_bytes {
            return self.finish(session, self.part(0, self.blob.size));
        }
        while session.at < self.blob.size {
            let before = session.at;
            let error = match self.chunk(session) {
                Ok(()) if session.at > before => continue,
                // It may have lost what it had; not again and again.
                Ok(()) => self.nonsense("an upload that does not grow"),
                Err(error) if is_passing(&error) => error,
                Err(error) => return Err(error),
            };
            if !tries.pause(pause_asked(&error)) || !self.take_up(session)? {
                return Err(error);
            }
        }
        self.finish(session, Payload::None)
    }

    fn chunk(&self, session: &mut Session) -> Result<(), RegistryError> {
        let length = session.chunk_bytes.min(self.blob.size - session.at);
        let end = session.at + length;
        let payload = self.part(session.at, length);
        let mut call = self.call(Method::PATCH, session.url.clone(), payload);
        let range = format!("{}-{}", session.at, end - 1);
        call.headers = vec![
            (header::CONTENT_TYPE, OCTETS.to_owned()),
            (header::CONTENT_RANGE, range),
        ];
        let response = self.client.done(&call, &[201, 202, 204])?;
        session.at = self.stands(&response, end).unwrap_or(end);
        session.url = self.location(&response, &session.url)?;
        Ok(())
    }

    /// Asks where the upload stands after a stumble; false when the registry has forgotten it.
    fn take_up(&self, session: &mut Session) -> Result<bool, RegistryError> {
        let mut call = self.call(Method::GET, session.url.clone(), Payload::None);
        call.again = true;
        let response = match self.client.done(&call, &[202, 204]) {
            Err(RegistryError::NotFound { .. }) => return Ok(false),
            result => result?,
        };
        session.at = self.stands(&response, self.blob.size).unwrap_or(0);
        session.url = self.location(&response, &session.url)?;
        Ok(true)
    }

    fn finish(&self, session: &Session, rest: Payload<'a>) -> Result<(), RegistryError> {
        let separator = if session.url.contains('?') { '&' } else { '?' };
        let digest = percent(&self.blob.digest.to_string());
        let url = format!("{}{separator}digest={digest}", session.url);
        let mut call = self.call(Method::PUT, url, rest);
        call.headers = vec![(header::CONTENT_TYPE, OCTETS.to_owned())];
        self.client.done(&call, &[201, 204]).map(|_| ())
    }

    /// `Range: 0-<last byte>`: from the first byte on, and never more than was `sent`.
    fn stands(&self, response: &Parts, sent: u64) -> Option<u64> {
        let range = text(&response.headers, header::RANGE.as_str())?;
        let (first, last) = range.trim_start_matches("bytes=").split_once('-')?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        // Docker's registry says `0-0` for nothing as well as for one byte; sending that byte again is refused, so the
        // next answer tells.
        let at = if last == 0 { 0 } else { last + 1 };
        (first == 0 && at <= sent).then_some(at)
    }

    fn location(&self, response: &Parts, of: &str) -> Result<String, RegistryError> {
        let location = text(&response.headers, header::LOCATION.as_str());
        let location = location.ok_or_else(|| self.nonsense("an upload without a place"))?;
        let home = self.client.origin(self.to.registry());
        let is_whole = location.starts_with("https://") || location.starts_with("http://");
        let whole = match location.as_str() {
            path if path.starts_with('/') => format!("{home}{path}"),
            url if is_whole => url.to_owned(),
            relative => {
                let folder = of.split('?').next().unwrap_or_default();
                let folder = folder.rsplit_once('/').map_or(folder, |(folder, _)| folder);
                format!("{folder}/{relative}")
            }
        };
        if home.starts_with("https://") && !whole.starts_with("https://") {
            return Err(self.nonsense("an upload that would leave the encrypted connection"));
        }
        Ok(whole)
    }

    fn nonsense(&self, why: &str) -> RegistryError {
        RegistryError::Nonsense {
            registry: self.to.registry().to_owned(),
            why: why.to_owned(),
        }
    }

    fn part(&self, offset: u64, length: u64) -> Payload<'a> {
        match self.content {
            Content::Bytes(bytes) => {
                let from = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                Payload::Bytes(&bytes[from..from.saturating_add(length).min(bytes.len())])
            }
            Content::File(file) => Payload::Part {
                file,
                offset,
                length,
            },
        }
    }

    /// What is sent has to be as long as is said.
    fn check_content(&self) -> Result<(), RegistryError> {
        let length = match self.content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(path) => length_of(path).map_err(|source| RegistryError::Io {
                action: "read",
                path: path.to_owned(),
                source,
            })?,
        };
        if length == self.blob.size {
            return Ok(());
        }
        Err(RegistryError::Size {
            what: self.what.clone(),
            expected: self.blob.size,
            found: length.to_string(),
        })
    }

    fn call<'b>(&'b self, method: Method, url: String, payload: Payload<'b>) -> Call<'b> {
        Call {
            action: "push",
            what: &self.what,
            scope: &self.scope,
            method,
            url,
            headers: Vec::<(HeaderName, String)>::new(),
            payload,
            again: false,
        }
    }
}

fn length_of(path: &Path) -> io::Result<u64> {
    Ok(std::fs::metadata(path)?.len())
}

/// What another try may mend: a lost connection, a registry out of breath, an upload that it has forgotten.
fn is_passing(error: &RegistryError) -> bool {
    match error {
        RegistryError::Transport { source, .. } => super::http::may_pass(source),
        RegistryError::NotFound { .. } => true,
        RegistryError::Status { status, .. } => matches!(status, 408 | 416 | 429 | 500..=504),
        _ => false,
    }
}

fn pause_asked(error: &RegistryError) -> Option<Duration> {
    match error {
        RegistryError::Status { again_after, .. } => *again_after,
        _ => None,
    }
}
