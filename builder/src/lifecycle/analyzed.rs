//! `analyzed.toml`: what the images say that a build starts from, for the phases behind ANALYZE.

use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;

use crate::{
    failure::Failure,
    files,
    metadata::{LifecycleMetadata, table_to_json, to_toml},
    target::Target,
};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Analyzed {
    /// The previous image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<ImageRef>,
    #[serde(
        default,
        rename = "build-image",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) build_image: Option<ImageRef>,
    #[serde(default, rename = "run-image", skip_serializing_if = "Option::is_none")]
    pub(crate) run_image: Option<RunImageRef>,
    /// Of the previous image, in the names that it has in TOML.
    #[serde(default, deserialize_with = "understood")]
    metadata: toml::Table,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageRef {
    #[serde(default)]
    pub(crate) reference: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunImageRef {
    /// Pinned.
    #[serde(default)]
    pub(crate) reference: String,
    /// As it was asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) image: String,
    /// An extension changes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) extend: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<Target>,
}

impl Analyzed {
    /// `None` when there is no such file.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, Failure> {
        files::toml(path).map_err(Failure::Input)
    }

    pub(crate) fn of_run_image(run_image: RunImageRef) -> Self {
        Self {
            run_image: Some(run_image),
            ..Self::default()
        }
    }

    pub(crate) fn for_target(target: Target) -> Self {
        Self::of_run_image(RunImageRef {
            target: Some(target),
            ..RunImageRef::default()
        })
    }

    pub(crate) fn target(&self) -> Target {
        let target = self
            .run_image
            .as_ref()
            .and_then(|run_image| run_image.target.clone());
        target.unwrap_or_default()
    }

    /// The previous image's reference, if there is such an image.
    pub(crate) fn previous(&self) -> Option<&str> {
        let reference = self.image.as_ref().map(|image| image.reference.as_str());
        reference.filter(|reference| !reference.is_empty())
    }

    pub(crate) fn metadata(&self) -> LifecycleMetadata {
        decode(&self.metadata).unwrap_or_default()
    }

    pub(crate) fn set_metadata(&mut self, metadata: &LifecycleMetadata) {
        let json = serde_json::to_value(metadata).unwrap_or_default();
        if let Some(toml::Value::Table(table)) =
            to_toml(&renamed(json, |(json, toml)| (json, toml)))
        {
            self.metadata = table;
        }
    }

    pub(crate) fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }
}

fn understood<'de, D: Deserializer<'de>>(from: D) -> Result<toml::Table, D::Error> {
    let table = toml::Table::deserialize(from)?;
    decode(&table).map_err(D::Error::custom)?;
    Ok(table)
}

fn decode(metadata: &toml::Table) -> serde_json::Result<LifecycleMetadata> {
    let json = table_to_json(metadata);
    serde_json::from_value(renamed(json, |(json, toml)| (toml, json)))
}

/// Names that differ between the label's JSON and this file, where they stand.
const RUN_IMAGE: (&str, &str) = ("runImage", "run-image");
const TOP_LAYER: (&str, &str) = ("topLayer", "top-layer");
const DATA: (&str, &str) = ("data", "metadata");

fn renamed(
    mut metadata: Value,
    way: fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> Value {
    let rename = |object: &mut Value, names| {
        let (from, to) = way(names);
        if let Some(object) = object.as_object_mut()
            && let Some(value) = object.remove(from)
        {
            object.insert(to.to_owned(), value);
        }
    };
    for name in [RUN_IMAGE.0, RUN_IMAGE.1] {
        if let Some(run_image) = metadata.get_mut(name) {
            rename(run_image, TOP_LAYER);
        }
    }
    rename(&mut metadata, RUN_IMAGE);
    if let Some(stack) = metadata.get_mut("stack") {
        rename(stack, RUN_IMAGE);
    }
    let buildpacks = metadata.get_mut("buildpacks").and_then(Value::as_array_mut);
    for buildpack in buildpacks.into_iter().flatten() {
        let layers = buildpack.get_mut("layers").and_then(Value::as_object_mut);
        for (_, layer) in layers.into_iter().flatten() {
            rename(layer, DATA);
        }
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_survives_under_its_names_in_toml() {
        let sha = format!("sha256:{}", "a".repeat(64));
        let label = r#"{"app":[{"sha":"SHA"}],"sbom":{"sha":"SHA"},"buildpacks":[{"key":"a/b","version":"1","layers":
            {"x":{"sha":"SHA","data":{"data":1,"runImage":"kept"},"build":true,"launch":true,"cache":false}},"store":{"metadata":{"k":[1,2]}}}],
            "config":{"sha":"SHA"},"launcher":{"sha":"SHA"},"process-types":{"sha":""},
            "runImage":{"topLayer":"SHA","reference":"r","image":"i","mirrors":["m"]},"stack":{"runImage":{"image":"i"}}}"#
            .replace("SHA", &sha);
        let metadata: LifecycleMetadata = serde_json::from_str(&label).unwrap();
        let mut analyzed = Analyzed::for_target(Target::default());
        analyzed.set_metadata(&metadata);
        let text = analyzed.to_toml();
        for expected in [
            "[metadata.run-image]",
            "top-layer = \"sha256:",
            "[metadata.stack.run-image]",
            "runImage = \"kept\"",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("analyzed.toml");
        std::fs::write(&path, &text).unwrap();
        let read = Analyzed::read(&path).unwrap().unwrap();
        assert_eq!(read.metadata(), metadata);
        assert_eq!(read.previous(), None);
        std::fs::write(&path, "[metadata]\nbuildpacks = 3").unwrap();
        assert_eq!(
            Analyzed::read(&path)
                .unwrap_err()
                .exit_code(crate::failure::PhaseName::Build),
            1
        );
    }
}
