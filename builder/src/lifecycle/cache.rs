//! A cache: a folder, or an image.

use std::{io::Read, path::Path, sync::Arc};

use container::{
    Digest,
    layer::{Fingerprint, Plan, Records},
};

use super::{
    image_cache::ImageCache,
    images::Images,
    inputs::Inputs,
    volume_cache::{CacheMetadata, VolumeCache},
};
use crate::{
    failure::{Doing as _, Failure},
    files::BadFile,
};

pub(super) enum Cache {
    Volume(VolumeCache),
    Image(Box<ImageCache>),
}

impl Cache {
    /// None when none was asked for.
    pub(super) fn open(inputs: &Inputs, images: &Images) -> Result<Option<Self>, Failure> {
        match (&inputs.cache_image, &inputs.cache_dir) {
            (Some(name), _) => Ok(Some(Self::Image(Box::new(ImageCache::open(images, name)?)))),
            (None, Some(dir)) => Ok(Some(Self::Volume(VolumeCache::open(dir)?))),
            (None, None) => {
                inputs
                    .log
                    .warn("No cached data will be used, no cache specified.");
                Ok(None)
            }
        }
    }

    /// What there is; nothing when nobody has written there yet. A cache that is not understood may be passed over.
    pub(super) fn metadata(&self) -> Result<CacheMetadata, BadFile> {
        match self {
            Self::Volume(cache) => cache.metadata(),
            Self::Image(cache) => cache.metadata(),
        }
    }

    /// Of the directories that layers have become; an image has no place for them.
    pub(super) fn records(&self) -> Arc<Records> {
        match self {
            Self::Volume(cache) => cache.records.clone(),
            Self::Image(_) => Arc::default(),
        }
    }

    /// Of a layer's tar, where it is a file.
    pub(super) fn look_at(&self, sha: &Digest) -> Option<Fingerprint> {
        match self {
            Self::Volume(cache) => cache.look_at(sha).ok(),
            Self::Image(_) => None,
        }
    }

    /// The layer's tar.
    pub(super) fn open_layer(
        &self,
        images: &Images,
        sha: &Digest,
        scratch: &Path,
    ) -> Result<Box<dyn Read + Send>, Failure> {
        match self {
            Self::Volume(cache) => {
                let file = cache
                    .open_layer(sha)
                    .failing("read the cached layer", Path::new(&sha.to_string()))?;
                Ok(Box::new(file))
            }
            Self::Image(cache) => cache.open_layer(images, sha, scratch),
        }
    }

    /// Takes a layer over into the next cache; false when it is not there any more.
    pub(super) fn keep(&mut self, sha: &Digest) -> Result<bool, Failure> {
        match self {
            Self::Volume(cache) => cache.keep(sha),
            Self::Image(cache) => Ok(cache.keep(sha)),
        }
    }

    pub(super) fn add(&mut self, layer: &Plan) -> Result<Digest, Failure> {
        match self {
            Self::Volume(cache) => cache.add(layer),
            Self::Image(cache) => cache.add(layer),
        }
    }

    pub(super) fn commit(self, images: &Images, metadata: &CacheMetadata) -> Result<(), Failure> {
        match self {
            Self::Volume(cache) => cache.commit(metadata),
            Self::Image(cache) => cache.commit(images, metadata),
        }
    }
}
