//! Image configuration: what the builder makes, the ledger names by digest, and the runtime starts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// The parts of an OCI image configuration that we set (image-spec config.md); JSON in the field order of the Go tools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    pub entrypoint: Vec<String>,
    pub working_dir: String,
    pub user: String,
    pub labels: BTreeMap<String, String>,
    /// From the bottom up. The first belongs to the stack.
    pub layers: Vec<ImageLayer>,
}

/// One layer of an image and its history line (`created_by`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLayer {
    pub diff_id: String,
    pub created_by: String,
}

/// An image in the store: `id` is the digest of its configuration JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub id: Digest,
    pub config: ImageConfig,
}
