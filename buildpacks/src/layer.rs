//! Layers that are kept for as long as their key stays the same.

use std::path::PathBuf;

use libcnb::{
    Buildpack,
    build::BuildContext,
    data::layer::LayerName,
    layer::{
        CachedLayerDefinition, InvalidMetadataAction, LayerRef, LayerState, RestoredLayerAction,
    },
};
use serde::{Deserialize, Serialize};

use crate::{error::IoError, tree};

/// Who sees a layer besides the next build, which always does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Use {
    /// Nobody: it is only a cache.
    Cache,
    /// The app when it runs.
    Launch,
    /// The app, and the buildpacks after this one.
    BuildAndLaunch,
}

/// A layer as the key found it. An empty one is filled by the caller, who then calls [`Layer::keep`].
pub(crate) struct Layer<B: Buildpack> {
    pub(crate) restored: bool,
    /// What was said of the contents when they were kept; nothing when the layer is empty.
    pub(crate) note: String,
    key: String,
    layer: LayerRef<B, (), Metadata>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Metadata {
    key: String,
    /// A fact about the contents (a version) that would otherwise have to be found out again.
    #[serde(default)]
    note: String,
}

/// The layer `name`: its restored contents when their key is `key`, else an empty folder.
///
/// A stale layer is emptied rather than deleted: a restored one may be a mount, which cannot be.
pub(crate) fn keyed<B: Buildpack>(
    context: &BuildContext<B>,
    name: LayerName,
    seen_by: Use,
    key: &str,
) -> libcnb::Result<Layer<B>, B::Error>
where
    B::Error: From<IoError>,
{
    let layer = context.cached_layer(
        name,
        CachedLayerDefinition {
            build: matches!(seen_by, Use::BuildAndLaunch),
            launch: matches!(seen_by, Use::Launch | Use::BuildAndLaunch),
            invalid_metadata_action: &|_| {
                InvalidMetadataAction::ReplaceMetadata(Metadata::default())
            },
            restored_layer_action: &|metadata: &Metadata, _| {
                (RestoredLayerAction::KeepLayer, metadata.clone())
            },
        },
    )?;
    let found = match &layer.state {
        LayerState::Restored { cause } => cause.clone(),
        LayerState::Empty { .. } => Metadata::default(),
    };
    let restored = found.key == key;
    if !restored {
        layer.write_metadata(Metadata::default())?;
        tree::empty(&layer.path()).map_err(|error| libcnb::Error::BuildpackError(error.into()))?;
    }
    Ok(Layer {
        restored,
        note: if restored { found.note } else { String::new() },
        key: key.to_owned(),
        layer,
    })
}

impl<B: Buildpack> Layer<B> {
    pub(crate) fn path(&self) -> PathBuf {
        self.layer.path()
    }

    /// Signs the contents with the key. Called when they are whole, so that half of them never pass for all.
    pub(crate) fn keep(&self, note: &str) -> libcnb::Result<(), B::Error> {
        self.layer.write_metadata(Metadata {
            key: self.key.clone(),
            note: note.to_owned(),
        })
    }
}
