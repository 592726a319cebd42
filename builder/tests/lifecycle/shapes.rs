//! An app and buildpacks that leave every kind of layer, file and environment.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use crate::world::{World, order};

/// Trees that are hard to pack: modes, links, and names around the limits of the formats.
const SHAPES: &str = r#"cd $1
n() { printf "$1%.0s" $(seq $2); }
mkdir -p modes/{sticky,group,shut} links/dir names/{a,a-b} exec/{exec.d/web,profile.d/web} empty dotted.name
for mode in 0444 0600 0755 4755 2711 0777; do echo $mode > modes/$mode; chmod $mode modes/$mode; done
chmod 1777 modes/sticky; chmod 2770 modes/group; chmod 0700 modes/shut
echo one > links/one; ln links/one links/two; ln -s ../names links/up; ln -s none links/dangling; ln -s /etc/passwd links/absolute
ln -s $(n t 100) links/100; ln -s $(n t 101) links/101; ln -s $(n d/ 90)$(n t 90) links/long; ln -s ümlaut links/ümlaut
touch names/a/f names/a-b/g "names/with space" names/.hidden names/Ümlaut names/$(n x 99) names/$(n x 100) names/$(n x 101) names/$(n x 255)
touch $'names/new
line' $'names/tab	' 'names/back\slash' names/=; mkdir -p names/$(n d 200)/$(n e 200); touch names/$(n d 200)/$(n e 200)/$(n f 80)
printf '#!/bin/sh
echo "E=1" >&3
' > exec/exec.d/e; cp exec/exec.d/e exec/exec.d/web/e; chmod 755 exec/exec.d/e exec/exec.d/web/e
echo 'export P=1' > exec/profile.d/p.sh; cp exec/profile.d/p.sh exec/profile.d/web/p.sh
head -c 1000 /dev/zero > names/1000; head -c 1024 /dev/zero > names/1024; head -c 70000 /dev/zero > names/70000
for layer in modes links names exec empty dotted.name; do printf '[types]
launch = true
' > $layer.toml; done
printf '[types]
launch = true
cache = true
build = true
[metadata]
when = 2020-01-02T03:04:05Z
f = 1.5
[metadata.b]
"c d" = [[1, 2], []]
' > names.toml
printf '[[slices]]
paths = ["[l-m]ink*", "sub?", "none"]
[[slices]]
paths = ["nothing/*"]
[[processes]]
type = "worker.x"
command = ["w", ""]
working-dir = ""
' > launch.toml
"#;

