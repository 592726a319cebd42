//! What a build has found out and made: as lines for a person, and as JSON, the same facts.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use builder::{BuildError, Built, Tried};
use container::{Digest, Store};
use serde_json::{Value, json};

use super::{printer::Printer, target::Target};

/// One layer of the image.
pub(super) struct Layer {
    diff_id: Digest,
    created_by: String,
    /// Of its files.
    bytes: u64,
    is_new: bool,
    time: Duration,
}

/// From the bottom up. New are those that the image before, if there is one, has not.
pub(super) fn layers(
    store: &Store,
    built: &Built,
    previous: Option<&Digest>,
) -> Result<Vec<Layer>, container::store::StoreError> {
    let before = previous.and_then(|image| store.image(image).ok());
    let before: BTreeSet<Digest> = before
        .into_iter()
        .flat_map(|image| image.config.layers)
        .map(|layer| layer.diff_id)
        .collect();
    let layers = store.image(&built.image)?.config.layers.into_iter();
    let times = built.layer_times.iter().copied();
    let layers = layers.zip(times.chain(std::iter::repeat(Duration::ZERO)));
    Ok(layers
        .map(|(layer, time)| Layer {
            bytes: store.layer(&layer.diff_id).map_or(0, |tree| bytes(&tree)),
            is_new: !before.contains(&layer.diff_id),
            diff_id: layer.diff_id,
            created_by: layer.created_by,
            time,
        })
        .collect())
}

fn bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let of_entry = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes(&entry.path()),
        Ok(metadata) if metadata.is_file() => metadata.len(),
        _ => 0,
    };
    entries.map(of_entry).sum()
}

/// What detection has asked, and why each of them takes part or not.
pub(super) fn show_tried(tried: &[Tried], built: &[(String, String)], output: &mut Printer) {
    output.table(tried.iter().map(|one| {
        let takes_part = built
            .iter()
            .any(|(id, version)| id == one.id.as_str() && version == one.version.as_str());
        let words = if takes_part {
            "takes part".to_owned()
        } else {
            one.why()
        };
        [one.id.to_string(), one.version.as_str().to_owned(), words]
    }));
}

pub(super) fn show_layers(layers: &[Layer], output: &mut Printer) {
    output.table(layers.iter().map(|layer| {
        [
            layer.diff_id.hex()[..12].to_owned(),
            if layer.is_new { "new" } else { "reused" }.to_owned(),
            size(layer.bytes),
            format!("{:.2}s", layer.time.as_secs_f64()),
            layer.created_by.clone(),
        ]
    }));
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KB", bytes / 1024),
        _ => format!("{:.1} MB", bytes as f64 / 1_048_576.0),
    }
}

fn tried_json(tried: &[Tried], taken: &[(String, String)]) -> Vec<Value> {
    let one = |one: &Tried| {
        let takes_part = taken
            .iter()
            .any(|(id, version)| id == one.id.as_str() && version == one.version.as_str());
        json!({
            "id": one.id.as_str(),
            "version": one.version.as_str(),
            "takes_part": takes_part,
            "exit": one.exit.to_string(),
            "why": (!takes_part).then(|| one.why()),
        })
    };
    tried.iter().map(one).collect()
}

pub(super) fn json(
    built: &Built,
    digest: &Digest,
    tags: &[Target],
    layers: &[Layer],
    taken: &[(String, String)],
) -> Value {
    let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
    let timings = built.timings.iter();
    let timings: serde_json::Map<String, Value> = timings
        .map(|(phase, time)| ((*phase).to_owned(), time.as_secs_f64().into()))
        .collect();
    let layers = layers.iter().map(|layer| {
        json!({
            "diff_id": layer.diff_id,
            "created_by": layer.created_by,
            "bytes": layer.bytes,
            "new": layer.is_new,
            "seconds": layer.time.as_secs_f64(),
        })
    });
    json!({
        "digest": digest,
        "image_id": built.image,
        "tags": tags,
        "processes": built.processes,
        "default_process": built.default,
        "seconds": timings,
        "layers": layers.collect::<Vec<_>>(),
        "detected": tried_json(&built.tried, taken),
    })
}

/// Of a build that has failed.
pub(super) fn failure_json(error: &BuildError) -> Value {
    let tried = match error {
        BuildError::NothingDetected { tried } | BuildError::DetectFailed { tried } => {
            tried_json(tried, &[])
        }
        _ => vec![],
    };
    let last_lines = match error {
        BuildError::BuildpackFailed { last_lines, .. } => last_lines.as_slice(),
        _ => &[],
    };
    json!({ "error": error.reason(), "last_lines": last_lines, "detected": tried })
}
