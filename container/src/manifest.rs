//! Manifests, indexes and descriptors (image-spec manifest.md, image-index.md, descriptor.md), in the OCI form and in
//! Docker's, which differ in their media types only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Digest;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// What Docker calls layers, and what the OCI calls them.
const LAYERS: &[(&str, &str)] = &[
    (
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.oci.image.layer.v1.tar",
    ),
    (
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        OCI_LAYER_GZIP,
    ),
    (
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
        "application/vnd.oci.image.layer.v1.tar+zstd",
    ),
];
/// In names of layers that a registry does not hold, because their owner does not let it.
const ELSEWHERE: &[&str] = &[".foreign.", ".nondistributable."];
const ENCRYPTED: &str = "+encrypted";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Content of the blob that [`OCI_EMPTY`] names (image-spec manifest.md, "Guidance for an Empty Descriptor").
pub const EMPTY_JSON: &[u8] = b"{}";
/// The tag of a manifest in a layout's index.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Of a manifest; images of 127 layers are the most that Docker runs.
const LAYERS_MAX: usize = 512;
/// Of an index: one per platform, and attestations beside each.
const MANIFESTS_MAX: usize = 1024;

/// Names content by its digest, and says how large it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What an image runs on, by Go's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// An image's, or an artifact's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    #[serde(default = "oci_manifest")]
    pub media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    /// The manifest that this one says something about: it is its referrer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    #[serde(default = "oci_index")]
    pub media_type: String,
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
}

/// What is wrong with a manifest, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadManifest(String);

impl Descriptor {
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            platform: None,
            artifact_type: None,
            annotations: BTreeMap::new(),
        }
    }

    pub fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), OCI_INDEX | DOCKER_LIST)
    }

    pub fn ref_name(&self) -> Option<&str> {
        self.annotations.get(REF_NAME).map(String::as_str)
    }
}

impl Platform {
    /// This machine's.
    pub fn here() -> Self {
        Self {
            architecture: crate::image::oci_architecture().to_owned(),
            os: "linux".to_owned(),
            variant: None,
        }
    }
}

impl Manifest {
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: oci_manifest(),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    pub fn parse(json: &[u8]) -> Result<Self, BadManifest> {
        let manifest: Self = parse(json, "manifest")?;
        check_version(manifest.schema_version)?;
        if !matches!(manifest.media_type.as_str(), OCI_MANIFEST | DOCKER_MANIFEST) {
            let kind = shown(&manifest.media_type);
            return Err(BadManifest(format!("`{kind}` is no image manifest")));
        }
        if manifest.layers.len() > LAYERS_MAX {
            return Err(BadManifest(format!("has more than {LAYERS_MAX} layers")));
        }
        Ok(manifest)
    }

    /// Whether all layers can be had where the manifest is, and read.
    pub fn check_layers(&self) -> Result<(), BadManifest> {
        let has = |part: &&str| {
            self.layers
                .iter()
                .find(|layer| layer.media_type.contains(*part))
        };
        if let Some(layer) = ELSEWHERE.iter().find_map(has) {
            let kind = shown(&layer.media_type);
            return Err(BadManifest(format!(
                "has a layer that its registry does not hold (`{kind}`); an image whose layers are all there can be used"
            )));
        }
        if has(&ENCRYPTED).is_some() {
            return Err(BadManifest("has an encrypted layer".to_owned()));
        }
        Ok(())
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Configuration first, then the layers from the bottom up.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }
}

impl Index {
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: oci_index(),
            manifests,
        }
    }

    pub fn parse(json: &[u8]) -> Result<Self, BadManifest> {
        let index: Self = parse(json, "index")?;
        check_version(index.schema_version)?;
        if index.manifests.len() > MANIFESTS_MAX {
            return Err(BadManifest(format!(
                "has more than {MANIFESTS_MAX} manifests"
            )));
        }
        Ok(index)
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The first that runs on `platform`; one that names no platform runs where nothing better is.
    pub fn select(&self, platform: &Platform) -> Result<&Descriptor, BadManifest> {
        let fits = |found: &Platform| {
            found.os == platform.os
                && found.architecture == platform.architecture
                && (platform.variant.is_none() || found.variant == platform.variant)
        };
        let named = |entry: &&Descriptor| entry.platform.as_ref().is_some_and(fits);
        let unnamed = |entry: &&Descriptor| entry.platform.is_none() && !entry.is_index();
        let manifests = &self.manifests;
        let found = manifests
            .iter()
            .find(named)
            .or_else(|| manifests.iter().find(unnamed));
        found.ok_or_else(|| self.unfit(platform))
    }

    fn unfit(&self, wanted: &Platform) -> BadManifest {
        let offered = self.manifests.iter().filter_map(|entry| {
            let platform = entry.platform.as_ref()?;
            Some(format!("{}/{}", platform.os, platform.architecture))
        });
        let mut offered: Vec<String> = offered.map(|name| shown(&name)).collect();
        offered.dedup();
        let (os, arch) = (&wanted.os, &wanted.architecture);
        BadManifest(format!(
            "has nothing for {os}/{arch}; there is {}",
            offered.join(", ")
        ))
    }
}

