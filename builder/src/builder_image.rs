//! A builder image that has been unpacked (platform spec, "Build Image" and "Run Image Resolution"): which run image goes
//! with it, and its buildpacks, for a platform that has it as its stack.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;

use crate::sources::{self, SourceError};

const METADATA: &str = "io.buildpacks.builder.metadata";
const BUILDPACKS: &str = "cnb/buildpacks";
const ORDER: &str = "cnb/order.toml";
const ORDER_HERE: &str = "order.toml";

#[derive(Deserialize)]
struct Metadata {
    /// Since 2023; the first is the default.
    #[serde(default)]
    images: Vec<RunImage>,
    #[serde(default)]
    stack: Stack,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Stack {
    run_image: RunImage,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RunImage {
    image: String,
}

/// By the labels of the builder; `None` when they name none.
pub fn run_image(labels: &BTreeMap<String, String>) -> Result<Option<String>, SourceError> {
    let Some(label) = labels.get(METADATA) else {
        return Ok(None);
    };
    let metadata: Metadata = serde_json::from_str(label)
        .map_err(|error| not_a(format!("its label {METADATA}: {error}")))?;
    let images = metadata
        .images
        .into_iter()
        .chain([metadata.stack.run_image]);
    let mut names = images.map(|one| one.image);
    Ok(names.find(|name| !name.is_empty()))
}

/// Copies the buildpacks of the unpacked image at `tree` into the folder `into`, which is made when all is there, in the form
/// of [`crate::Builder::buildpacks`]. One that is there already is of the same image.
pub fn install_buildpacks(tree: &Path, into: &Path) -> Result<(), SourceError> {
    if into.exists() {
        return Ok(());
    }
    let (from, order) = (tree.join(BUILDPACKS), tree.join(ORDER));
    // Nothing that the image leads elsewhere is followed.
    let is_dir = |path: &Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let is_file = |path: &Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
    if !is_dir(&tree.join("cnb")) || !is_dir(&from) || !is_file(&order) {
        return Err(not_a(format!("it has no /{BUILDPACKS} and /{ORDER}")));
    }
    let part = into.with_extension("part");
    if part.exists() {
        fs::remove_dir_all(&part).map_err(SourceError::io("remove", &part))?;
    }
    sources::copy(&from, &part)?;
    let order_here = part.join(ORDER_HERE);
    fs::copy(&order, &order_here).map_err(SourceError::io("copy", &order))?;
    fs::rename(&part, into).map_err(SourceError::io("make", into))
}

fn not_a(why: String) -> SourceError {
    SourceError::NotA {
        what: "builder image",
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_image_is_the_default_one() {
        for (label, expected) in [
            (r#"{"stack":{"runImage":{"image":"a/run"}}}"#, Some("a/run")),
            (
                r#"{"images":[{"image":"b/run"},{"image":"c"}],"stack":{"runImage":{"image":"a/run"}}}"#,
                Some("b/run"),
            ),
            (r#"{"description":"x"}"#, None),
        ] {
            let labels = BTreeMap::from([(METADATA.to_owned(), label.to_owned())]);
            assert_eq!(run_image(&labels).unwrap().as_deref(), expected, "{label}");
        }
        assert_eq!(run_image(&BTreeMap::new()).unwrap(), None);
        let odd = BTreeMap::from([(METADATA.to_owned(), "[".to_owned())]);
        assert!(run_image(&odd).unwrap_err().to_string().contains(METADATA));
    }

    #[test]
    fn what_an_image_leads_elsewhere_is_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let (tree, into) = (temp.path().join("tree"), temp.path().join("into"));
        fs::create_dir_all(tree.join("cnb/buildpacks/a/1")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", tree.join(ORDER)).unwrap();
        assert!(install_buildpacks(&tree, &into).is_err());
        fs::remove_file(tree.join(ORDER)).unwrap();
        fs::write(tree.join(ORDER), "").unwrap();
        install_buildpacks(&tree, &into).unwrap();
        assert!(into.join("a/1").is_dir() && into.join(ORDER_HERE).is_file());
    }
}
