//! Node.js apps, installed from the npm registry.

use std::fs;

use crate::{Case, lab::Lab};

const NODEJS: &str = "slipway_nodejs";

pub(crate) const CASES: &[Case] = &[
    ("nodejs_from_the_registry", from_the_registry),
    (
        "nodejs_express_is_installed_once",
        express_is_installed_once,
    ),
    ("nodejs_build_script_and_pruning", build_script_and_pruning),
    (
        "nodejs_workspaces_stay_in_the_app",
        workspaces_stay_in_the_app,
    ),
    ("nodejs_yarn", yarn),
    ("nodejs_pnpm", pnpm),
    ("nodejs_without_a_manifest", without_a_manifest),
    (
        "nodejs_generated_code_is_shipped",
        generated_code_is_shipped,
    ),
    ("nodejs_failures_are_explained", failures_are_explained),
];

const SERVER: &str = r#"
const text = require("left-pad")("hello", 8) + " " + process.version + "\n";
require("http").createServer((_, response) => response.end(text)).listen(process.env.PORT);
"#;

fn express_is_installed_once() {
    let mut lab = Lab::sample("node-express");
    let output = lab.build_ok(NODEJS);
    assert!(
        output.contains("-----> Installing packages with npm\n"),
        "{output}"
    );
    assert!(
        output.contains("       web -> node server.js\n"),
        "{output}"
    );
    lab.check_reproducible(NODEJS, "node-express");
    let running = lab.start(NODEJS, "web");
    assert_eq!(running.get("/").body, "Hello from Express\n");
    assert_eq!(running.get("/env/NODE_ENV").body, "production\n");
    assert_eq!(running.stop(), Some(0), "SIGTERM reaches the app itself");

    lab.restore(NODEJS, Some("node-express"));
    lab.cut_off(NODEJS);
    let text = fs::read_to_string(lab.app().join("server.js")).expect("readable");
    lab.write("server.js", &text.replace("Hello from", "Goodbye from"));
    let output = lab.build_ok(NODEJS);
    assert!(output.contains("Nothing has changed"), "{output}");
    assert_eq!(
        lab.start(NODEJS, "web").get("/").body,
        "Goodbye from Express\n"
    );

    // Now something has.
    lab.restore(NODEJS, Some("node-express"));
    let manifest = fs::read_to_string(lab.app().join("package.json")).expect("readable");
    let manifest = manifest.replace(r#""express": "#, r#""left-pad": "1.3.0", "express": "#);
    lab.write("package.json", &manifest);
    let run = lab.build(NODEJS);
    assert_eq!(run.code, Some(1), "npm was started, and could do nothing");
    assert!(
        run.output
            .contains(" !     The packages could not be installed\n"),
        "{}",
        run.output
    );
}

fn build_script_and_pruning() {
    let mut lab = Lab::sample("node-build-script");
    let output = lab.build_ok(NODEJS);
    assert!(
        output.contains("-----> Running the script `build`\n"),
        "{output}"
    );
    assert_eq!(
        lab.start(NODEJS, "web").get("/").body,
        "Hello from TypeScript\n"
    );
    let modules = lab.app().join("node_modules");
    assert!(modules.join("mime/package.json").is_file());
    assert!(
        !modules.join("esbuild").exists(),
        "development packages are not shipped"
    );

    lab.restore(NODEJS, Some("node-build-script"));
    lab.cut_off(NODEJS);
    let text = fs::read_to_string(lab.app().join("src/server.ts")).expect("readable");
    lab.write("src/server.ts", &text.replace("Hello from", "Goodbye from"));
    let output = lab.build_ok(NODEJS);
    assert!(output.contains("Nothing has changed"), "{output}");
    assert_eq!(
        lab.start(NODEJS, "web").get("/").body,
        "Goodbye from TypeScript\n"
    );
    assert!(!modules.join("esbuild").exists());
}

fn workspaces_stay_in_the_app() {
    let lab = Lab::new(&[
        (
            "package.json",
            r#"{"name": "root", "private": true, "workspaces": ["packages/*"],
                "scripts": {"start": "node packages/web/index.js"}, "dependencies": {"left-pad": "1.3.0"}}"#,
        ),
        (
            "packages/lib/package.json",
            r#"{"name": "lib", "version": "1.0.0", "main": "lib.js"}"#,
        ),
        (
            "packages/lib/lib.js",
            r#"module.exports = require("left-pad")("lib", 5);"#,
        ),
        (
            "packages/web/package.json",
            r#"{"name": "web", "version": "1.0.0", "dependencies": {"lib": "1.0.0"}}"#,
        ),
        (
            "packages/web/index.js",
            r#"require("http").createServer((_, response) => response.end(require("lib"))).listen(process.env.PORT)"#,
        ),
    ]);
    let output = lab.build_ok(NODEJS);
    assert!(output.contains("There is no lock file"), "{output}");
    assert_eq!(lab.start(NODEJS, "web").get("/").body, "  lib");
}

