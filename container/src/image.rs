//! Image configurations: what the builder makes, the ledger names by digest, and the runtime starts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// Time of every image, unless a build says otherwise: reproducible (CNB platform spec, export).
const CREATED: &str = "1980-01-01T00:00:01Z";

/// The parts of an OCI image configuration that we set (image-spec config.md).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageConfig {
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    pub entrypoint: Vec<String>,
    pub working_dir: String,
    pub user: String,
    pub labels: BTreeMap<String, String>,
    /// From the bottom up. The first belongs to the stack.
    pub layers: Vec<ImageLayer>,
    /// RFC 3339; the time of images that can be made again, when absent.
    pub created: Option<String>,
}

/// One layer of an image and its history line (`created_by`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLayer {
    pub diff_id: Digest,
    pub created_by: String,
}

/// An image in the store: `id` is the digest of its configuration JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub id: Digest,
    pub config: ImageConfig,
}

/// The JSON itself, with the fields in the order in which the Go tools write them.
#[derive(Serialize, Deserialize)]
struct Wire {
    architecture: String,
    created: String,
    history: Vec<WireHistory>,
    os: String,
    rootfs: WireRootfs,
    config: WireConfig,
}

#[derive(Serialize, Deserialize)]
struct WireHistory {
    created: String,
    created_by: String,
}

#[derive(Serialize, Deserialize)]
struct WireRootfs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Vec<Digest>,
}

#[derive(Serialize, Deserialize)]
struct WireConfig {
    #[serde(rename = "Env", default)]
    env: Vec<String>,
    #[serde(rename = "Entrypoint", default)]
    entrypoint: Vec<String>,
    #[serde(rename = "Labels", default)]
    labels: BTreeMap<String, String>,
    #[serde(rename = "User", default)]
    user: String,
    #[serde(rename = "WorkingDir", default)]
    working_dir: String,
}

impl ImageConfig {
    /// What its image would be called in a store.
    pub fn id(&self) -> serde_json::Result<Digest> {
        Ok(Digest::of(&self.to_json()?))
    }

    pub(crate) fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let created = self.created.as_deref().unwrap_or(CREATED);
        serde_json::to_vec(&Wire {
            architecture: oci_architecture().to_owned(),
            created: created.to_owned(),
            history: self
                .layers
                .iter()
                .map(|layer| WireHistory {
                    created: created.to_owned(),
                    created_by: layer.created_by.clone(),
                })
                .collect(),
            os: "linux".to_owned(),
            rootfs: WireRootfs {
                kind: "layers".to_owned(),
                diff_ids: self.layers.iter().map(|layer| layer.diff_id).collect(),
            },
            config: WireConfig {
                env: self.env.clone(),
                entrypoint: self.entrypoint.clone(),
                labels: self.labels.clone(),
                user: self.user.clone(),
                working_dir: self.working_dir.clone(),
            },
        })
    }

    pub(crate) fn from_json(json: &[u8]) -> serde_json::Result<Self> {
        let wire: Wire = serde_json::from_slice(json)?;
        let history = wire
            .history
            .into_iter()
            .map(|entry| entry.created_by)
            .chain(std::iter::repeat(String::new()));
        Ok(Self {
            env: wire.config.env,
            entrypoint: wire.config.entrypoint,
            working_dir: wire.config.working_dir,
            user: wire.config.user,
            labels: wire.config.labels,
            layers: wire
                .rootfs
                .diff_ids
                .into_iter()
                .zip(history)
                .map(|(diff_id, created_by)| ImageLayer {
                    diff_id,
                    created_by,
                })
                .collect(),
            created: Some(wire.created).filter(|created| created != CREATED),
        })
    }
}

/// Go's name of this machine's architecture, which OCI uses.
pub fn oci_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
