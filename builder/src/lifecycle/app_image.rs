//! The app's image while it is put together: the run image below, a layer at a time on top of it.

use std::{path::PathBuf, sync::Arc};

use container::{
    Digest,
    layer::{Plan, Records},
    manifest::Descriptor,
};
use serde_json::{Map, Value, json};

use super::{
    image_cache::write_blob,
    images::{Image, Images, NewImage, Saved},
};
use crate::{failure::Failure, scratch::TempDir};

/// Time of every image, unless SOURCE_DATE_EPOCH says otherwise: reproducible (platform spec, "Export").
pub(super) const CREATED: &str = "1980-01-01T00:00:01Z";

pub(super) struct AppImage<'a> {
    base: &'a Image,
    previous: Option<&'a Image>,
    config: Value,
    /// What a container made of it gets.
    fields: Map<String, Value>,
    layers: Vec<(Digest, Descriptor)>,
    history: Vec<Value>,
    /// Before Platform API 0.12 nothing is said of how a layer was made.
    keeps_history: bool,
    created: String,
    records: Arc<Records>,
    blobs: PathBuf,
    /// Until it is saved.
    _scratch: TempDir,
}

impl<'a> AppImage<'a> {
    pub(super) fn on(
        base: &'a Image,
        previous: Option<&'a Image>,
        images: &Images,
        keeps_history: bool,
        created: String,
        records: Arc<Records>,
    ) -> Result<Self, Failure> {
        let scratch = images.scratch()?;
        Ok(Self {
            base,
            previous,
            config: base.config.clone(),
            fields: base.config["config"]
                .as_object()
                .cloned()
                .unwrap_or_default(),
            layers: base
                .layers
                .iter()
                .map(|layer| (layer.diff_id, layer.blob.clone()))
                .collect(),
            history: history(base),
            keeps_history,
            created,
            records,
            blobs: images.blobs(&scratch)?,
            _scratch: scratch,
        })
    }

    /// A layer, which the previous image may have already as `known`.
    pub(super) fn add(
        &mut self,
        layer: &Plan,
        known: Option<Digest>,
        created_by: &str,
    ) -> Result<Digest, Failure> {
        // Hashing costs less than packing: only what may have changed is packed.
        let known = known.filter(|sha| {
            self.previous
                .is_some_and(|image| image.layer(sha).is_some())
        });
        if let Some(known) = known
            && self.diff_id(layer)? == known
        {
            self.reuse(&known, created_by)?;
            return Ok(known);
        }
        let fingerprint = layer.fingerprint();
        let (diff_id, blob) = write_blob(layer, &self.blobs)?;
        if let Some(fingerprint) = fingerprint {
            self.records.add(&fingerprint, diff_id);
        }
        self.push(diff_id, blob, created_by);
        Ok(diff_id)
    }

    pub(super) fn diff_id(&self, layer: &Plan) -> Result<Digest, Failure> {
        let diff_id = self.records.diff_id(layer);
        diff_id.map_err(Failure::io("make a layer"))
    }

    /// The previous image's layer.
    pub(super) fn reuse(&mut self, sha: &Digest, created_by: &str) -> Result<(), Failure> {
        let layer = self.previous.and_then(|image| image.layer(sha));
        let missing = || Failure::Refused(format!("the previous image has no layer {sha}"));
        let blob = layer.ok_or_else(missing)?.blob.clone();
        self.push(*sha, blob, created_by);
        Ok(())
    }

    fn push(&mut self, diff_id: Digest, blob: Descriptor, created_by: &str) {
        self.layers.push((diff_id, blob));
        self.history.push(json!({ "created_by": created_by }));
    }

    pub(super) fn set(&mut self, field: &str, value: Value) {
        self.fields.insert(field.to_owned(), value);
    }

    pub(super) fn remove(&mut self, field: &str) {
        self.fields.remove(field);
    }

    pub(super) fn set_label(&mut self, name: &str, value: &str) {
        let labels = self.fields.entry("Labels").or_insert_with(|| json!({}));
        if !labels.is_object() {
            *labels = json!({});
        }
        labels[name] = value.into();
    }

    pub(super) fn env(&self, name: &str) -> Option<&str> {
        let vars = self.fields.get("Env")?.as_array()?;
        let mut pairs = vars.iter().filter_map(|var| var.as_str()?.split_once('='));
        pairs.find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// In its place, or behind the others.
    pub(super) fn set_env(&mut self, name: &str, value: &str) {
        let pair = Value::from(format!("{name}={value}"));
        let vars = self.fields.entry("Env").or_insert_with(|| json!([]));
        if !vars.is_array() {
            *vars = json!([]);
        }
        let Some(vars) = vars.as_array_mut() else {
            return;
        };
        let is_it = |var: &Value| {
            var.as_str()
                .is_some_and(|var| var.split('=').next() == Some(name))
        };
        match vars.iter().position(is_it) {
            Some(at) => vars[at] = pair,
            None => vars.push(pair),
        }
    }

    pub(super) fn save(mut self, images: &Images, names: &[String]) -> Result<Saved, Failure> {
        let diff_ids: Vec<Digest> = self.layers.iter().map(|(diff_id, _)| *diff_id).collect();
        let history: Vec<Value> = self.history.iter().map(|entry| self.dated(entry)).collect();
        self.config["config"] = std::mem::take(&mut self.fields).into();
        self.config["created"] = self.created.clone().into();
        self.config["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
        self.config["history"] = history.into();
        if let Some(fields) = self.config.as_object_mut() {
            fields.remove("container");
        }
        let image = NewImage {
            config: self.config,
            layers: self.layers.into_iter().map(|(_, blob)| blob).collect(),
            blobs: &self.blobs,
            sources: std::iter::once(self.base).chain(self.previous).collect(),
        };
        images.save(&image, names)
    }

    fn dated(&self, entry: &Value) -> Value {
        let mut entry = if self.keeps_history {
            entry.clone()
        } else {
            json!({})
        };
        entry["created"] = self.created.clone().into();
        entry
    }
}

/// One entry per layer; where the image's own do not say that, nothing is said.
pub(super) fn history(image: &Image) -> Vec<Value> {
    let entries = image.config["history"].as_array();
    let entries = entries
        .into_iter()
        .flatten()
        .filter(|entry| entry["empty_layer"] != true);
    let entries: Vec<Value> = entries.filter(|entry| entry.is_object()).cloned().collect();
    if entries.len() == image.layers.len() {
        entries
    } else {
        vec![json!({}); image.layers.len()]
    }
}
