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
    /// What the layer said of itself when it was kept; of the asked key when it is empty.
    pub(crate) note: String,
    key: String,
    layer: LayerRef<B, (), String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Metadata {
    key: String,
    /// A fact about the contents (a version) that would otherwise have to be found out again.
    #[serde(default)]
    note: String,
}

/// The layer `name`: its restored contents when their key is `key`, else an empty folder.
pub(crate) fn keyed<B: Buildpack>(
    context: &BuildContext<B>,
    name: LayerName,
    seen_by: Use,
    key: &str,
) -> libcnb::Result<Layer<B>, B::Error> {
    let layer = context.cached_layer(
        name,
        CachedLayerDefinition {
            build: matches!(seen_by, Use::BuildAndLaunch),
            launch: matches!(seen_by, Use::Launch | Use::BuildAndLaunch),
            invalid_metadata_action: &|_| InvalidMetadataAction::DeleteLayer,
            restored_layer_action: &|metadata: &Metadata, _| match metadata.key == key {
                true => (RestoredLayerAction::KeepLayer, metadata.note.clone()),
                false => (RestoredLayerAction::DeleteLayer, String::new()),
            },
        },
    )?;
    let (restored, note) = match &layer.state {
        LayerState::Restored { cause } => (true, cause.clone()),
        LayerState::Empty { .. } => (false, String::new()),
    };
    Ok(Layer {
        restored,
        note,
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
