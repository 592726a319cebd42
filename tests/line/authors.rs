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
