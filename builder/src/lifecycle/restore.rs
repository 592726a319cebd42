//! RESTORE: what the buildpacks of the group get back from the previous image and from the cache (platform spec, "Restore",
//! and buildpack spec, "Layer Types").

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::Path,
    sync::Mutex,
    thread,
};

use container::Digest;
use serde::Serialize;
use serde_json::Value;
use toml::Table;

use super::{
    analyzed::Analyzed,
    cache::Cache,
    export::{dir_plan, owner},
    extract::{ExtractError, extract},
    images::Images,
    inputs::Inputs,
    run_image,
    volume_cache::CacheMetadata,
};
use crate::{
    api::Api,
    failure::{Doing as _, Failure},
    group::{Group, Member},
    id::is_file_name,
    metadata::{LayerMetadata, LifecycleMetadata, to_toml},
    phase::detect::write_toml,
    sbom,
    scratch::TempDir,
};

/// Layers that are unpacked at the same time.
const PARALLEL_MAX: usize = 4;

#[derive(Serialize)]
struct MetadataToml {
    metadata: Table,
}

/// Of one layer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Decision<'a> {
    Nothing,
    /// The buildpack can tell whether the image's layer is still right without having its content.
    Metadata(&'a Value),
    Content(&'a Value, Digest),
}

pub(super) fn restore(
    inputs: &Inputs,
    images: &Images,
    group: &Group,
    analyzed: &Analyzed,
    cache: Option<&Cache>,
) -> Result<(), Failure> {
    let image = analyzed.metadata();
    let cached = cache.map(|cache| cached(inputs, cache));
    let cached = cached.unwrap_or_default();
    let mut contents = Vec::new();
    for member in &group.group {
        restore_store(inputs, member, &image)?;
        if inputs.skip_layers {
            continue;
        }
        for (name, decision) in decisions(inputs.api, member, &image, &cached) {
            let path = inputs.layers_of(&member.id).join(format!("{name}.toml"));
            match decision {
                Decision::Nothing => {}
                Decision::Metadata(data) => {
                    inputs.log.info(format_args!(
                        "Restoring metadata for \"{}:{name}\" from app image",
                        member.id
                    ));
                    write_metadata(&path, data)?;
                }
                Decision::Content(data, sha) => contents.push((member, name.to_owned(), data, sha)),
            }
        }
    }
    if let Some(cache) = cache {
        restore_contents(inputs, images, cache, &contents)?;
        if let Err(error) = cache.records().save() {
            inputs
                .log
                .warn(format_args!("Layers will be hashed again: {error}"));
        }
    }
    if inputs.api >= Api::of(8) && !inputs.skip_layers {
        restore_sboms(inputs, images, group, cache, cached.sbom.sha)?;
    }
    Ok(())
}

/// A cache may be lost.
fn cached(inputs: &Inputs, cache: &Cache) -> CacheMetadata {
    cache.metadata().unwrap_or_else(|bad| {
        inputs
            .log
            .warn(format_args!("The cache is not used: {bad}"));
        CacheMetadata::default()
    })
}

/// Brings analyzed.toml up to date for what EXTEND and EXPORT want to know of the images.
pub(super) fn update_analyzed(
    inputs: &Inputs,
    images: &Images,
    group: &Group,
    analyzed: &mut Analyzed,
) -> Result<(), Failure> {
    let is_extended = !group.extensions.is_empty() && inputs.api >= Api::of(10);
    if let Some(run_image) = &mut analyzed.run_image
        && is_extended
        && run_image.target.is_none()
    {
        let (name, image) = run_image::chosen(inputs, images, &run_image.image)?;
        run_image.image = name;
        run_image.reference.clone_from(&image.reference);
        run_image.target = (inputs.api >= run_image::RUN_TOML).then(|| run_image::target(&image));
    }
    if let Some(name) = &inputs.build_image
        && inputs.api >= Api::of(10)
    {
        let reference = images.wanted(name)?.reference;
        analyzed.build_image = Some(super::analyzed::ImageRef { reference });
    }
    write_toml(&inputs.analyzed, analyzed)
}

fn restore_store(
    inputs: &Inputs,
    member: &Member,
    image: &LifecycleMetadata,
) -> Result<(), Failure> {
    let store = image
        .buildpack(&member.id)
        .and_then(|layers| layers.store.as_ref());
    match store {
        Some(store) => write_metadata(
            &inputs.layers_of(&member.id).join("store.toml"),
            &store.metadata,
        ),
        None => Ok(()),
    }
}

fn decisions<'a>(
    api: Api,
    member: &Member,
    image: &'a LifecycleMetadata,
    cached: &'a CacheMetadata,
) -> impl Iterator<Item = (&'a str, Decision<'a>)> {
    let mut names: BTreeMap<&str, (Option<&LayerMetadata>, Option<&LayerMetadata>)> =
        BTreeMap::new();
    let of_image = image.buildpack(&member.id);
    for (name, layer) in of_image.into_iter().flat_map(|layers| &layers.layers) {
        names.entry(name).or_default().0 = Some(layer);
    }
    for buildpack in cached.buildpacks.iter().filter(|one| one.key == member.id) {
        for (name, layer) in &buildpack.layers {
            names.entry(name).or_default().1 = Some(layer);
        }
    }
    let names = names.into_iter().filter(|(name, _)| is_file_name(name));
    names.map(move |(name, (image, cached))| (name, decide(api, image, cached)))
}