/// The OCI's name of a layer that may have Docker's.
pub fn oci_layer(media_type: &str) -> &str {
    let known = LAYERS.iter().find(|(docker, _)| *docker == media_type);
    known.map_or(media_type, |(_, oci)| oci)
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8], what: &str) -> Result<T, BadManifest> {
    serde_json::from_slice(json)
        .map_err(|error| BadManifest(format!("is not a {what} that we understand: {error}")))
}

fn check_version(version: u32) -> Result<(), BadManifest> {
    match version {
        2 => Ok(()),
        other => Err(BadManifest(format!(
            "has schema version {other}; only 2 is supported"
        ))),
    }
}

/// Somebody else's text, fit to be shown.
fn shown(text: &str) -> String {
    let plain = text.chars().filter(|char| !char.is_control());
    plain.take(100).collect()
}

fn oci_manifest() -> String {
    OCI_MANIFEST.to_owned()
}

fn oci_index() -> String {
    OCI_INDEX.to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(platform: Option<(&str, &str)>) -> Descriptor {
        Descriptor {
            platform: platform.map(|(os, arch)| Platform {
                architecture: arch.to_owned(),
                os: os.to_owned(),
                variant: None,
            }),
            ..Descriptor::of(OCI_MANIFEST, format!("{platform:?}").as_bytes())
        }
    }

    #[test]
    fn the_platform_chooses_the_manifest() {
        let arm = entry(Some(("linux", "arm64")));
        let amd = entry(Some(("linux", "amd64")));
        let any = entry(None);
        let wanted = Platform {
            architecture: "amd64".to_owned(),
            os: "linux".to_owned(),
            variant: None,
        };
        let index = Index::new(vec![arm.clone(), any.clone(), amd.clone()]);
        assert_eq!(index.select(&wanted), Ok(&amd));
        assert_eq!(
            Index::new(vec![arm.clone(), any.clone()]).select(&wanted),
            Ok(&any)
        );
        let error = Index::new(vec![arm]).select(&wanted).unwrap_err();
        assert_eq!(
            error.to_string(),
            "has nothing for linux/amd64; there is linux/arm64"
        );
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let blob = r#"{"mediaType":"x","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}"#;
        for (text, expected) in [
            ("[]".to_owned(), "is not a manifest that we understand"),
            (
                format!(r#"{{"schemaVersion":1,"config":{blob},"layers":[]}}"#),
                "schema version 1",
            ),
            (
                format!(r#"{{"schemaVersion":2,"mediaType":"a\u001bb","config":{blob},"layers":[]}}"#),
                "`ab` is no image manifest",
            ),
            (
                format!(
                    r#"{{"schemaVersion":2,"config":{blob},"layers":[{}]}}"#,
                    vec![blob; LAYERS_MAX + 1].join(",")
                ),
                "more than 512 layers",
            ),
            (
                r#"{"schemaVersion":2,"config":{"mediaType":"x","digest":"sha512:00","size":0},"layers":[]}"#.to_owned(),
                "is not a digest",
            ),
            (
                r#"{"schemaVersion":2,"config":{"mediaType":"x","digest":"sha256:00","size":-1},"layers":[]}"#.to_owned(),
                "is not a",
            ),
        ] {
            let error = Manifest::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn layers_that_are_elsewhere_are_refused() {
        let check = |kind: &str| {
            let layer = Descriptor::of(kind, b"layer");
            let manifest = Manifest::new(Descriptor::of(OCI_CONFIG, b"{}"), vec![layer]);
            manifest.check_layers().map_err(|error| error.to_string())
        };
        for (docker, oci) in LAYERS {
            assert_eq!((check(docker), check(oci)), (Ok(()), Ok(())));
            assert_eq!((oci_layer(docker), oci_layer(oci)), (*oci, *oci));
        }
        for kind in [
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        ] {
            let error = check(kind).unwrap_err();
            assert!(
                error.contains("does not hold") && error.contains(kind),
                "{error}"
            );
        }
        let error = check("application/vnd.oci.image.layer.v1.tar+gzip+encrypted");
        assert!(error.unwrap_err().contains("encrypted"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            _ = Manifest::parse(&bytes);
            _ = Index::parse(&bytes);
        }
    }
}
