//! What an image is made of, as people compare it: from its labels, its layers and its bills of materials.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use container::{Digest, ImageConfig, Store};
use serde::Deserialize;

use crate::{
    Process,
    metadata::{BuildMetadata, LifecycleMetadata},
    sbom,
};

/// Of one image; what a bill lists beyond is left out.
const PACKAGES_MAX: usize = 100_000;

/// Everything that can be compared with another image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    /// Version by id.
    pub buildpacks: BTreeMap<String, String>,
    /// From the bottom up, without the stack's.
    pub layers: Vec<Layer>,
    pub processes: Vec<Process>,
    pub default: Option<String>,
    /// `NAME=value`, as the image sets it.
    pub env: Vec<String>,
    /// Versions by name, of all bills of materials; empty when the buildpacks write none.
    pub packages: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// `acme/node:modules`, or what the layer is for.
    pub name: String,
    pub diff_id: Digest,
    /// Of its files; 0 when it is no longer in the store.
    pub bytes: u64,
}

/// Reads what there is. What is missing or damaged is left out: this is for people to look at.
pub fn describe(store: &Store, image: &ImageConfig) -> Description {
    let build = BuildMetadata::of(image);
    let lifecycle = LifecycleMetadata::of(image);
    let names = lifecycle.as_ref().map(layer_names).unwrap_or_default();
    let layers = image.layers.iter().skip(1).map(|layer| Layer {
        name: names
            .get(&layer.diff_id)
            .unwrap_or(&layer.created_by)
            .clone(),
        diff_id: layer.diff_id,
        bytes: store
            .layer(&layer.diff_id)
            .map_or(0, |tree| bytes_below(&tree)),
    });
    let mut description = Description {
        layers: layers.collect(),
        env: image.env.clone(),
        ..Description::default()
    };
    if let Some(build) = build {
        let buildpacks = build.buildpacks.iter();
        description.buildpacks = buildpacks
            .map(|one| (one.id.to_string(), one.version.as_str().to_owned()))
            .collect();
        description.processes = build.processes.iter().map(Process::from).collect();
        description.default = build.default;
    }
    let bills = lifecycle.and_then(|lifecycle| store.layer(&lifecycle.sbom?.sha?));
    if let Some(tree) = bills {
        let packages = &mut description.packages;
        sbom::for_each(&tree, |bill| add_packages(bill, packages));
    }
    description
}

fn layer_names(lifecycle: &LifecycleMetadata) -> BTreeMap<Digest, String> {
    let of_buildpacks = lifecycle.buildpacks.iter().flat_map(|buildpack| {
        let layers = buildpack.layers.iter();
        layers.map(|(name, layer)| (layer.sha, format!("{}:{name}", buildpack.key)))
    });
    of_buildpacks.collect()
}

/// Without following a link. What cannot be read counts nothing.
fn bytes_below(tree: &Path) -> u64 {
    let mut bytes = 0;
    let mut dirs = vec![tree.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => dirs.push(entry.path()),
                Ok(found) => bytes += found.len(),
                Err(_) => {}
            }
        }
    }
    bytes
}

/// The three formats of the spec name their lists and versions differently.
#[derive(Deserialize)]
struct Bill {
    #[serde(default, alias = "packages", alias = "artifacts")]
    components: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    #[serde(default)]
    group: Option<String>,
    name: String,
    #[serde(default, alias = "versionInfo")]
    version: Option<String>,
}

fn add_packages(bill: &[u8], packages: &mut BTreeMap<String, BTreeSet<String>>) {
    let Ok(bill) = serde_json::from_slice::<Bill>(bill) else {
        return;
    };
    for package in bill.components {
        if packages.len() == PACKAGES_MAX {
            return;
        }
        let name = match package.group.filter(|group| !group.is_empty()) {
            Some(group) => format!("{group}/{}", package.name),
            None => package.name,
        };
        let version = package.version.unwrap_or_default();
        packages
            .entry(printable(&name))
            .or_default()
            .insert(printable(&version));
    }
}

/// A build chose these words.
fn printable(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    text.chars()
        .filter(|c| !c.is_control())
        .take(CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_all_three_formats() {
        let mut packages = BTreeMap::new();
        for bill in [
            r#"{"bomFormat":"CycloneDX","components":[{"group":"@acme","name":"a","version":"1"},{"name":"b\u001b[2J"}]}"#,
            r#"{"spdxVersion":"SPDX-2.3","packages":[{"name":"c","versionInfo":"2"}]}"#,
            r#"{"artifacts":[{"name":"c","version":"3","type":"npm"}]}"#,
            r#"{"components":"none"}"#,
            "no json",
        ] {
            add_packages(bill.as_bytes(), &mut packages);
        }
        let versions = |versions: &[&str]| versions.iter().map(|v| (*v).to_owned()).collect();
        let expected: BTreeMap<String, BTreeSet<String>> = BTreeMap::from([
            ("@acme/a".to_owned(), versions(&["1"])),
            ("b[2J".to_owned(), versions(&[""])),
            ("c".to_owned(), versions(&["2", "3"])),
        ]);
        assert_eq!(packages, expected);
    }
}
