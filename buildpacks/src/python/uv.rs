//! uv, which installs packages and interpreters: one pinned version, from the package index, verified by its digest.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use libcnb::{build::BuildContext, data::layer_name};

use super::{Python, app::App, errors::PythonError, index};
use crate::{
    download::Client,
    error::{IoContext, IoError},
    key::Key,
    layer::{Use, keyed},
    print, tree,
};

/// A change of it makes every virtual environment anew.
pub(super) const UV_VERSION: &str = "0.13.9";
/// The program unpacks to 60 MB today.
const UNPACKED_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// The cache of packages is emptied after use when it has grown beyond this.
const CACHE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Uv {
    program: PathBuf,
    cache: PathBuf,
}

pub(super) fn provide(context: &BuildContext<Python>) -> libcnb::Result<Uv, PythonError> {
    let platform = match context.target.arch.as_str() {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => return Err(PythonError::Arch(other.to_owned()).into()),
    };
    let key = Key::new("uv")
        .with("version", UV_VERSION)
        .with("platform", platform)
        .finish();
    let layer = keyed(context, layer_name!("uv"), Use::Cache, &key)?;
    if !layer.restored {
        print::detail(&format!(
            "Installing uv {UV_VERSION} from the package index"
        ));
        install(platform, &layer.path())?;
        layer.keep(UV_VERSION)?;
    }
    Ok(Uv {
        program: layer.path().join("uv"),
        cache: declare_cache(context)?,
    })
}

/// Keeps uv and its cache for a later build, when this one does not need them.
pub(super) fn keep_for_later(context: &BuildContext<Python>) -> libcnb::Result<(), PythonError> {
    let is_restored = context.layers_dir.join("uv").is_dir();
    match is_restored {
        true => provide(context).map(drop),
        false => Ok(()),
    }
}

fn declare_cache(context: &BuildContext<Python>) -> libcnb::Result<PathBuf, PythonError> {
    let cache = keyed(context, layer_name!("cache"), Use::Cache, "uv")?;
    if !cache.restored {
        cache.keep("")?;
    }
    Ok(cache.path())
}

impl Uv {
    /// uv in the app's folder, with everything that would make two equal installs differ switched off.
    pub(super) fn command(&self, app: &App) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(&app.dir)
            .env_remove("VIRTUAL_ENV")
            .env("UV_CACHE_DIR", &self.cache)
            .env("UV_NO_PROGRESS", "1")
            // The machine's certificates: companies run indexes behind their own authority.
            .env("UV_SYSTEM_CERTS", "true")
            .env("UV_PYTHON_DOWNLOADS", "never")
            // The layers are different mounts; a link that cannot be made is a warning on each build.
            .env("UV_LINK_MODE", "copy")
            .env("UV_COMPILE_BYTECODE", "true")
            // By content, not by time stamp: in the image every source has the same. Unchecked, as nobody changes them.
            .env("PYC_INVALIDATION_MODE", "UNCHECKED_HASH")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("UV_DEFAULT_INDEX", index::url());
        if let (Ok(more), Err(_)) = (
            std::env::var("PIP_EXTRA_INDEX_URL"),
            std::env::var("UV_INDEX"),
        ) {
            command.env("UV_INDEX", more);
        }
        command
    }

    pub(super) fn bound_cache(&self) -> Result<(), IoError> {
        if tree::empty_above(&self.cache, CACHE_BYTES_MAX)? {
            print::detail("The cache of downloaded packages had grown too large and was emptied");
        }
        Ok(())
    }
}

fn install(platform: &str, dir: &Path) -> Result<(), PythonError> {
    let client = Client::new();
    let (page, project) = index::project(&client, "uv")?;
    let wheel = project
        .files
        .iter()
        .find(|file| is_wheel_for(&file.filename, platform))
        .ok_or_else(|| PythonError::NoUv(platform.to_owned()))?;
    let expected = wheel
        .expected()
        .ok_or_else(|| PythonError::NoDigest(wheel.filename.clone()))?;
    let archive = dir.join("uv.whl");
    client.file(&wheel.url(&page), None, &expected, &archive)?;
    let program = dir.join("uv");
    extract(
        &archive,
        &format!("uv-{UV_VERSION}.data/scripts/uv"),
        &program,
    )
    .at("unpack", &archive)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
        .at("change the mode of", &program)?;
    fs::remove_file(&archive).at("remove", &archive)?;
    Ok(())
}

/// The one for GNU's C library; a wheel for musl may be named in the same file name.
fn is_wheel_for(filename: &str, platform: &str) -> bool {
    filename.starts_with(&format!("uv-{UV_VERSION}-py3-none-manylinux"))
        && filename.ends_with(".whl")
        && filename.contains(&format!("_{platform}."))
}

fn extract(archive: &Path, name: &str, to: &Path) -> io::Result<()> {
    let mut archive = zip::ZipArchive::new(File::open(archive)?)?;
    let file = archive.by_name(name)?;
    let mut limited = file.take(UNPACKED_BYTES_MAX);
    io::copy(&mut limited, &mut File::create(to)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wheel_is_the_one_for_this_machine() {
        let name = |tags: &str| format!("uv-{UV_VERSION}-py3-none-{tags}.whl");
        let x86 = name("manylinux_2_17_x86_64.manylinux2014_x86_64");
        let arm = name("manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64");
        assert!(is_wheel_for(&x86, "x86_64"));
        assert!(!is_wheel_for(&x86, "aarch64"));
        assert!(is_wheel_for(&arm, "aarch64"));
        assert!(!is_wheel_for(&name("macosx_10_12_x86_64"), "x86_64"));
        assert!(!is_wheel_for(
            "uv-0.0.1-py3-none-manylinux_2_17_x86_64.whl",
            "x86_64"
        ));
    }
}
