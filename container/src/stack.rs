//! A stack names what builds and instances stand on. `host`, the embedded default, shows them this machine's own
//! read-only /usr and a few files of /etc over a skeleton root layer: nothing has to be downloaded; such images run
//! only here.

use crate::{Digest, Mount, Store, store::StoreError};

#[derive(Debug, Clone)]
pub struct Stack {
    /// CNB_STACK_ID, for example `slipway.host`.
    pub id: String,
    /// The run image's layer: /etc/passwd, mount points, home.
    pub base_layer: Digest,
    /// Read-only binds of the machine's files that every sandbox of this stack gets.
    pub mounts: Vec<Mount>,
    /// Added to a build's environment, for example where the machine keeps its certificate authorities.
    pub build_env: Vec<(String, String)>,
    /// CNB_TARGET_*: os, arch, distro name and version (from /etc/os-release).
    pub target: Target,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub os: String,
    pub arch: String,
    pub distro_name: String,
    pub distro_version: String,
}

impl Stack {
    /// The stack called `name`; only `host` is built in. Makes its base layer in `store` when absent.
    pub fn open(_name: &str, _store: &Store) -> Result<Self, StoreError> {
        todo!()
    }
}
