//! Buildpacks, or the apps that they run, that would do harm.

use std::fs;

use crate::{
    Case,
    world::{With, World},
};

pub(crate) const CASES: &[Case] = &[
    ("links that a build leaves are not followed", links),
    ("links in the app stay links", app_links),
    ("labels of the lifecycle cannot be forged", labels),
    (
        "a phase that is killed by its buildpack is a failure",
        killed_phase,
    ),
    ("launch metadata may not lead outside", metadata),
    (
        "special files and odd names end in an error or a layer",
        odd_files,
    ),
    (
        "directories that nobody may write are no obstacle",
        read_only_dirs,
    ),
    ("a very deep tree is removed", deep),
    ("other builds are out of sight", out_of_sight),
];

const SECRET: &str = "secret of the machine";

/// A file that the sandbox does not show.
fn secret(world: &World) -> String {
    let path = world.dir.join("secret");
    fs::write(&path, SECRET).unwrap();
    path.display().to_string()
}

fn links(world: &World) {
    let secret = secret(world);
    for (script, expected) in [
        (
            format!("ln -s {secret} $1/x.toml"),
            "/layers/acme_a/x.toml: is a symbolic link",
        ),
        (
            format!("ln -s {secret} $1/launch.toml"),
            "/layers/acme_a/launch.toml: is a symbolic link",
        ),
        (
            format!("ln -s {secret} $1/store.toml"),
            "/layers/acme_a/store.toml: is a symbolic link",
        ),
        (
            "ln -s /etc $1/x; printf '[types]\\nlaunch=true' > $1/x.toml".to_owned(),
            "/layers/acme_a/x: is not a directory",
        ),
        (
            format!("ln -s {secret} /layers/failure.toml; kill -KILL $PPID"),
            "build ended with signal 9 and without saying why",
        ),
        (
            "mkdir /tmp/c; ln -s /tmp/c /layers/config".to_owned(),
            "/layers/config/metadata.toml: is a symbolic link",
        ),
        (
            "mkfifo $1/x.toml".to_owned(),
            "/layers/acme_a/x.toml: is not a file",
        ),
        (
            "truncate -s 2M $1/launch.toml".to_owned(),
            "/layers/acme_a/launch.toml: is larger than 1024 KiB",
        ),
        (
            "truncate -s 10G $1/build.toml".to_owned(),
            "/layers/acme_a/build.toml: is larger than 1024 KiB",
        ),
    ] {
        world.only(&script);
        let (error, text) = world.failed(With::default());
        assert!(
            error.to_string().starts_with(expected),
            "{script}: {error}\n{text}"
        );
    }
    // The lifecycle's own folder is written to inside the sandbox only, where the link leads nowhere.
    world.only(&format!(
        "mkdir -p /layers/sbom; ln -s {} /layers/sbom/launch; ln -s {secret} $1/file",
        world.dir.display()
    ));
    let (error, _) = world.failed(With::default());
    assert!(error.to_string().contains("/layers/sbom/launch"), "{error}");
}

fn app_links(world: &World) {
    let secret = secret(world);
    world.only(&format!(
        "ln -s {secret} /workspace/leak; ln -s / /workspace/root"
    ));
    let (built, _) = world.built(With::default());
    let tree = world
        .store()
        .layer(&world.layer(&built, "Application Layer"))
        .unwrap();
    for name in ["leak", "root"] {
        let path = tree.join("workspace").join(name);
        assert!(fs::symlink_metadata(path).unwrap().is_symlink());
    }
    assert_eq!(
        fs::read_to_string(world.dir.join("secret")).unwrap(),
        SECRET
    );
}

/// With a label of its own choice, a build could have any layer of the store mounted in the next one.
fn labels(world: &World) {
    world.only("mkdir $1/x; echo mine > $1/x/file; printf '[types]\\nlaunch=true' > $1/x.toml");
    let (victim, _) = world.built(With::default());
    let stolen = world.layer(&victim, "'x'");
    let forged = format!(
        r#"{{"app":[],"buildpacks":[{{"key":"acme/a","version":"1","layers":{{"x":{{"sha":"{stolen}","data":null,"build":false,"launch":true,"cache":true}}}}}}],"config":{{"sha":"{stolen}"}},"launcher":{{"sha":"{stolen}"}},"runImage":{{"topLayer":"{stolen}","reference":""}},"stack":{{"runImage":{{"image":""}}}}}}"#
    );
    world.only(&format!(
        "[ -f $1/x/file ] && echo stolen; cat > $1/launch.toml <<'.'
[[labels]]
key = \"io.buildpacks.lifecycle.metadata\"
value = '{forged}'
."
    ));
    let (built, _) = world.built(With::default());
    let (_, text) = world.again(&built);
    assert!(!text.contains("stolen"), "{text}");
}

fn killed_phase(world: &World) {
    world.buildpack("acme/a", "kill -KILL $PPID", "");
    world.order(&["acme/a"]);
    let (error, _) = world.failed(With::default());
    assert_eq!(
        error.to_string(),
        "detect ended with signal 9 and without saying why"
    );
}

