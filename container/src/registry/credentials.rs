//! Credentials from where everybody has them: `CNB_REGISTRY_AUTH` (CNB platform spec, "Registry Authentication"), or
//! Docker's `config.json` with its `auths`, `credHelpers` and `credsStore`.

use std::{
    collections::HashMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{error::RegistryError, helper};

/// Docker Hub's key in `auths`, from the days of the first protocol.
const HUB_KEY: &str = "https://index.docker.io/v1/";
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;
/// A helper may ask a keychain, and that may ask a person.
pub(super) const HELPER_TIME_MAX: Duration = Duration::from_secs(30);

/// Where credentials are looked up, once per registry.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Ready-made `Authorization` headers by registry.
    headers: HashMap<String, String>,
    config: DockerConfig,
    /// What helpers have said, by registry; or why they could not.
    asked: HashMap<String, Result<Option<Credential>, String>>,
}

/// One registry's.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credential {
    Basic {
        user: String,
        password: String,
    },
    /// To be exchanged for an access token (distribution-spec "token authentication", OAuth2).
    Identity(String),
    /// An `Authorization` header as it is to be sent.
    Header(String),
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DockerConfig {
    auths: HashMap<String, Auth>,
    cred_helpers: HashMap<String, String>,
    creds_store: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Auth {
    /// Base64 of `user:password`.
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

impl Credentials {
    /// None: public images only.
    pub fn none() -> Self {
        Self::default()
    }

    /// `CNB_REGISTRY_AUTH`, then `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`; none where there is neither.
    pub fn from_environment() -> Result<Self, RegistryError> {
        let dir = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
        let dir = dir.or_else(|| Some(std::env::home_dir()?.join(".docker")));
        let mut credentials = match dir {
            Some(dir) => Self::from_file(&dir.join("config.json"))?,
            None => Self::none(),
        };
        if let Ok(json) = std::env::var("CNB_REGISTRY_AUTH") {
            credentials.headers =
                serde_json::from_str(&json).map_err(|_| RegistryError::Credentials {
                    registry: "any registry".to_owned(),
                    why: "CNB_REGISTRY_AUTH is not a JSON object of strings".to_owned(),
                })?;
        }
        Ok(credentials)
    }

    /// A docker configuration file; an absent one holds none.
    pub fn from_file(path: &Path) -> Result<Self, RegistryError> {
        let text = match read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::none()),
            result => result.map_err(|source| RegistryError::Io {
                action: "read",
                path: path.to_owned(),
                source,
            })?,
        };
        let config = serde_json::from_slice(&text).map_err(|error| RegistryError::Io {
            action: "understand",
            path: path.to_owned(),
            // Its own words would quote the file.
            source: io::Error::other(format!("it is not valid in line {}", error.line())),
        })?;
        Ok(Self {
            config,
            ..Self::none()
        })
    }

    /// Asks the helpers for these registries now: for a process that cannot any more when it needs to know, because it is
    /// somebody else by then.
    pub fn ask(&mut self, registries: impl IntoIterator<Item = String>) {
        for registry in registries {
            if let Some(name) = self.helper(&registry)
                && !self.asked.contains_key(&registry)
            {
                let found = helper::get(name, server(&registry));
                self.asked.insert(registry, found);
            }
        }
    }

    pub(super) fn of(&self, registry: &str) -> Result<Option<Credential>, RegistryError> {
        if let Some(header) = self.headers.get(registry) {
            return Ok(Some(Credential::Header(header.clone())));
        }
        if let Some(name) = self.helper(registry) {
            let found = match self.asked.get(registry) {
                Some(found) => found.clone(),
                None => helper::get(name, server(registry)),
            };
            let found = found.map_err(|why| RegistryError::Credentials {
                registry: registry.to_owned(),
                why,
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        let auth = self.config.auths.iter();
        let mut auth = auth.filter(|(key, _)| registry_of(key) == registry);
        Ok(auth.find_map(|(_, auth)| auth.credential()))
    }

    /// Whom to ask for a registry's.
    fn helper(&self, registry: &str) -> Option<&str> {
        let store = Some(&self.config.creds_store).filter(|name| !name.is_empty());
        let helper = self.config.cred_helpers.get(registry).or(store);
        helper.map(String::as_str)
    }
}

impl Auth {
    fn credential(&self) -> Option<Credential> {
        if !self.identitytoken.is_empty() {
            return Some(Credential::Identity(self.identitytoken.clone()));
        }
        let decoded = STANDARD.decode(&self.auth).ok();
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.and_then(|text| {
            let (user, password) = text.split_once(':')?;
            // Some versions of Docker pad it.
            Some((user.to_owned(), password.trim_end_matches('\0').to_owned()))
        });
        let plain = || (self.username.clone(), self.password.clone());
        let (user, password) = pair.unwrap_or_else(plain);
        (!user.is_empty()).then_some(Credential::Basic { user, password })
    }
}

impl Credential {
    /// For `Authorization`, where no exchange is needed.
    pub(super) fn header(&self) -> Option<String> {
        match self {
            Self::Basic { user, password } => Some(format!(
                "Basic {}",
                STANDARD.encode(format!("{user}:{password}"))
            )),
            Self::Header(header) => Some(header.clone()),
            Self::Identity(_) => None,
        }
    }
}

/// As helpers know it.
fn server(registry: &str) -> &str {
    match registry {
        "docker.io" => HUB_KEY,
        other => other,
    }
}

/// `https://r.io/v1/` and `r.io` name the same.
fn registry_of(key: &str) -> &str {
    let key = key
        .strip_prefix("https://")
        .or(key.strip_prefix("http://"))
        .unwrap_or(key);
    match key.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut text = Vec::new();
    fs::File::open(path)?
        .take(CONFIG_BYTES_MAX)
        .read_to_end(&mut text)?;
    Ok(text)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(json: &str) -> Result<Credentials, RegistryError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        fs::write(&file, json).unwrap();
        Credentials::from_file(&file)
    }

    fn basic(user: &str, password: &str) -> Option<Credential> {
        Some(Credential::Basic {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }

    #[test]
    fn the_docker_configuration_is_understood() {
        let found = credentials(
            r#"{"auths": {
                "r.io": {"auth": "dTpwOnE="},
                "https://index.docker.io/v1/": {"auth": "aHViOnB3"},
                "http://plain.io": {"username": "n", "password": "s"},
                "token.io": {"auth": "eDp5", "identitytoken": "t"},
                "empty.io": {}
            }, "HttpHeaders": {"a": "b"}}"#,
        )
        .unwrap();
        for (registry, expected) in [
            ("r.io", basic("u", "p:q")),
            ("docker.io", basic("hub", "pw")),
            ("plain.io", basic("n", "s")),
            ("token.io", Some(Credential::Identity("t".to_owned()))),
            ("empty.io", None),
            ("other.io", None),
        ] {
            assert!(found.of(registry).unwrap() == expected, "{registry}");
        }
    }

    #[test]
    fn an_error_does_not_quote_the_file() {
        let error = credentials("{\"auths\": {\"r.io\": \"geheim\"}}").unwrap_err();
        assert!(!format!("{error:?}").contains("geheim"), "{error:?}");
        assert!(credentials("").is_err());
        let absent = Credentials::from_file(Path::new("/does/not/exist")).unwrap();
        assert!(absent.of("r.io").unwrap().is_none());
    }

    /// By another process: one that is written by ours could not be run while a test beside this one forks.
    fn write_program(path: &Path, text: &str) {
        let written = std::process::Command::new("sh")
            .args([
                "-c",
                "printf '#!/bin/sh\\n%s\\n' \"$2\" > \"$1\"; chmod 755 \"$1\"",
                "sh",
            ])
            .arg(path)
            .arg(text)
            .status();
        assert!(written.unwrap().success());
    }

    #[test]
    fn a_helper_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("docker-credential-test");
        write_program(
            &script,
            "read server\n[ \"$1\" = get ] && [ \"$server\" = r.io ] || { echo 'credentials not found in native keychain'; exit 1; }\n\
             echo '{\"ServerURL\":\"r.io\",\"Username\":\"u\",\"Secret\":\"p\"}'",
        );
        let name = script.display().to_string();
        let name = name.strip_prefix(helper::PREFIX).unwrap_or(&name);
        let long = HELPER_TIME_MAX;
        assert!(helper::run(&script, "r.io", long).unwrap() == basic("u", "p"));
        assert!(helper::run(&script, "other.io", long).unwrap().is_none());
        assert!(helper::get(name, "r.io").is_err(), "a name is no path");
        for (text, time_max, expected) in [
            ("exit 3", long, "exit status: 3"),
            ("echo s3cret; exit 3", long, "exit status: 3"),
            ("echo s3cret", long, "its answer is not understood"),
            // What it leaves behind holds its output open.
            ("sleep 1000 & echo no", long, "its answer is not understood"),
            ("sleep 1000", Duration::from_secs(1), "no answer in 1 s"),
            // Ended by what nobody reads.
            ("exec yes", long, "signal: 13 (SIGPIPE)"),
        ] {
            write_program(&script, text);
            let Err(error) = helper::run(&script, "r.io", time_max) else {
                panic!("{text}")
            };
            let named = format!("the helper {}: ", script.display());
            assert_eq!(error.strip_prefix(&named), Some(expected), "{text}");
        }
        let error = helper::get("not-there", "r.io").map(drop).unwrap_err();
        let expected = "the helper docker-credential-not-there: there is no such program in PATH";
        assert_eq!(error, expected);
    }
}
