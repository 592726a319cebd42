//! Software bills of materials: files beside the layers, which follow them through the image and back.

use std::{fs, io, path::Path};

use crate::{
    bom::{BomEntry, BomJson},
    buildpack::Buildpack,
    failure::{Doing as _, Failure},
    files::{BadFile, Untrusted},
    id::BuildpackId,
    layer_toml::Layer,
    metadata::go_json,
};

/// Of one file.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Extensions and their media types (buildpack spec, "Software-Bill-of-Materials").
pub(crate) const FORMATS: &[(&str, &str)] = &[
    ("cdx.json", "application/vnd.cyclonedx+json"),
    ("spdx.json", "application/spdx+json"),
    ("syft.json", "application/vnd.syft+json"),
];

/// After a buildpack: copies its files to `<layers>/sbom/{launch,build,cache}/<buildpack>[/<layer>]`.
pub(crate) fn collect(
    dir: &Path,
    layers: &Untrusted,
    buildpack: &Buildpack,
    of: &[Layer],
) -> Result<(), Failure> {
    let own = buildpack.info.id.dir_name();
    for file in layers.names(&own)? {
        let Some((stem, extension)) = file
            .split_once(".sbom.")
            .filter(|(_, extension)| extension.ends_with(".json"))
        else {
            continue;
        };
        for kind in kinds(stem, of) {
            check_format(layers, buildpack, &file, extension)?;
            let below = match stem {
                "launch" | "build" => own.clone(),
                layer => format!("{own}/{layer}"),
            };
            let path = format!("{own}/{file}");
            let content = layers.bytes(&path, BYTES_MAX)?.unwrap_or_default();
            let to = dir.join("sbom").join(kind).join(below);
            write(&to, extension, &content).failing("write to", &to)?;
        }
    }
    Ok(())
}

/// Whether a buildpack has left any.
pub(crate) fn has_some(layers: &Untrusted, id: &BuildpackId) -> Result<bool, BadFile> {
    let names = layers.names(&id.dir_name())?;
    Ok(names.iter().any(|name| name.contains(".sbom.")))
}

/// What buildpacks say in the old way, whether they say something or not.
pub(crate) fn write_legacy(
    layers: &Path,
    boms: &[(&'static str, Vec<BomEntry>)],
) -> Result<(), Failure> {
    for (kind, bom) in boms {
        let dir = layers.join("sbom").join(kind);
        let json =
            go_json(&BomJson::from(&bom[..])).map_err(Failure::io("write a bill of materials"))?;
        write(&dir, "legacy.json", format!("{json}\n").as_bytes()).failing("write to", &dir)?;
    }
    Ok(())
}

fn check_format(
    layers: &Untrusted,
    buildpack: &Buildpack,
    file: &str,
    extension: &str,
) -> Result<(), BadFile> {
    let known = FORMATS.iter().find(|(known, _)| *known == extension);
    let declared = |media: &&str| {
        let mut formats = buildpack.info.sbom_formats.iter();
        // A version may follow: `application/vnd.cyclonedx+json;version=1.4`.
        formats.any(|format| format.split(';').next().map(str::trim) == Some(media))
    };
    match known.map(|(_, media)| *media) {
        Some(media) if declared(&media) => Ok(()),
        _ => Err(BadFile::new(
            &layers.shown(&format!("{}/{file}", buildpack.info.id.dir_name())),
            "has a format that the buildpack does not declare in `sbom-formats`",
        )),
    }
}

/// None for the file of a layer that does not exist.
fn kinds(stem: &str, of: &[Layer]) -> Vec<&'static str> {
    let layer = of.iter().find(|(name, _)| name == stem);
    match (stem, layer) {
        ("launch", _) => vec!["launch"],
        ("build", _) => vec!["build"],
        (_, None) => vec![],
        (_, Some((_, layer))) => {
            let first = if layer.types.launch {
                "launch"
            } else {
                "build"
            };
            let cache = layer.types.cache.then_some("cache");
            std::iter::once(first).chain(cache).collect()
        }
    }
}

fn write(dir: &Path, extension: &str, content: &[u8]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join(format!("sbom.{extension}")), content)
}

/// Outside, before a build: puts the files of a restored layer back beside it. `from` is the tree of the image's layer;
/// what is not a plain file in it is left out, because an app may have put it there.
pub(crate) fn restore(from: &Path, buildpack: &str, layer: &str, into: &Path) -> io::Result<()> {
    let Ok(tree) = Untrusted::open(from, "/layers/sbom/launch") else {
        return Ok(());
    };
    for (extension, _) in FORMATS {
        let path = format!("{buildpack}/{layer}/sbom.{extension}");
        if let Ok(Some(content)) = tree.bytes(&path, BYTES_MAX) {
            fs::write(into.join(format!("{layer}.sbom.{extension}")), content)?;
        }
    }
    Ok(())
}

/// Each bill of a committed layer of bills, one at a time: of each place, one format. Only plain files are read.
pub(crate) fn for_each(layer: &Path, mut take: impl FnMut(&[u8])) {
    let Ok(root) = Untrusted::open(&layer.join("layers/sbom/launch"), "/layers/sbom/launch") else {
        return;
    };
    let names = |dir: &str| root.names(dir).unwrap_or_default();
    let bill = |place: &str| {
        FORMATS.iter().find_map(|(extension, _)| {
            let file = format!("{place}/sbom.{extension}");
            root.bytes(&file, BYTES_MAX).ok().flatten()
        })
    };
    for buildpack in names("") {
        bill(&buildpack).iter().for_each(|bill| take(bill));
        for layer in names(&buildpack) {
            bill(&format!("{buildpack}/{layer}"))
                .iter()
                .for_each(|bill| take(bill));
        }
    }
}
