//! Where images are: in registries, or in a folder of OCI layouts. The rest of the lifecycle does not know which.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use container::{
    Digest,
    decompress::Plain,
    layout::Layout,
    manifest::{Descriptor, Manifest, OCI_CONFIG, OCI_MANIFEST, Platform, REF_NAME, oci_layer},
    registry::{Client, Content, Credentials, Reference, RegistryError, Repository, each},
};
use serde_json::Value;

use super::{inputs::Inputs, privileges::changes_user, run_image};
use crate::{
    failure::{Doing as _, Failure},
    metadata::RunImageNames,
    scratch::TempDir,
};

/// Docker Hub under the name that layouts have it by (platform spec, "OCI Image Layout").
const HUB: (&str, &str) = ("docker.io", "index.docker.io");

pub(crate) enum Images {
    /// Each image in a layout of its own, `<folder>/<registry>/<repository>/<tag>`.
    Layouts(PathBuf),
    Registries(Box<Client>),
}

/// Of all images that may be asked for, by the names that are known at the beginning.
fn registries(inputs: &Inputs) -> Vec<String> {
    let known = run_image::known(inputs).unwrap_or_default();
    let given = inputs.images.iter().chain(&inputs.previous_image);
    let given = given.chain(&inputs.run_image).chain(&inputs.build_image);
    let names = given
        .chain(&inputs.cache_image)
        .chain(known.iter().flat_map(RunImageNames::all));
    names.filter_map(|name| registry_of(name).ok()).collect()
}

/// An image that is there, without its layers.
pub(crate) struct Image {
    /// Pinned: `<path>@<digest>` of a layout, `<repository>@<digest>` of a registry.
    pub(crate) reference: String,
    pub(crate) config: Value,
    pub(crate) layers: Vec<ImageLayer>,
    source: Source,
}

#[derive(Debug, Clone)]
pub(crate) struct ImageLayer {
    pub(crate) diff_id: Digest,
    pub(crate) blob: Descriptor,
}

#[derive(Debug, Clone)]
enum Source {
    Layout(Layout),
    Registry(Repository),
}

/// An image that is being made: new layers lie in `blobs`, the others are those of other images.
pub(crate) struct NewImage<'a> {
    pub(crate) config: Value,
    pub(crate) layers: Vec<Descriptor>,
    pub(crate) blobs: &'a Path,
    /// Where the other layers come from.
    pub(crate) sources: Vec<&'a Image>,
}

/// What has become of it.
pub(crate) struct Saved {
    pub(crate) names: Vec<String>,
    /// Of the manifest; the identity of an image in a registry.
    pub(crate) digest: Digest,
    pub(crate) is_in_registry: bool,
    pub(crate) manifest_bytes: usize,
}

impl Images {
    pub(crate) fn of(inputs: &Inputs) -> Result<Self, Failure> {
        if inputs.daemon {
            let what =
                "images of a docker daemon are not supported; leave out -daemon, or use -layout";
            return Err(Failure::Arguments(what.to_owned()));
        }
        if inputs.layout {
            experiment(inputs, "images in OCI layouts")?;
            let missing = || Failure::Arguments("-layout needs -layout-dir".to_owned());
            return Ok(Self::Layouts(
                inputs.layout_dir.clone().ok_or_else(missing)?,
            ));
        }
        let mut credentials = Credentials::from_environment()
            .map_err(|error| Failure::Arguments(error.to_string()))?;
        if changes_user(inputs) {
            credentials.ask(registries(inputs));
        }
        Ok(Self::Registries(Box::new(Client::new(
            credentials,
            inputs.insecure_registries.clone(),
        ))))
    }

