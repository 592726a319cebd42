//! ANALYZE: which image is there already, and on which the new one will stand.

use std::fs;

use super::{
    analyzed::{Analyzed, ImageRef, RunImageRef},
    extract::extract,
    images::{Image, Images, registry_of},
    inputs::Inputs,
    run_image,
};
use crate::{
    api::Api,
    failure::{Doing as _, Failure},
    files::{self, BadFile},
    metadata::{self, LifecycleMetadata},
    phase::detect::write_toml,
    scratch::TempDir,
};

pub(super) fn analyze(inputs: &Inputs, images: &Images) -> Result<Analyzed, Failure> {
    let output = inputs.images.first();
    let output =
        output.ok_or_else(|| Failure::Arguments("the name of the image is missing".to_owned()))?;
    same_registry(&inputs.images)?;
    images.check_write(inputs.images.iter().chain(&inputs.cache_image))?;
    let run_image = run_image::choose(inputs, images)?;
    let previous = images.find(inputs.previous_image.as_deref().unwrap_or(output))?;
    let metadata = previous
        .as_ref()
        .and_then(|image| understood(inputs, image));
    let run_image = read_run_image(inputs, images, &run_image)?;
    let mut analyzed = Analyzed::of_run_image(run_image);
    analyzed.image = Some(ImageRef {
        // One that says nothing of itself counts as none.
        reference: match (&previous, &metadata) {
            (Some(previous), Some(_)) => previous.reference.clone(),
            _ => String::new(),
        },
    });
    let metadata = metadata.unwrap_or_default();
    if let (Some(previous), Some(sbom)) = (&previous, metadata.sbom.and_then(|sbom| sbom.sha))
        && inputs.api >= Api::of(8)
        && !inputs.skip_layers
    {
        inputs
            .log
            .info("Restoring data for SBOM from previous image");
        restore_sbom(inputs, images, previous, &sbom)?;
    }
    analyzed.set_metadata(&metadata);
    write_toml(&inputs.analyzed, &analyzed)?;
    Ok(analyzed)
}

/// All names of an image are of one registry.
pub(super) fn same_registry(names: &[String]) -> Result<(), Failure> {
    let mut registries = names
        .iter()
        .map(|name| registry_of(name))
        .collect::<Result<Vec<_>, _>>()?;
    registries.dedup();
    match registries.len() {
        0 | 1 => Ok(()),
        _ => Err(Failure::Arguments(format!(
            "images go to one registry, and these are several: {}",
            registries.join(", ")
        ))),
    }
}

/// `None` when the image does not have the label.
pub(crate) fn lifecycle_metadata(image: &Image) -> Result<Option<LifecycleMetadata>, BadFile> {
    let name = metadata::LIFECYCLE;
    let named = format!("label {name} of {}", image.reference);
    let label = image.label(name);
    label
        .map(|label| files::json(&named, label.as_bytes()))
        .transpose()
}

/// An image that nobody understands is built anew.
fn understood(inputs: &Inputs, image: &Image) -> Option<LifecycleMetadata> {
    lifecycle_metadata(image).unwrap_or_else(|bad| {
        inputs.log.warn(format_args!("Nothing is reused: {bad}"));
        None
    })
}

fn read_run_image(inputs: &Inputs, images: &Images, name: &str) -> Result<RunImageRef, Failure> {
    let Some(image) = images.find(name)? else {
        inputs
            .log
            .info(format_args!("Run image {name} is not there"));
        if inputs.api >= run_image::RUN_TOML {
            return Err(Failure::Refused(format!("there is no run image `{name}`")));
        }
        return Ok(RunImageRef::default());
    };
    let is_told = inputs.api >= run_image::RUN_TOML;
    Ok(RunImageRef {
        image: match (images, is_told) {
            (_, false) => String::new(),
            (Images::Layouts(_), true) => image
                .reference
                .rsplit_once('@')
                .map_or("", |(path, _)| path)
                .to_owned(),
            (Images::Registries(_), true) => name.to_owned(),
        },
        target: is_told.then(|| run_image::target(&image)),
        reference: image.reference,
        extend: false,
    })
}

/// To `<layers>/sbom/launch`, from where RESTORE gives each layer its own.
fn restore_sbom(
    inputs: &Inputs,
    images: &Images,
    previous: &Image,
    sha: &container::Digest,
) -> Result<(), Failure> {
    let scratch = TempDir::below(&inputs.layers)?;
    let dir = inputs.layers.join("sbom/launch");
    let tar = images.open_layer(previous, sha, scratch.path())?;
    let made = scratch.path().join("sbom");
    extract(tar, &dir, sha, &made).failing("restore the bills of materials of", &inputs.layers)?;
    let parent = inputs.layers.join("sbom");
    fs::create_dir_all(&parent).failing("make", &parent)?;
    if dir.exists() {
        fs::remove_dir_all(&dir).failing("replace", &dir)?;
    }
    fs::rename(&made, &dir).failing("make", &dir)
}
