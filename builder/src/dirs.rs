//! Where things are inside a sandbox (platform spec, "Lifecycle Interface").

use std::path::{Path, PathBuf};

use crate::id::BuildpackId;

pub(crate) const APP: &str = "/workspace";
pub(crate) const LAYERS: &str = "/layers";
pub(crate) const PLATFORM: &str = "/platform";
pub(crate) const BUILDPACKS: &str = "/cnb/buildpacks";
pub(crate) const ORDER: &str = "/cnb/order.toml";
pub(crate) const LIFECYCLE: &str = "/cnb/lifecycle";
pub(crate) const PROCESS: &str = "/cnb/process";
pub(crate) const HOME: &str = "/home/app";
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The directories of a phase.
#[derive(Debug, Clone)]
pub(crate) struct Dirs {
    pub(crate) app: PathBuf,
    pub(crate) layers: PathBuf,
    pub(crate) platform: PathBuf,
    pub(crate) buildpacks: PathBuf,
    pub(crate) order: PathBuf,
}

impl Dirs {
    pub(crate) fn of_sandbox() -> Self {
        Self {
            app: APP.into(),
            layers: LAYERS.into(),
            platform: PLATFORM.into(),
            buildpacks: BUILDPACKS.into(),
            order: ORDER.into(),
        }
    }

    /// `<layers>/<buildpack>`.
    pub(crate) fn layers_of(&self, id: &BuildpackId) -> PathBuf {
        self.layers.join(id.dir_name())
    }

    pub(crate) fn env(&self) -> PathBuf {
        self.platform.join("env")
    }
}

/// Set for every buildpack, after everything else.
pub(crate) fn buildpack_env(env: &mut crate::env::Env, dirs: &Dirs, buildpack: &Path) {
    env.remove("CNB_PLATFORM_API");
    env.set("CNB_BUILDPACK_DIR", buildpack);
    env.set("CNB_PLATFORM_DIR", &dirs.platform);
}
