//! The image that an app's image stands on: which it is, and where else it can be had (`run.toml`, before Platform API 0.12
//! `stack.toml`).

use serde::Deserialize;

use super::{
    analyzed::Analyzed,
    images::{Image, Images, is_same, registry_of},
    inputs::Inputs,
};
use crate::{
    api::Api,
    failure::Failure,
    files::{self, BadFile},
    metadata::RunImageNames,
    target::{Distro, Target},
};

/// Since then there is `run.toml`.
pub(super) const RUN_TOML: Api = Api::of(12);
/// Since then RESTORE is told of it, too.
const MIRRORS_OF_CHOSEN: Api = Api::of(14);

#[derive(Debug, Default, Deserialize)]
struct RunToml {
    #[serde(default)]
    images: Vec<RunImageNames>,
}

#[derive(Debug, Default, Deserialize)]
struct StackToml {
    #[serde(default, rename = "run-image")]
    run_image: RunImageNames,
}

impl RunImageNames {
    pub(crate) fn contains(&self, name: &str) -> bool {
        is_same(&self.image, name) || self.mirrors.iter().any(|mirror| is_same(mirror, name))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.image)
            .chain(&self.mirrors)
            .filter(|name| !name.is_empty())
    }
}

/// The run images that the platform knows.
pub(super) fn known(inputs: &Inputs) -> Result<Vec<RunImageNames>, Failure> {
    if inputs.api >= RUN_TOML {
        let wrong = |bad: BadFile| Failure::Arguments(bad.to_string());
        let run: Option<RunToml> = files::toml(&inputs.run).map_err(wrong)?;
        return Ok(run.unwrap_or_default().images);
    }
    let stack: Option<StackToml> = files::toml(&inputs.stack).map_err(Failure::Input)?;
    Ok(stack.map(|stack| stack.run_image).into_iter().collect())
}

/// The one that was asked for, or the first that is known, from the registry to which the output goes if it can be had there.
pub(super) fn choose(inputs: &Inputs, images: &Images) -> Result<String, Failure> {
    if let Some(name) = &inputs.run_image {
        return Ok(name.clone());
    }
    let known = known(inputs)?;
    let missing =
        || Failure::Arguments("there is no run image: -run-image names it, or run.toml".to_owned());
    best_mirror(
        known.first().ok_or_else(missing)?,
        &inputs.images[0],
        images,
    )
}

/// The one that an extension has chosen; where that cannot be had, and the platform knows mirrors of it, the first that can.
pub(super) fn chosen(
    inputs: &Inputs,
    images: &Images,
    name: &str,
) -> Result<(String, Image), Failure> {
    let wanted = images.wanted(name);
    if wanted.is_ok() || inputs.api < MIRRORS_OF_CHOSEN {
        return wanted.map(|image| (name.to_owned(), image));
    }
    let known = known(inputs)?;
    let names = known.iter().find(|names| names.contains(name));
    let mut mirrors = names.into_iter().flat_map(RunImageNames::all);
    let mirror = mirrors.find_map(|name| Some((name.clone(), images.find(name).ok()??)));
    mirror.map_or_else(|| wanted.map(|image| (name.to_owned(), image)), Ok)
}

pub(super) fn best_mirror(
    names: &RunImageNames,
    output: &str,
    images: &Images,
) -> Result<String, Failure> {
    let registry = registry_of(output)?;
    let (mut near, far): (Vec<&String>, Vec<&String>) = names
        .all()
        .partition(|name| registry_of(name).is_ok_and(|of| of == registry));
    near.extend(far);
    let can_be_had = |name: &&&String| match images {
        Images::Layouts(_) => true,
        Images::Registries(_) => matches!(images.find(name), Ok(Some(_))),
    };
    let found = near.iter().find(can_be_had);
    let missing = || {
        Failure::Refused(format!(
            "none of the run images can be had: {}",
            names.all().cloned().collect::<Vec<_>>().join(", ")
        ))
    };
    found.map(|name| (*name).clone()).ok_or_else(missing)
}

/// The names for the image's label.
pub(super) fn for_export(
    inputs: &Inputs,
    analyzed: &Analyzed,
    has_extensions: bool,
) -> Result<RunImageNames, Failure> {
    let known = known(inputs)?;
    if inputs.api < RUN_TOML {
        return Ok(known.into_iter().next().unwrap_or_default());
    }
    let used = analyzed
        .run_image
        .as_ref()
        .map_or("", |run_image| run_image.image.as_str());
    if let Some(names) = known.iter().find(|names| names.contains(used)) {
        return Ok(names.clone());
    }
    // An extension may have chosen another than the platform's.
    if has_extensions && !known.is_empty() {
        return Ok(RunImageNames {
            image: used.to_owned(),
            mirrors: vec![],
        });
    }
    Ok(known.into_iter().next().unwrap_or_default())
}

/// What the image says it runs on.
pub(super) fn target(image: &Image) -> Target {
    let field = |name: &str| image.config[name].as_str().unwrap_or_default().to_owned();
    let label = |name: &str| {
        image
            .label(&format!("io.buildpacks.base.{name}"))
            .map(str::to_owned)
    };
    let (name, version) = (label("distro.name"), label("distro.version"));
    Target {
        id: label("id"),
        os: field("os"),
        arch: field("architecture"),
        variant: field("variant"),
        distro: (name.is_some() || version.is_some()).then(|| Distro {
            name: name.unwrap_or_default(),
            version: version.unwrap_or_default(),
        }),
    }
}
