//! An image as one layer of the store: what a stack's sandboxes have as their root. It is unpacked once and kept under
//! its digest; `<kept>/<hex>.json` says what it is, and `<kept>/<hex of a name>.name` which image a name stood for last.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde::{Deserialize, Serialize};

use super::{
    Distro, ImageSource, StackError, furnish,
    layers::{Layer, unpack_layers},
    source::{Config, Found},
};
use crate::{
    Digest, Store,
    layer::{Form, Owner},
    registry::Client,
    store::{Doing as _, Tree},
};

const MIB: u64 = 1024 * 1024;
const ROOT: Owner = Owner { uid: 0, gid: 0 };

/// An image in the store, and what it says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Base {
    /// As it was asked for: what it will be called, too, when it is newer.
    #[serde(skip)]
    pub name: String,
    /// By its digest.
    pub reference: String,
    pub layer: Digest,
    pub os: String,
    pub architecture: String,
    pub distro: Distro,
    /// `NAME=value`.
    pub env: Vec<String>,
    pub labels: BTreeMap<String, String>,
}

impl Base {
    /// Finds the image and, unless the store has it, pulls and unpacks it. `note` is told what happens. When a registry does
    /// not answer, what its name stood for last is as good: a server starts without the internet.
    pub fn open(
        source: &ImageSource,
        client: &Client,
        store: &Store,
        kept: &Path,
        note: &(dyn Fn(&str) + Sync),
    ) -> Result<Self, StackError> {
        Ok(Self {
            name: source.to_string(),
            ..Self::find(source, client, store, kept, note)?
        })
    }

    fn find(
        source: &ImageSource,
        client: &Client,
        store: &Store,
        kept: &Path,
        note: &(dyn Fn(&str) + Sync),
    ) -> Result<Self, StackError> {
        fs::create_dir_all(kept).doing("make", kept)?;
        let name = Digest::of(source.to_string().as_bytes()).hex();
        let name = kept.join(format!("{name}.name"));
        let last = || {
            let hex = fs::read_to_string(&name).ok()?;
            Self::kept(kept, &hex, store)
        };
        if let Some(base) = source.is_pinned().then(last).flatten() {
            return Ok(base);
        }
        let found = match (source.find(client), last()) {
            (Err(error), Some(base)) => {
                let reference = &base.reference;
                note(&format!("{error}; going on with {reference}"));
                return Ok(base);
            }
            (found, _) => found?,
        };
        let hex = found.digest.hex();
        let base = match Self::kept(kept, &hex, store) {
            Some(base) => base,
            None => {
                let base = Self::unpack(source, &found, client, store, note)?;
                let json = serde_json::to_vec_pretty(&base).map_err(std::io::Error::from);
                let file = kept.join(format!("{hex}.json"));
                write(&file, &json.doing("write", &file)?)?;
                base
            }
        };
        write(&name, hex.as_bytes())?;
        Ok(base)
    }

    fn kept(kept: &Path, hex: &str, store: &Store) -> Option<Self> {
        let json = fs::read(kept.join(format!("{hex}.json"))).ok()?;
        let base: Self = serde_json::from_slice(&json).ok()?;
        store.layer(&base.layer).is_some().then_some(base)
    }

    fn unpack(
        source: &ImageSource,
        found: &Found,
        client: &Client,
        store: &Store,
        note: &(dyn Fn(&str) + Sync),
    ) -> Result<Self, StackError> {
        let layers = &found.manifest.layers;
        let (count, bytes) = (layers.len(), layers.iter().map(|layer| layer.size).sum());
        note(&format!("Pulling {source}: {count} layers, {}", mib(bytes)));
        let scratch = store.scratch()?;
        let (blobs, root) = (scratch.path().join("blobs"), scratch.path().join("root"));
        fs::create_dir(&blobs).doing("make", &blobs)?;
        let arrived = AtomicUsize::new(0);
        let blobs = source.blobs(client, layers, &blobs, &|layer| {
            let number = arrived.fetch_add(1, Ordering::Relaxed) + 1;
            note(&format!("{number} of {count}: {}", mib(layer.size)));
        })?;
        note("Unpacking it");
        let layers: Vec<_> = (blobs.iter().zip(&found.config.rootfs.diff_ids))
            .map(|(blob, diff_id)| Layer {
                image: source,
                blob,
                diff_id,
            })
            .collect();
        unpack_layers(&layers, &root)?;
        furnish::furnish(&root)?;
        let distro = distro(&found.config, &root);
        let Config {
            os,
            architecture,
            config,
            ..
        } = &found.config;
        Ok(Self {
            name: source.to_string(),
            reference: source.pinned(found.digest),
            layer: store.commit_layer(Tree::Whole(&root), "/", ROOT, Form::Dir)?,
            os: os.clone(),
            architecture: architecture.clone(),
            distro,
            env: config.env.clone().unwrap_or_default(),
            labels: config.labels.clone().unwrap_or_default(),
        })
    }
}

/// By its labels (platform spec, "Run Image"), or as every distribution writes it into a file.
fn distro(config: &Config, root: &Path) -> Distro {
    let labels = config.config.labels.as_ref();
    let label = |name: &str| {
        let name = format!("io.buildpacks.base.distro.{name}");
        labels.and_then(|labels| labels.get(&name)).cloned()
    };
    match label("name") {
        Some(name) => Distro {
            name,
            version: label("version").unwrap_or_default(),
        },
        None => {
            let files = ["etc/os-release", "usr/lib/os-release"].map(|path| root.join(path));
            let is_file = |path: &&std::path::PathBuf| {
                fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
            };
            let text = files
                .iter()
                .find(is_file)
                .and_then(|path| fs::read_to_string(path).ok());
            Distro::of_release(&text.unwrap_or_default())
        }
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(MIB))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), StackError> {
    let part = path.with_extension("part");
    fs::write(&part, bytes).doing("write", &part)?;
    Ok(fs::rename(&part, path).doing("write", path)?)
}