/// Every kind of layer, file and environment that a buildpack can leave.
pub(crate) fn fixture(world: &World) {
    world.write("app/bin/run", "run");
    world.write("app/sub1/only", "sliced away");
    world.write("app/.profile", "");
    world.write("app/with space/é", "x");
    for (name, target) in [
        ("link", "a/b.js"),
        ("links", "static"),
        ("dangling", "none"),
    ] {
        symlink(target, world.path("app").join(name)).unwrap();
    }
    fs::set_permissions(
        world.path("app/bin/run"),
        fs::Permissions::from_mode(0o6755),
    )
    .unwrap();
    fs::create_dir(world.path("app/void")).unwrap();
    world.write("app/a/b.js", "b");
    world.write("app/a-b", "x");
    world.write("app/c.css", "");
    world.write("app/static/deep/x.css", "x");
    world.write("platform/env/USER_VAR", "from the user");
    world.write("build-config/env/OPERATOR.default", "from the operator");
    world.write("project-metadata.toml", "[source]\ntype='git'\n[source.version]\ncommit='c0ffee'\n[source.metadata]\nrepository='r<&>'\n");
    world.write("run.toml", "[[images]]\nimage='registry.example/other'\n[[images]]\nimage='registry.example/run:1'\nmirrors=['mirror.example/run:1']\n");
    world.write(
        "stack.toml",
        "[run-image]\nimage='registry.example/run:1'\nmirrors=['mirror.example/run:1']\n",
    );
    let sboms = "sbom-formats=['application/vnd.cyclonedx+json', 'application/spdx+json', 'application/vnd.syft+json']";
    world.buildpack("0.10", "acme/tools", sboms, "echo '[[provides]]
name = \"tool\"
[[provides]]
name = \"other\"' > $2", "cat $3 > $1/plan.txt
mkdir -p $1/build-only/{bin,lib,include,pkgconfig,env,env.build} $1/all/env.launch $1/launch-cache $1/none $1/deep/$(printf 'd%.0s' {1..120})
echo -n tools > $1/build-only/env/TOOL.override; echo -n + > $1/build-only/env.build/TOOL.append
printf '[types]\\nbuild = true\\n' > $1/build-only.toml
printf '[types]\\nbuild = true\\nlaunch = true\\ncache = true\\n[metadata]\\nn = 1\\nlist = [\"<a>\", \"b\"]\\n' > $1/all.toml
printf '[types]\\nlaunch = true\\ncache = true\\n' > $1/launch-cache.toml
printf '[types]\\n' > $1/none.toml
printf '[types]\\nlaunch = true\\n' > $1/deep.toml
echo -n v > $1/all/env.launch/V.default; ln -sfn ../x $1/launch-cache/link; mkfifo $1/deep/fifo
echo content > $1/deep/$(printf 'd%.0s' {1..120})/$(printf 'f%.0s' {1..200}); chmod 4711 $1/deep/d*/f*; touch $1/deep/ümlaut
printf '[types]\\ncache = true\\n' > $1/cache-only.toml; mkdir -p $1/cache-only; echo c > $1/cache-only/file
echo '{\"a\":1}' > $1/launch.sbom.cdx.json; echo '{}' > $1/build.sbom.spdx.json; echo '{ }' > $1/all.sbom.syft.json; echo '{}' > $1/cache-only.sbom.cdx.json
echo '[[unmet]]
name = \"other\"' > $1/build.toml
printf '[metadata]\\nkey = \"value\"\\n' > $1/store.toml
echo '[[labels]]
key = \"org.acme\"
value = \"<yes>\"
[[processes]]
type = \"web\"
command = [\"serve\", \"a b\", \"<&>\"]
args = [\"one\", \"tw\\\"o\"]
default = true
[[processes]]
type = \"cron\"
command = [\"run\"]
working-dir = \"/tmp\"
[[slices]]
paths = [\"*.css\", \"static\"]
[[slices]]
paths = [\"a/*\"]' > $1/launch.toml");
    world.buildpack("0.10", "acme/second", "", "echo '[[provides]]
name = \"other\"' > $2", "env | grep -E '^(TOOL|PATH|LIBRARY_PATH|CPATH|PKG_CONFIG_PATH|USER_VAR|OPERATOR|CNB_TARGET)' | sort > $1/env.txt; cat $3 > $1/plan.txt");
    world.buildpack(
        "0.12",
        "acme/app",
        "exec-env=['*']",
        "echo '[[requires]]
name = \"tool\"
[requires.metadata]
version = \"1\"
[[requires]]
name = \"other\"' > $2",
        "echo '[[processes]]
type = \"test\"
command = [\"t\"]
exec-env = [\"test\"]
[[labels]]
key = \"org.acme\"
value = \"later\"' > $1/launch.toml; echo \"$CNB_EXEC_ENV $CNB_TARGET_DISTRO_NAME\" > $1/env.txt",
    );
    world.buildpack(
        "0.8",
        "acme/old",
        "clear-env=true",
        "exit 0",
        "echo \"$USER_VAR|$OPERATOR\" > $1/env.txt
echo '[[processes]]
type = \"shell\"
command = \"echo $PORT\"
args = [\"x\"]
[[processes]]
type = \"direct\"
command = \"d\"
direct = true
[[bom]]
name = \"dep\"
[bom.metadata]
version = \"1\"
licenses = [\"MIT\", \"<x>\"]
size = 3
[bom.metadata.source]
\"a key\" = \"<u>\"
[[bom.metadata.files]]
name = \"one\"
[bom.metadata.files.sums]
sha256 = \"x\"
[[bom.metadata.files]]
[[bom]]
name = \"bare\"' > $1/launch.toml
echo '[[bom]]
name = \"compiler\"
[bom.metadata]
version = \"2\"' > $1/build.toml",
    );
    world.buildpack("0.10", "acme/shapes", "", "exit 0", SHAPES);
    world.buildpack("0.10", "acme/absent", "", "exit 100", "");
    world.buildpack("0.10", "acme/fails", "", "echo broken; exit 3", "");
    world.buildpack(
        "0.10",
        "acme/windows",
        "[[targets]]\nos='windows'",
        "exit 100",
        "",
    );
    world.buildpack("0.12", "acme/testing", "exec-env=['test']", "exit 0", "");
    let composite = order(
        "acme/absent acme/app\nacme/tools acme/second acme/app acme/old acme/shapes",
        "order",
    );
    world.buildpack("0.10", "acme/all", &composite, "", "");
    fs::remove_dir_all(world.path("buildpacks/acme_all/1/bin")).unwrap();
    world.order("acme/fails acme/all\nacme/windows? acme/fails? acme/testing? acme/all acme/tools");
}
