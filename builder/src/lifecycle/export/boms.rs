//! The bills of materials of the lifecycle and of the launcher themselves, if somebody has put them beside us.

use std::{fs, path::Path};

use crate::{
    failure::{Doing as _, Failure},
    lifecycle::inputs::Inputs,
    sbom::FORMATS,
};

/// As a buildpack would call itself.
const OWN: &str = "buildpacksio_lifecycle";
const DEFAULT: &str = "/cnb/lifecycle";

pub(super) fn copy_own(inputs: &Inputs) -> Result<(), Failure> {
    let sbom = inputs.layers.join("sbom");
    let of_launcher = sbom.join("launch").join(OWN).join("launcher");
    copy_of("lifecycle", &sbom.join("build").join(OWN))?;
    if inputs.launcher_sbom == Path::new(DEFAULT) {
        return copy_of("launcher", &of_launcher);
    }
    copy_all(&inputs.launcher_sbom, &of_launcher)
}

fn copy_of(component: &str, to: &Path) -> Result<(), Failure> {
    for (format, _) in FORMATS {
        let from = Path::new(DEFAULT).join(format!("{component}.sbom.{format}"));
        if from.is_file() {
            copy(&from, to, &format!("sbom.{format}"))?;
        }
    }
    Ok(())
}

/// Whatever they are called.
fn copy_all(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::create_dir_all(to).failing("make", to)?;
    for entry in fs::read_dir(from).failing("read", from)? {
        let name = entry.failing("read", from)?.file_name();
        let Some(name) = name.to_str() else {
            continue;
        };
        if FORMATS
            .iter()
            .any(|(format, _)| name.ends_with(&format!("sbom.{format}")))
        {
            copy(&from.join(name), to, name)?;
        }
    }
    Ok(())
}

fn copy(from: &Path, dir: &Path, name: &str) -> Result<(), Failure> {
    fs::create_dir_all(dir).failing("make", dir)?;
    fs::copy(from, dir.join(name))
        .failing("copy", from)
        .map(drop)
}
