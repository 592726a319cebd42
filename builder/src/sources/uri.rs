//! How people write where a buildpack is, in the forms that `pack` and Heroku have taught them.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use container::registry::Reference;

use crate::id::{BuildpackId, Version};

const ARCHIVES: [&str; 4] = [".tgz", ".tar.gz", ".tar", ".cnb"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceUri {
    /// One that the server has: `slipway/nodejs`, `slipway/nodejs@0.1.0`.
    Installed {
        id: BuildpackId,
        version: Option<Version>,
    },
    /// A folder or an archive of this machine.
    Path(PathBuf),
    /// `https://…/x.tgz`.
    Archive(String),
    /// `https://…/x.git#v1`.
    Git { url: String, rev: Option<String> },
    /// A buildpackage in a registry.
    Image(Reference),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no buildpack: {why}")]
pub struct NotASource {
    text: String,
    why: String,
}

impl SourceUri {
    /// Understands `text`; paths only where `base` is given, and then relative to it.
    pub fn parse(text: &str, base: Option<&Path>) -> Result<Self, NotASource> {
        let wrong = |why: String| NotASource {
            text: text
                .chars()
                .filter(|char| !char.is_control())
                .take(300)
                .collect(),
            why,
        };
        if text.is_empty() || text.starts_with('-') || text.contains(char::is_control) {
            return Err(wrong(
                "it is empty, begins with `-` or has odd characters".to_owned(),
            ));
        }
        if text.starts_with("urn:cnb:registry:") {
            let why = "the registry of buildpacks.io is not read; give the image that it points to";
            return Err(wrong(why.to_owned()));
        }
        let of_builder = text.strip_prefix("urn:cnb:builder:");
        if let Some(id) = of_builder.or_else(|| text.strip_prefix("from=builder:")) {
            return installed(id).map_err(wrong);
        }
        if let Some(image) = text.strip_prefix("docker://") {
            return Ok(Self::Image(
                image.parse().map_err(|e| wrong(format!("{e}")))?,
            ));
        }
        if let Some(remote) = remote(text) {
            return remote.map_err(wrong);
        }
        let path = text.strip_prefix("file://").unwrap_or(text);
        let is_path = path.starts_with(['/', '.']) || path != text;
        match base {
            Some(base) if is_path || base.join(path).exists() => {
                return Ok(Self::Path(base.join(path)));
            }
            None if is_path => {
                let why = "a path means nothing on the server; give an address or an image";
                return Err(wrong(why.to_owned()));
            }
            _ => {}
        }
        // Tags and hosts make an image; a plain id may still turn out to be one.
        let id = installed(text);
        let is_image = text.contains(':') || text.contains("@sha256");
        match (id, text.parse::<Reference>()) {
            (Ok(id), _) if !is_image => Ok(id),
            (_, Ok(reference)) => Ok(Self::Image(reference)),
            (Ok(id), Err(_)) => Ok(id),
            (Err(why), Err(_)) => Err(wrong(why)),
        }
    }

    /// What a buildpack from there is called that has no id of its own.
    pub(super) fn name(&self) -> String {
        let text = match self {
            Self::Installed { id, .. } => id.to_string(),
            Self::Path(path) => path.display().to_string(),
            Self::Archive(url) | Self::Git { url, .. } => url.clone(),
            Self::Image(reference) => reference.repository.name().to_owned(),
        };
        let text = text.trim_end_matches('/');
        let last = text.rsplit(['/', ':']).next().unwrap_or_default();
        let endings = ARCHIVES.iter().chain(&[".git"]);
        let name = endings.fold(last, |name, ending| {
            name.strip_suffix(ending).unwrap_or(name)
        });
        let plain = |char: char| char.is_ascii_alphanumeric() || "._-".contains(char);
        let name: String = name.chars().filter(|char| plain(*char)).take(100).collect();
        if name.trim_matches('.').is_empty() {
            "buildpack".to_owned()
        } else {
            name
        }
    }
}

fn installed(text: &str) -> Result<SourceUri, String> {
    let (id, version) = match text.split_once('@') {
        Some((id, version)) => (id, Some(version)),
        None => (text, None),
    };
    let version = version.map(|version| Version::try_from(version.to_owned()));
    Ok(SourceUri::Installed {
        id: BuildpackId::try_from(id.to_owned())?,
        version: version.transpose()?,
    })
}

/// `None` when it is no address.
fn remote(text: &str) -> Option<Result<SourceUri, String>> {
    let is_ssh = text.starts_with("ssh://") || text.starts_with("git@");
    let is_web = text.starts_with("https://") || text.starts_with("http://");
    if !is_ssh && !is_web {
        return None;
    }
    let (url, rev) = match text.split_once('#') {
        Some((url, rev)) => (url, Some(rev)),
        None => (text, None),
    };
    if is_web && rev.is_none() && ARCHIVES.iter().any(|ending| url.ends_with(ending)) {
        return Some(Ok(SourceUri::Archive(url.to_owned())));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
    let is_rev = |rev: &str| !rev.is_empty() && !rev.starts_with('-') && rev.bytes().all(plain);
    if rev.is_some_and(|rev| !is_rev(rev)) {
        return Some(Err(
            "what follows the `#` is no branch, tag or commit".to_owned()
        ));
    }
    Some(Ok(SourceUri::Git {
        url: url.to_owned(),
        rev: rev.map(str::to_owned),
    }))
}

impl fmt::Display for SourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installed { id, version: None } => write!(f, "{id}"),
            Self::Installed {
                id,
                version: Some(version),
            } => write!(f, "{id}@{}", version.as_str()),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Archive(url) | Self::Git { url, rev: None } => f.write_str(url),
            Self::Git {
                url,
                rev: Some(rev),
            } => write!(f, "{url}#{rev}"),
            Self::Image(reference) => write!(f, "docker://{reference}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_known() {
        for (text, expected) in [
            ("slipway/nodejs", "slipway/nodejs"),
            ("urn:cnb:builder:a/b@1.2", "a/b@1.2"),
            ("docker://ghcr.io/a/b", "docker://ghcr.io/a/b:latest"),
            (
                "paketobuildpacks/nodejs:1",
                "docker://docker.io/paketobuildpacks/nodejs:1",
            ),
            ("https://x.io/b.tgz", "https://x.io/b.tgz"),
            (
                "https://github.com/heroku/heroku-buildpack-ruby#v1",
                "https://github.com/heroku/heroku-buildpack-ruby#v1",
            ),
            ("git@x.io:a/b.git", "git@x.io:a/b.git"),
        ] {
            let parsed = SourceUri::parse(text, None).unwrap();
            assert_eq!(parsed.to_string(), expected);
            assert_eq!(SourceUri::parse(expected, None).unwrap(), parsed);
        }
        let path = SourceUri::parse("./b", Some(Path::new("/app"))).unwrap();
        assert_eq!(path, SourceUri::Path("/app/./b".into()));
    }

    #[test]
    fn what_is_none_says_why() {
        for (text, why) in [
            ("", "empty"),
            ("--upload-pack=x", "begins with"),
            ("./b", "a path means nothing on the server"),
            ("/etc", "a path means nothing on the server"),
            ("file:///etc", "a path means nothing on the server"),
            ("urn:cnb:registry:a/b", "not read"),
            ("https://x.io/a#--x", "no branch"),
            ("a b", "cannot be the id"),
        ] {
            let error = SourceUri::parse(text, None).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_name_is_plain() {
        for (text, expected) in [
            (
                "https://github.com/heroku/heroku-buildpack-ruby.git#v1",
                "heroku-buildpack-ruby",
            ),
            ("https://x.io/b.tgz", "b"),
            ("https://x.io/..", "buildpack"),
        ] {
            assert_eq!(SourceUri::parse(text, None).unwrap().name(), expected);
        }
    }
}
