//! Buildpackages and builder images (CNB distribution spec): OCI images whose layers hold `/cnb/buildpacks/<id>/<version>`
//! and whose labels say which, and in what order.

use std::{
    collections::HashMap,
    fs::File,
    path::{Path, PathBuf},
};

use container::{
    Digest,
    manifest::{Descriptor, Manifest, Platform},
    registry::{Client, Reference},
    unpack::{Bounds, unpack},
};
use serde::Deserialize;

use super::{SourceError, set::Chosen, tree};
use crate::id::{BuildpackId, Version};

const PACKAGE: &str = "io.buildpacks.buildpackage.metadata";
const LAYERS: &str = "io.buildpacks.buildpack.layers";
const ORDER: &str = "io.buildpacks.buildpack.order";
const BUILDPACKS: &str = "cnb/buildpacks";

/// Groups of a builder's order.
pub(super) type Order = Vec<Vec<Chosen>>;

#[derive(Deserialize)]
struct Config {
    config: Labels,
    rootfs: Rootfs,
}

#[derive(Deserialize)]
struct Labels {
    #[serde(rename = "Labels", default)]
    labels: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Rootfs {
    diff_ids: Vec<Digest>,
}

#[derive(Deserialize)]
struct Main {
    id: BuildpackId,
    version: Version,
}

/// By id and version.
type LayersLabel = HashMap<String, HashMap<String, OneLayer>>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OneLayer {
    #[serde(rename = "layerDiffID")]
    layer_diff_id: Digest,
}

#[derive(Deserialize)]
struct Group {
    group: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    id: BuildpackId,
    version: Option<Version>,
    #[serde(default)]
    optional: bool,
}

/// Whether an image is a buildpackage for this machine.
pub(super) fn check(client: &Client, reference: &Reference) -> Result<(), SourceError> {
    let image = client.image(reference, &Platform::here())?;
    main_of(&parse(&image.config_json, "image configuration")?).map(drop)
}

/// Pulls a buildpackage; unpacks all its buildpacks into `into` and says which is the one it is made for.
pub(super) fn pull(
    client: &Client,
    reference: &Reference,
    scratch: &Path,
    into: &Path,
) -> Result<Chosen, SourceError> {
    let image = client.image(reference, &Platform::here())?;
    let blobs = scratch.join("blobs");
    tree::make_dir(&blobs)?;
    // Before the layers are fetched: what is no buildpackage may be large.
    main_of(&parse(&image.config_json, "image configuration")?)?;
    client.blobs_into(&image.repository, &image.manifest.layers, &blobs)?;
    unpack_all(&image.manifest, &image.config_json, into, |digest| {
        blobs.join(digest.hex())
    })
}

/// Unpacks the buildpacks of a buildpackage whose blobs are at `blob`.
pub(crate) fn unpack_all(
    manifest: &Manifest,
    config: &[u8],
    into: &Path,
    blob: impl Fn(&Digest) -> PathBuf,
) -> Result<Chosen, SourceError> {
    let config: Config = parse(config, "image configuration")?;
    let main = main_of(&config)?;
    for (layer, diff_id) in pairs(manifest, &config)? {
        unpack_layer(&blob(&layer.digest), diff_id, into)?;
    }
    Ok(Chosen::new(main.id, main.version))
}

/// The buildpacks of a builder image, of which only the layers that hold some are fetched.
pub(super) fn builder(
    client: &Client,
    reference: &Reference,
    scratch: &Path,
    into: &Path,
) -> Result<Order, SourceError> {
    let image = client.image(reference, &Platform::here())?;
    let config: Config = parse(&image.config_json, "image configuration")?;
    let label = |name: &str| {
        let label = config.config.labels.get(name);
        label.ok_or_else(|| not_a("builder image", format!("it has no label {name}")))
    };
    let layers: LayersLabel = parse(label(LAYERS)?.as_bytes(), "builder image")?;
    let order: Vec<Group> = parse(label(ORDER)?.as_bytes(), "builder image")?;
    let wanted: Vec<Digest> = layers
        .values()
        .flat_map(HashMap::values)
        .map(|layer| layer.layer_diff_id)
        .collect();
    let mut pairs = pairs(&image.manifest, &config)?;
    pairs.retain(|(_, diff_id)| wanted.contains(diff_id));
    let blobs = scratch.join("blobs");
    tree::make_dir(&blobs)?;
    let fetched: Vec<Descriptor> = pairs.iter().map(|(layer, _)| (*layer).clone()).collect();
    client.blobs_into(&image.repository, &fetched, &blobs)?;
    for (layer, diff_id) in pairs {
        unpack_layer(&blobs.join(layer.digest.hex()), diff_id, into)?;
    }
    let known = |member: Member| complete(member, &layers);
    let group = |group: Group| group.group.into_iter().map(known).collect();
    order.into_iter().map(group).collect()
}

/// An order may leave out the version where there is only one.
fn complete(member: Member, layers: &LayersLabel) -> Result<Chosen, SourceError> {
    let only = || {
        let versions = layers.get(member.id.as_str())?;
        let version = versions.keys().next().filter(|_| versions.len() == 1)?;
        Version::try_from(version.clone()).ok()
    };
    let version = member.version.clone().or_else(only);
    let missing = || {
        not_a(
            "builder image",
            format!("its order names no version of {}", member.id),
        )
    };
    Ok(Chosen {
        version: version.ok_or_else(missing)?,
        id: member.id.clone(),
        optional: member.optional,
    })
}

fn main_of(config: &Config) -> Result<Main, SourceError> {
    let label = config.config.labels.get(PACKAGE);
    let label = label.ok_or_else(|| not_a("buildpackage", format!("it has no label {PACKAGE}")))?;
    parse(label.as_bytes(), "buildpackage")
}

fn pairs<'a>(
    manifest: &'a Manifest,
    config: &'a Config,
) -> Result<Vec<(&'a Descriptor, &'a Digest)>, SourceError> {
    let diff_ids = &config.rootfs.diff_ids;
    if manifest.layers.len() != diff_ids.len() {
        let why = "its manifest and its configuration differ in the number of layers";
        return Err(not_a("image", why.to_owned()));
    }
    Ok(manifest.layers.iter().zip(diff_ids).collect())
}

/// Only what lies below `/cnb/buildpacks`; the rest of a builder's layer is none of our business.
fn unpack_layer(blob: &Path, expected: &Digest, into: &Path) -> Result<(), SourceError> {
    let archive = File::open(blob).map_err(SourceError::io("open", blob))?;
    let found = unpack(archive, into, Bounds::default(), |path| {
        path.strip_prefix(BUILDPACKS).ok().map(Path::to_owned)
    })?;
    if found == *expected {
        return Ok(());
    }
    let why = format!("a layer unpacks to {found}, and {expected} was promised");
    Err(not_a("image", why))
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8], what: &'static str) -> Result<T, SourceError> {
    serde_json::from_slice(json).map_err(|error| not_a(what, error.to_string()))
}

fn not_a(what: &'static str, why: String) -> SourceError {
    SourceError::NotA { what, why }
}
