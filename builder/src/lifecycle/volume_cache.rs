//! A cache in a folder, in the form that the reference lifecycle's has, so that either can go on with the other's:
//!
//! ```text
//! committed/io.buildpacks.lifecycle.cache.metadata   which layers there are
//! committed/sha256:<hex>.tar                         their content
//! staging/                                           the next one, until it is whole
//! slipway.records                                    ours alone: what need not be hashed again
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use container::{
    Digest,
    layer::{Fingerprint, Plan, Records},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    failure::{Doing as _, Failure},
    files::{self, BadFile},
    id::BuildpackId,
    metadata::{BuildpackLayers, LayerMetadata, Sha, go_json},
};

pub(crate) const LABEL: &str = "io.buildpacks.lifecycle.cache.metadata";

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CacheMetadata {
    #[serde(default)]
    pub(crate) sbom: Sha,
    #[serde(default)]
    pub(crate) buildpacks: Vec<BuildpackLayers>,
}

impl CacheMetadata {
    pub(crate) fn layers(
        &self,
        of: &BuildpackId,
    ) -> impl Iterator<Item = (&String, &LayerMetadata)> {
        self.buildpacks
            .iter()
            .filter(|one| one.key == *of)
            .flat_map(|one| &one.layers)
    }

    pub(crate) fn layer(&self, of: &BuildpackId, name: &str) -> Option<&LayerMetadata> {
        self.layers(of)
            .find(|(layer, _)| *layer == name)
            .map(|(_, layer)| layer)
    }
}

pub(crate) struct VolumeCache {
    dir: PathBuf,
    /// Of the layers' tars, and of the directories that they have become.
    pub(crate) records: Arc<Records>,
}

impl VolumeCache {
    /// The folder itself has to be there: it is a volume that somebody mounts.
    pub(crate) fn open(dir: &Path) -> Result<Self, Failure> {
        let cache = Self {
            dir: dir.to_owned(),
            records: Arc::new(Records::open(&dir.join("slipway.records"))),
        };
        fs::metadata(dir).failing("use the cache", dir)?;
        // What a build left that died.
        for old in [cache.staging(), cache.backup()] {
            remove(&old)?;
        }
        for new in [cache.staging(), cache.committed()] {
            fs::create_dir_all(&new).failing("make", &new)?;
        }
        Ok(cache)
    }

    pub(crate) fn metadata(&self) -> Result<CacheMetadata, BadFile> {
        let path = self.committed().join(LABEL);
        let shown = path.display().to_string();
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(CacheMetadata::default()),
            Err(error) => Err(BadFile::new(&shown, format!("cannot be read: {error}"))),
            Ok(json) => files::json(&shown, &json),
        }
    }

    /// Of a layer's tar as it is now; the digest in its name may be wrong.
    pub(crate) fn look_at(&self, sha: &Digest) -> io::Result<Fingerprint> {
        Fingerprint::of_file(&self.committed().join(file(sha)))
    }

    pub(crate) fn open_layer(&self, sha: &Digest) -> io::Result<fs::File> {
        fs::File::open(self.committed().join(file(sha)))
    }

    /// Takes a layer over into the next cache; false when it is not there any more, or is damaged: kept so, it would never
    /// come back.
    pub(crate) fn keep(&self, sha: &Digest) -> Result<bool, Failure> {
        let (from, to) = (
            self.committed().join(file(sha)),
            self.staging().join(file(sha)),
        );
        if !self.is_whole(&from, sha) {
            return Ok(false);
        }
        match fs::hard_link(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result.failing("keep", &from)?,
        }
        // Another name is a change.
        self.record(&to, sha);
        Ok(true)
    }

    fn is_whole(&self, path: &Path, sha: &Digest) -> bool {
        let looked = Fingerprint::of_file(path);
        looked.is_ok_and(|looked| self.records.find(&looked) == Some(*sha)) || has(path, sha)
    }

    fn record(&self, path: &Path, sha: &Digest) {
        if let Ok(looked) = Fingerprint::of_file(path) {
            self.records.add(&looked, *sha);
        }
    }

    pub(crate) fn add(&self, layer: &Plan) -> Result<Digest, Failure> {
        let part = self.staging().join("part");
        let mut out = fs::File::create(&part).failing("write", &part)?;
        let sha = layer.write_tar(&mut out).failing("write", &part)?;
        let path = self.staging().join(file(&sha));
        fs::rename(&part, &path).failing("write", &path)?;
        self.record(&path, &sha);
        Ok(sha)
    }

    /// The next cache takes the place of this one.
    pub(crate) fn commit(self, metadata: &CacheMetadata) -> Result<(), Failure> {
        let path = self.staging().join(LABEL);
        let json = go_json(metadata).failing("write", &path)?;
        fs::write(&path, json + "\n").failing("write", &path)?;
        fs::rename(self.committed(), self.backup()).failing("replace", &self.committed())?;
        fs::rename(self.staging(), self.committed()).failing("replace", &self.committed())?;
        self.records.save().failing("write to", &self.dir)?;
        remove(&self.backup())
    }

    fn committed(&self) -> PathBuf {
        self.dir.join("committed")
    }

    fn staging(&self) -> PathBuf {
        self.dir.join("staging")
    }

    fn backup(&self) -> PathBuf {
        self.dir.join("committed-backup")
    }
}

/// What was not committed is nothing.
impl Drop for VolumeCache {
    fn drop(&mut self) {
        // Opening it removes what this cannot.
        _ = remove(&self.staging());
    }
}

fn has(path: &Path, sha: &Digest) -> bool {
    let mut hasher = Sha256::new();
    let copied =
        fs::File::open(path).and_then(|mut file| io::copy(&mut file, &mut Hash(&mut hasher)));
    copied.is_ok() && Digest::finish(hasher) == *sha
}

struct Hash<'a>(&'a mut Sha256);

impl io::Write for Hash<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn file(sha: &Digest) -> String {
    format!("{sha}.tar")
}

fn remove(dir: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.failing("remove", dir),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_cache_replaces_the_last_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut plan = Plan::default();
        let cache = VolumeCache::open(dir.path()).unwrap();
        let empty = cache.add(&plan).unwrap();
        let metadata = CacheMetadata {
            sbom: Sha { sha: Some(empty) },
            buildpacks: vec![],
        };
        cache.commit(&metadata).unwrap();
        plan.directory("/x", 0o755, container::layer::Owner { uid: 0, gid: 0 });
        let cache = VolumeCache::open(dir.path()).unwrap();
        assert_eq!(cache.metadata(), Ok(metadata));
        let lost = cache.add(&plan).unwrap();
        // Dies here.
        std::mem::forget(cache);
        let cache = VolumeCache::open(dir.path()).unwrap();
        assert!(cache.open_layer(&empty).is_ok() && cache.open_layer(&lost).is_err());
        assert!(cache.keep(&empty).unwrap() && !cache.keep(&lost).unwrap());
        cache.commit(&CacheMetadata::default()).unwrap();
        let cache = VolumeCache::open(dir.path()).unwrap();
        assert!(cache.open_layer(&empty).is_ok());
        fs::write(cache.committed().join(LABEL), "{").unwrap();
        assert_eq!(cache.metadata().unwrap_err().line, Some(1));
        assert!(VolumeCache::open(&dir.path().join("none")).is_err());
    }
}
