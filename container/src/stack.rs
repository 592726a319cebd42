//! A stack names what builds and instances stand on. `host`, the embedded default, shows them this machine's own read-only
//! /usr and a few files of /etc over a skeleton root layer: nothing has to be downloaded; such images run only here.
//! Any OCI image can be another: unpacked into one layer of the store ([`base`]), the same for everybody.

mod base;
mod furnish;
mod layers;
mod source;
mod whiteout;

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde::{Deserialize, Serialize};

pub use self::{base::Base, source::ImageSource};

use crate::{
    Bind, Digest, ImageConfig, Mount, Store,
    layer::{Form, Owner},
    registry::RegistryError,
    sandbox::host_ids,
    store::{Doing as _, StoreError, Tree},
    unpack::UnpackError,
};

#[derive(Debug, Clone)]
pub struct Stack {
    /// CNB_STACK_ID.
    pub id: String,
    /// What images begin with: /etc/passwd, mount points, home; all of an OCI image.
    pub base_layer: Digest,
    /// What builds stand on.
    pub build_layer: Digest,
    /// The run image by its digest.
    pub run_image: String,
    /// The name under which a newer one will be found, for a rebase.
    pub run_name: String,
    /// Read-only binds of the machine's files that every sandbox of this stack gets.
    pub mounts: Vec<Mount>,
    /// Added to a build's environment, for example where the machine keeps its certificate authorities.
    pub build_env: Vec<(String, String)>,
    /// What images have of the run image's configuration.
    pub run_env: Vec<(String, String)>,
    pub run_labels: BTreeMap<String, String>,
    pub target: Target,
}

#[derive(Debug, thiserror::Error)]
pub enum StackError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a layer of {image}")]
    Layer { image: String, source: UnpackError },
    #[error("{image} cannot be a stack: {why}")]
    Bad { image: String, why: String },
}

/// The built-in one.
pub const HOST: &str = "slipway.host";
const STACK_ID: &str = "io.buildpacks.stack.id";

/// CNB_TARGET_*.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub os: String,
    pub arch: String,
    pub distro: Distro,
}

/// As /etc/os-release has it (`ID`, `VERSION_ID`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distro {
    pub name: String,
    pub version: String,
}