fn yarn() {
    let lab = Lab::new(&[
        (
            "package.json",
            r#"{"name": "a", "version": "1.0.0", "scripts": {"start": "node server.js && true", "build": "rimraf x"},
                "dependencies": {"left-pad": "1.3.0"}, "devDependencies": {"rimraf": "2.2.8"}}"#,
        ),
        (
            "yarn.lock",
            "# yarn lockfile v1\n\n\nleft-pad@1.3.0:\n  version \"1.3.0\"\n  resolved \"https://registry.npmjs.org/left-pad/-/left-pad-1.3.0.tgz#5b8a3a7765dfe001261dde915589e782f8c94d1e\"\n  integrity sha512-XI5MPzVNApjAyhQzphX8BkmKsKUxD4LdyK24iZeQGinBN9yTQT3bFlCBy/aVx2HrNcqQGsdot8ghrjyrvMCoEA==\n\nrimraf@2.2.8:\n  version \"2.2.8\"\n  resolved \"https://registry.npmjs.org/rimraf/-/rimraf-2.2.8.tgz#e439be2aaee327321952730f99a8929e4fc50582\"\n  integrity sha512-R5KMKHnPAQaZMqLOsyuyUmcIjSeDm+73eoqQpaXA7AZ22BL+6C+1mcUscgOsNd8WVlJuvlgAPsegcx7pjlV0Dg==\n",
        ),
        ("server.js", SERVER),
    ]);
    let output = lab.build_ok(NODEJS);
    assert!(output.contains("       web -> yarn start\n"), "{output}");
    assert!(
        lab.start(NODEJS, "web")
            .get("/")
            .body
            .starts_with("   hello v")
    );
    assert!(!lab.app().join("node_modules/rimraf").exists());
}

fn pnpm() {
    let lab = Lab::new(&[
        (
            "package.json",
            r#"{"name": "a", "version": "1.0.0", "scripts": {"start": "node server.js && true", "build": "rimraf x"},
                "dependencies": {"left-pad": "1.3.0"}, "devDependencies": {"rimraf": "2.2.8"}}"#,
        ),
        (
            "pnpm-lock.yaml",
            "lockfileVersion: '9.0'\n\nsettings:\n  autoInstallPeers: true\n  excludeLinksFromLockfile: false\n\nimporters:\n\n  .:\n    dependencies:\n      left-pad:\n        specifier: 1.3.0\n        version: 1.3.0\n    devDependencies:\n      rimraf:\n        specifier: 2.2.8\n        version: 2.2.8\n\npackages:\n\n  left-pad@1.3.0:\n    resolution: {integrity: sha512-XI5MPzVNApjAyhQzphX8BkmKsKUxD4LdyK24iZeQGinBN9yTQT3bFlCBy/aVx2HrNcqQGsdot8ghrjyrvMCoEA==}\n    deprecated: use String.prototype.padStart()\n\n  rimraf@2.2.8:\n    resolution: {integrity: sha512-R5KMKHnPAQaZMqLOsyuyUmcIjSeDm+73eoqQpaXA7AZ22BL+6C+1mcUscgOsNd8WVlJuvlgAPsegcx7pjlV0Dg==}\n    hasBin: true\n\nsnapshots:\n\n  left-pad@1.3.0: {}\n\n  rimraf@2.2.8: {}\n",
        ),
        ("server.js", SERVER),
    ]);
    let output = lab.build_ok(NODEJS);
    assert!(output.contains("       web -> pnpm start\n"), "{output}");
    assert!(
        lab.start(NODEJS, "web")
            .get("/")
            .body
            .starts_with("   hello v")
    );
    assert!(!lab.app().join("node_modules/rimraf").exists());
}

