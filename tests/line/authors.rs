//! `slipway build` at a terminal, and on a builder image.

use std::{fs, process::Command};

use crate::{registry::Registry, server::Server, stacks::make_images, typist::Typist};

const PACKAGE: &str = r#"{"name":"shop","version":"1.0.0","scripts":{"build":"test -e mended","start":"node web.js"}}"#;

/// `slipway build shop ...` in the user's home, at a terminal.
fn at_a_terminal(server: &Server, options: &str) -> Typist {
    let mut command: Command = server.user_command();
    let line = format!("\"$SLIPWAY\" build shop -t oci:image --data cache {options}");
    command
        .args(["TERM=xterm-256color", "bash", "-c", &line])
        .current_dir(server.home());
    Typist::at(command)
}

#[test]
fn a_failed_build_has_a_shell() {
    let server = Server::start();
    server.app("shop", "hello");
    fs::write(server.home().join("shop/package.json"), PACKAGE).expect("written");

    let mut typist = at_a_terminal(&server, "--shell-on-failure -e GREETING=hi");
    typist.wait_for("A shell in the failed build: buildpack slipway/nodejs failed: exit status");
    typist.wait_for("To run it once more: /tmp/again");
    typist.wait_for("/workspace$ ");
    typist.type_in("stty size; echo $TERM $CNB_BUILDPACK_DIR; cat $CNB_PLATFORM_DIR/env/*\r");
    typist.wait_for("33 121\r\nxterm-256color /cnb/buildpacks/slipway_nodejs/");
    typist.wait_for("hi");
    typist.resize(40, 100);
    typist.type_in("until stty size | grep '40 100'; do sleep 0.1; done\r");
    typist.wait_for("40 100\r\n");
    // Ctrl-C is for what runs inside.
    typist.type_in("sleep 1000\r");
    typist.wait_for("sleep 1000\r\n");
    typist.type_in("\u{3}");
    typist.wait_for("/workspace$ ");
    typist.type_in("touch mended; /tmp/again; echo stat''us $?\r");
    typist.wait_for("status 0\r\n");
    typist.type_in("exit 3\r");
    let (said, status) = typist.rest();
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains(" !     buildpack slipway/nodejs failed"),
        "{said}"
    );
    let left = server.sh("ls -A cache/store/tmp; ls shop").ok();
    assert!(!left.contains("mended") && !left.contains('-'), "{left}");
    // What a mended build makes has no shell.
    server.sh("touch shop/mended").ok();
    let (said, status) = at_a_terminal(&server, "--shell-on-failure").rest();
    assert_eq!(status, Some(0), "{said}");
}

