//! The npm registry: which versions a package has, and its files, verified by the registry's integrity digest.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    io,
    path::{Component, Path, PathBuf},
};

use flate2::read::GzDecoder;
use serde::Deserialize;

use super::errors::NodeError;
use crate::{
    download::{Client, DownloadError, Expected, redacted},
    error::{IoContext, IoError},
};

const DEFAULT_REGISTRY: &str = "https://registry.npmjs.org/";
/// A shorter document: versions and where they are, without the read-me files.
const ABBREVIATED: &str = "application/vnd.npm.install-v1+json";
/// A package that unpacks to more than this is not one that we asked for.
const UNPACKED_BYTES_MAX: u64 = 1024 * 1024 * 1024;

pub(super) struct Registry {
    client: Client,
    /// Ends with `/`.
    base: String,
    token: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Package {
    #[serde(rename = "dist-tags", default)]
    pub(super) tags: BTreeMap<String, String>,
    pub(super) versions: BTreeMap<String, Release>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Release {
    pub(super) dist: Distribution,
    #[serde(default)]
    pub(super) engines: serde_json::Value,
}

#[derive(Debug, Deserialize)]
pub(super) struct Distribution {
    pub(super) tarball: String,
    pub(super) integrity: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    #[error(transparent)]
    Download(#[from] DownloadError),
    #[error("`{url}` comes without a sha512 digest to verify it by")]
    NoDigest { url: String },
    #[error("the package at `{url}` cannot be unpacked")]
    Unpack { url: String, source: io::Error },
    #[error(transparent)]
    Io(#[from] IoError),
}

impl Registry {
    /// The registry that npm itself would use for this app.
    pub(super) fn of(app: &Path) -> Registry {
        let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".npmrc"));
        let files: Vec<String> = [Some(app.join(".npmrc")), home]
            .into_iter()
            .flatten()
            .filter_map(|path| fs::read_to_string(path).ok())
            .collect();
        let from_env = ["npm_config_registry", "NPM_CONFIG_REGISTRY"]
            .iter()
            .find_map(|name| env::var(name).ok());
        let setting = |key: &str| files.iter().find_map(|text| npmrc_value(text, key));
        let mut base = from_env
            .or_else(|| setting("registry"))
            .unwrap_or_else(|| DEFAULT_REGISTRY.to_owned());
        if !base.ends_with('/') {
            base.push('/');
        }
        let token_key = base
            .split_once(':')
            .map(|(_, rest)| format!("{rest}:_authToken"));
        Registry {
            client: Client::new(),
            token: token_key.and_then(|key| setting(&key)),
            base,
        }
    }

    pub(super) fn package(&self, name: &str) -> Result<Package, RegistryError> {
        let url = format!("{}{}", self.base, name.replace('/', "%2f"));
        Ok(self.client.json(&url, ABBREVIATED, self.token.as_deref())?)
    }

    /// Unpacks the files of a release that `keep` names a place below `dir` for; their path begins below the package.
    pub(super) fn unpack(
        &self,
        release: &Release,
        dir: &Path,
        keep: impl Fn(&Path) -> bool,
    ) -> Result<(), RegistryError> {
        let url = &release.dist.tarball;
        let expected = integrity(release.dist.integrity.as_deref())
            .ok_or_else(|| RegistryError::NoDigest { url: redacted(url) })?;
        // A token is for the registry, not for whatever host it sends us to.
        let token = self
            .token
            .as_deref()
            .filter(|_| url.starts_with(&self.base));
        let archive = dir.join(".package.tgz");
        self.client.file(url, token, &expected, &archive)?;
        let file = File::open(&archive).at("read", &archive)?;
        unpack(file, dir, keep).map_err(|source| RegistryError::Unpack {
            url: redacted(url),
            source,
        })?;
        fs::remove_file(&archive).at("remove", &archive)?;
        Ok(())
    }
}

impl From<RegistryError> for NodeError {
    fn from(error: RegistryError) -> NodeError {
        NodeError::Registry(error)
    }
}

/// `key = value` of an npmrc, `${NAME}` replaced from the environment.
fn npmrc_value(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, value) = line.trim().split_once('=')?;
        (name.trim() == key)
            .then(|| expand(value.trim().trim_matches('"'), |name| env::var(name).ok()))
    })
}

fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else {
            break;
        };
        expanded.push_str(before);
        expanded.push_str(&variable(name).unwrap_or_default());
        rest = after;
    }
    expanded + rest
}

/// The sha512 of an integrity text, which may list several digests.
fn integrity(text: Option<&str>) -> Option<Expected> {
    text?
        .split_whitespace()
        .find_map(|digest| digest.strip_prefix("sha512-"))
        .map(|digest| Expected::Sha512Base64(digest.split('?').next().unwrap_or(digest).to_owned()))
}

/// npm's archives hold one folder, usually called `package`.
fn unpack(archive: impl io::Read, dir: &Path, keep: impl Fn(&Path) -> bool) -> io::Result<()> {
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    archive.set_preserve_mtime(false);
    let mut bytes_left = UNPACKED_BYTES_MAX;
    for entry in archive.entries()? {
        let mut entry = entry?;
        bytes_left = bytes_left
            .checked_sub(entry.size())
            .ok_or_else(|| io::Error::other("it is too large"))?;
        let path: PathBuf = entry.path()?.components().skip(1).collect();
        let stays_inside = path
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !stays_inside {
            return Err(io::Error::other("a path leads out of it"));
        }
        if entry.header().entry_type().is_file() && keep(&path) {
            let target = dir.join(&path);
            if let Some(folder) = target.parent() {
                fs::create_dir_all(folder)?;
            }
            entry.unpack(&target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_strongest_digest_is_used() {
        let expected = Some(Expected::Sha512Base64("abc==".to_owned()));
        assert_eq!(integrity(Some("sha1-x sha512-abc==")), expected);
        assert_eq!(integrity(Some("sha512-abc==?foo")), expected);
        assert_eq!(integrity(Some("sha1-x")), None);
        assert_eq!(integrity(None), None);
    }

    #[test]
    fn npmrc_values_take_variables() {
        let text = "# note\nregistry = https://host/npm/\n//host/npm/:_authToken=${SECRET}\n";
        assert_eq!(
            npmrc_value(text, "registry").as_deref(),
            Some("https://host/npm/")
        );
        assert_eq!(npmrc_value(text, "other"), None);
        let variable = |name: &str| (name == "SECRET").then(|| "s3".to_owned());
        assert_eq!(expand("a${SECRET}b${NONE}c", variable), "as3bc");
        assert_eq!(expand("a${SECRET", variable), "a${SECRET");
    }

    /// A gzipped tar with one file, under a name that need not be a decent one.
    fn archive(name: &str) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(3);
        header.set_mode(0o755);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        let mut tar = header.as_bytes().to_vec();
        tar.extend(b"abc");
        tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar).expect("compressed");
        gzip.finish().expect("compressed")
    }

    #[test]
    fn unpacks_below_the_folder_and_nowhere_else() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let inside = dir.path().join("inside");
        unpack(archive("package/bin/node").as_slice(), &inside, |_| true).expect("unpacked");
        assert_eq!(fs::read(inside.join("bin/node")).expect("there"), b"abc");
        unpack(archive("package/README.md").as_slice(), &inside, |path| {
            path.starts_with("bin")
        })
        .expect("skipped");
        assert!(!inside.join("README.md").exists());
        for name in ["package/../../evil", "package/a/../../../evil"] {
            assert!(
                unpack(archive(name).as_slice(), &inside, |_| true).is_err(),
                "{name}"
            );
        }
        assert!(!dir.path().join("evil").exists());
    }
}
