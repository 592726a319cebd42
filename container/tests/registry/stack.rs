//! A stack out of a registry: pulled once, kept by its digest, and still there when the registry is not.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
};

use container::{
    Store,
    registry::{Client, Credentials},
    stack::{Base, ImageSource, Stack},
};

use crate::server::Registry;

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn note(&self, text: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(text.to_owned());
    }

    fn take(&self) -> String {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *lines).join("\n")
    }
}

/// Two layers by umoci: the second takes away what the first has brought.
fn image(dir: &Path) {
    let script = "set -eu; mkdir -p root/etc root/usr/lib root/gone; echo 1 >root/gone/file; ln -s usr/lib root/lib
        printf 'root:x:0:0::/:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n' >root/etc/passwd
        printf 'ID=testix\nVERSION_ID=7\n' >root/usr/lib/os-release; ln -s ../usr/lib/os-release root/etc/os-release
        umoci init --layout image; umoci new --image image:v1; umoci insert --rootless --image image:v1 root /
        umoci insert --rootless --image image:v1 --whiteout /gone
        umoci config --image image:v1 --config.env A=b --config.label io.buildpacks.stack.id=test.stack";
    let made = Command::new("bash")
        .args(["-c", script])
        .current_dir(dir)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{words}");
}

#[test]
fn a_stack_is_pulled_once() {
    let registry = Registry::start();
    let temp = tempfile::tempdir().unwrap();
    image(temp.path());
    let name = registry.reference("acme/stack:v1");
    let from = format!("oci:{}/image:v1", temp.path().display());
    registry.skopeo(&[
        "copy",
        "-q",
        "--dest-tls-verify=false",
        &from,
        &format!("docker://{name}"),
    ]);
    let store = Store::open(&temp.path().join("store")).unwrap();
    let (kept, told) = (temp.path().join("kept"), Told::default());
    let note = |text: &str| told.note(text);
    let source: ImageSource = name.to_string().parse().unwrap();
    let open =
        |client: &Client, source: &ImageSource| Base::open(source, client, &store, &kept, &note);
    let base = open(&registry.client(), &source).unwrap();
    let said = told.take();
    assert!(
        said.contains(&format!("Pulling {name}: 2 layers")),
        "{said}"
    );
    assert!(said.contains("2 of 2"), "{said}");
    let tree = store.layer(&base.layer).unwrap();
    assert!(!tree.join("gone").exists());
    assert!(tree.join("home/app").is_dir());
    let passwd = fs::read_to_string(tree.join("etc/passwd")).unwrap();
    assert!(!passwd.contains("app"), "it has one with that id: {passwd}");
    let stack = Stack::of_images(base.clone(), base.clone());
    assert_eq!(
        (stack.id.as_str(), stack.target.distro.name.as_str()),
        ("test.stack", "testix")
    );
    assert_eq!(stack.run_env, [("A".to_owned(), "b".to_owned())]);

    // The same again, by its name and by its digest, and when nobody answers.
    open(&registry.client(), &source).unwrap();
    assert_eq!(told.take(), "");
    let pinned: ImageSource = base.reference.parse().unwrap();
    open(&registry.client(), &pinned).unwrap();
    drop(registry);
    let nobody = Client::new(Credentials::none(), vec![]);
    assert_eq!(open(&nobody, &pinned).unwrap().layer, base.layer);
    assert_eq!(told.take(), "");
    assert_eq!(open(&nobody, &source).unwrap().layer, base.layer);
    assert!(
        told.take()
            .contains(&format!("going on with {}", base.reference))
    );
    let other: ImageSource = format!("{}x", source).parse().unwrap();
    assert!(open(&nobody, &other).is_err());
}

#[test]
fn layers_by_zstd_and_images_of_docker_s_kind_are_the_same() {
    let registry = Registry::start();
    let temp = tempfile::tempdir().unwrap();
    image(temp.path());
    let from = format!("oci:{}/image:v1", temp.path().display());
    let store = Store::open(&temp.path().join("store")).unwrap();
    let kept = temp.path().join("kept");
    let mut layers = vec![];
    // In this order: skopeo uses what is there already.
    for (name, options) in [
        ("zstd", &["--dest-compress-format", "zstd", "-f", "oci"][..]),
        ("gzip", &["--dest-compress-format", "gzip", "-f", "oci"]),
        ("docker", &["-f", "v2s2"]),
    ] {
        let name = registry.reference(&format!("acme/{name}:{name}"));
        let to = format!("docker://{name}");
        let copy = ["copy", "-q", "--dest-tls-verify=false", &from, &to];
        registry.skopeo(&[&copy[..1], options, &copy[1..]].concat());
        let (_, json) = registry.client().manifest(&name).unwrap();
        let json = String::from_utf8(json).unwrap();
        let expected = match name.tag.as_deref() {
            Some("zstd") => "layer.v1.tar+zstd",
            Some("docker") => "docker.image.rootfs.diff.tar.gzip",
            _ => "layer.v1.tar+gzip",
        };
        assert!(json.contains(expected), "{json}");
        let source: ImageSource = name.to_string().parse().unwrap();
        let base = Base::open(&source, &registry.client(), &store, &kept, &|_| {});
        layers.push(base.unwrap().layer);
    }
    layers.dedup();
    assert_eq!(layers.len(), 1, "all of them unpack to the same");
}

#[test]
fn what_an_image_promises_is_checked() {
    let temp = tempfile::tempdir().unwrap();
    image(temp.path());
    let layout = temp.path().join("image");
    let store = Store::open(&temp.path().join("store")).unwrap();
    let client = Client::new(Credentials::none(), vec![]);
    let source = ImageSource::Layout(layout.clone());
    // Another content under the layers' names.
    let blobs = fs::read_dir(layout.join("blobs/sha256")).unwrap().flatten();
    let blobs = blobs.map(|entry| entry.path());
    let layers = blobs.filter(|path| fs::read(path).unwrap().starts_with(b"\x1f\x8b"));
    let mut evil = vec![0; 512];
    evil[..4].copy_from_slice(b"evil");
    let header = tar_header("etc/evil");
    for layer in layers {
        fs::write(layer, [header.as_slice(), &evil].concat()).unwrap();
    }
    let kept = temp.path().join("kept");
    let error = Base::open(&source, &client, &store, &kept, &|_| {}).unwrap_err();
    assert!(error.to_string().contains("was promised"), "{error}");
    assert_eq!(
        fs::read_dir(temp.path().join("store/layers"))
            .unwrap()
            .count(),
        0
    );
    assert!(
        fs::read_dir(&kept).unwrap().next().is_none(),
        "nothing is left of it"
    );
}

/// Of a file of four bytes, by ustar.
fn tar_header(name: &str) -> Vec<u8> {
    let mut header = vec![0_u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000644");
    header[124..135].copy_from_slice(b"00000000004");
    header[156] = b'0';
    header[257..262].copy_from_slice(b"ustar");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header
}
