//! BUILD: the bundled buildpacks. Ordinary ones: the builder finds them in a folder and runs `bin/detect` and
//! `bin/build`; that both are links to the `slipway` binary is nobody else's business.

use std::{path::Path, process::ExitCode};

/// Writes every bundled buildpack (`<id>/<version>/{buildpack.toml,bin/detect,bin/build}`) and the default `order.toml`
/// below `dir`, unless they are there. The `bin/*` are symbolic links to `executable`, a path inside the build sandbox.
pub fn install(_dir: &Path, _executable: &Path) -> std::io::Result<()> {
    todo!()
}

/// Runs a bundled buildpack or its server when argv[0] names one; `None` when it does not: `detect` or `build` (which
/// buildpack: CNB_BUILDPACK_DIR), `static-web-server`.
pub fn main_by_name(_argv0: &str) -> Option<ExitCode> {
    todo!()
}
