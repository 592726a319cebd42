//! Phases that are started as root, as by a platform that runs one container for all of them: they give their folders to
//! the build's user and go on as that user.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
};

use crate::{
    Case, NOBODY,
    registry::Remote,
    world::{APP, RUN, World},
};

pub(crate) const CASES: &[Case] = &[
    ("as root: phases become the build's user", become_user),
    ("as root: buildpacks are not run", refused),
    (
        "as root: root's credentials serve the user's phases",
        credentials,
    ),
];

/// Whoever is nobody may enter.
fn open(world: &World) {
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(world.root.path(), mode.clone()).unwrap();
    fs::set_permissions(world.path("cache"), mode).unwrap();
    world.buildpack(
        "0.10",
        "a",
        "",
        "exit 0",
        "id -u > $1/id; id -g >> $1/id; id -G >> $1/id; echo $HOME >> $1/id; mkdir -p $1/x; echo x > $1/x/file
printf '[types]\\nlaunch = true\\ncache = true\\n' > $1/x.toml",
    );
    world.order("a");
    // Where the image will be.
    for dir in ["oci", "oci/registry.example"] {
        chown(world.path(dir), Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

const USER: [(&str, &str); 2] = [("CNB_USER_ID", "65534"), ("CNB_GROUP_ID", "65534")];

fn owner(path: &Path) -> (u32, u32) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.uid(), metadata.gid())
}

fn become_user(world: &World) {
    open(world);
    world.write("layers/before/deep/file", "");
    let ran = world.create(&["-run-image", RUN, APP], &USER);
    assert_eq!(ran.code, 0, "{}", ran.text);
    let id = world.read("layers/a/id");
    let words: Vec<&str> = id.split_whitespace().collect();
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let mut fields = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let home = fields.find(|fields| fields[2] == "65534").unwrap()[5];
    assert_eq!(words, ["65534", "65534", "65534", home], "{id}");
    for path in [
        "layers",
        "layers/before/deep/file",
        "layers/a/x/file",
        "cache",
        "cache/committed/io.buildpacks.lifecycle.cache.metadata",
        "layers/report.toml",
    ] {
        assert_eq!(owner(&world.path(path)), (NOBODY, NOBODY), "{path}");
    }
    // Nothing else is.
    for path in ["app", "buildpacks/a", "platform"] {
        assert_eq!(owner(&world.path(path)), (0, 0), "{path}");
    }
    let image = world.image(APP);
    let layer = image
        .history()
        .iter()
        .position(|by| by.contains("'x'"))
        .unwrap();
    let root = world.root.path().display().to_string();
    let file = image.listing(layer, &root);
    assert!(
        file.last().unwrap().starts_with("  0 0644 2 65534 "),
        "{file:?}"
    );

    // A folder that the user can write to keeps its owner, and what is in it.
    world.reset();
    world.write("layers/before/file", "");
    fs::set_permissions(world.path("layers"), fs::Permissions::from_mode(0o777)).unwrap();
    let ran = world.run_with("analyzer", &["-run-image", RUN, APP], &USER);
    assert_eq!(ran.code, 0, "{}", ran.text);
    assert_eq!(owner(&world.path("layers")), (0, 0));
    assert_eq!(owner(&world.path("layers/before/file")), (0, 0));
    assert_eq!(owner(&world.path("layers/analyzed.toml")), (NOBODY, NOBODY));
}

fn refused(world: &World) {
    open(world);
    world.run("analyzer", &["-run-image", RUN, APP]);
    for phase in ["detector", "builder"] {
        world.run_with(phase, &[], &USER).failed(1, "root");
    }
    assert!(!world.path("layers/a/id").exists());
}

fn credentials(world: &World) {
    open(world);
    let remote = Remote::new(world);
    let (run, app) = (remote.name("run:1"), remote.name("app:1"));
    world.write(
        "docker/config.json",
        &format!(
            "{{\"auths\":{{\"127.0.0.1:{}\":{{\"auth\":\"{}\"}}}}}}",
            remote.port, remote.auth
        ),
    );
    fs::set_permissions(world.path("docker"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(
        world.path("docker/config.json"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    let docker = world.path("docker").display().to_string();
    let env = [
        &USER[..],
        &[("CNB_USE_LAYOUT", "false"), ("DOCKER_CONFIG", &docker)],
    ]
    .concat();
    let args = ["-run-image", &run, &app];
    let ran = world.create(&args, &env);
    assert_eq!(ran.code, 0, "{}", ran.text);
    assert_eq!(remote.config("app:1")["config"]["User"], "1234:4321");
    assert!(world.read("layers/a/id").starts_with("65534\n"));

    // A helper that only root can run.
    world.write("docker/config.json", "{\"credsStore\":\"test\"}");
    let helper = "docker/bin/docker-credential-test";
    world.script(
        helper,
        "id -u >> $0.asked; cat > /dev/null; echo '{\"Username\":\"user\",\"Secret\":\"secret\"}'",
    );
    let path = format!("{docker}/bin:/usr/bin:/bin");
    let env = [&env[..], &[("PATH", &path)]].concat();
    world.reset();
    let ran = world.create(&args, &env);
    assert_eq!(ran.code, 0, "{}", ran.text);
    assert!(ran.text.contains("Reusing layer 'a:x'"), "{}", ran.text);
    assert_eq!(world.read(&format!("{helper}.asked")), "0\n");
    // Without it nobody knows.
    world.script(helper, "exit 7");
    let failed = "docker-credential-test: exit status: 7";
    world.create(&args, &env).failed(32, failed);
    fs::remove_file(world.path(helper)).unwrap();
    let gone = "docker-credential-test: there is no such program in PATH";
    world.create(&args, &env).failed(32, gone);
}