/// What programs need of /etc to resolve names, find libraries and trust certificates; nothing secret.
const ETC: &[&str] = &[
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "host.conf",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "pki/ca-trust",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "protocols",
    "resolv.conf",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
    "java-17-openjdk",
];
const USR_LINKS: &[&str] = &["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];
/// Where the usual tools look for their certificate authorities.
const BUNDLE_VARIABLES: &[&str] = &[
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
];
const PROXY_VARIABLES: &[&str] = &[
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

impl Stack {
    /// The stack called `name`; only `host` is built in. Makes its base layer in `store` when absent.
    pub fn open(name: &str, store: &Store) -> Result<Self, StoreError> {
        if name != "host" {
            return Err(StoreError::NoStack(name.to_owned()));
        }
        let base_layer = skeleton(store)?;
        Ok(Self {
            id: HOST.to_owned(),
            base_layer,
            build_layer: base_layer,
            run_image: HOST.to_owned(),
            run_name: HOST.to_owned(),
            mounts: host_mounts(),
            build_env: certificates().chain(proxies()).collect(),
            run_env: vec![],
            run_labels: BTreeMap::new(),
            target: target(),
        })
    }

    /// One of images: for builds, and for what was built.
    pub fn of_images(build: Base, run: Base) -> Self {
        let ids = [&run, &build].map(|base| base.labels.get(STACK_ID));
        let id = ids.into_iter().flatten().find(|id| *id != HOST);
        let pairs = |env: Vec<String>| {
            let pairs = env.into_iter();
            pairs.filter_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                Some((name.to_owned(), value.to_owned()))
            })
        };
        Self {
            id: id.unwrap_or(&run.reference).clone(),
            base_layer: run.layer,
            build_layer: build.layer,
            mounts: image_mounts(),
            build_env: pairs(build.env).chain(proxies()).collect(),
            run_env: pairs(run.env).collect(),
            target: Target {
                os: run.os,
                arch: run.architecture,
                distro: run.distro,
            },
            run_labels: run.labels,
            run_image: run.reference,
            run_name: run.name,
        }
    }

    /// How an image's history names the layer that is the stack's.
    pub fn created_by(&self) -> String {
        created_by(&self.id)
    }

    /// Of the environment that builds have from the stack.
    pub fn build_variable(&self, name: &str) -> Option<&str> {
        let found = self.build_env.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What the instances of an image see of this machine, whatever the stack is now: one that stands on `host` goes on doing
/// so.
pub fn mounts_of(image: &ImageConfig) -> Vec<Mount> {
    let of_stack = image.layers.first();
    if of_stack.is_some_and(|layer| layer.created_by == created_by(HOST)) {
        host_mounts()
    } else {
        image_mounts()
    }
}

fn created_by(id: &str) -> String {
    format!("Stack: {id}")
}

fn read_only(path: &str) -> Mount {
    Mount::Bind(Bind {
        source: path.into(),
        target: path.to_owned(),
        read_only: true,
    })
}

/// An image has everything but this machine's network.
fn image_mounts() -> Vec<Mount> {
    let files = ["/etc/hosts", "/etc/resolv.conf"];
    let files = files.into_iter().filter(|path| Path::new(path).is_file());
    files.map(read_only).collect()
}

fn host_mounts() -> Vec<Mount> {
    let unmerged = USR_LINKS
        .iter()
        .map(|name| format!("/{name}"))
        .filter(|path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()));
    let etc = ETC
        .iter()
        .map(|name| format!("/etc/{name}"))
        .filter(|path| Path::new(path).exists());
    std::iter::once("/usr".to_owned())
        .chain(unmerged)
        .chain(etc)
        .map(|path| read_only(&path))
        .collect()
}

fn certificates() -> impl Iterator<Item = (String, String)> {
    let bundle = BUNDLES.iter().find(|path| Path::new(path).exists());
    bundle.into_iter().flat_map(|bundle| {
        BUNDLE_VARIABLES
            .iter()
            .map(|name| ((*name).to_owned(), (*bundle).to_owned()))
    })
}

fn proxies() -> impl Iterator<Item = (String, String)> {
    let names = PROXY_VARIABLES.iter();
    names.filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
}

fn skeleton(store: &Store) -> Result<Digest, StoreError> {
    let scratch = store.scratch()?;
    let root = scratch.path().join("root");
    let dirs = [
        "cnb",
        "dev",
        "etc",
        "home/app",
        "layers",
        "platform",
        "proc",
        "run",
        "sys",
        "tmp",
        "usr",
        "var/tmp",
        "workspace",
    ];
    for dir in dirs {
        let path = root.join(dir);
        fs::create_dir_all(&path).doing("make", &path)?;
    }
    // Whatever the umask is: the modes are part of the layer's digest, and others than its owner go through it.
    for dir in [".", "home", "var"].iter().chain(&dirs) {
        let path = root.join(dir);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .doing("set the mode of", &path)?;
    }
    for name in USR_LINKS {
        let (Ok(metadata), link) = (fs::symlink_metadata(format!("/{name}")), root.join(name))
        else {
            continue;
        };
        if metadata.is_symlink() {
            std::os::unix::fs::symlink(format!("usr/{name}"), &link).doing("make", &link)?;
        }
    }
    let files = [
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        ),
        ("etc/group", "root:x:0:\napp:x:1000:\nnogroup:x:65534:\n"),
    ];
    for (name, content) in files {
        let path = root.join(name);
        fs::write(&path, content).doing("write", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
            .doing("set the mode of", &path)?;
    }
    for dir in ["tmp", "var/tmp"] {
        let path = root.join(dir);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o1777))
            .doing("set the mode of", &path)?;
    }
    if rustix::process::geteuid().is_root() {
        let (uid, gid) = host_ids();
        for dir in ["home/app", "layers", "workspace"] {
            let path = root.join(dir);
            std::os::unix::fs::chown(&path, Some(uid), Some(gid))
                .doing("set the owner of", &path)?;
        }
    }
    store.commit_layer(Tree::Whole(&root), "/", Owner { uid: 0, gid: 0 }, Form::Dir)
}

impl Distro {
    fn of_release(text: &str) -> Self {
        let field = |name: &str| {
            let mut lines = text.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_default().trim_matches('"').to_owned()
        };
        Self {
            name: field("ID"),
            version: field("VERSION_ID"),
        }
    }
}

fn target() -> Target {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    Target {
        os: "linux".to_owned(),
        arch: crate::image::oci_architecture().to_owned(),
        distro: Distro::of_release(&release),
    }
}
