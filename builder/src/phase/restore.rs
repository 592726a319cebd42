//! RESTORE: what the buildpacks of the group get back from the previous image and from the cache.

use std::collections::BTreeMap;

use container::Store;
use serde::Serialize;
use serde_json::Value;
use toml::Table;

use crate::{
    cache::{Cache, CachedLayer, Place},
    dirs::LAYERS,
    error::{BuildError, Doing as _},
    files::BadFile,
    group::{Group, Member},
    id::is_file_name,
    layers::{Layers, Lower},
    metadata::{LayerMetadata, LifecycleMetadata, to_toml},
    plan::Plan,
    sbom,
    work::{give, make_dir},
};

pub(crate) struct Restore<'a> {
    pub(crate) store: &'a Store,
    pub(crate) cache: &'a Cache,
    pub(crate) previous: Option<&'a LifecycleMetadata>,
    /// Nothing that was cached comes back.
    pub(crate) clear_cache: bool,
}

/// What a buildpack gets back of a layer.
#[derive(Debug, PartialEq)]
enum Decision<'a> {
    Nothing,
    /// It can tell whether the layer of the image is still right without having its content.
    Metadata(&'a Value),
    Content(&'a Value, Place),
}

#[derive(Serialize)]
struct MetadataToml {
    metadata: Table,
}

impl Restore<'_> {
    /// Fills `layers`, whose upper directory is new: the spec's files, and which layers lie below.
    pub(crate) fn restore(
        &self,
        group: &Group,
        plan: &Plan,
        mut layers: Layers,
    ) -> Result<Layers, BuildError> {
        write_toml(&layers, "group.toml", group)?;
        write_toml(&layers, "plan.toml", plan)?;
        for member in &group.group {
            let dir = layers.upper().join(member.id.dir_name());
            make_dir(&dir)?;
            self.restore_buildpack(member, &mut layers)?;
        }
        give(layers.upper())?;
        Ok(layers)
    }

    fn restore_buildpack(&self, member: &Member, layers: &mut Layers) -> Result<(), BuildError> {
        let dir = member.id.dir_name();
        let image = self.previous.and_then(|image| image.buildpack(&member.id));
        if let Some(store) = image.and_then(|image| image.store.as_ref()) {
            write_metadata(layers, &format!("{dir}/store.toml"), &store.metadata)?;
        }
        let mut names: BTreeMap<&str, (Option<&LayerMetadata>, Option<&CachedLayer>)> =
            BTreeMap::new();
        for (name, layer) in image.into_iter().flat_map(|image| &image.layers) {
            names.entry(name).or_default().0 = Some(layer);
        }
        for (name, layer) in self.cache.layers(&member.id) {
            names.entry(name).or_default().1 = Some(layer);
        }
        for (name, (image, cached)) in names {
            if is_file_name(name) {
                let decision = decide(image, cached, self.clear_cache);
                self.restore_layer(layers, &dir, name, &decision)?;
            }
        }
        Ok(())
    }

    fn restore_layer(
        &self,
        layers: &mut Layers,
        dir: &str,
        name: &str,
        decision: &Decision<'_>,
    ) -> Result<(), BuildError> {
        let data = match decision {
            Decision::Nothing => return Ok(()),
            Decision::Metadata(data) => data,
            Decision::Content(data, place) => {
                let Some(lower) = self.lower(place, dir, name) else {
                    return Ok(());
                };
                layers.add(dir, name, lower);
                data
            }
        };
        write_metadata(layers, &format!("{dir}/{name}.toml"), data)?;
        self.restore_sbom(layers, dir, name)
    }

    /// `None` when it has gone: metadata without its content would mislead the buildpack.
    fn lower(&self, place: &Place, dir: &str, name: &str) -> Option<Lower> {
        match place {
            Place::Store(digest) => {
                self.store.layer(digest)?;
                Some(Lower::Store(*digest))
            }
            Place::Dir(n) => {
                let at = self.cache.dir(*n);
                at.join(dir).join(name).is_dir().then_some(Lower::Cache(at))
            }
        }
    }

    fn restore_sbom(&self, layers: &Layers, dir: &str, name: &str) -> Result<(), BuildError> {
        let sbom = self.previous.and_then(|image| image.sbom?.sha);
        let Some(tree) = sbom.and_then(|sha| self.store.layer(&sha)) else {
            return Ok(());
        };
        let from = tree.join("layers/sbom/launch");
        let into = layers.upper().join(dir);
        sbom::restore(&from, dir, name, &into).doing("restore", &into)
    }
}

/// Layer by layer as the spec says (platform spec, "Restore", and buildpack spec, "Layer Types"). The image's metadata
/// goes before the cache's.
fn decide<'a>(
    image: Option<&'a LayerMetadata>,
    cached: Option<&'a CachedLayer>,
    clear_cache: bool,
) -> Decision<'a> {
    match (image, cached) {
        (Some(layer), _) if layer.cache && clear_cache => Decision::Nothing,
        (Some(layer), _) if layer.cache => Decision::Content(&layer.data, Place::Store(layer.sha)),
        (Some(layer), _) if layer.launch && !layer.build => Decision::Metadata(&layer.data),
        (Some(_), _) | (None, None) => Decision::Nothing,
        (None, Some(layer)) => Decision::Content(&layer.data, layer.content),
    }
}

fn write_metadata(layers: &Layers, path: &str, data: &Value) -> Result<(), BuildError> {
    let metadata = match to_toml(data) {
        Some(toml::Value::Table(table)) => table,
        _ => Table::new(),
    };
    write_toml(layers, path, &MetadataToml { metadata })
}

fn write_toml(layers: &Layers, path: &str, value: &impl Serialize) -> Result<(), BuildError> {
    let text = toml::to_string(value)
        .map_err(|error| BadFile::new(&format!("{LAYERS}/{path}"), error.to_string()))?;
    let path = layers.upper().join(path);
    std::fs::write(&path, text).doing("write", &path)
}

#[cfg(test)]
mod tests {
    use container::Digest;

    use super::*;

    #[test]
    fn what_comes_back_depends_on_the_types() {
        let sha = Digest::of(b"image");
        let image = |build, cache| LayerMetadata {
            sha,
            data: "image".into(),
            build,
            launch: true,
            cache,
        };
        let cached = CachedLayer {
            data: "cache".into(),
            build: true,
            content: Place::Dir(3),
        };
        let (of_image, of_cache) = (Value::from("image"), Value::from("cache"));
        let content = Decision::Content(&of_image, Place::Store(sha));
        for (image, cached, clear, expected) in [
            (None, None, false, &Decision::Nothing),
            (
                Some(image(false, false)),
                None,
                false,
                &Decision::Metadata(&of_image),
            ),
            (
                Some(image(false, false)),
                None,
                true,
                &Decision::Metadata(&of_image),
            ),
            (Some(image(true, false)), None, false, &Decision::Nothing),
            (Some(image(false, true)), None, false, &content),
            (Some(image(true, true)), Some(&cached), false, &content),
            (
                Some(image(true, true)),
                Some(&cached),
                true,
                &Decision::Nothing,
            ),
            (
                None,
                Some(&cached),
                false,
                &Decision::Content(&of_cache, Place::Dir(3)),
            ),
        ] {
            assert_eq!(
                decide(image.as_ref(), cached, clear),
                *expected,
                "{image:?} {clear}"
            );
        }
    }
}
