//! OCI image layouts (image-spec image-layout.md): a folder with `oci-layout`, `index.json` and blobs by digest.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use crate::{
    Digest, Store, layer_blob,
    manifest::{
        BadManifest, Descriptor, Index, Manifest, OCI_CONFIG, OCI_MANIFEST, Platform, REF_NAME,
    },
    store::{Doing as _, StoreError},
};

const INDEX: &str = "index.json";
const MARK: &str = "oci-layout";
/// Of a manifest, an index or a configuration.
const JSON_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// A layout on disk.
#[derive(Debug, Clone)]
pub struct Layout {
    dir: PathBuf,
}

/// Exports `image` to `dir` (made if absent) under the reference name `tag`; returns the manifest digest. A directory
/// that is not empty and no layout is refused.
pub fn export(store: &Store, image: &Digest, dir: &Path, tag: &str) -> Result<Digest, StoreError> {
    let layout = Layout::create(dir)?;
    Ok(layout.add(store, image, tag)?.digest)
}

impl Layout {
    /// An existing one.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        if !dir.join(MARK).is_file() {
            let dir = dir.display();
            return Err(StoreError::Refused(format!("{dir} is no OCI layout")));
        }
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// An existing one, or a new one in an empty or absent directory.
    pub fn create(dir: &Path) -> Result<Self, StoreError> {
        let is_layout = dir.join(MARK).is_file();
        if !is_layout && fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(StoreError::Refused(format!(
                "{} is neither empty nor an OCI layout",
                dir.display()
            )));
        }
        let layout = Self {
            dir: dir.to_owned(),
        };
        let blobs = layout.blobs();
        fs::create_dir_all(&blobs).doing("make", &blobs)?;
        if !is_layout {
            layout.write_index(&Index::new(vec![]))?;
            write(&dir.join(MARK), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        Ok(layout)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn blobs(&self) -> PathBuf {
        self.dir.join("blobs/sha256")
    }

    /// Where the blob is, if it is there.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub fn index(&self) -> Result<Index, StoreError> {
        let file = self.dir.join(INDEX);
        let json = read(&file)?;
        Index::parse(&json).map_err(|why| self.bad(&why))
    }

    /// A manifest or a configuration, which has the digest that is said, or is refused.
    pub fn bytes(&self, blob: &Descriptor) -> Result<Vec<u8>, StoreError> {
        let path = self.blob(&blob.digest);
        let bytes = read(&path)?;
        if Digest::of(&bytes) == blob.digest && bytes.len() as u64 == blob.size {
            return Ok(bytes);
        }
        Err(StoreError::Refused(format!(
            "{} is damaged: its digest or its size is not what its name promises",
            path.display()
        )))
    }

    /// The image called `tag`, or the only one for `platform`, and its manifest.
    pub fn image(
        &self,
        tag: Option<&str>,
        platform: &Platform,
    ) -> Result<(Descriptor, Manifest), StoreError> {
        let mut index = self.index()?;
        if let Some(tag) = tag {
            let named = |entry: &Descriptor| entry.ref_name() == Some(tag);
            index.manifests.retain(named);
        }
        // Signatures, provenance and the like stand beside the images.
        index
            .manifests
            .retain(|entry| entry.artifact_type.is_none());
        let mut chosen = index.select(platform).map_err(|why| self.bad(&why))?;
        let nested;
        if chosen.is_index() {
            let json = self.bytes(chosen)?;
            nested = Index::parse(&json).map_err(|why| self.bad(&why))?;
            chosen = nested.select(platform).map_err(|why| self.bad(&why))?;
        }
        let json = self.bytes(chosen)?;
        let manifest = Manifest::parse(&json).map_err(|why| self.bad(&why))?;
        manifest.check_layers().map_err(|why| self.bad(&why))?;
        Ok((chosen.clone(), manifest))
    }

    /// Adds an image of the store under the name `tag`, which another image loses.
    pub fn add(&self, store: &Store, image: &Digest, tag: &str) -> Result<Descriptor, StoreError> {
        let config = store.image_json(image)?;
        let layers = store.image(image)?.config.layers;
        let layers = layers
            .iter()
            .map(|layer| layer_blob::compress(store, &layer.diff_id, &self.blobs()))
            .collect::<Result<_, _>>()?;
        let config = self.put(OCI_CONFIG, &config)?;
        let manifest = self.put(OCI_MANIFEST, &Manifest::new(config, layers).to_json())?;
        self.name(&manifest, tag)?;
        Ok(manifest)
    }

    /// Adds a manifest without a name: a referrer of another.
    pub fn add_referrer(&self, manifest: &Manifest) -> Result<Descriptor, StoreError> {
        let mut descriptor = self.put(OCI_MANIFEST, &manifest.to_json())?;
        descriptor.artifact_type.clone_from(&manifest.artifact_type);
        let mut index = self.index()?;
        index
            .manifests
            .retain(|entry| entry.digest != descriptor.digest);
        index.manifests.push(descriptor.clone());
        self.write_index(&index)?;
        Ok(descriptor)
    }

    /// Writes a blob.
    pub fn put(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, StoreError> {
        let descriptor = Descriptor::of(media_type, bytes);
        write(&self.blob(&descriptor.digest), bytes)?;
        Ok(descriptor)
    }

    fn name(&self, manifest: &Descriptor, tag: &str) -> Result<(), StoreError> {
        let mut index = self.index()?;
        index
            .manifests
            .retain(|entry| entry.ref_name() != Some(tag));
        let mut named = manifest.clone();
        named
            .annotations
            .insert(REF_NAME.to_owned(), tag.to_owned());
        index.manifests.push(named);
        self.write_index(&index)
    }

    fn write_index(&self, index: &Index) -> Result<(), StoreError> {
        write(&self.dir.join(INDEX), &index.to_json())
    }

    fn bad(&self, why: &BadManifest) -> StoreError {
        StoreError::Refused(format!("{}: {why}", self.dir.display()))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    let read =
        fs::File::open(path).and_then(|file| file.take(JSON_BYTES_MAX + 1).read_to_end(&mut bytes));
    read.doing("read", path)?;
    if bytes.len() as u64 > JSON_BYTES_MAX {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge)).doing("read", path);
    }
    Ok(bytes)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let part = path.with_extension("part");
    fs::write(&part, bytes).doing("write", &part)?;
    fs::rename(&part, path).doing("write", path)
}
