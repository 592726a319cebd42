//! Names of images: `[registry/]repository[:tag][@digest]`, by the rules that Docker's users know (distribution-spec
//! "Pulling manifests"; the defaults are `docker.io`, `library/` and `latest`).

use std::{fmt, str::FromStr};

use crate::Digest;

const HUB: &str = "docker.io";
/// Where Docker Hub answers, which is not its name.
const HUB_HOST: &str = "registry-1.docker.io";
const NAME_BYTES_MAX: usize = 255;
const TAG_BYTES_MAX: usize = 128;
const LATEST: &str = "latest";
/// Words before a reference that other tools want.
const TRANSPORT: &str = "docker://";

/// A repository of a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    registry: String,
    name: String,
}

/// One image of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    pub repository: Repository,
    /// `latest` when neither a tag nor a digest was given.
    pub tag: Option<String>,
    /// Wins over the tag.
    pub digest: Option<Digest>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no image reference: {why}")]
pub struct NotAReference {
    text: String,
    why: &'static str,
}

impl Repository {
    /// As credentials are kept for it: `docker.io`, `ghcr.io`, `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Below the registry: `library/debian`.
    pub fn name(&self) -> &str {
        &self.name
    }
}
/// Where the API of `registry` is.
pub(super) fn host_of(registry: &str) -> &str {
    if registry == HUB { HUB_HOST } else { registry }
}

/// On this machine, where nobody listens in: plain HTTP.
pub(super) fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => registry.split(':').next(),
    };
    let host = host.unwrap_or_default();
    let address: Option<std::net::IpAddr> = host.parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}

impl Reference {
    /// The last part of a manifest's URL.
    pub fn target(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => LATEST.to_owned(),
        }
    }

    /// The same image, whatever happens to its tag.
    pub fn pinned(&self, digest: Digest) -> Self {
        Self {
            repository: self.repository.clone(),
            tag: None,
            digest: Some(digest),
        }
    }

    pub fn tagged(&self, tag: &str) -> Self {
        Self {
            repository: self.repository.clone(),
            tag: Some(tag.to_owned()),
            digest: None,
        }
    }
}

impl FromStr for Reference {
    type Err = NotAReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text.strip_prefix(TRANSPORT).unwrap_or(text)).map_err(|why| NotAReference {
            text: text.chars().filter(|c| !c.is_control()).take(300).collect(),
            why,
        })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    let (text, digest) = match text.split_once('@') {
        Some((text, digest)) => {
            let digest = digest.parse().map_err(
                |_| "what follows the `@` is no digest, `sha256:` and 64 lower-case hex digits",
            )?;
            (text, Some(digest))
        }
        None => (text, None),
    };
    let (text, tag) = match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err("its tag may have letters, digits, `_`, `.` and `-`, 128 at most");
    }
    let tag = tag.map(str::to_owned);
    let tag = tag.or_else(|| digest.is_none().then(|| LATEST.to_owned()));
    Ok(Reference {
        repository: repository(text)?,
        tag,
        digest,
    })
}

fn repository(text: &str) -> Result<Repository, &'static str> {
    let (registry, name) = match text.split_once('/') {
        Some((first, rest)) if is_registry(first) => (first, rest.to_owned()),
        Some(_) => (HUB, text.to_owned()),
        None => (HUB, format!("library/{text}")),
    };
    let registry = match registry {
        "index.docker.io" | HUB_HOST => HUB,
        other => other,
    };
    let name = match name.as_str() {
        single if registry == HUB && !single.contains('/') => format!("library/{single}"),
        _ => name,
    };
    if !is_host(registry) {
        return Err("its registry is no host name with an optional port");
    }
    if name.len() > NAME_BYTES_MAX || !name.split('/').all(is_component) {
        return Err(
            "its repository may have lower-case letters and digits, with `.`, `_`, `-` between them, in parts by `/`",
        );
    }
    Ok(Repository {
        registry: registry.to_owned(),
        name,
    })
}

/// Whether the first part names a registry and no folder of Docker Hub.
fn is_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':'])
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => (
                "v6",
                port.strip_prefix(':').or(port.is_empty().then_some("80")),
            ),
            _ => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, Some("80")),
        },
    };
    let plain = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let digits =
        |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    host.len() <= NAME_BYTES_MAX && host.split('.').all(plain) && port.is_some_and(digits)
}

/// Runs of `a-z0-9` with one `.`, one or two `_`, or any number of `-` between them.
fn is_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut separators = text
        .split(|char: char| char.is_ascii() && alphanumeric(char as u8))
        .filter(|run| !run.is_empty());
    let known = |run: &str| matches!(run, "." | "_" | "__") || run.bytes().all(|b| b == b'-');
    let edge = |byte: Option<&u8>| byte.is_some_and(|b| alphanumeric(*b));
    edge(text.as_bytes().first()) && edge(text.as_bytes().last()) && separators.all(known)
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= TAG_BYTES_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.name)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.repository, f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_are_completed() {
        for (text, expected) in [
            ("debian", "docker.io/library/debian:latest"),
            ("docker.io/debian:12", "docker.io/library/debian:12"),
            ("heroku/builder:24", "docker.io/heroku/builder:24"),
            ("docker://ghcr.io/a/b", "ghcr.io/a/b:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/a/b:v1.0", "localhost:5000/a/b:v1.0"),
            ("[::1]:5000/a:1", "[::1]:5000/a:1"),
            ("index.docker.io/a/b", "docker.io/a/b:latest"),
            ("r.io/a__b-c.d---e", "r.io/a__b-c.d---e:latest"),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), expected);
        }
        let pinned: Reference = format!("r.io/a:1@{DIGEST}").parse().unwrap();
        assert_eq!(pinned.target(), DIGEST);
        assert_eq!(pinned.to_string(), format!("r.io/a:1@{DIGEST}"));
        let hub: Reference = "debian".parse().unwrap();
        assert_eq!(host_of(hub.repository.registry()), "registry-1.docker.io");
    }

    #[test]
    fn what_is_no_reference_says_why() {
        for (text, why) in [
            ("", "repository"),
            ("r.io/A", "lower-case"),
            ("r.io/a..b", "repository"),
            ("r.io/../b", "repository"),
            ("r.io/a:", "tag"),
            ("r.io/a:-x", "tag"),
            ("r.io/a@sha256:00", "digest"),
            ("r.io:99999/a", "registry"),
            ("r.io:x/a", "registry"),
            ("-r.io/a", "registry"),
            ("r.io/a?b", "repository"),
            ("user@r.io/a", "digest"),
            ("https://r.io/a", "registry"),
            ("r.io/ä", "repository"),
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn this_machine_is_known() {
        for (text, expected) in [
            ("localhost:5000/a", true),
            ("127.0.0.1:5000/a", true),
            ("[::1]:5000/a", true),
            ("localhost.evil.io/a", false),
            ("r.io/a", false),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(
                is_loopback(reference.repository.registry()),
                expected,
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_read_back(text in "[a-z.:/@_0-9-]{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(&reference.to_string().parse::<Reference>().unwrap(), &reference);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            _ = text.parse::<Reference>();
        }
    }
}
