//! What an app keeps from build to build, below [`crate::Request::cache`]:
//!
//! ```text
//! cache.json                    which layers there are, and where their content lies
//! layers/<n>/<buildpack>/<layer>/…   content of the layers that are in no image
//! ```
//! A directory `<n>` never changes once cache.json names it: a changed layer gets a new one, and renaming cache.json
//! makes a whole build's result the cache at once. What it does not name is left over and removed.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use container::{Digest, Store};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    error::{BuildError, Doing as _},
    id::BuildpackId,
    trees,
};

#[derive(Debug)]
pub(crate) struct Cache {
    root: PathBuf,
    known: Known,
}

/// `cache.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Known {
    buildpacks: BTreeMap<BuildpackId, BTreeMap<String, CachedLayer>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CachedLayer {
    pub(crate) data: Value,
    pub(crate) build: bool,
    pub(crate) content: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    /// `layers/<n>`.
    Dir(u64),
    /// A launch layer, in the store.
    Store(Digest),
}

impl Cache {
    /// A cache that is not understood counts as none, and so does one to be forgotten; neither is removed before a
    /// build has succeeded.
    pub(crate) fn open(root: &Path, forget: bool) -> Self {
        let text = fs::read(root.join("cache.json")).unwrap_or_default();
        let known = serde_json::from_slice(&text).unwrap_or_default();
        Self {
            root: root.to_owned(),
            known: if forget { Known::default() } else { known },
        }
    }

    pub(crate) fn layers(
        &self,
        buildpack: &BuildpackId,
    ) -> impl Iterator<Item = (&String, &CachedLayer)> {
        self.known.buildpacks.get(buildpack).into_iter().flatten()
    }

    /// The directory that holds `<buildpack>/<layer>`.
    pub(crate) fn dir(&self, n: u64) -> PathBuf {
        self.root.join("layers").join(n.to_string())
    }

    /// Takes over a finished tree (renamed) as the content of a layer.
    pub(crate) fn adopt(
        &self,
        tree: &Path,
        buildpack: &str,
        layer: &str,
    ) -> Result<Place, BuildError> {
        let n = self.numbers()?.last().map_or(0, |last| last + 1);
        let parent = self.dir(n).join(buildpack);
        fs::create_dir_all(&parent).doing("make", &parent)?;
        fs::rename(tree, parent.join(layer)).doing("keep", tree)?;
        Ok(Place::Dir(n))
    }

    /// Makes `known` the cache. What a crash leaves of this is whole: the old one or the new one.
    pub(crate) fn commit(&self, store: &Store, known: &Known) -> Result<(), BuildError> {
        let file = self.root.join("cache.json");
        let part = self.root.join("cache.json.part");
        let json = serde_json::to_vec(known)
            .map_err(io::Error::from)
            .doing("write", &part)?;
        fs::create_dir_all(&self.root).doing("make", &self.root)?;
        fs::write(&part, json).doing("write", &part)?;
        let root = fs::File::open(&self.root).doing("open", &self.root)?;
        rustix::fs::syncfs(&root).doing("sync", &self.root)?;
        fs::rename(&part, &file).doing("write", &file)?;
        let named = known.dirs();
        for n in self.numbers()? {
            if !named.contains(&n) {
                trees::discard(store, &self.dir(n))?;
            }
        }
        Ok(())
    }

    /// Of the directories that are there, in order.
    fn numbers(&self) -> Result<Vec<u64>, BuildError> {
        let dir = self.root.join("layers");
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            result => result.doing("read", &dir)?,
        };
        let mut numbers: Vec<u64> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }
}

impl Known {
    pub(crate) fn add(&mut self, buildpack: &BuildpackId, layer: &str, cached: CachedLayer) {
        let layers = self.buildpacks.entry(buildpack.clone()).or_default();
        layers.insert(layer.to_owned(), cached);
    }

    fn dirs(&self) -> Vec<u64> {
        let layers = self.buildpacks.values().flat_map(BTreeMap::values);
        layers
            .filter_map(|layer| match layer.content {
                Place::Dir(n) => Some(n),
                Place::Store(_) => None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> BuildpackId {
        BuildpackId::try_from("acme/a".to_owned()).unwrap()
    }

    fn keep(cache: &Cache, store: &Store, text: &str) {
        let scratch = store.scratch().unwrap();
        let tree = scratch.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("file"), text).unwrap();
        let mut known = Known::default();
        let cached = CachedLayer {
            data: Value::Null,
            build: true,
            content: cache.adopt(&tree, "acme_a", "x").unwrap(),
        };
        known.add(&id(), "x", cached);
        cache.commit(store, &known).unwrap();
    }

    fn content(root: &Path) -> Option<String> {
        let cache = Cache::open(root, false);
        let (name, layer) = cache.layers(&id()).next()?;
        let Place::Dir(n) = layer.content else {
            return None;
        };
        fs::read_to_string(cache.dir(n).join("acme_a").join(name).join("file")).ok()
    }

    #[test]
    fn a_new_cache_replaces_the_old_one_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let root = dir.path().join("cache");
        keep(&Cache::open(&root, false), &store, "one");
        assert_eq!(content(&root).as_deref(), Some("one"));
        // A build that dies before its commit leaves a directory, which the next one removes.
        fs::create_dir_all(root.join("layers/7/acme_a/x")).unwrap();
        assert_eq!(content(&root).as_deref(), Some("one"));
        let forgotten = Cache::open(&root, true);
        assert!(forgotten.layers(&id()).next().is_none());
        keep(&forgotten, &store, "two");
        assert_eq!(content(&root).as_deref(), Some("two"));
        assert_eq!(fs::read_dir(root.join("layers")).unwrap().count(), 1);
        fs::write(root.join("cache.json"), "{").unwrap();
        assert_eq!(content(&root), None);
    }
}
