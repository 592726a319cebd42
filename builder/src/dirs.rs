//! Where things are inside a sandbox and in an image (platform spec, "Lifecycle Interface").

pub(crate) const APP: &str = "/workspace";
pub(crate) const LAYERS: &str = "/layers";
pub(crate) const PLATFORM: &str = "/platform";
pub(crate) const BUILD_CONFIG: &str = "/cnb/build-config";
pub(crate) const BUILDPACKS: &str = "/cnb/buildpacks";
pub(crate) const ORDER: &str = "/cnb/order.toml";
pub(crate) const LIFECYCLE: &str = "/cnb/lifecycle";
pub(crate) const PROCESS: &str = "/cnb/process";
pub(crate) const HOME: &str = "/home/app";
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
