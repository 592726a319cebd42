//! What buildpacks may leave, a row each; and what becomes of it. Ours, and where it is installed the reference lifecycle.

use std::fs;

use serde_json::json;

use crate::{
    Case,
    table::each_lifecycle,
    world::{APP, RUN, World},
};

pub(crate) const CASES: &[Case] = &[
    ("table: what a buildpack may leave", results),
    ("table: what is done with processes", processes),
    ("bills of materials of old, by platform", legacy_bom),
    (
        "what an earlier build has left is not taken for this one's",
        leftovers,
    ),
    ("the words of a buildpack are passed on", output),
];

/// What it is, the Buildpack API, the program of bin/build, the exit status of the builder (52: it cannot be read), and
/// words that it has to say.
type Row = (&'static str, &'static str, &'static str, i32, &'static str);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("nothing", "0.10", "", 0, ""),
    ("empty files", "0.10", "touch launch.toml build.toml store.toml", 0, ""),
    ("launch.toml that is no TOML", "0.10", "echo '[[' > launch.toml", 52, "launch.toml, line 1: "),
    ("build.toml that is no TOML", "0.10", "echo '[[' > build.toml", 52, "build.toml, line 1: "),
    ("an unmet entry without a name", "0.10", "echo '[[unmet]]' > build.toml", 52, "build.toml, line 1: "),
    ("an unmet entry that nobody asks for", "0.10", "printf '[[unmet]]\\nname=\"x\"' > build.toml", 52, "`x` is unmet"),
    ("a layer of no type", "0.10", "mkdir x; touch x.toml", 0, ""),
    ("a layer without a directory", "0.10", "printf '[types]\\nbuild=true' > x.toml", 0, ""),
    ("types that are no booleans", "0.10", "printf '[types]\\nbuild=3' > x.toml", 52, "x.toml, line 2: "),
    ("types where they were once", "0.10", "echo launch=true > x.toml", 52, "belong under `[types]`"),
    ("a bill in no known format", "0.10", "touch launch.sbom.other.json", 52, "launch.sbom.other.json"),
    ("a bill in an undeclared format", "0.10", "touch launch.sbom.spdx.json", 52, "does not declare in `sbom-formats`"),
    ("a bill of a layer that is not there", "0.10", "touch x.sbom.cdx.json", 0, ""),
    ("a bill of old", "0.10", "printf '[[bom]]\\nname=\"x\"' > launch.toml", 0, "Warning: "),
    ("a bill of old beside a new one", "0.10", "printf '[[bom]]\\nname=\"x\"' > launch.toml; echo {} > launch.sbom.cdx.json", 0, ""),
    ("a bill of old with its version in the wrong place", "0.10", "printf '[[bom]]\\nname=\"x\"\\nversion=\"1\"' > launch.toml", 52, "line 3: `version` belongs into the metadata"),
    ("the same in build.toml", "0.10", "printf '[[bom]]\\nname=\"x\"\\nversion=\"1\"' > build.toml", 52, "line 3: `version` belongs into the metadata"),
    ("two defaults of one type", "0.10", "for i in 1 2; do printf '[[processes]]\\ntype=\"x\"\\ncommand=[\"x\"]\\ndefault=true\\n'; done > launch.toml", 52, "more than one"),
    ("a command that is a string", "0.9", "printf '[[processes]]\\ntype=\"x\"\\ncommand=\"x\"\\n' > launch.toml", 52, "must be a list"),
    ("the same before it was a list", "0.8", "printf '[[processes]]\\ntype=\"x\"\\ncommand=\"x\"\\n' > launch.toml", 0, ""),
    ("a list before it was one", "0.8", "printf '[[processes]]\\ntype=\"x\"\\ncommand=[\"x\"]\\n' > launch.toml", 52, "must be a string"),
    ("`direct` when all are", "0.9", "printf '[[processes]]\\ntype=\"x\"\\ncommand=[\"x\"]\\ndirect=true\\n' > launch.toml", 52, "`direct`"),
    ("the same when some were not", "0.8", "printf '[[processes]]\\ntype=\"x\"\\ncommand=\"x\"\\ndirect=true\\n' > launch.toml", 0, ""),
    ("execution environments", "0.12", "printf '[[processes]]\\ntype=\"x\"\\ncommand=[\"x\"]\\nexec-env=[]\\n' > launch.toml", 0, ""),
    ("a failure", "0.10", "exit 1", 51, "exit status 1"),
    ("an end by a signal", "0.10", "kill -9 $$", 51, "signal"),
];