#[test]
fn a_build_stands_on_the_images_of_its_builder() {
    let server = Server::start();
    let images = tempfile::tempdir().expect("a temporary folder");
    make_images(images.path());
    server.app("shop", "hello");
    let build = |options: &str| {
        let images = images.path().display();
        server.sh(&format!(
            "\"$SLIPWAY\" build shop -t oci:image --data cache {}",
            options.replace("IMAGES", &images.to_string())
        ))
    };
    let said = build("--builder IMAGES/builder --explain").ok();
    for expected in [
        "detection goes by the order of the builder",
        "built on build, test.stack, testix 7, app",
        "Created by buildpack: acme/greet@1",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let inspected = server.sh("skopeo inspect --config oci:image:latest").ok();
    assert!(inspected.contains("STACK_SAYS=hi"), "{inspected}");
    let said = build("-B IMAGES/builder -b slipway/procfile --explain").ok();
    assert!(
        said.contains("slipway/procfile  0.1.0  takes part"),
        "{said}"
    );
    let said = build("--stack IMAGES/run --explain -b slipway/procfile").ok();
    assert!(said.contains("Stack: "), "{said}");
    let said = build("--run-image IMAGES/run").fails(1);
    assert!(
        said.contains("--run-image goes with --stack or --builder"),
        "{said}"
    );
}

#[test]
fn an_image_of_a_registry_is_put_on_a_newer_run_image() {
    let server = Server::start();
    let registry = Registry::start();
    let images = tempfile::tempdir().expect("a temporary folder");
    make_images(images.path());
    server.app("shop", "hello");
    let host = format!("127.0.0.1:{}", registry.port);
    let from = images.path().display();
    let said = server.sh(&format!(
        "push() {{ skopeo copy -q --dest-tls-verify=false oci:{from}/run docker://{host}/run:1; }}; push &&
         $SLIPWAY build shop -t {host}/shop:1 --data cache --stack {host}/run:1 -b slipway/procfile &&
         echo newer >which && umoci insert --rootless --image {from}/run which /etc/which && push &&
         CNB_PLATFORM_API=0.12 $SLIPWAY lifecycle rebaser -report report.toml {host}/shop:1 &&
         skopeo copy -q --src-tls-verify=false docker://{host}/shop:1 oci:shop-oci:1 &&
         umoci unpack --rootless --image shop-oci:1 whole && cat whole/rootfs/etc/which &&
         ls whole/rootfs/workspace whole/rootfs/cnb/process &&
         skopeo inspect --config oci:shop-oci:1 | python3 -c '
import json, sys
label = json.load(sys.stdin)[\"config\"][\"Labels\"][\"io.buildpacks.lifecycle.metadata\"]
print(json.loads(label)[\"runImage\"][\"image\"])'",
    ));
    let said = said.ok();
    assert!(said.contains("newer\n"), "{said}");
    assert!(
        said.contains("web.py\n") && said.contains("worker\n"),
        "{said}"
    );
    assert!(said.contains(&format!("{host}/run:1\n")), "{said}");
}

/// Makes a launch layer once, and then wants it back as it is; SALT says which it is.
const LAYER_BUILDPACK: &str = r#"
mkdir -p bp/bin && cd bp
printf 'api="0.10"\n[buildpack]\nid="acme/layer"\nversion="1"\nsbom-formats=["application/vnd.cyclonedx+json"]\n' > buildpack.toml
printf '#!/bin/sh\nexit 0\n' > bin/detect
cat > bin/build <<'EOF'
#!/bin/bash
layer=$1/deps
if grep -q "salt = \"$(cat salt)\"" $layer.toml 2>/dev/null && [ ! -e $layer ]; then
  echo "the layer is still right"
  ls $1
else
  mkdir -p $layer/sub; cat salt > $layer/sub/file; ln -s sub/file $layer/link; chmod 700 $layer/sub
  echo '{}' > $1/deps.sbom.cdx.json
fi
printf "[types]\nlaunch = true\n[metadata]\nsalt = \"$(cat salt)\"\n" > $layer.toml
EOF
chmod +x bin/*
"#;

#[test]
fn an_image_that_was_built_elsewhere_is_reused() {
    let server = Server::start();
    let registry = Registry::start();
    let host = format!("127.0.0.1:{}", registry.port);
    server.sh(LAYER_BUILDPACK).ok();
    server.sh("mkdir app; echo one > app/salt").ok();
    let build = |options: &str| {
        let line = format!("$SLIPWAY build app -b bp --json {options}");
        server.sh(&line.replace("HOST", &host))
    };
    // Each `--data` is a machine of its own.
    let first = build("--data data-one -t HOST/app:1 -t oci:image:1").ok();
    assert!(!first.contains("still right"), "{first}");
    let id = |said: &str| {
        let at = said.find("\"image_id\":\"").expect(said);
        said[at..at + 90].to_owned()
    };
    for (data, options) in [
        ("two", "-t oci:two --previous-image HOST/app:1"),
        ("three", "-t oci:three --previous-image oci:image:1"),
        // What was adopted is like a build of one's own.
        ("three", "-t oci:three"),
    ] {
        let said = build(&format!("--data data-{data} {options}")).ok();
        assert!(said.contains("the layer is still right"), "{said}");
        assert!(said.contains("deps.sbom.cdx.json"), "{said}");
        assert_eq!(id(&said), id(&first), "{options}");
    }
    // Another image than the last of the same cache.
    server.sh("echo two > app/salt").ok();
    let said = build("--data data-two -t HOST/app:2 --previous-image HOST/app:1").ok();
    assert!(!said.contains("still right"), "{said}");
    server.sh("echo one > app/salt").ok();
    let said = build("--data data-two -t oci:two").ok();
    assert!(!said.contains("still right"), "{said}");
    let said = build("--data data-two -t oci:two --previous-image HOST/app:1").ok();
    assert!(said.contains("still right"), "{said}");

    let said = build("--data data-four -t oci:four --previous-image HOST/none:1").ok();
    assert!(said.contains("none:1 yet: nothing is reused"), "{said}");
    let lying = r#"mkdir lie && cp -r image lie/image && cd lie && python3 -c '
import glob, gzip, io, json, tarfile, hashlib, os
blobs = "image/blobs/sha256/"
for path in glob.glob(blobs + "*"):
    try:
        tar = tarfile.open(path)
    except tarfile.TarError:
        continue
    if not any(name.endswith("layers/acme_layer/deps") for name in tar.getnames()):
        continue
    data = bytearray(gzip.open(path).read())
    at = data.index(b"one\n")
    data[at:at + 3] = b"ONE"
    os.remove(path)
    open(path, "wb").write(gzip.compress(bytes(data)))
'"#;
    server.sh(lying).ok();
    let said = build("--data data-five -t oci:five --previous-image oci:lie/image:1").ok();
    let expected = "is made anew: it has the digest sha256:";
    assert!(
        said.contains(expected) && !said.contains("still right"),
        "{said}"
    );
    assert_eq!(id(&said), id(&first));
    let said = build("--data data-six -t oci:six --previous-image oci:image:9").fails(1);
    assert!(said.contains("cannot reuse oci:image:9: "), "{said}");
}
