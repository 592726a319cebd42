//! `buildpack.toml` and `extension.toml`, the descriptors of what lies in the folders of buildpacks and extensions.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{
    api::Api,
    failure::Failure,
    files::{self, BadFile},
    group::Member,
    id::{BuildpackId, Version},
    order::OrderGroup,
    target::Wanted,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Buildpack,
    /// An image extension.
    Extension,
}

/// A buildpack on disk, or an extension.
#[derive(Debug, Clone)]
pub(crate) struct Buildpack {
    pub(crate) kind: Kind,
    pub(crate) dir: PathBuf,
    pub(crate) api: Api,
    pub(crate) info: Info,
    /// Of a composite buildpack: the groups that it stands for.
    pub(crate) order: Vec<OrderGroup>,
    pub(crate) targets: Vec<Wanted>,
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
    /// Execution environments it is for; all when empty.
    #[serde(default, rename = "exec-env")]
    pub(crate) exec_env: Vec<String>,
}

#[derive(Deserialize)]
struct Descriptor {
    /// As text, so that a version that we cannot even read is said to be one that is not supported.
    #[serde(default)]
    api: String,
    #[serde(alias = "extension")]
    buildpack: Info,
    #[serde(default)]
    order: Vec<OrderGroup>,
    #[serde(default)]
    targets: Vec<Wanted>,
    #[serde(default)]
    stacks: Vec<Stack>,
    #[serde(default)]
    metadata: Metadata,
}

/// What there was before targets.
#[derive(Deserialize)]
struct Stack {
    id: String,
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

impl Kind {
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Buildpack => "buildpack.toml",
            Self::Extension => "extension.toml",
        }
    }
}

impl Buildpack {
    /// `<folder>/<id with / as _>/<version>`.
    pub(crate) fn open(
        kind: Kind,
        folder: &Path,
        id: &BuildpackId,
        version: &Version,
    ) -> Result<Self, Failure> {
        let dir = folder.join(id.dir_name()).join(version.as_str());
        let file = dir.join(kind.file());
        let descriptor: Descriptor = files::wanted(&file)?;
        let api = descriptor
            .api
            .parse()
            .ok()
            .filter(|api: &Api| api.is_buildpack_api());
        let api = api.ok_or_else(|| Failure::buildpack_api(id, &descriptor.api))?;
        let info = &descriptor.buildpack;
        if info.id != *id || info.version != *version {
            let what = format!("describes {} {}, not {id} {version}", info.id, info.version);
            return Err(Failure::Input(BadFile::new(
                &file.display().to_string(),
                what,
            )));
        }
        Ok(Self {
            kind,
            targets: descriptor.targets(api, &dir),
            dir,
            api,
            info: descriptor.buildpack,
            order: descriptor.order,
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

    pub(crate) fn is_for(&self, exec_env: &str) -> bool {
        let listed = &self.info.exec_env;
        let named = |one: &String| one == "*" || one == exec_env;
        self.api < Api::of(12) || listed.is_empty() || listed.iter().any(named)
    }
}

/// Of bytes that nobody has looked at.
pub(crate) fn parse(bytes: &[u8]) -> Result<(), BadFile> {
    let descriptor: Descriptor = files::parse(Kind::Buildpack.file(), bytes)?;
    if let Ok(api) = descriptor.api.parse() {
        descriptor.targets(api, Path::new("/none"));
    }
    Ok(())
}

impl Descriptor {
    /// A descriptor older than targets names stacks, or nothing; whatever has programs for Linux is for Linux.
    fn targets(&self, api: Api, dir: &Path) -> Vec<Wanted> {
        if !self.targets.is_empty() {
            return self.targets.clone();
        }
        let of_stack = |stack: &Stack| match stack.id.as_str() {
            "*" => Some(Wanted::default()),
            "io.buildpacks.stacks.bionic" if api >= Api::of(10) || self.stacks.len() == 1 => {
                Some(Wanted {
                    os: "linux".to_owned(),
                    arch: "amd64".to_owned(),
                    distros: vec![crate::target::Distro {
                        name: "ubuntu".to_owned(),
                        version: "18.04".to_owned(),
                    }],
                    ..Wanted::default()
                })
            }
            _ => None,
        };
        let targets: Vec<Wanted> = self.stacks.iter().filter_map(of_stack).collect();
        let programs = ["build", "detect", "generate"];
        if targets.is_empty()
            && programs
                .iter()
                .any(|name| dir.join("bin").join(name).exists())
        {
            return vec![Wanted {
                os: "linux".to_owned(),
                ..Wanted::default()
            }];
        }
        targets
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn open(text: &str) -> Result<Buildpack, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("acme_x/1");
        fs::create_dir_all(at.join("bin")).unwrap();
        fs::write(at.join("bin/build"), "").unwrap();
        fs::write(at.join("buildpack.toml"), text).unwrap();
        let id = BuildpackId::try_from("acme/x".to_owned()).unwrap();
        let version = Version::try_from("1".to_owned()).unwrap();
        Buildpack::open(Kind::Buildpack, dir.path(), &id, &version)
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
    fn targets_are_inferred_where_there_are_none() {
        for (text, os, distros) in [
            ("", "linux", 0),
            ("[[stacks]]\nid='*'", "", 0),
            ("[[stacks]]\nid='io.buildpacks.stacks.bionic'", "linux", 1),
            ("[[stacks]]\nid='other'", "linux", 0),
            (
                "[[targets]]\nos='windows'\n[[targets.distros]]\nname='x'",
                "windows",
                1,
            ),
        ] {
            let buildpack = open(&format!("api='0.10'\n{INFO}\n{text}")).unwrap();
            let [target] = &buildpack.targets[..] else {
                panic!("{text}: {:?}", buildpack.targets)
            };
            assert_eq!(
                (target.os.as_str(), target.distros.len()),
                (os, distros),
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_the_reason() {
        for (text, code, expected) in [
            (
                format!("api='0.6'\n{INFO}"),
                12,
                "Buildpack API `0.6` of acme/x is not supported",
            ),
            (
                format!("api='0.13'\n{INFO}"),
                12,
                "Buildpack API `0.13` of acme/x is not supported",
            ),
            (
                format!("api='new'\n{INFO}"),
                12,
                "Buildpack API `new` of acme/x is not supported",
            ),
            (
                INFO.to_owned(),
                12,
                "Buildpack API `` of acme/x is not supported",
            ),
            (
                "api='0.10'\n[buildpack]\nid='acme/x'\nversion='2'".to_owned(),
                1,
                "describes acme/x 2, not acme/x 1",
            ),
            (
                "api='0.10'\n[buildpack]\nid='acme/x'".to_owned(),
                1,
                ", line 2: missing field `version`",
            ),
        ] {
            let failure = open(&text).unwrap_err();
            assert!(failure.to_string().contains(expected), "{text}: {failure}");
            assert_eq!(
                failure.exit_code(crate::failure::PhaseName::Detect),
                code,
                "{text}"
            );
        }
    }

    #[test]
    fn an_execution_environment_counts_since_its_version() {
        for (api, listed, expected) in [
            ("0.12", "['test']", false),
            ("0.12", "['test', 'production']", true),
            ("0.12", "['*']", true),
            ("0.12", "[]", true),
            ("0.11", "['test']", true),
        ] {
            let text = format!("api='{api}'\n{INFO}exec-env={listed}");
            assert_eq!(
                open(&text).unwrap().is_for("production"),
                expected,
                "{text}"
            );
        }
    }
}