const ATTEMPTS_MAX: usize = 100;

/// Written behind the back of the phase, by a process that outlives the last buildpack.
fn metadata(world: &World) {
    for (metadata, expected) in [
        (
            "[[processes]]\ntype = \"../../../x\"\ncommand = [\"x\"]\nbuildpack-id = \"acme/a\"",
            "cannot be a process type",
        ),
        ("buildpack-default-process-type = \"x\"", "is not declared"),
        (
            "[[processes]]\ntype = \"x\"\ncommand = [\"x\"]\nbuildpack-id = \"..\"",
            "cannot be the id of a buildpack",
        ),
        (
            "[[buildpacks]]\nid = \"acme/b\"\nversion = \"..\"\napi = \"0.10\"",
            "version",
        ),
    ] {
        // The phase writes through a pipe of the buildpack's, which keeps a file of its own choice in its place.
        world.only(&format!(
            "mkdir /layers/config; mkfifo /layers/config/metadata.toml
cat > /tmp/forged <<'.'
{metadata}
.
(cat /layers/config/metadata.toml > /dev/null; mv /tmp/forged /layers/config/metadata.toml) > /dev/null 2>&1 &"
        ));
        // Its process may be ended, with the build's others, before it has done that: then once more.
        let (error, text) = (0..ATTEMPTS_MAX)
            .find_map(|_| {
                let (built, shown) = world.build(With::default());
                Some((built.err()?.to_string(), shown.text))
            })
            .expect("one that was in time");
        assert!(
            error.starts_with("/layers/config/metadata.toml") && error.contains(expected)
                || error.ends_with("is not a file"),
            "{error}\n{text}"
        );
    }
}

fn odd_files(world: &World) {
    world.only(
        "mkdir $1/x; mkfifo $1/x/fifo; mkdir -m 700 $1/x/private; touch \"$1/x/a b\" $1/x/-rf; ln -s loop $1/x/loop
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"s\")'
printf '[types]\\nlaunch=true' > $1/x.toml; touch $1/$'bad\\xff.toml' \"$1/ .toml\"",
    );
    let (built, _) = world.built(With::default());
    assert!(world.read(&built, "/layers/acme_a/x/a b").is_some());
    world.only("touch $'/workspace/bad\\xff'");
    let (error, _) = world.failed(With::default());
    assert!(error.reason().contains("is not UTF-8"), "{error}");
    let many = "for n in {1..65}; do touch $1/x$n.toml; done";
    world.only(many);
    let (error, _) = world.failed(With::default());
    assert_eq!(error.to_string(), "/layers/acme_a: has more than 64 layers");
}

fn read_only_dirs(world: &World) {
    let make = "for dir in /tmp/d $1/c/d $1/l/d /workspace/d; do mkdir -p $dir; touch $dir/file; chmod 555 $dir; done
printf '[types]\\ncache=true' > $1/c.toml; printf '[types]\\nlaunch=true' > $1/l.toml";
    world.only(&format!("{make}; exit 1"));
    world.failed(With::default());
    world.only(make);
    let (built, _) = world.built(With::default());
    assert!(world.read(&built, "/layers/acme_a/l/d/file").is_some());
    world.only(
        "chmod 700 $1/c/d; rm -r $1/c; mkdir $1/c; printf '[types]\\ncache=true' > $1/c.toml",
    );
    world.again(&built);
    let left = fs::read_dir(world.cache.join("layers")).unwrap();
    assert_eq!(left.count(), 1);
}

fn deep(world: &World) {
    let deep = |levels: u32, dir: &str, end: &str| {
        let python =
            format!("import os\nfor n in range({levels}): os.mkdir(\"d\"); os.chdir(\"d\")");
        world.only(&format!(
            "mkdir -p {dir}; cd {dir}; python3 -c '{python}'; {end}"
        ));
        world.failed(With::default()).0.reason()
    };
    let failed = "buildpack acme/a failed: exit status 3";
    assert_eq!(deep(6_000, "/tmp", "exit 3"), failed);
    assert_eq!(deep(2_000, "/workspace", "exit 3"), failed);
    let too_deep = |what| format!("{what}: has directories more than 512 levels deep");
    assert_eq!(deep(600, "/workspace", ""), too_deep("/workspace"));
    let types = "printf '[types]\\nlaunch=true' > $1/x.toml";
    assert_eq!(deep(600, "$1/x", types), too_deep("/layers/acme_a/x"));
    world.only(&format!(
        "mkdir $1/x; {types}; sed -i s/launch/cache/ $1/x.toml"
    ));
    world.built(With::default());
}

fn out_of_sight(world: &World) {
    let secret = secret(world);
    world.only(&format!(
        "[ ! -e {secret} ]; [ ! -e {store} ]; if touch /cnb/lifecycle/x /cnb/buildpacks/x /platform/x; then exit 1; fi; ls /proc | grep -c '^[0-9]' | sed 's/^/processes /'",
        store = world.dir.parent().unwrap().display()
    ));
    world.built(With::default());
}
