use std::{collections::BTreeMap, fs, path::Path, sync::atomic::Ordering};

use container::{
    Digest, ImageConfig, Store,
    image::ImageLayer,
    layer::{Form, Owner},
    layout::Layout,
    manifest::{Descriptor, Platform},
    registry::{Client, Content, Credentials, Reference, RegistryError, Sent},
    store::Tree,
};

use crate::server::{Registry, Wire};

/// More than one chunk, and what no compressor makes smaller.
const LARGE_BYTES: usize = 40 * 1024 * 1024;

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// An image of a small and a large layer, as a layout with the tag `v1`.
fn layout(dir: &Path) -> (Layout, Descriptor) {
    let store = Store::open(&dir.join("store")).unwrap();
    let layer = |name: &str, content: &[u8]| {
        let scratch = store.scratch().unwrap();
        let tree = scratch.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join(name), content).unwrap();
        let owner = Owner { uid: 0, gid: 0 };
        let diff_id = store.commit_layer(Tree::Whole(&tree), "/app", owner, Form::Dir);
        ImageLayer {
            diff_id: diff_id.unwrap(),
            created_by: name.to_owned(),
        }
    };
    let config = ImageConfig {
        env: vec!["A=b".to_owned()],
        entrypoint: vec!["/app/small".to_owned()],
        working_dir: "/app".to_owned(),
        user: "1000".to_owned(),
        labels: BTreeMap::from([("label".to_owned(), "value".to_owned())]),
        layers: vec![
            layer("small", b"hello"),
            layer("large", &noise(LARGE_BYTES)),
        ],
        ..ImageConfig::default()
    };
    let image = store.put_image(&config).unwrap();
    let layout = Layout::create(&dir.join("layout")).unwrap();
    let descriptor = layout.add(&store, &image, "v1").unwrap();
    (layout, descriptor)
}

impl Registry {
    pub(crate) fn client(&self) -> Client {
        Client::new(self.credentials(self.port), vec![])
    }

    fn credentials(&self, port: u16) -> Credentials {
        Credentials::from_file(&self.config(port)).unwrap()
    }

    pub(crate) fn reference(&self, name: &str) -> Reference {
        format!("127.0.0.1:{}/{name}", self.port).parse().unwrap()
    }
}

fn through(registry: &Registry, wire: &Wire) -> Client {
    Client::new(registry.credentials(wire.port), vec![])
}

#[test]
fn an_image_goes_there_and_comes_back() {
    let registry = Registry::start();
    let temp = tempfile::tempdir().unwrap();
    let (layout, image) = layout(temp.path());
    let client = registry.client();
    let targets =
        ["acme/app:v1", "acme/app:latest", "other/copy:v1"].map(|name| registry.reference(name));
    client.push(&layout, &image, &targets, &[]).unwrap();

    for target in &targets {
        let seen = registry.skopeo(&[
            "inspect",
            "--tls-verify=false",
            &format!("docker://{target}"),
        ]);
        let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
        assert_eq!(seen["Digest"], image.digest.to_string());
        assert_eq!(seen["Labels"]["label"], "value");
    }
    let copy = temp.path().join("skopeo");
    let (from, to) = (
        format!("docker://{}", targets[2]),
        format!("oci:{}:x", copy.display()),
    );
    registry.skopeo(&["copy", "--src-tls-verify=false", &from, &to]);
    let (by_skopeo, _) = Layout::open(&copy)
        .unwrap()
        .image(Some("x"), &Platform::here())
        .unwrap();
    assert_eq!(
        by_skopeo.digest, image.digest,
        "skopeo has verified every blob"
    );

    let pulled = client.image(&targets[0], &Platform::here()).unwrap();
    assert_eq!(pulled.descriptor.digest, image.digest);
    let dir = temp.path().join("pulled");
    fs::create_dir(&dir).unwrap();
    client
        .blobs_into(&pulled.repository, &pulled.manifest.layers, &dir)
        .unwrap();
    for blob in &pulled.manifest.layers {
        let bytes = fs::read(dir.join(blob.digest.hex())).unwrap();
        assert_eq!(
            (Digest::of(&bytes), bytes.len() as u64),
            (blob.digest, blob.size)
        );
    }
    assert_eq!(
        client.resolve(&targets[1]).unwrap().unwrap().digest,
        image.digest
    );
    assert!(
        client
            .resolve(&registry.reference("acme/none:v1"))
            .unwrap()
            .is_none()
    );
}

