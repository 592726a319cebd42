//! The launch layers of a buildpack: committed where they have changed, named again where not.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use container::{
    Digest,
    layer::Form,
    store::{StoreError, Tree},
};

use super::{Cached, Export, Layering};
use crate::{
    dirs::LAYERS,
    error::BuildError,
    files::{BadFile, Untrusted},
    group::Member,
    launch_toml::StoreToml,
    layer_toml::{LayerToml, Types},
    layers::{Content, Lower},
    metadata::{self, BuildpackLayers, LayerMetadata, table_to_json},
    trees,
    work::{give, make_dir},
};

impl Export<'_> {
    /// The buildpack's launch layers become the image's; its entry of the lifecycle label.
    pub(super) fn buildpack(
        &self,
        left: &Untrusted,
        member: &Member,
        image: &mut Layering,
        cached: &mut Vec<Cached>,
    ) -> Result<BuildpackLayers, BuildError> {
        let dir = member.id.dir_name();
        let mut layers = BTreeMap::new();
        for (name, layer) in LayerToml::all(left, &dir)? {
            self.watch.check()?;
            let data = layer.metadata.as_ref().map(table_to_json);
            let Types {
                build,
                launch,
                cache,
            } = layer.types;
            let diff_id = if launch {
                Some(self.launch_layer(member, &name, cache)?)
            } else {
                None
            };
            if let Some(sha) = diff_id {
                let (id, version) = (&member.id, &member.version);
                image.push(
                    sha,
                    &format!("Layer: '{name}', Created by buildpack: {id}@{version}"),
                );
                let metadata = LayerMetadata {
                    sha,
                    data: data.unwrap_or_default(),
                    build,
                    launch,
                    cache,
                };
                layers.insert(name.clone(), metadata);
            }
            if cache {
                cached.push(Cached {
                    member: member.clone(),
                    name,
                    layer,
                    diff_id,
                });
            }
        }
        let store: Option<StoreToml> = left.toml(&format!("{dir}/store.toml"))?;
        Ok(BuildpackLayers {
            key: member.id.clone(),
            version: member.version.clone(),
            layers,
            store: store.map(|store| metadata::Store {
                metadata: table_to_json(&store.metadata),
            }),
        })
    }

    fn launch_layer(&self, member: &Member, name: &str, cache: bool) -> Result<Digest, BuildError> {
        let dir = member.id.dir_name();
        let at = format!("{LAYERS}/{dir}/{name}");
        let commit = |tree| self.commit(tree, &at, Form::Dir);
        Ok(match self.layers.content(&dir, name)? {
            Content::Unchanged(Lower::Store(digest)) => digest,
            Content::Changed(Lower::Store(lower), upper) => commit(Tree::Changed {
                lower,
                upper: &upper,
            })?,
            Content::Whole(tree) => commit(Tree::Whole(&tree))?,
            content @ (Content::Unchanged(Lower::Cache(_))
            | Content::Changed(Lower::Cache(_), _)) => {
                let merged = self.merged(content, &dir, name)?;
                commit(Tree::Whole(&merged))?
            }
            Content::None => self.layer_of_previous(member, name, cache)?,
        })
    }

    /// A launch layer without a directory means the one that the image has already.
    fn layer_of_previous(
        &self,
        member: &Member,
        name: &str,
        cache: bool,
    ) -> Result<Digest, BuildError> {
        let image = self.previous.and_then(|image| image.buildpack(&member.id));
        let layer = image.and_then(|image| image.layers.get(name));
        let there = layer.filter(|layer| !cache && self.store().layer(&layer.sha).is_some());
        let file = format!("{LAYERS}/{}/{name}.toml", member.id.dir_name());
        let missing = || BadFile::new(&file, "the layer has neither a directory nor a predecessor");
        Ok(there.ok_or_else(missing)?.sha)
    }

    /// A tree of its own of a layer that lies in an overlay.
    pub(super) fn merged(
        &self,
        content: Content,
        dir: &str,
        name: &str,
    ) -> Result<PathBuf, BuildError> {
        if let Content::Changed(_, upper) | Content::Whole(upper) = &content {
            trees::check_depth(upper, &format!("{LAYERS}/{dir}/{name}"))?;
        }
        let into = self.work.path(&format!("merged-{dir}-{name}"));
        let (lower, upper) = match content {
            Content::Changed(lower, upper) => (lower, upper),
            Content::Unchanged(lower) => (lower, self.empty_upper(&into)?),
            Content::Whole(tree) => return Ok(tree),
            Content::None => return Ok(into),
        };
        let lower = match lower {
            Lower::Cache(at) => at.join(dir).join(name),
            Lower::Store(digest) => {
                let tree = self.store().layer(&digest);
                tree.ok_or(StoreError::NoLayer(digest))?
                    .join(format!("layers/{dir}/{name}"))
            }
        };
        self.store().merge(&lower, &upper, &into)?;
        Ok(into)
    }

    fn empty_upper(&self, beside: &Path) -> Result<PathBuf, BuildError> {
        let mut upper = beside.to_owned().into_os_string();
        upper.push("-empty");
        let upper = PathBuf::from(upper);
        make_dir(&upper)?;
        give(&upper)?;
        Ok(upper)
    }
}
