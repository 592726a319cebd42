//! The cache that the next build of the app starts from.

use std::{collections::BTreeMap, path::Path};

use container::Digest;

use super::{Exported, dir_plan, layer_metadata, owner};
use crate::{
    api::Api,
    failure::{Doing as _, Failure},
    files::Untrusted,
    group::Group,
    layer_toml::LayerToml,
    lifecycle::{cache::Cache, images::Images, inputs::Inputs, volume_cache::CacheMetadata},
    metadata::BuildpackLayers,
};

/// The next cache. What has not changed is neither read nor written again.
pub(super) fn keep(
    inputs: &Inputs,
    images: &Images,
    group: &Group,
    mut cache: Cache,
    exported: &Exported,
) -> Result<(), Failure> {
    let left = Untrusted::open(&inputs.layers, &inputs.layers.display().to_string())?;
    let old = cache.metadata().unwrap_or_default();
    let mut new = CacheMetadata::default();
    for member in &group.group {
        let dir = member.id.dir_name();
        let mut layers = BTreeMap::new();
        for (name, layer) in LayerToml::all(&left, &dir)? {
            if !layer.types.cache {
                continue;
            }
            let path = inputs.layers.join(&dir).join(&name);
            if !path.is_dir() {
                inputs.log.warn(format_args!(
                    "Failed to cache layer '{}:{name}' because it has no contents",
                    member.id
                ));
                continue;
            }
            let in_image = exported
                .get(&dir)
                .and_then(|layers| layers.get(&name))
                .map(|layer| layer.sha);
            let sha = keep_layer(
                inputs,
                &mut cache,
                &path,
                old.layer(&member.id, &name).map(|layer| layer.sha),
                in_image,
            )?;
            inputs
                .log
                .info(format_args!("Adding cache layer '{}:{name}'", member.id));
            layers.insert(name, layer_metadata(sha, &layer));
        }
        new.buildpacks.push(BuildpackLayers {
            key: member.id.clone(),
            version: member.version.clone(),
            layers,
            store: None,
        });
    }
    let sbom = inputs.layers.join("sbom/cache");
    if inputs.api >= Api::of(8) && sbom.is_dir() {
        new.sbom.sha = Some(keep_layer(inputs, &mut cache, &sbom, old.sbom.sha, None)?);
    }
    cache.commit(images, &new)
}

fn keep_layer(
    inputs: &Inputs,
    cache: &mut Cache,
    dir: &Path,
    old: Option<Digest>,
    in_image: Option<Digest>,
) -> Result<Digest, Failure> {
    if in_image.is_some()
        && in_image == old
        && let Some(sha) = in_image
        && cache.keep(&sha)?
    {
        return Ok(sha);
    }
    let plan = dir_plan(dir, owner(inputs)).failing("read", dir)?;
    if let (Some(old), None) = (old, in_image) {
        let sha = cache.records().diff_id(&plan);
        if sha.map_err(Failure::io("make a layer"))? == old && cache.keep(&old)? {
            return Ok(old);
        }
    }
    cache.add(&plan)
}