#[test]
fn what_is_there_is_not_sent_again() {
    let registry = Registry::start();
    let client = registry.client();
    let (one, two) = (registry.reference("a/one"), registry.reference("a/two"));
    let blob = Descriptor::of("application/octet-stream", b"blob");
    let push = |to: &Reference, content, from: &[_]| {
        client.push_blob(&to.repository, &blob, content, from)
    };
    let content = Content::Bytes(b"blob");
    assert_eq!(push(&one, content, &[]).unwrap(), Sent::Uploaded);
    assert_eq!(push(&one, content, &[]).unwrap(), Sent::Present);
    assert_eq!(
        push(&two, content, std::slice::from_ref(&one.repository)).unwrap(),
        Sent::Mounted
    );
    // What cannot be mounted is uploaded.
    let other = Descriptor::of("application/octet-stream", b"other");
    let sent = client.push_blob(
        &two.repository,
        &other,
        Content::Bytes(b"other"),
        &[one.repository],
    );
    assert_eq!(sent.unwrap(), Sent::Uploaded);
    // Empty blobs are blobs.
    let empty = Descriptor::of("application/octet-stream", b"");
    let sent = client.push_blob(&two.repository, &empty, Content::Bytes(b""), &[]);
    assert_eq!(sent.unwrap(), Sent::Uploaded);
    assert_eq!(client.blob_bytes(&two.repository, &empty, 10).unwrap(), b"");
}

#[test]
fn a_cut_wire_is_taken_up() {
    let registry = Registry::start();
    let temp = tempfile::tempdir().unwrap();
    let (layout, image) = layout(temp.path());
    // Within the first chunk, also when each of them has a connection of its own.
    let wire = Wire::to(registry.port, 10 * 1024 * 1024, 2);
    let client = through(&registry, &wire);
    let target: Reference = format!("127.0.0.1:{}/acme/app:v1", wire.port)
        .parse()
        .unwrap();
    client
        .push(&layout, &image, std::slice::from_ref(&target), &[])
        .unwrap();
    assert_eq!(wire.cuts_left.load(Ordering::Relaxed), 0);

    let wire = Wire::to(registry.port, 10 * 1024 * 1024, 2);
    let client = through(&registry, &wire);
    let source: Reference = format!("127.0.0.1:{}/acme/app:v1", wire.port)
        .parse()
        .unwrap();
    let pulled = client.image(&source, &Platform::here()).unwrap();
    let large = pulled
        .manifest
        .layers
        .iter()
        .max_by_key(|layer| layer.size)
        .unwrap();
    let mut bytes = Vec::new();
    client.blob(&pulled.repository, large, &mut bytes).unwrap();
    assert_eq!(Digest::of(&bytes), large.digest);
    assert_eq!(wire.cuts_left.load(Ordering::Relaxed), 0);
}

#[test]
fn a_wire_that_never_holds_is_an_error() {
    let registry = Registry::start();
    let temp = tempfile::tempdir().unwrap();
    let (layout, image) = layout(temp.path());
    let wire = Wire::to(registry.port, 100, usize::MAX);
    let target: Reference = format!("127.0.0.1:{}/acme/app:v1", wire.port)
        .parse()
        .unwrap();
    let error = through(&registry, &wire)
        .push(&layout, &image, &[target], &[])
        .unwrap_err();
    assert!(
        matches!(error, RegistryError::Transport { .. }),
        "{error:?}"
    );
}

#[test]
fn who_may_not_is_told_what_to_do() {
    let registry = Registry::start();
    let target = registry.reference("acme/app:v1");
    let error = Client::new(Credentials::none(), vec![])
        .manifest(&target)
        .unwrap_err()
        .to_string();
    let host = format!("127.0.0.1:{}", registry.port);
    assert_eq!(
        error,
        format!(
            "`{host}` refuses access to `{target}`; no credentials for it are in the docker configuration: docker login {host}"
        )
    );
    // `user:wrong`
    let config = registry.dir.path().join("wrong.json");
    fs::write(
        &config,
        format!("{{\"auths\":{{\"{host}\":{{\"auth\":\"dXNlcjp3cm9uZw==\"}}}}}}"),
    )
    .unwrap();
    let client = Client::new(Credentials::from_file(&config).unwrap(), vec![]);
    let error = client.manifest(&target).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("`{host}` refuses access to `{target}`")
    );
    assert!(!format!("{error:?}").contains("wrong"), "{error:?}");
}

#[test]
fn a_damaged_blob_is_not_passed_on() {
    let registry = Registry::start();
    let client = registry.client();
    let repository = registry.reference("a/one").repository;
    let blob = Descriptor::of("application/octet-stream", b"blob");
    client
        .push_blob(&repository, &blob, Content::Bytes(b"blob"), &[])
        .unwrap();
    let hex = blob.digest.hex();
    let data = registry
        .dir
        .path()
        .join("data/docker/registry/v2/blobs/sha256");
    fs::write(data.join(&hex[..2]).join(&hex).join("data"), "blub").unwrap();
    let error = client.blob_bytes(&repository, &blob, 10).unwrap_err();
    assert!(matches!(error, RegistryError::Digest { .. }), "{error:?}");
    // And what is not what it says is not taken.
    let liar = Descriptor {
        size: 4,
        ..Descriptor::of("x", b"other")
    };
    let error = client
        .push_blob(&repository, &liar, Content::Bytes(b"four"), &[])
        .unwrap_err();
    assert!(error.to_string().contains("digest"), "{error}");
    let error = client
        .push_blob(&repository, &liar, Content::Bytes(b"three"), &[])
        .unwrap_err();
    assert!(matches!(error, RegistryError::Size { .. }), "{error:?}");
}