    /// By its name or its pinned reference; `None` when there is no such image.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Image>, Failure> {
        match self {
            Self::Layouts(folder) => {
                let dir = layout_dir(folder, name)?;
                if !dir.join("index.json").exists() {
                    return Ok(None);
                }
                Image::of_layout(&dir, None).map(Some)
            }
            Self::Registries(client) => match client.image(&parse(name)?, &Platform::here()) {
                Err(RegistryError::NotFound { .. }) => Ok(None),
                result => {
                    let remote = result.map_err(refused)?;
                    let reference = remote.pinned().to_string();
                    let source = Source::Registry(remote.repository.clone());
                    Image::new(reference, &remote.config_json, &remote.manifest, source).map(Some)
                }
            },
        }
    }

    /// One that has to be there.
    pub(crate) fn wanted(&self, name: &str) -> Result<Image, Failure> {
        let found = self.find(name)?;
        found.ok_or_else(|| Failure::Refused(format!("there is no image `{name}`")))
    }

    /// Finds out early whether the image can be written under all of `names`.
    pub(crate) fn check_write<'a>(
        &self,
        names: impl IntoIterator<Item = &'a String>,
    ) -> Result<(), Failure> {
        let Self::Registries(client) = self else {
            return Ok(());
        };
        let mut repositories = Vec::new();
        for name in names {
            let repository = parse(name)?.repository;
            if !repositories.contains(&repository) {
                client.check_push(&repository).map_err(refused)?;
                repositories.push(repository);
            }
        }
        Ok(())
    }

    /// The layer's tar, decompressed.
    pub(crate) fn open_layer(
        &self,
        image: &Image,
        diff_id: &Digest,
        scratch: &Path,
    ) -> Result<Box<dyn Read + Send>, Failure> {
        let layer = image.layer(diff_id).ok_or_else(|| {
            Failure::Refused(format!("image {} has no layer {diff_id}", image.reference))
        })?;
        let path = match (self, &image.source) {
            (_, Source::Layout(layout)) => layout.blob(&layer.blob.digest),
            (Self::Registries(client), Source::Registry(repository)) => {
                client
                    .blobs_into(repository, std::slice::from_ref(&layer.blob), scratch)
                    .map_err(refused)?;
                scratch.join(layer.blob.digest.hex())
            }
            (Self::Layouts(_), Source::Registry(repository)) => {
                return Err(Failure::Refused(format!(
                    "{} is in a registry",
                    repository.name()
                )));
            }
        };
        let file = fs::File::open(&path).failing("open", &path)?;
        Ok(Box::new(Plain::new(file).failing("read", &path)?))
    }

    /// Where new layers are best made, so that they need not be copied.
    pub(crate) fn blobs(&self, scratch: &TempDir) -> Result<PathBuf, Failure> {
        let dir = scratch.path().join("blobs/sha256");
        fs::create_dir_all(&dir).failing("make", &dir)?;
        Ok(dir)
    }

    /// A folder for one image that is being made, beside the place that it will have.
    pub(crate) fn scratch(&self) -> Result<TempDir, Failure> {
        match self {
            Self::Layouts(folder) => {
                fs::create_dir_all(folder).failing("make", folder)?;
                TempDir::below(folder)
            }
            Self::Registries(_) => TempDir::new(),
        }
    }

    /// Under all of `names`. What had one of them before keeps it until the new image is whole.
    pub(crate) fn save(&self, image: &NewImage<'_>, names: &[String]) -> Result<Saved, Failure> {
        let config = serde_json::to_vec(&image.config)
            .failing("write the configuration of", Path::new("the image"))?;
        let descriptor = Descriptor::of(OCI_CONFIG, &config);
        let layers = image.layers.iter().map(of_oci).collect();
        let manifest = Manifest::new(descriptor.clone(), layers).to_json();
        let mut saved = Saved {
            names: vec![],
            digest: Digest::of(&manifest),
            is_in_registry: matches!(self, Self::Registries(_)),
            manifest_bytes: manifest.len(),
        };
        for name in names {
            match self {
                Self::Layouts(folder) => {
                    let dir = layout_dir(folder, name)?;
                    write_layout(image, &config, &manifest, &parse(name)?.target(), &dir)?;
                    saved.names.push(dir.display().to_string());
                }
                Self::Registries(client) => {
                    push(
                        client,
                        image,
                        (&descriptor, &config),
                        &manifest,
                        &parse(name)?,
                    )?;
                    saved.names.push(name.clone());
                }
            }
        }
        Ok(saved)
    }
}

impl Image {
    pub(crate) fn of_layout(dir: &Path, tag: Option<&str>) -> Result<Self, Failure> {
        let layout = Layout::open(dir).map_err(refused)?;
        let (descriptor, manifest) = layout.image(tag, &Platform::here()).map_err(refused)?;
        let config = layout.bytes(&manifest.config).map_err(refused)?;
        let reference = format!("{}@{}", dir.display(), descriptor.digest);
        Self::new(reference, &config, &manifest, Source::Layout(layout))
    }

