//! The folder of buildpacks of one build: `<id with / as _>/<version>`, and `order.toml`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use container::store::Scratch;
use serde::{Deserialize, Serialize};

use super::{Inline, SourceError, tree};
use crate::{
    classic, files,
    id::{BuildpackId, Version},
};

const DESCRIPTOR: &str = "buildpack.toml";
/// Reads a Procfile for those that do not.
const PROCFILE: &str = "slipway/procfile";

/// Buildpacks that stand ready for a build; the folder goes when this does.
#[derive(Debug)]
pub struct Set {
    scratch: Scratch,
    groups: Vec<Vec<Chosen>>,
    classics: Vec<PathBuf>,
}

/// One of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chosen {
    pub id: BuildpackId,
    pub version: Version,
    pub optional: bool,
}

#[derive(Deserialize)]
struct Descriptor {
    buildpack: Named,
}

#[derive(Deserialize)]
struct Named {
    id: BuildpackId,
    version: Version,
}

impl Chosen {
    pub(super) fn new(id: BuildpackId, version: Version) -> Self {
        Self {
            id,
            version,
            optional: false,
        }
    }
}

impl Set {
    pub(super) fn new(scratch: Scratch) -> Self {
        Self {
            scratch,
            groups: vec![vec![]],
            classics: vec![],
        }
    }

    /// For [`crate::Builder::buildpacks`].
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// The buildpacks that detection begins with, first to last.
    pub fn group(&self) -> &[Chosen] {
        self.groups.first().map_or(&[], Vec::as_slice)
    }

    pub(super) fn choose(&mut self, one: Chosen) {
        self.groups[0].push(one);
    }

    /// A buildpack's files, which are moved or, where they are bundled, were copied for this.
    pub(super) fn add_tree(
        &mut self,
        tree: &Path,
        name: &str,
        version: &str,
    ) -> Result<(), SourceError> {
        let descriptor = tree.join(DESCRIPTOR);
        if tree::is_file(&descriptor) {
            let shown: Option<Descriptor> = files::toml_as(&descriptor, DESCRIPTOR)?;
            let named = shown.ok_or(SourceError::NoBuildpack)?.buildpack;
            self.move_in(tree, &named.id, &named.version)?;
            self.choose(Chosen::new(named.id, named.version));
            return Ok(());
        }
        if !classic::is_classic(tree) {
            return Err(SourceError::NoBuildpack);
        }
        let wrong = |why| SourceError::NotA {
            what: "buildpack",
            why,
        };
        let id = BuildpackId::try_from(format!("classic/{name}")).map_err(wrong)?;
        let version = Version::try_from(version.to_owned()).map_err(wrong)?;
        let dir = self.place(&id, &version)?;
        classic::wrap(tree, &dir, &id, &version).map_err(SourceError::io("wrap", tree))?;
        self.classics.push(dir);
        self.choose(Chosen::new(id, version));
        Ok(())
    }

    pub(super) fn add_inline(&mut self, inline: &Inline) -> Result<(), SourceError> {
        let dir = self.place(&inline.id, &inline.version)?;
        let shell = &inline.shell;
        let programs = [
            ("detect", format!("#!{shell}\n")),
            ("build", format!("#!{shell}\n{}\n", inline.script)),
        ];
        tree::make_dir(&dir.join("bin"))?;
        for (name, text) in programs {
            tree::program(&dir.join("bin").join(name), &text)?;
        }
        let mut buildpack = toml::Table::new();
        buildpack.insert("id".to_owned(), inline.id.to_string().into());
        buildpack.insert("version".to_owned(), inline.version.as_str().into());
        let mut descriptor = toml::Table::new();
        descriptor.insert("api".to_owned(), inline.api.clone().into());
        descriptor.insert("buildpack".to_owned(), buildpack.into());
        let file = dir.join(DESCRIPTOR);
        fs::write(&file, descriptor.to_string()).map_err(SourceError::io("write", &file))?;
        self.choose(Chosen::new(inline.id.clone(), inline.version.clone()));
        Ok(())
    }

    /// One of the server's own, the newest where no version is named.
    pub(super) fn add_installed(
        &mut self,
        installed: &Path,
        id: &BuildpackId,
        version: Option<&Version>,
    ) -> Result<(), SourceError> {
        let versions = installed.join(id.dir_name());
        let version = match version {
            Some(version) => Some(version.clone()),
            None => newest(&versions),
        };
        let found = version
            .clone()
            .map(|version| versions.join(version.as_str()))
            .filter(|dir| dir.join(DESCRIPTOR).is_file());
        let (Some(version), Some(found)) = (version, found) else {
            return Err(SourceError::NotInstalled(id.to_string()));
        };
        let dir = self.place(id, &version)?;
        tree::copy(&found, &dir)?;
        self.choose(Chosen::new(id.clone(), version));
        Ok(())
    }

    /// A Procfile is read whatever the buildpacks. Classic ones read it themselves, because its processes need their
    /// `.profile.d`.
    pub(super) fn add_procfile(&mut self, installed: &Path) -> Result<(), SourceError> {
        classic::settle(&self.classics).map_err(SourceError::io("write", self.dir()))?;
        let is_there = self.groups[0].iter().any(|one| one.id.as_str() == PROCFILE);
        let Ok(id) = BuildpackId::try_from(PROCFILE.to_owned()) else {
            return Ok(());
        };
        if is_there || !self.classics.is_empty() || newest(&installed.join(id.dir_name())).is_none()
        {
            return Ok(());
        }
        self.add_installed(installed, &id, None)?;
        if let Some(last) = self.groups[0].last_mut() {
            last.optional = true;
        }
        Ok(())
    }

    pub(super) fn take_order(&mut self, groups: Vec<Vec<Chosen>>) -> Result<(), SourceError> {
        self.groups = groups;
        self.write_order()
    }

    pub(super) fn write_order(&self) -> Result<(), SourceError> {
        #[derive(Serialize)]
        struct Order<'a> {
            order: Vec<Group<'a>>,
        }
        #[derive(Serialize)]
        struct Group<'a> {
            group: &'a [Chosen],
        }
        let groups = self.groups.iter().map(|group| Group { group });
        let text = toml::to_string(&Order {
            order: groups.collect(),
        });
        let file = self.dir().join("order.toml");
        text.map_err(std::io::Error::other)
            .and_then(|text| fs::write(&file, text))
            .map_err(SourceError::io("write", &file))
    }

    fn move_in(&self, tree: &Path, id: &BuildpackId, version: &Version) -> Result<(), SourceError> {
        let dir = self.place(id, version)?;
        fs::rename(tree, &dir).map_err(SourceError::io("move", tree))
    }

    /// Where the buildpack goes: the folder above it is made, and nothing is there.
    fn place(&self, id: &BuildpackId, version: &Version) -> Result<PathBuf, SourceError> {
        let versions = self.dir().join(id.dir_name());
        tree::make_dir(&versions)?;
        let dir = versions.join(version.as_str());
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(SourceError::io("remove", &dir))?;
        }
        Ok(dir)
    }
}

/// By number where there are numbers: 0.10 comes after 0.9.
fn newest(versions: &Path) -> Option<Version> {
    let key = |name: &str| -> Vec<u64> {
        name.split(['.', '-'])
            .map(|n| n.parse().unwrap_or(0))
            .collect()
    };
    let names = fs::read_dir(versions).ok()?.flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    Version::try_from(names.max_by_key(|name| key(name))?).ok()
}
