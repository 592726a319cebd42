//! Where an image is, and what is needed of it to make a stack.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::Deserialize;

use super::StackError;
use crate::{
    Digest,
    layout::Layout,
    manifest::{Descriptor, Manifest, Platform},
    registry::{Client, NotAReference, Reference},
};

/// An image of a registry, or the one of an OCI layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    Registry(Reference),
    Layout(PathBuf),
}

/// An image that is there, without its layers.
pub(super) struct Found {
    /// Of its manifest.
    pub(super) digest: Digest,
    pub(super) manifest: Manifest,
    pub(super) config: Config,
}

/// The parts of an image configuration that a stack needs (image-spec config.md).
#[derive(Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    pub(super) os: String,
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) config: Settings,
    pub(super) rootfs: Rootfs,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Settings {
    pub(super) env: Option<Vec<String>>,
    pub(super) labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
pub(super) struct Rootfs {
    pub(super) diff_ids: Vec<Digest>,
}

impl ImageSource {
    /// Whether what it names can never change.
    pub(super) fn is_pinned(&self) -> bool {
        matches!(self, Self::Registry(reference) if reference.digest.is_some())
    }

    /// What is named, by its digest.
    pub(super) fn pinned(&self, digest: Digest) -> String {
        match self {
            Self::Registry(reference) => reference.pinned(digest).to_string(),
            Self::Layout(dir) => format!("oci:{}@{digest}", dir.display()),
        }
    }

    pub(super) fn find(&self, client: &Client) -> Result<Found, StackError> {
        let platform = Platform::here();
        let (digest, manifest, json) = match self {
            Self::Registry(reference) => {
                let image = client.image(reference, &platform)?;
                (image.descriptor.digest, image.manifest, image.config_json)
            }
            Self::Layout(dir) => {
                let layout = Layout::open(dir)?;
                let (descriptor, manifest) = layout.image(None, &platform)?;
                let json = layout.bytes(&manifest.config)?;
                (descriptor.digest, manifest, json)
            }
        };
        let config: Config = serde_json::from_slice(&json).map_err(|error| StackError::Bad {
            image: self.to_string(),
            why: format!("its configuration cannot be read: {error}"),
        })?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            return Err(StackError::Bad {
                image: self.to_string(),
                why: "its manifest and its configuration differ in the number of layers".to_owned(),
            });
        }
        Ok(Found {
            digest,
            manifest,
            config,
        })
    }

    /// Makes the layers' blobs available; those of a registry in `dir`. `done` is told of each that has arrived.
    pub(super) fn blobs(
        &self,
        client: &Client,
        layers: &[Descriptor],
        dir: &Path,
        done: &(dyn Fn(&Descriptor) + Sync),
    ) -> Result<Vec<PathBuf>, StackError> {
        let layout = match self {
            Self::Registry(reference) => {
                client.blobs_into_with(&reference.repository, layers, dir, done)?;
                None
            }
            Self::Layout(dir) => Some(Layout::open(dir)?),
        };
        let path = |layer: &Descriptor| match &layout {
            None => dir.join(layer.digest.hex()),
            Some(layout) => layout.blob(&layer.digest),
        };
        Ok(layers.iter().map(path).collect())
    }
}

impl FromStr for ImageSource {
    type Err = NotAReference;

    /// A folder is written as a path that begins with `/` or `.`, or behind `oci:`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("oci:") {
            Some(dir) => Ok(Self::Layout(dir.into())),
            None if text.starts_with(['/', '.']) => Ok(Self::Layout(text.into())),
            None => {
                let text = text.strip_prefix("docker://").unwrap_or(text);
                text.parse().map(Self::Registry)
            }
        }
    }
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => reference.fmt(f),
            Self::Layout(dir) => write!(f, "oci:{}", dir.display()),
        }
    }
}
