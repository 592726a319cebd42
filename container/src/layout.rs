//! Writes an image of the store as an OCI image layout (image-spec image-layout.md): `oci-layout`, `index.json`, blobs.
//! Layers are compressed here, for the first time: gzip by libdeflate level 1, one member per block.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use libdeflater::{CompressionLvl, Compressor};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    Digest, Store,
    layer::{self, Form, LayerSource, Owner},
    sandbox::SANDBOX_ID,
    store::{Doing as _, StoreError},
};

/// Members of this size cost 0.2 % in size and can be made one by one (RFC 1952 allows any number of members).
const MEMBER_BYTES: usize = 1024 * 1024;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Exports `image` to `dir` (made if absent) under the reference name `tag`; returns the manifest digest. A directory
/// that is not empty and no layout is refused.
pub fn export(store: &Store, image: &Digest, dir: &Path, tag: &str) -> Result<Digest, StoreError> {
    let index_file = dir.join("index.json");
    let is_layout = dir.join("oci-layout").is_file();
    if !is_layout && fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(StoreError::Refused(format!(
            "{} is neither empty nor an OCI layout",
            dir.display()
        )));
    }
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).doing("make", &blobs)?;
    let json = store.image_json(image)?;
    let layers = store.image(image)?.config.layers;
    let layers: Vec<Value> = layers
        .iter()
        .map(|layer| layer_blob(store, &layer.diff_id, &blobs))
        .collect::<Result<_, _>>()?;
    let config = blob(&blobs, &json)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": { "mediaType": CONFIG, "digest": config, "size": json.len() },
        "layers": layers,
    });
    let manifest = manifest.to_string();
    let digest = blob(&blobs, manifest.as_bytes())?;
    let mut index = read_index(&index_file)?;
    index.retain(|entry| entry["annotations"]["org.opencontainers.image.ref.name"] != tag);
    index.push(json!({
        "mediaType": MANIFEST,
        "digest": digest,
        "size": manifest.len(),
        "annotations": { "org.opencontainers.image.ref.name": tag },
    }));
    write(
        &index_file,
        json!({ "schemaVersion": 2, "manifests": index })
            .to_string()
            .as_bytes(),
    )?;
    write(
        &dir.join("oci-layout"),
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    Ok(digest)
}

fn read_index(file: &Path) -> Result<Vec<Value>, StoreError> {
    let Ok(text) = fs::read(file) else {
        return Ok(vec![]);
    };
    let index: Value = serde_json::from_slice(&text)
        .map_err(io::Error::from)
        .doing("understand", file)?;
    Ok(index["manifests"].as_array().cloned().unwrap_or_default())
}

fn layer_blob(store: &Store, diff_id: &Digest, blobs: &Path) -> Result<Value, StoreError> {
    let tree = store.layer(diff_id).ok_or(StoreError::NoLayer(*diff_id))?;
    let part = blobs.join(format!(".{}.part", diff_id.hex()));
    let file = fs::File::create(&part).doing("make", &part)?;
    let mut gzip = Gzip {
        file: io::BufWriter::new(file),
        hasher: Sha256::new(),
        pending: Vec::new(),
        bytes: 0,
    };
    let written = write_layer(&tree, diff_id, &mut gzip).doing("compress", &tree)?;
    if !written {
        return Err(StoreError::Refused(format!(
            "layer {diff_id} is damaged: its files no longer have that digest"
        )));
    }
    let (digest, size) = gzip.finish().doing("write", &part)?;
    let fixed = blobs.join(digest.hex());
    fs::rename(&part, &fixed).doing("write", &fixed)?;
    Ok(json!({ "mediaType": LAYER, "digest": digest, "size": size }))
}

/// Which form and which depth a layer was hashed with is not recorded; there are few, and the digest says which it was.
fn write_layer(tree: &Path, diff_id: &Digest, out: &mut Gzip) -> io::Result<bool> {
    let owners = [
        Owner {
            uid: SANDBOX_ID,
            gid: SANDBOX_ID,
        },
        Owner { uid: 0, gid: 0 },
    ];
    let mut place = String::new();
    loop {
        let dir = tree.join(place.trim_start_matches('/'));
        for owner in owners {
            for form in [Form::App, Form::Dir] {
                let at = if place.is_empty() { "/" } else { &place };
                let source = LayerSource {
                    dir: &dir,
                    at,
                    owner,
                    form,
                };
                if layer::diff_id(&source)? == *diff_id {
                    layer::write_tar(&source, out)?;
                    return Ok(true);
                }
            }
        }
        let mut children = fs::read_dir(&dir)?.flatten();
        match (children.next(), children.next()) {
            (Some(only), None) if only.file_type()?.is_dir() => {
                place = format!("{place}/{}", only.file_name().to_string_lossy());
            }
            _ => return Ok(false),
        }
    }
}

struct Gzip {
    file: io::BufWriter<fs::File>,
    hasher: Sha256,
    pending: Vec<u8>,
    bytes: u64,
}

impl Gzip {
    fn member(&mut self, length: usize) -> io::Result<()> {
        let mut compressor = Compressor::new(CompressionLvl::fastest());
        let mut out = vec![0; compressor.gzip_compress_bound(length)];
        let size = compressor
            .gzip_compress(&self.pending[..length], &mut out)
            .map_err(io::Error::other)?;
        self.hasher.update(&out[..size]);
        self.bytes += size as u64;
        self.pending.drain(..length);
        self.file.write_all(&out[..size])
    }

    fn finish(mut self) -> io::Result<(Digest, u64)> {
        self.member(self.pending.len())?;
        self.file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        Ok((Digest::finish(self.hasher), self.bytes))
    }
}

impl Write for Gzip {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        while self.pending.len() >= MEMBER_BYTES {
            self.member(MEMBER_BYTES)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn blob(blobs: &Path, bytes: &[u8]) -> Result<Digest, StoreError> {
    let digest = Digest::of(bytes);
    write(&blobs.join(digest.hex()), bytes)?;
    Ok(digest)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let part = path.with_extension("part");
    fs::write(&part, bytes).doing("write", &part)?;
    fs::rename(&part, path).doing("write", path)
}
