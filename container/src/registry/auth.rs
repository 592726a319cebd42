//! Turns credentials into the `Authorization` header that a registry asks for, and remembers it.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
};

use serde::Deserialize;
use ureq::{
    Agent,
    http::{HeaderMap, header::WWW_AUTHENTICATE},
};

use super::{
    challenge::Challenge,
    credentials::{Credential, Credentials},
    error::RegistryError,
    http::percent,
    reference::Repository,
};

const TOKEN_BYTES_MAX: u64 = 1024 * 1024;
const CLIENT_ID: &str = "slipway";

/// What a request may do, in the registry's words: `repository:a/b:pull,push`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Scope {
    registry: String,
    words: Vec<String>,
}

impl Scope {
    pub(super) fn pull(repository: &Repository) -> Self {
        Self::new(repository, "pull")
    }

    pub(super) fn push(repository: &Repository) -> Self {
        Self::new(repository, "pull,push")
    }

    /// To mount a blob of `from`, one has to be allowed to read it.
    pub(super) fn and_pull(mut self, from: &Repository) -> Self {
        self.words.push(format!("repository:{}:pull", from.name()));
        self
    }

    fn new(repository: &Repository, actions: &str) -> Self {
        Self {
            registry: repository.registry().to_owned(),
            words: vec![format!("repository:{}:{actions}", repository.name())],
        }
    }

    pub(super) fn registry(&self) -> &str {
        &self.registry
    }
}

#[derive(Default)]
pub(super) struct Auth {
    credentials: Credentials,
    /// By registry; a helper is asked once.
    found: Mutex<HashMap<String, Option<Credential>>>,
    /// Headers that have been accepted.
    headers: Mutex<HashMap<Scope, String>>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(alias = "access_token")]
    token: String,
}

impl Auth {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            ..Self::default()
        }
    }

    /// What to send first.
    pub(super) fn header(&self, scope: &Scope) -> Result<Option<String>, RegistryError> {
        if let Some(header) = lock(&self.headers).get(scope) {
            return Ok(Some(header.clone()));
        }
        Ok(match self.credential(&scope.registry)? {
            Some(Credential::Header(header)) => Some(header),
            _ => None,
        })
    }

    pub(super) fn is_anonymous(&self, registry: &str) -> bool {
        matches!(self.credential(registry), Ok(None))
    }

    /// Answers the challenge of a refusal; false when there is nothing to answer it with.
    pub(super) fn answer(
        &self,
        agent: &Agent,
        refusal: &HeaderMap,
        scope: &Scope,
    ) -> Result<bool, RegistryError> {
        let headers = refusal.get_all(WWW_AUTHENTICATE).iter();
        let challenge = Challenge::choose(headers.filter_map(|value| value.to_str().ok()));
        let credential = self.credential(&scope.registry)?;
        let header = match (challenge, &credential) {
            (Some(Challenge::Basic), Some(credential)) => credential.header(),
            (Some(Challenge::Bearer { realm, service }), _) => {
                let realm = Realm {
                    agent,
                    realm: &realm,
                    service: &service,
                    scope,
                };
                Some(format!("Bearer {}", realm.token(credential.as_ref())?))
            }
            _ => None,
        };
        let answered = header.is_some();
        if let Some(header) = header {
            lock(&self.headers).insert(scope.clone(), header);
        }
        Ok(answered)
    }

    fn credential(&self, registry: &str) -> Result<Option<Credential>, RegistryError> {
        // Held while a helper runs: several threads must not make it ask several times.
        let mut found = lock(&self.found);
        if let Some(credential) = found.get(registry) {
            return Ok(credential.clone());
        }
        let credential = self.credentials.of(registry)?;
        found.insert(registry.to_owned(), credential.clone());
        Ok(credential)
    }
}

/// Where a token is made.
struct Realm<'a> {
    agent: &'a Agent,
    realm: &'a str,
    service: &'a str,
    scope: &'a Scope,
}

impl Realm<'_> {
    fn token(&self, credential: Option<&Credential>) -> Result<String, RegistryError> {
        let sent = match credential {
            Some(Credential::Identity(token)) => self.exchange(token),
            other => self.ask(other.and_then(Credential::header)),
        };
        let mut response = sent.map_err(|source| RegistryError::Transport {
            action: "get a token from",
            what: self.realm.to_owned(),
            source: Box::new(source),
        })?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(RegistryError::Denied {
                what: self.scope.words.join(" "),
                registry: self.scope.registry.clone(),
                anonymous: credential.is_none(),
            });
        }
        let body = response.body_mut().with_config().limit(TOKEN_BYTES_MAX);
        let token: Token = body.read_json().map_err(|_| self.nonsense())?;
        // It becomes a header's value.
        let plain = token.token.bytes().all(|byte| byte.is_ascii_graphic());
        if plain {
            Ok(token.token)
        } else {
            Err(self.nonsense())
        }
    }

    fn ask(
        &self,
        authorization: Option<String>,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let scopes = self.scope.words.iter();
        let scopes: String = scopes
            .map(|scope| format!("&scope={}", percent(scope)))
            .collect();
        let separator = if self.realm.contains('?') { '&' } else { '?' };
        let service = percent(self.service);
        let mut request = self.agent.get(format!(
            "{}{separator}service={service}{scopes}",
            self.realm
        ));
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        request.call()
    }

    fn exchange(&self, token: &str) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        self.agent.post(self.realm).send_form([
            ("grant_type", "refresh_token"),
            ("service", self.service),
            ("client_id", CLIENT_ID),
            ("scope", &self.scope.words.join(" ")),
            ("refresh_token", token),
        ])
    }

    fn nonsense(&self) -> RegistryError {
        RegistryError::Nonsense {
            registry: self.scope.registry.clone(),
            why: "where it has its tokens made, there is none in the answer".to_owned(),
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Auth(..)")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
