//! Classic Heroku buildpacks (`bin/detect`, `bin/compile`, `bin/release`), unmodified, as Cloud Native ones: each is put
//! into a folder with two bash programs of ours around it, which say at their top how one maps to the other.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::id::{BuildpackId, Version};

const DETECT: &str = include_str!("classic/detect.sh");
const BUILD: &str = include_str!("classic/build.sh");
/// Files beside the programs that tell one buildpack of several that it speaks for all: the last with a bin/release gives
/// the default processes, the very last reads the Procfile.
const RELEASES: &str = "releases";
const READS_PROCFILE: &str = "reads-procfile";

pub(crate) fn is_classic(tree: &Path) -> bool {
    let is_file = |name: &str| tree.join(name).is_file();
    is_file("bin/detect") && is_file("bin/compile")
}

/// Moves `tree` into the new folder `dir`, and the wrapping beside it.
pub(crate) fn wrap(tree: &Path, dir: &Path, id: &BuildpackId, version: &Version) -> io::Result<()> {
    fs::create_dir_all(dir.join("bin"))?;
    fs::rename(tree, dir.join("classic"))?;
    for (name, text) in [("detect", DETECT), ("build", BUILD)] {
        let file = dir.join("bin").join(name);
        fs::write(&file, text)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    }
    // API 0.8: its processes are lines for a shell that has sourced profile.d. Config vars come as files, as ever.
    let text = format!(
        "api = \"0.8\"\n\n[buildpack]\nid = \"{id}\"\nversion = \"{}\"\nclear-env = true\n\n[[stacks]]\nid = \"*\"\n",
        version.as_str()
    );
    fs::write(dir.join("buildpack.toml"), text)
}

/// When all buildpacks of a build are there, in their order.
pub(crate) fn settle(classics: &[PathBuf]) -> io::Result<()> {
    let releases = |dir: &&PathBuf| dir.join("classic/bin/release").is_file();
    if let Some(dir) = classics.iter().rev().find(releases) {
        fs::write(dir.join(RELEASES), "")?;
    }
    match classics.last() {
        Some(dir) => fs::write(dir.join(READS_PROCFILE), ""),
        None => Ok(()),
    }
}
