//! A stack names what builds and instances stand on. `host`, the embedded default, shows them this machine's own read-only
//! /usr and a few files of /etc over a skeleton root layer: nothing has to be downloaded; such images run only here.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use crate::{
    Bind, Digest, Mount, Store,
    layer::{Form, Owner},
    sandbox::host_ids,
    store::{Doing as _, StoreError, Tree},
};

#[derive(Debug, Clone)]
pub struct Stack {
    /// CNB_STACK_ID.
    pub id: String,
    /// The run image's layer: /etc/passwd, mount points, home.
    pub base_layer: Digest,
    /// Read-only binds of the machine's files that every sandbox of this stack gets.
    pub mounts: Vec<Mount>,
    /// Added to a build's environment, for example where the machine keeps its certificate authorities.
    pub build_env: Vec<(String, String)>,
    pub target: Target,
}

/// CNB_TARGET_*.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub os: String,
    pub arch: String,
    pub distro_name: String,
    pub distro_version: String,
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
        Ok(Self {
            id: "slipway.host".to_owned(),
            base_layer: skeleton(store)?,
            mounts: mounts(),
            build_env: build_env(),
            target: target(),
        })
    }
}

fn mounts() -> Vec<Mount> {
    let read_only = |path: &str| {
        Mount::Bind(Bind {
            source: path.into(),
            target: path.to_owned(),
            read_only: true,
        })
    };
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

fn build_env() -> Vec<(String, String)> {
    let bundle = BUNDLES.iter().find(|path| Path::new(path).exists());
    let certificates = bundle.into_iter().flat_map(|bundle| {
        BUNDLE_VARIABLES
            .iter()
            .map(|name| ((*name).to_owned(), (*bundle).to_owned()))
    });
    let proxies = PROXY_VARIABLES
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
    certificates.chain(proxies).collect()
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

fn target() -> Target {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        let value = release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_default().trim_matches('"').to_owned()
    };
    Target {
        os: "linux".to_owned(),
        arch: crate::image::oci_architecture().to_owned(),
        distro_name: field("ID"),
        distro_version: field("VERSION_ID"),
    }
}
