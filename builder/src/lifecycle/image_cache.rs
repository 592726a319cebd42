//! A cache as an image: its layers are the cached ones, its label says which they are.

use std::{fs, io::Read, path::Path};

use container::{
    Digest,
    layer::Plan,
    manifest::{Descriptor, OCI_LAYER_GZIP},
};
use serde_json::json;

use super::{
    images::{Image, Images, NewImage},
    volume_cache::{CacheMetadata, LABEL},
};
use crate::{
    failure::{Doing as _, Failure},
    files::{self, BadFile},
    metadata::go_json,
    scratch::TempDir,
};

pub(super) struct ImageCache {
    name: String,
    old: Option<Image>,
    scratch: TempDir,
    /// Of the next one.
    layers: Vec<(Digest, Descriptor)>,
}

impl ImageCache {
    pub(super) fn open(images: &Images, name: &str) -> Result<Self, Failure> {
        Ok(Self {
            name: name.to_owned(),
            old: images.find(name)?,
            scratch: images.scratch()?,
            layers: vec![],
        })
    }

    pub(super) fn metadata(&self) -> Result<CacheMetadata, BadFile> {
        let label = self.old.as_ref().and_then(|image| image.label(LABEL));
        let Some(label) = label else {
            return Ok(CacheMetadata::default());
        };
        files::json(&format!("label {LABEL} of {}", self.name), label.as_bytes())
    }

    pub(super) fn open_layer(
        &self,
        images: &Images,
        sha: &Digest,
        scratch: &Path,
    ) -> Result<Box<dyn Read + Send>, Failure> {
        let none = || Failure::Refused(format!("cache image {} is not there", self.name));
        images.open_layer(self.old.as_ref().ok_or_else(none)?, sha, scratch)
    }

    pub(super) fn keep(&mut self, sha: &Digest) -> bool {
        let layer = self.old.as_ref().and_then(|image| image.layer(sha));
        let blob = layer.map(|layer| layer.blob.clone());
        blob.map(|blob| self.push(*sha, blob)).is_some()
    }

    pub(super) fn add(&mut self, layer: &Plan) -> Result<Digest, Failure> {
        let (sha, blob) = write_blob(layer, self.scratch.path())?;
        self.push(sha, blob);
        Ok(sha)
    }

    fn push(&mut self, sha: Digest, blob: Descriptor) {
        if !self.layers.iter().any(|(known, _)| *known == sha) {
            self.layers.push((sha, blob));
        }
    }

    pub(super) fn commit(
        mut self,
        images: &Images,
        metadata: &CacheMetadata,
    ) -> Result<(), Failure> {
        // Registries refuse an image without layers.
        if self.layers.is_empty() {
            self.add(&Plan::default())?;
        }
        let label = go_json(metadata).failing("write the label of", Path::new(&self.name))?;
        let diff_ids: Vec<Digest> = self.layers.iter().map(|(sha, _)| *sha).collect();
        let image = NewImage {
            config: json!({
                "architecture": container::image::oci_architecture(),
                "os": "linux",
                "rootfs": { "type": "layers", "diff_ids": diff_ids },
                "config": { "Labels": { LABEL: label } },
            }),
            layers: self.layers.iter().map(|(_, blob)| blob.clone()).collect(),
            blobs: self.scratch.path(),
            sources: self.old.iter().collect(),
        };
        images
            .save(&image, std::slice::from_ref(&self.name))
            .map(drop)
    }
}

/// The layer, compressed, as `<blobs>/<hex of its digest>`; its diffID, and what names it.
pub(super) fn write_blob(layer: &Plan, blobs: &Path) -> Result<(Digest, Descriptor), Failure> {
    let part = blobs.join("part");
    let mut out = fs::File::create(&part).failing("write", &part)?;
    let blob = layer
        .write_gzip(&mut out)
        .failing("make a layer in", blobs)?;
    let path = blobs.join(blob.digest.hex());
    fs::rename(&part, &path).failing("write", &path)?;
    let descriptor = Descriptor {
        media_type: OCI_LAYER_GZIP.to_owned(),
        digest: blob.digest,
        size: blob.bytes,
        platform: None,
        artifact_type: None,
        annotations: std::collections::BTreeMap::new(),
    };
    Ok((blob.diff_id, descriptor))
}
