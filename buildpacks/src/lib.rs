//! BUILD: the bundled buildpacks. Ordinary ones: the builder finds them in a folder and runs `bin/detect` and
//! `bin/build`; that both are links to the `slipway` binary is nobody else's business.
//!
//! A folder per buildpack ([`nodejs`], [`python`], [`static_site`], [`procfile`], [`plain`]), each with a `build` that
//! reads as its story and an `errors` file in which facts become words. Below them stand what they share: [`bundle`]
//! writes them to disk, [`print`] is the only place that prints, [`command`] runs other programs, [`download`] fetches
//! and verifies, [`layer`], [`key`] and [`tree`] decide what is reused and put it in place.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

mod nodejs;
mod plain;
mod procfile;
mod python;
mod static_site;

mod bundle;
mod command;
mod download;
mod error;
mod key;
mod layer;
mod print;
mod tree;

/// Writes every bundled buildpack (`<id>/<version>/{buildpack.toml,bin/detect,bin/build}`) and the default `order.toml`
/// below `dir`, unless they are there. The `bin/*` are symbolic links to `executable`, a path inside the build sandbox.
pub fn install(dir: &Path, executable: &Path) -> std::io::Result<()> {
    bundle::install(dir, executable)
}

/// Runs a bundled buildpack or its server when argv[0] names one; `None` when it does not: `detect` or `build` (which
/// buildpack: CNB_BUILDPACK_DIR), `static-web-server`.
pub fn main_by_name(argv0: &str) -> Option<ExitCode> {
    match Path::new(argv0).file_name()?.to_str()? {
        "detect" | "build" => Some(run_buildpack()),
        static_site::SERVER_NAME => Some(static_site::serve(
            std::env::args_os().nth(1).map(PathBuf::from),
        )),
        _ => None,
    }
}

fn run_buildpack() -> ExitCode {
    match bundle::running_id() {
        Ok(id) => match id.as_str() {
            "slipway/nodejs" => libcnb::libcnb_runtime(&nodejs::Nodejs),
            "slipway/python" => libcnb::libcnb_runtime(&python::Python),
            "slipway/static" => libcnb::libcnb_runtime(&static_site::StaticSite),
            "slipway/procfile" => libcnb::libcnb_runtime(&procfile::Procfile),
            "slipway/plain" => libcnb::libcnb_runtime(&plain::Plain),
            other => {
                print::error(
                    "This buildpack is not bundled",
                    &format!("No buildpack is called `{other}` in this version of Slipway."),
                );
                return ExitCode::FAILURE;
            }
        },
        Err(error) => {
            print::error(
                "The buildpack cannot tell which one it is",
                &error.to_string(),
            );
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