/// A layer comes back with its content or not at all, unless it is for launch alone. The image's metadata goes before the
/// cache's, and then the content has to be the image's too.
fn decide<'a>(
    api: Api,
    image: Option<&'a LayerMetadata>,
    cached: Option<&'a LayerMetadata>,
) -> Decision<'a> {
    let cached = cached.filter(|cached| cached.cache);
    match (image.filter(|image| image.launch), cached) {
        (Some(image), Some(cached)) if image.cache && image.sha == cached.sha => {
            Decision::Content(&image.data, image.sha)
        }
        (Some(image), None) if !image.build && !image.cache => Decision::Metadata(&image.data),
        (Some(_), _) => Decision::Nothing,
        (None, Some(cached)) if !cached.launch || api >= Api::of(14) => {
            Decision::Content(&cached.data, cached.sha)
        }
        (None, _) => Decision::Nothing,
    }
}

type Content<'a> = (&'a Member, String, &'a Value, Digest);

fn restore_contents(
    inputs: &Inputs,
    images: &Images,
    cache: &Cache,
    contents: &[Content<'_>],
) -> Result<(), Failure> {
    let next = Mutex::new(contents.iter());
    let result = Mutex::new(Ok(()));
    thread::scope(|scope| {
        for _ in 0..PARALLEL_MAX.min(contents.len()) {
            scope.spawn(|| {
                while let Some(content) = next.lock().ok().and_then(|mut next| next.next()) {
                    if let Err(failure) = restore_content(inputs, images, cache, content)
                        && let Ok(mut result) = result.lock()
                    {
                        *result = Err(failure);
                    }
                }
            });
        }
    });
    result.into_inner().unwrap_or(Ok(()))
}

/// One that cannot be read is one that the buildpack makes anew.
fn restore_content(
    inputs: &Inputs,
    images: &Images,
    cache: &Cache,
    content: &Content<'_>,
) -> Result<(), Failure> {
    let (member, name, data, sha) = content;
    let own = inputs.layers_of(&member.id);
    fs::create_dir_all(&own).failing("make", &own)?;
    let dir = own.join(name);
    let scratch = TempDir::below(&inputs.layers)?;
    let made = scratch.path().join("layer");
    let tar = cache.look_at(sha);
    match cache
        .open_layer(images, sha, scratch.path())
        .and_then(|tar| unpack(tar, &dir, sha, &made))
    {
        Err(failure) => {
            inputs.log.warn(format_args!(
                "Layer {}:{name} is not restored: {failure}",
                member.id
            ));
            Ok(())
        }
        Ok(headers) => {
            inputs.log.info(format_args!(
                "Restoring data for \"{}:{name}\" from cache",
                member.id
            ));
            if dir.exists() {
                fs::remove_dir_all(&dir).failing("replace", &dir)?;
            }
            fs::rename(&made, &dir).failing("make", &dir)?;
            if let Some(tar) = tar {
                cache.records().add(&tar, *sha);
                record(inputs, cache, &dir, sha, headers);
            }
            write_metadata(&own.join(format!("{name}.toml")), data)
        }
    }
}

/// EXPORT need not hash what is still as it was made here, if it would make the same tar of it: nobody has changed the
/// modes of the directories above, say.
fn record(inputs: &Inputs, cache: &Cache, dir: &Path, sha: &Digest, headers: Option<Digest>) {
    if let Ok(plan) = dir_plan(dir, owner(inputs))
        && headers == Some(plan.headers())
        && let Some(fingerprint) = plan.fingerprint()
    {
        cache.records().add(&fingerprint, *sha);
    }
}

fn unpack(
    tar: Box<dyn Read + Send>,
    at: &Path,
    sha: &Digest,
    into: &Path,
) -> Result<Option<Digest>, Failure> {
    extract(tar, at, sha, into).map_err(|error: ExtractError| Failure::Refused(error.to_string()))
}

/// Each layer's bills of materials go beside it; the directory of all of them, which ANALYZE has left, goes.
fn restore_sboms(
    inputs: &Inputs,
    images: &Images,
    group: &Group,
    cache: Option<&Cache>,
    cached: Option<Digest>,
) -> Result<(), Failure> {
    let all = inputs.layers.join("sbom");
    if let (Some(cache), Some(sha)) = (cache, cached) {
        let scratch = TempDir::below(&inputs.layers)?;
        let (dir, made) = (all.join("cache"), scratch.path().join("sbom"));
        match cache
            .open_layer(images, &sha, scratch.path())
            .and_then(|tar| unpack(tar, &dir, &sha, &made))
        {
            Err(failure) => inputs.log.warn(format_args!(
                "Bills of materials are not restored: {failure}"
            )),
            Ok(_) => give_back(inputs, group, &made)?,
        }
    }
    give_back(inputs, group, &all.join("launch"))?;
    match fs::remove_dir_all(&all) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.failing("remove", &all),
    }
}