fn without_a_manifest() {
    let lab = Lab::new(&[(
        "server.js",
        r#"require("http").createServer((_, response) => response.end("bare")).listen(process.env.PORT)"#,
    )]);
    lab.build_ok(NODEJS);
    assert_eq!(lab.start(NODEJS, "web").get("/").body, "bare");
}

fn from_the_registry() {
    let mut lab = Lab::new(&[
        (
            "package.json",
            r#"{"engines": {"node": "22.x"}, "dependencies": {"left-pad": "1.3.0"}, "scripts": {"start": "node server.js"}}"#,
        ),
        ("server.js", SERVER),
    ]);
    // Programs of the machine, but not its Node.js.
    let tools = lab.app().with_file_name("tools");
    fs::create_dir(&tools).expect("made");
    for name in ["sh", "bash", "env"] {
        std::os::unix::fs::symlink(format!("/usr/bin/{name}"), tools.join(name)).expect("linked");
    }
    lab.env
        .insert("PATH".to_owned(), tools.display().to_string());
    let output = lab.build_ok(NODEJS);
    assert!(
        output.contains("from the npm registry (engines.node in package.json asks for `22.x`)"),
        "{output}"
    );
    let body = lab.start(NODEJS, "web").get("/").body;
    assert!(body.starts_with("   hello v22."), "{body}");

    lab.restore(NODEJS, None);
    lab.cut_off(NODEJS);
    fs::remove_file(lab.app().join("node_modules")).expect("a link");
    let output = lab.build_ok(NODEJS);
    assert!(output.contains(", as before (engines.node"), "{output}");
    assert!(output.contains("Nothing has changed"), "{output}");
    assert_eq!(lab.start(NODEJS, "web").get("/").body, body);
}

fn generated_code_is_shipped() {
    let lab = Lab::new(&[
        (
            "package.json",
            r#"{"name": "a", "scripts": {"build": "node generate.js", "start": "node server.js"},
                "dependencies": {"left-pad": "1.3.0"}, "devDependencies": {"rimraf": "2.2.8"}}"#,
        ),
        (
            "generate.js",
            r#"const fs = require("fs");
               fs.mkdirSync("node_modules/.client"); fs.writeFileSync("node_modules/.client/index.js", "module.exports = 'generated'");
               fs.mkdirSync("node_modules/.cache"); fs.writeFileSync("node_modules/.cache/big", "big");"#,
        ),
        (
            "server.js",
            r#"require("http").createServer((_, response) => response.end(require(".client"))).listen(process.env.PORT)"#,
        ),
    ]);
    lab.build_ok(NODEJS);
    assert!(!lab.app().join("node_modules/.cache").exists());
    assert_eq!(lab.start(NODEJS, "web").get("/").body, "generated");
}

fn failures_are_explained() {
    for (files, expected) in [
        (
            vec![("package.json", "{")],
            " !     package.json is not valid\n",
        ),
        (
            vec![("package.json", r#"{"engines": {"node": "banana"}}"#)],
            " !     engines.node in package.json says `banana`. Ask for a range such as `",
        ),
        (
            vec![
                ("package.json", "{}"),
                ("yarn.lock", ""),
                ("package-lock.json", "{}"),
            ],
            " !     Found package-lock.json and yarn.lock.\n",
        ),
        (
            vec![("package.json", "{}"), ("bun.lock", "")],
            " !     The app uses Bun. npm, Yarn 1 and pnpm are supported:\n",
        ),
        (
            vec![(
                "package.json",
                r#"{"scripts": {"build": "echo so it goes; exit 3"}}"#,
            )],
            " !     A build script failed\n",
        ),
        (
            vec![("package.json", r#"{"dependencies": {"left-pad": "999"}}"#)],
            " !     The packages could not be installed\n",
        ),
    ] {
        let lab = Lab::new(&files);
        assert_eq!(lab.detect(NODEJS).code, Some(0));
        let run = lab.build(NODEJS);
        assert_eq!(run.code, Some(1), "{}", run.output);
        assert!(run.output.contains(expected), "{}", run.output);
    }
}
