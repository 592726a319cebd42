//! Builds and instances on images instead of on this machine: a builder image and its run image, made by umoci.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use crate::server::Server;

/// `nobody` on Debian and most others.
const NOBODY: u32 = 65_534;

#[test]
fn an_app_on_a_builder_image() {
    on_a_builder_image(None);
}

#[test]
fn an_app_on_a_builder_image_as_an_ordinary_user() {
    if rustix::process::geteuid().is_root() {
        on_a_builder_image(Some(NOBODY));
    }
}

fn on_a_builder_image(user: Option<u32>) {
    let images = tempfile::tempdir().expect("a temporary folder");
    fs::set_permissions(images.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
    make_images(images.path());
    let builder = images.path().join("builder");
    let server = Server::start_with(user, &["--builder", &builder.display().to_string()]);
    server.app("shop", "hello");
    let said = server.push("shop").ok();
    for expected in [
        "acme/greet 1",
        "built on build, test.stack, testix 7, app",
        "the image says hi, /opt/bin:/usr/bin:/bin",
        "left: gon[e] emptied/new",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert_eq!(server.get("shop", "/").body, "Hello, world\n");
    assert_eq!(server.get("shop", "/env/STACK_SAYS").body, "hi\n");
    let inside = server.ssh(r#"run shop 'cat /etc/which; echo /gone/*; cat /layers/acme_greet/x/words; id -un; echo x > ~/y && echo home'"#);
    assert_eq!(
        inside.ok(),
        "run\n/gone/file\nfrom the buildpack\napp\nhome\n"
    );

    // A start needs neither the images nor a registry; and names of its own buildpacks are still known.
    fs::remove_dir_all(images.path()).expect("the images can be removed");
    assert_eq!(server.terminate(), Some(0));
    server.restart();
    assert!(
        server.narration().contains("going on with"),
        "{}",
        server.narration()
    );
    server.ssh("buildpacks:set shop slipway/procfile").ok();
    server.change("shop", "web.py", "Hello, world", "Changed");
    let said = server.push("shop").ok();
    assert!(said.contains("slipway/procfile"), "{said}");
    assert_eq!(server.get("shop", "/").body, "Changed\n");

    // What was built on an image goes on, whatever the stack is now.
    assert_eq!(server.terminate(), Some(0));
    server.restart_with(&[]);
    server.ssh("ps:restart shop").ok();
    assert_eq!(server.get("shop", "/").body, "Changed\n");
    assert_eq!(server.ssh("run shop cat /etc/which").ok(), "run\n");
    server.ssh("rollback shop v1").ok();
    assert_eq!(server.get("shop", "/").body, "Hello, world\n");
}

pub(crate) fn make_images(dir: &Path) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/line/stacks.sh");
    let made = Command::new("bash").arg(script).arg(dir).output();
    let made = made.expect("bash starts");
    let (out, err) = (
        String::from_utf8_lossy(&made.stdout),
        String::from_utf8_lossy(&made.stderr),
    );
    assert!(made.status.success(), "{out}\n{err}");
}