    fn new(
        reference: String,
        config: &[u8],
        manifest: &Manifest,
        source: Source,
    ) -> Result<Self, Failure> {
        let wrong = |what: &str| Failure::Refused(format!("image {reference} {what}"));
        let config: Value = serde_json::from_slice(config)
            .map_err(|_| wrong("has a configuration that is no JSON"))?;
        let diff_ids: Vec<Digest> = serde_json::from_value(config["rootfs"]["diff_ids"].clone())
            .map_err(|_| wrong("has no list of layers"))?;
        if diff_ids.len() != manifest.layers.len() {
            return Err(wrong("has not as many layers as its configuration says"));
        }
        let layers = diff_ids.into_iter().zip(&manifest.layers);
        Ok(Self {
            layers: layers
                .map(|(diff_id, blob)| ImageLayer {
                    diff_id,
                    blob: blob.clone(),
                })
                .collect(),
            config,
            source,
            reference,
        })
    }

    pub(crate) fn layer(&self, diff_id: &Digest) -> Option<&ImageLayer> {
        self.layers.iter().find(|layer| layer.diff_id == *diff_id)
    }

    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.config["config"]["Labels"][name].as_str()
    }
}

/// The specification calls it one; it works, so it is refused only where that is asked for.
fn experiment(inputs: &Inputs, what: &str) -> Result<(), Failure> {
    match inputs.experimental.as_str() {
        "error" => Err(Failure::Arguments(format!(
            "{what} are an experimental feature, which CNB_EXPERIMENTAL_MODE=error refuses"
        ))),
        "warn" => {
            inputs
                .log
                .warn(format_args!("{what} are an experimental feature"));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// `name`, or the path of a layout that has been pinned.
fn layout_dir(folder: &Path, name: &str) -> Result<PathBuf, Failure> {
    let path = name.split_once('@').map_or(name, |(path, _)| path);
    if Path::new(path).starts_with(folder) && Path::new(path).is_absolute() {
        return Ok(path.into());
    }
    let reference = parse(name)?;
    let registry = match reference.repository.registry() {
        registry if registry == HUB.0 => HUB.1,
        registry => registry,
    };
    let target = reference.target().replace(':', "/");
    Ok(folder
        .join(registry)
        .join(reference.repository.name())
        .join(target))
}

pub(crate) fn parse(name: &str) -> Result<Reference, Failure> {
    name.parse()
        .map_err(|error: container::registry::NotAReference| Failure::Arguments(error.to_string()))
}

/// Of a name's registry.
pub(crate) fn registry_of(name: &str) -> Result<String, Failure> {
    Ok(parse(name)?.repository.registry().to_owned())
}

/// Whether two names mean the same image, whatever version of it they are pinned to.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    let plain = |name: &str| {
        let reference: Reference = name.parse().ok()?;
        let tag = reference.tag.clone().unwrap_or_else(|| "latest".to_owned());
        Some(reference.tagged(&tag).to_string())
    };
    match (plain(one), plain(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// Our images are of the OCI's kind, also on layers that Docker has named.
fn of_oci(layer: &Descriptor) -> Descriptor {
    Descriptor {
        media_type: oci_layer(&layer.media_type).to_owned(),
        ..layer.clone()
    }
}

/// A whole layout beside the one that has the name, which it then replaces.
fn write_layout(
    image: &NewImage<'_>,
    config: &[u8],
    manifest: &[u8],
    tag: &str,
    dir: &Path,
) -> Result<(), Failure> {
    let parent = dir.parent().unwrap_or(dir);
    fs::create_dir_all(parent).failing("make", parent)?;
    let scratch = TempDir::below(parent)?;
    let new = scratch.path().join("new");
    let layout = Layout::create(&new).map_err(refused)?;
    for layer in &image.layers {
        take_blob(image, layer, &layout.blob(&layer.digest))?;
    }
    layout.put(OCI_CONFIG, config).map_err(refused)?;
    let mut descriptor = layout.put(OCI_MANIFEST, manifest).map_err(refused)?;
    descriptor
        .annotations
        .insert(REF_NAME.to_owned(), tag.to_owned());
    let index = container::manifest::Index::new(vec![descriptor]).to_json();
    let path = new.join("index.json");
    fs::write(&path, index).failing("write", &path)?;
    if dir.exists() {
        fs::rename(dir, scratch.path().join("old")).failing("replace", dir)?;
    }
    fs::rename(&new, dir).failing("write", dir)
}

/// As a hard link where that can be: blobs never change.
fn take_blob(image: &NewImage<'_>, layer: &Descriptor, to: &Path) -> Result<(), Failure> {
    let own = image.blobs.join(layer.digest.hex());
    let others = image
        .sources
        .iter()
        .filter_map(|source| match &source.source {
            Source::Layout(layout) => Some(layout.blob(&layer.digest)),
            Source::Registry(_) => None,
        });
    let from = std::iter::once(own)
        .chain(others)
        .find(|path| path.exists());
    let from = from.ok_or_else(|| {
        Failure::Refused(format!("layer {} is nowhere to be found", layer.digest))
    })?;
    if to.exists() || fs::hard_link(&from, to).is_ok() {
        return Ok(());
    }
    fs::copy(&from, to).failing("copy", &from).map(drop)
}

fn push(
    client: &Client,
    image: &NewImage<'_>,
    (descriptor, config): (&Descriptor, &[u8]),
    manifest: &[u8],
    to: &Reference,
) -> Result<(), Failure> {
    let repository = &to.repository;
    let origins: Vec<Repository> = image
        .sources
        .iter()
        .filter_map(|source| match &source.source {
            Source::Registry(repository) => Some(repository.clone()),
            Source::Layout(_) => None,
        })
        .collect();
    let mut layers: Vec<&Descriptor> = image.layers.iter().collect();
    layers.sort_by_key(|layer| layer.digest);
    layers.dedup_by_key(|layer| layer.digest);
    each(&layers, |layer| {
        push_layer(client, image, layer, repository, &origins)
    })?;
    client
        .push_blob(repository, descriptor, Content::Bytes(config), &[])
        .map_err(refused)?;
    client
        .push_manifest(to, OCI_MANIFEST, manifest)
        .map_err(refused)
        .map(drop)
}

fn push_layer(
    client: &Client,
    image: &NewImage<'_>,
    layer: &Descriptor,
    to: &Repository,
    origins: &[Repository],
) -> Result<(), Failure> {
    let path = image.blobs.join(layer.digest.hex());
    let sent = client.push_blob(to, layer, Content::File(&path), origins);
    if sent.is_ok() || path.exists() {
        return sent.map_err(refused).map(drop);
    }
    // Neither there nor to be mounted: it has to make the way over this machine.
    let of = |source: &&&Image| {
        let mut layers = source.layers.iter();
        layers.any(|one| one.blob.digest == layer.digest)
    };
    if let Some(Source::Registry(from)) = image.sources.iter().find(of).map(|image| &image.source) {
        client
            .blobs_into(from, std::slice::from_ref(layer), image.blobs)
            .map_err(refused)?;
    }
    let sent = client.push_blob(to, layer, Content::File(&path), origins);
    sent.map_err(refused).map(drop)
}

/// With all that lies behind it, in one line.
fn refused(error: impl std::error::Error) -> Failure {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    Failure::Refused(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_has_the_folder_of_its_name() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (name, expected) in [
            ("run", "index.docker.io/library/run/latest".to_owned()),
            ("ghcr.io/acme/run:1", "ghcr.io/acme/run/1".to_owned()),
            (
                &format!("localhost:5000/x@{digest}"),
                format!("localhost:5000/x/sha256/{}", "a".repeat(64)),
            ),
            (&format!("/oci/any/path@{digest}"), "any/path".to_owned()),
        ] {
            assert_eq!(
                layout_dir(Path::new("/oci"), name).unwrap(),
                Path::new("/oci").join(expected),
                "{name}"
            );
        }
        assert!(layout_dir(Path::new("/oci"), "Not A Name").is_err());
    }

    #[test]
    fn a_name_stays_the_same_when_it_is_pinned() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (one, other, expected) in [
            ("run", "docker.io/library/run:latest", true),
            (
                "ghcr.io/a/run:1",
                &format!("ghcr.io/a/run:1@{digest}"),
                true,
            ),
            ("ghcr.io/a/run", &format!("ghcr.io/a/run@{digest}"), true),
            ("ghcr.io/a/run:1", "ghcr.io/a/run:2", false),
            ("", "", true),
        ] {
            assert_eq!(is_same(one, other), expected, "{one} {other}");
        }
    }
}
