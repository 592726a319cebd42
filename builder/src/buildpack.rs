//! `buildpack.toml`, the descriptor of a buildpack in the folder of buildpacks.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{
    api::Api,
    files::{self, BadFile},
    group::Member,
    id::{BuildpackId, Version},
};

/// A buildpack on disk.
#[derive(Debug, Clone)]
pub(crate) struct Buildpack {
    pub(crate) dir: PathBuf,
    pub(crate) api: Api,
    pub(crate) info: Info,
    /// Of ours: which files make it take part, for the words after a failed detection.
    pub(crate) detects: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Info {
    pub(crate) id: BuildpackId,
    pub(crate) version: Version,
    #[serde(default)]
    pub(crate) homepage: Option<String>,
    /// Do not give it the user's environment.
    #[serde(default, rename = "clear-env")]
    pub(crate) clear_env: bool,
    /// Media types of the software bills of materials it may write.
    #[serde(default, rename = "sbom-formats")]
    pub(crate) sbom_formats: Vec<String>,
}

#[derive(Deserialize)]
struct Descriptor {
    api: Api,
    buildpack: Info,
    #[serde(default)]
    order: Vec<toml::Table>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    slipway: Slipway,
}

#[derive(Default, Deserialize)]
struct Slipway {
    #[serde(default)]
    detects: OneOrMany,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(vec![])
    }
}

impl Buildpack {
    /// `<buildpacks>/<id with / as _>/<version>`.
    pub(crate) fn open(
        buildpacks: &Path,
        id: &BuildpackId,
        version: &Version,
    ) -> Result<Self, BadFile> {
        let dir = buildpacks.join(id.dir_name()).join(version.as_str());
        let file = dir.join("buildpack.toml");
        let shown = file.display().to_string();
        let descriptor: Descriptor =
            files::toml(&file)?.ok_or_else(|| BadFile::new(&shown, "is missing"))?;
        descriptor.check(id, version, &shown)?;
        Ok(Self {
            dir,
            api: descriptor.api,
            info: descriptor.buildpack,
            detects: match descriptor.metadata.slipway.detects {
                OneOrMany::One(file) => vec![file],
                OneOrMany::Many(files) => files,
            },
        })
    }

    pub(crate) fn member(&self) -> Member {
        Member {
            id: self.info.id.clone(),
            version: self.info.version.clone(),
            api: self.api,
            homepage: self.info.homepage.clone(),
        }
    }
}

impl Descriptor {
    fn check(&self, id: &BuildpackId, version: &Version, shown: &str) -> Result<(), BadFile> {
        let wrong = |what: String| Err(BadFile::new(shown, what));
        if self.buildpack.id != *id || self.buildpack.version != *version {
            let (found, at) = (&self.buildpack.id, &self.buildpack.version);
            return wrong(format!("describes {found} {at}, not {id} {version}"));
        }
        if !self.order.is_empty() {
            return wrong("composite buildpacks are not supported yet".to_owned());
        }
        if !self.api.is_supported() {
            let (from, to) = (Api::V0_8, Api::V0_10);
            return wrong(format!(
                "Buildpack API {} is not supported; {from} to {to} are",
                self.api
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn open(text: &str) -> Result<Buildpack, BadFile> {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("acme_x/1");
        fs::create_dir_all(&at).unwrap();
        fs::write(at.join("buildpack.toml"), text).unwrap();
        let id = BuildpackId::try_from("acme/x".to_owned()).unwrap();
        Buildpack::open(dir.path(), &id, &Version::try_from("1".to_owned()).unwrap())
    }

    const INFO: &str = "[buildpack]\nid='acme/x'\nversion='1'\nunknown=1\n";

    #[test]
    fn a_descriptor_says_which_files_it_looks_for() {
        for (detects, expected) in [
            ("", &[][..]),
            ("detects='package.json'", &["package.json"]),
            ("detects=['a', 'b']", &["a", "b"]),
        ] {
            let text = format!("api='0.10'\n{INFO}\n[metadata.slipway]\n{detects}");
            assert_eq!(open(&text).unwrap().detects, expected);
        }
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_the_reason() {
        for (text, expected) in [
            (
                format!("api='0.7'\n{INFO}"),
                "Buildpack API 0.7 is not supported; 0.8 to 0.10 are",
            ),
            (
                format!("api='0.10'\n{INFO}[[order]]\n"),
                "composite buildpacks are not supported yet",
            ),
            (
                "api='0.10'\n[buildpack]\nid='acme/y'\nversion='1'".to_owned(),
                "describes acme/y 1, not acme/x 1",
            ),
        ] {
            assert_eq!(open(&text).unwrap_err().what, expected);
        }
    }
}