fn give_back(inputs: &Inputs, group: &Group, from: &Path) -> Result<(), Failure> {
    for member in &group.group {
        let dir = member.id.dir_name();
        let into = inputs.layers.join(&dir);
        let Ok(layers) = fs::read_dir(from.join(&dir)) else {
            continue;
        };
        if !into.is_dir() {
            continue;
        }
        let names = layers
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        for name in names.filter(|name| is_file_name(name)) {
            sbom::restore(from, &dir, &name, &into)
                .failing("restore the bills of materials of", &into)?;
        }
    }
    Ok(())
}

fn write_metadata(path: &Path, data: &Value) -> Result<(), Failure> {
    let metadata = match to_toml(data) {
        Some(toml::Value::Table(table)) => table,
        _ => Table::new(),
    };
    write_toml(path, &MetadataToml { metadata })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_depends_on_the_types() {
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        let layer = |kinds: &str, sha, data: &str| LayerMetadata {
            sha,
            data: data.into(),
            build: kinds.contains('b'),
            launch: kinds.contains('l'),
            cache: kinds.contains('c'),
        };
        let (image, cache) = (Value::from("image"), Value::from("cache"));
        // Types in the image and in the cache, whether the content is the same, the platform, what comes back.
        for (of_image, of_cache, is_same, minor, expected) in [
            ("l", "", true, 15, Decision::Metadata(&image)),
            ("lb", "", true, 15, Decision::Nothing),
            ("lc", "", true, 15, Decision::Nothing),
            ("lc", "lc", true, 15, Decision::Content(&image, one)),
            ("lc", "lc", false, 15, Decision::Nothing),
            ("lbc", "lbc", true, 15, Decision::Content(&image, one)),
            ("l", "c", true, 15, Decision::Nothing),
            ("", "c", true, 15, Decision::Content(&cache, one)),
            ("", "bc", true, 7, Decision::Content(&cache, one)),
            ("", "lc", true, 14, Decision::Content(&cache, one)),
            ("", "lc", true, 13, Decision::Nothing),
            ("", "l", true, 15, Decision::Nothing),
            ("b", "", true, 15, Decision::Nothing),
        ] {
            let image = (!of_image.is_empty()).then(|| layer(of_image, one, "image"));
            let cached = layer(of_cache, if is_same { one } else { two }, "cache");
            let cached = (!of_cache.is_empty()).then_some(cached);
            let decision = decide(Api::of(minor), image.as_ref(), cached.as_ref());
            assert_eq!(
                decision, expected,
                "{of_image} {of_cache} {is_same} {minor}"
            );
        }
    }
}
