//! A previous image from elsewhere (`slipway build --previous-image`): what it says of itself, and those layers that a
//! buildpack may want to have in the new image without making them again.

use std::{collections::BTreeMap, path::Path};

use container::{
    Digest, ImageConfig, Store,
    image::ImageLayer,
    layer::{Form, Owner},
    registry::{Client, Reference},
    sandbox::SANDBOX_ID,
    store::Tree,
};

use crate::{
    Builder, Output,
    dirs::LAYERS,
    error::{BuildError, Doing as _},
    failure::Failure,
    lifecycle::{
        analyze::lifecycle_metadata,
        extract,
        images::{Image, Images},
    },
    metadata::{self, BuildpackLayers, LifecycleMetadata, go_json},
};

/// Where it is.
#[derive(Debug, Clone, Copy)]
pub enum Previous<'a> {
    Registry(&'a Reference),
    Layout { dir: &'a Path, tag: &'a str },
}

impl Builder {
    /// Brings the image into the store, for [`crate::Request::previous`]; `None` when there is none. A layer that a build of
    /// ours could not have made, of another user for example, is left out, and will be made anew.
    pub fn adopt(
        &self,
        previous: Previous<'_>,
        client: &Client,
        output: &mut dyn Output,
    ) -> Result<Option<Digest>, BuildError> {
        let (images, found) = match previous {
            Previous::Registry(reference) => {
                let images = Images::Registries(Box::new(client.clone()));
                let found = images.find(&reference.to_string()).map_err(refused)?;
                (images, found)
            }
            Previous::Layout { dir, tag } => {
                let images = Images::Layouts(dir.to_owned());
                let found = dir.exists().then(|| Image::of_layout(dir, Some(tag)));
                (images, found.transpose().map_err(refused)?)
            }
        };
        let Some(image) = found else {
            return Ok(None);
        };
        let missing =
            || BuildError::Refused(format!("{} was not made by buildpacks", image.reference));
        let mut metadata = lifecycle_metadata(&image)?.ok_or_else(missing)?;
        let adoption = Adoption {
            store: &self.store,
            images: &images,
            image: &image,
        };
        for buildpack in &mut metadata.buildpacks {
            adoption.layers(buildpack, output)?;
        }
        // Bills of materials may be lost: they say nothing that the layers do not have.
        metadata.sbom = match metadata.sbom {
            Some(sbom) if adoption.sbom(sbom.sha) => Some(sbom),
            _ => None,
        };
        adoption.keep(&metadata).map(Some)
    }
}

struct Adoption<'a> {
    store: &'a Store,
    images: &'a Images,
    image: &'a Image,
}

impl Adoption<'_> {
    /// Leaves those that are in the store then. What a label alone says to be there may be another app's.
    fn layers(
        &self,
        buildpack: &mut BuildpackLayers,
        output: &mut dyn Output,
    ) -> Result<(), BuildError> {
        let dir = buildpack.key.dir_name();
        for (name, layer) in std::mem::take(&mut buildpack.layers) {
            let at = format!("{LAYERS}/{dir}/{name}");
            match self.layer(&layer.sha, &at) {
                Ok(()) => _ = buildpack.layers.insert(name, layer),
                Err(why) => output.detail(&format!(
                    "Layer {}:{name} of {} is made anew: {why}",
                    buildpack.key, self.image.reference
                )),
            }
        }
        Ok(())
    }

    fn sbom(&self, sha: Option<Digest>) -> bool {
        sha.is_some_and(|sha| self.layer(&sha, &format!("{LAYERS}/sbom/launch")).is_ok())
    }

    fn layer(&self, sha: &Digest, at: &str) -> Result<(), BuildError> {
        let scratch = self.store.scratch()?;
        let tar = self.images.open_layer(self.image, sha, scratch.path());
        let made = scratch.path().join("layer");
        extract(tar.map_err(refused)?, Path::new(at), sha, &made)
            .map_err(|error| BuildError::Refused(error.to_string()))?;
        let owner = Owner {
            uid: SANDBOX_ID,
            gid: SANDBOX_ID,
        };
        let made = self
            .store
            .commit_layer(Tree::Whole(&made), at, owner, Form::Dir)?;
        if made == *sha {
            return Ok(());
        }
        Err(BuildError::Refused(
            "no build of ours makes it so".to_owned(),
        ))
    }

    /// As an image of what there is of it.
    fn keep(&self, metadata: &LifecycleMetadata) -> Result<Digest, BuildError> {
        let label = go_json(metadata).doing("write the label of", Path::new("the image"))?;
        let layers = metadata
            .buildpacks
            .iter()
            .flat_map(|one| one.layers.values());
        let layers = layers.map(|layer| layer.sha);
        let sbom = metadata.sbom.and_then(|sbom| sbom.sha);
        let config = ImageConfig {
            labels: BTreeMap::from([(metadata::LIFECYCLE.to_owned(), label)]),
            layers: layers
                .chain(sbom)
                .map(|diff_id| ImageLayer {
                    diff_id,
                    created_by: String::new(),
                })
                .collect(),
            ..ImageConfig::default()
        };
        Ok(self.store.put_image(&config)?)
    }
}

fn refused(failure: Failure) -> BuildError {
    BuildError::Refused(failure.to_string())
}