fn results(_: &World) {
    let mut wrong = String::new();
    for (what, api, build, code, words) in ROWS {
        let ran = each_lifecycle(|lifecycle| {
            let world = World {
                reference: lifecycle,
                ..World::new()
            };
            let sboms = "sbom-formats=['application/vnd.cyclonedx+json']";
            world.buildpack(api, "a", sboms, "", &format!("cd $1; {build}"));
            world.order("a");
            world.ok("analyzer", &["-run-image", RUN, APP]);
            world.ok("detector", &[]);
            world.run("builder", &[])
        });
        // The reference has one status for what a buildpack has done wrong, and another for what it could not read.
        let differs = ran
            .iter()
            .any(|ran| ran.code / 10 != code / 10 || (*code == 0) != (ran.code == 0));
        let ours = &ran[0];
        let is_quiet = words.is_empty() && ours.text.contains("Warning");
        if differs || ours.code != *code || !ours.text.contains(words) || is_quiet {
            let codes: Vec<i32> = ran.iter().map(|ran| ran.code).collect();
            wrong += &format!("{what}: {codes:?}: {}\n", ours.text);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Buildpack API, what two buildpacks have in launch.toml, and the processes then: type, default, words, working directory.
type Processes = (&'static str, [&'static str; 2], &'static str);

#[rustfmt::skip]
const PROCESSES: &[Processes] = &[
    ("0.10", ["x [\"a\"]", "y [\"b\"]"], "x=[a] y=[b]"),
    ("0.10", ["x [\"a\"]", "x [\"b\"]"], "x=[b]"),
    ("0.10", ["x [\"a\"] default=true", "y [\"b\"]"], "x=[a] y=[b] default x"),
    ("0.10", ["x [\"a\"] default=true", "y [\"b\"] default=true"], "x=[a] y=[b] default y"),
    ("0.10", ["x [\"a\"] default=true", "x [\"b\"]"], "x=[b]"),
    ("0.10", ["x [\"a\"]", "x [\"b\"] default=true"], "x=[b] default x"),
    ("0.10", ["web [\"a\"]", "y [\"b\"]"], "web=[a] y=[b]"),
    ("0.10", ["x [\"a\",\"b\"] working-dir=\"/w\"", ""], "x=[a,b]@/w"),
    ("0.8", ["x \"a\" working-dir=\"/w\"", ""], "x=[a]@/w"),
    ("0.7", ["x \"a\" working-dir=\"/w\"", ""], "x=[a]"),
];

fn processes(_: &World) {
    let mut wrong = String::new();
    for (api, launch, expected) in PROCESSES {
        let found = each_lifecycle(|lifecycle| {
            let world = World {
                reference: lifecycle,
                ..World::new()
            };
            for (id, process) in ["a", "b"].iter().zip(launch) {
                let mut words = process.splitn(3, ' ');
                let mut next = || words.next().unwrap_or_default();
                let text = match next() {
                    "" => String::new(),
                    kind => format!(
                        "[[processes]]\ntype=\"{kind}\"\ncommand={}\n{}",
                        next(),
                        next()
                    ),
                };
                world.write(&format!("{id}.toml"), &text);
                let from = world.path(&format!("{id}.toml")).display().to_string();
                world.buildpack(api, id, "", "", &format!("cp {from} $1/launch.toml"));
            }
            world.order("a b");
            world.ok("analyzer", &["-run-image", RUN, APP]);
            world.ok("detector", &[]);
            world.ok("builder", &[]);
            shown(&world.toml("layers/config/metadata.toml"))
        });
        if found.iter().any(|found| found != expected) {
            wrong += &format!("{api} {launch:?}: {found:?}\n");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

fn shown(metadata: &toml::Table) -> String {
    let list = metadata["processes"].as_array().unwrap().iter();
    let mut words: Vec<String> = list
        .map(|process| {
            let command = process["command"].as_array().unwrap().iter();
            let command: Vec<&str> = command.map(|word| word.as_str().unwrap()).collect();
            let dir = process.get("working-dir").and_then(|dir| dir.as_str());
            let dir = dir.map(|dir| format!("@{dir}")).unwrap_or_default();
            format!(
                "{}=[{}]{dir}",
                process["type"].as_str().unwrap(),
                command.join(",")
            )
        })
        .collect();
    if let Some(default) = metadata.get("buildpack-default-process-type") {
        words.push(format!("default {}", default.as_str().unwrap()));
    }
    words.join(" ")
}

fn legacy_bom(_: &World) {
    for api in ["0.7", "0.8", "0.9", "0.15"] {
        let world = World {
            api,
            ..World::new()
        };
        world.write("stack.toml", "");
        world.buildpack(
            "0.8",
            "acme/a",
            "",
            "",
            "echo '[[bom]]
name = \"dep\"
[bom.metadata]
version = \"1\"' > $1/launch.toml; sed s/dep/tool/ $1/launch.toml > $1/build.toml",
        );
        world.order("acme/a");
        world.all();
        let entry = |name: &str| json!([{ "name": name, "metadata": { "version": "1" }, "buildpack": { "id": "acme/a", "version": "1" } }]);
        let label = world.image(APP).json("io.buildpacks.build.metadata");
        let launch = world.toml("layers/config/metadata.toml");
        let report = world.toml("layers/report.toml");
        let report = report
            .get("build")
            .map(|build| serde_json::to_value(&build["bom"]).unwrap());
        let files = ["launch", "build"]
            .map(|kind| fs::read(world.path(&format!("layers/sbom/{kind}/sbom.legacy.json"))).ok());
        if matches!(api, "0.7" | "0.8") {
            assert_eq!(label["bom"], entry("dep"));
            assert_eq!(serde_json::to_value(&launch["bom"]).unwrap(), entry("dep"));
            assert_eq!(report, Some(entry("tool")));
            assert_eq!(files, [None, None]);
        } else {
            assert_eq!(
                (label.get("bom"), launch.get("bom"), report),
                (None, None, None)
            );
            for (file, name) in files.iter().zip(["dep", "tool"]) {
                let file: serde_json::Value =
                    serde_json::from_slice(file.as_ref().unwrap()).unwrap();
                assert_eq!(file, entry(name));
            }
        }
    }
}

fn leftovers(world: &World) {
    world.buildpack(
        "0.10",
        "a",
        "",
        "",
        "mkdir $1/unused; echo x > $1/unused/file; touch $1/unused.toml",
    );
    world.order("a");
    world.write("layers/sbom/launch/other/sbom.cdx.json", "{}");
    world.write("layers/sbom/cache/other/sbom.cdx.json", "{}");
    world.ok("analyzer", &["-run-image", RUN, APP]);
    world.ok("detector", &[]);
    world.ok("builder", &[]);
    assert_eq!(world.names("layers/sbom"), ["build", "launch"]);
    assert_eq!(world.names("layers/sbom/launch"), ["sbom.legacy.json"]);
    assert_eq!(world.read("layers/sbom/launch/sbom.legacy.json"), "null\n");
    // A layer that is for nothing is out of the way.
    assert!(!world.path("layers/a/unused").exists());
    assert_eq!(world.read("layers/a/unused.ignore/file"), "x\n");
    // A folder in the way of the buildpack's.
    world.reset();
    world.ok("analyzer", &["-run-image", RUN, APP]);
    world.ok("detector", &[]);
    world.write("layers/a", "");
    world.run("builder", &[]).failed(52, "layers/a");
}

fn output(world: &World) {
    world.buildpack(
        "0.10",
        "a",
        "",
        "",
        "echo one; echo two >&2; echo three; env > $1/env; ls -l /dev/stdin > $1/stdin",
    );
    world.order("a");
    world.ok("analyzer", &["-run-image", RUN, APP]);
    world.ok("detector", &[]);
    // Both in one stream, in their order; an execution environment that is empty is none.
    let ran = world.run_with("builder", &[], &[("CNB_EXEC_ENV", "")]);
    assert!(ran.text.contains("one\ntwo\nthree\n"), "{}", ran.text);
    assert!(!world.read("layers/a/env").contains("CNB_EXEC_ENV"));
}
