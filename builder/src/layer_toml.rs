//! `<layers>/<layer>.toml`: what a layer is for, and what the buildpack wants to remember of it.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use toml::Table;

use crate::files::{BadFile, Untrusted};

/// Names that a layer cannot have: files of the buildpack itself.
const NOT_LAYERS: &[&str] = &["launch", "build", "store"];
/// Per buildpack. Each layer that is restored is one more lower directory of an overlay, of which the kernel takes 500.
const LAYERS_MAX: usize = 64;

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct LayerToml {
    pub(crate) types: Types,
    pub(crate) metadata: Option<Table>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Types {
    #[serde(default)]
    pub(crate) build: bool,
    #[serde(default)]
    pub(crate) launch: bool,
    #[serde(default)]
    pub(crate) cache: bool,
}

/// The file, with the keys at the top level that were the types before Buildpack API 0.6.
#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    types: Types,
    metadata: Option<Table>,
    #[serde(default, rename = "build", alias = "launch", alias = "cache")]
    _misplaced: Misplaced,
}

/// What belongs under `[types]`, and was elsewhere once.
#[derive(Default)]
struct Misplaced;

impl<'de> Deserialize<'de> for Misplaced {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        let what = "`build`, `launch` and `cache` belong under `[types]`";
        Err(D::Error::custom(what))
    }
}

/// A layer's name and its file.
pub(crate) type Layer = (String, LayerToml);

impl LayerToml {
    /// All layers of the buildpack whose directory is `buildpack`, by name.
    pub(crate) fn all(layers: &Untrusted, buildpack: &str) -> Result<Vec<Layer>, BadFile> {
        let mut found = Vec::new();
        for file in layers.names(buildpack)? {
            let Some(name) = file.strip_suffix(".toml") else {
                continue;
            };
            if NOT_LAYERS.contains(&name) || name.is_empty() {
                continue;
            }
            if let Some(layer) = Self::read(layers, &format!("{buildpack}/{file}"))? {
                found.push((name.to_owned(), layer));
            }
        }
        if found.len() > LAYERS_MAX {
            let what = format!("has more than {LAYERS_MAX} layers");
            return Err(BadFile::new(&layers.shown(buildpack), what));
        }
        // `a-b.toml` sorts before `a.toml`, but the layer `a` comes first.
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    fn read(layers: &Untrusted, path: &str) -> Result<Option<Self>, BadFile> {
        let wire: Option<Wire> = layers.toml(path)?;
        Ok(wire.map(|wire| Self {
            types: wire.types,
            metadata: wire.metadata,
        }))
    }
}

impl Types {
    pub(crate) fn is_used(self) -> bool {
        self.build || self.launch || self.cache
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn all(files: &[(&str, &str)]) -> Result<Vec<Layer>, BadFile> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bp")).unwrap();
        for (name, text) in files {
            fs::write(dir.path().join("bp").join(name), text).unwrap();
        }
        LayerToml::all(&Untrusted::open(dir.path(), "/layers").unwrap(), "bp")
    }

    #[test]
    fn layers_come_by_name_and_without_the_other_files() {
        let layers = all(&[
            ("launch.toml", ""),
            ("build.toml", ""),
            ("store.toml", ""),
            ("a.toml", "[types]\nlaunch=true"),
            ("a-b.toml", "[metadata]\nx=1"),
            ("noise", ""),
        ])
        .unwrap();
        let names: Vec<&str> = layers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "a-b"]);
        assert!(layers[0].1.types.launch && layers[0].1.metadata.is_none());
        assert!(!layers[1].1.types.is_used() && layers[1].1.metadata.is_some());
    }

    #[test]
    fn types_of_old_are_an_error_that_names_the_file() {
        let error = all(&[("x.toml", "launch = true")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/layers/bp/x.toml, line 1: `build`, `launch` and `cache` belong under `[types]`"
        );
        let error = all(&[("x.toml", "[types]\nlaunch = 'yes'")]).unwrap_err();
        assert_eq!(
            (error.file.as_str(), error.line),
            ("/layers/bp/x.toml", Some(2))
        );
    }
}
