//! The bills of materials that buildpacks have made (buildpack spec, "Bill-of-Materials"), out of the image.

use std::{error::Error, fs, path::Path};

use container::{ImageConfig, Store};

/// Where the layer that holds them has them.
const PLACE: &str = "layers/sbom";

/// Those for the launch, as `DIR/layers/sbom/launch/<buildpack>/[<layer>/]sbom.<format>`: what was there goes.
pub(super) fn write(store: &Store, image: &ImageConfig, dir: &Path) -> Result<(), Box<dyn Error>> {
    let trees = image.layers.iter();
    let mut trees = trees.filter_map(|layer| Some(store.layer(&layer.diff_id)?.join(PLACE)));
    let Some(tree) = trees.find(|tree| tree.is_dir()) else {
        return Ok(());
    };
    let place = dir.join(PLACE);
    let prepared = match fs::remove_dir_all(&place) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => place.parent().map_or(Ok(()), fs::create_dir_all),
    };
    prepared.map_err(|error| format!("cannot write {}: {error}", place.display()))?;
    builder::sources::copy(&tree, &place)?;
    Ok(())
}
