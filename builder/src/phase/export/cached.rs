//! What is kept for the next build.

use std::path::Path;

use super::{Export, Exported};
use crate::{
    cache::{CachedLayer, Known, Place},
    error::BuildError,
    layers::{Content, Lower},
    metadata::table_to_json,
};

impl Export<'_> {
    /// After the image is there. Layers that are in it stay in the store; the others move into the cache.
    pub(crate) fn keep(&self, exported: &Exported) -> Result<(), BuildError> {
        let mut known = Known::default();
        for cached in &exported.cached {
            let content = match cached.diff_id {
                Some(digest) => Some(Place::Store(digest)),
                None => self.cache_layer(&cached.member.id.dir_name(), &cached.name)?,
            };
            if let Some(content) = content {
                let data = cached.layer.metadata.as_ref().map(table_to_json);
                let layer = CachedLayer {
                    data: data.unwrap_or_default(),
                    build: cached.layer.types.build,
                    content,
                };
                known.add(&cached.member.id, &cached.name, layer);
            }
        }
        self.cache.commit(self.store(), &known)
    }

    fn cache_layer(&self, dir: &str, name: &str) -> Result<Option<Place>, BuildError> {
        let content = self.layers.content(dir, name)?;
        if let Content::Unchanged(Lower::Cache(at)) = &content {
            return Ok(place_of(at));
        }
        if let Content::Changed(Lower::Cache(at), upper) = &content
            && self.store().is_unchanged(upper)?
        {
            return Ok(place_of(at));
        }
        if content == Content::None {
            return Ok(None);
        }
        let tree = self.merged(content, dir, name)?;
        self.cache.adopt(&tree, dir, name).map(Some)
    }
}

/// Of a directory of the cache, which is named by its number.
fn place_of(at: &Path) -> Option<Place> {
    let number = at.file_name()?.to_str()?.parse().ok()?;
    Some(Place::Dir(number))
}
