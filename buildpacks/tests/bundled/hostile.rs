//! Apps that are wrong, incomplete or malicious.

use std::os::unix::fs::symlink;

use crate::{Case, lab::Lab};

const ALL: [&str; 5] = [
    "slipway_nodejs",
    "slipway_python",
    "slipway_static",
    "slipway_plain",
    "slipway_procfile",
];

pub(crate) const CASES: &[Case] = &[
    (
        "hostile_nothing_is_detected_in_nothing",
        nothing_is_detected_in_nothing,
    ),
    (
        "hostile_incomplete_apps_are_told_what_is_missing",
        incomplete_apps_are_told,
    ),
    ("hostile_bad_files_are_errors", bad_files_are_errors),
    (
        "hostile_links_are_not_followed_out_of_a_site",
        links_out_of_a_site,
    ),
    (
        "hostile_a_procfile_suppresses_the_defaults",
        a_procfile_suppresses_the_defaults,
    ),
];

fn nothing_is_detected_in_nothing() {
    let lab = Lab::new(&[]);
    for buildpack in ALL {
        let run = lab.detect(buildpack);
        assert_eq!(
            (run.code, run.output.as_str()),
            (Some(100), ""),
            "{buildpack}"
        );
    }
}

fn incomplete_apps_are_told() {
    for (file, buildpack, expected) in [
        (
            "lib.js",
            "slipway_nodejs",
            "`npm init -y` makes a package.json",
        ),
        (
            "requirements-dev.txt",
            "slipway_python",
            "Found `requirements-dev.txt`, but no requirements.txt",
        ),
        (
            "about.html",
            "slipway_static",
            "Found `about.html`, but a site starts at index.html",
        ),
        (
            "procfile",
            "slipway_procfile",
            "the name must be exactly `Procfile`",
        ),
    ] {
        let run = Lab::new(&[(file, "")]).detect(buildpack);
        assert_eq!(run.code, Some(100));
        assert!(run.output.contains(expected), "{}", run.output);
    }
    let lab = Lab::new(&[("web", " #!/bin/sh")]);
    std::fs::write(lab.app().join("web"), "#!/bin/sh\n").expect("written without the mode");
    let run = lab.detect("slipway_plain");
    assert!(
        run.output.contains("git update-index --chmod=+x web"),
        "{}",
        run.output
    );
}

fn bad_files_are_errors() {
    for (file, text, buildpack, expected) in [
        (
            "Procfile",
            "web: a\nnode b.js\n",
            "slipway_procfile",
            "line 2 has no `type: command`: `node b.js`",
        ),
        (
            "Procfile",
            "",
            "slipway_procfile",
            "there is no process type in it",
        ),
        (
            "static.json",
            "{",
            "slipway_static",
            "static.json is not valid",
        ),
        (
            "static.json",
            r#"{"root": "../.."}"#,
            "slipway_static",
            "The site's root is not inside the app",
        ),
        (
            "static.json",
            r#"{"root": "dist"}"#,
            "slipway_static",
            "There is no folder `dist` in the app",
        ),
        ("static.json", "{}", "slipway_static", "`.` holds no file"),
        (
            "static.json",
            r#"{"error_page": "e.html"}"#,
            "slipway_static",
            "holds no file",
        ),
    ] {
        let lab = Lab::new(&[(file, text)]);
        assert_eq!(lab.detect(buildpack).code, Some(0), "{file}");
        let run = lab.build(buildpack);
        assert_eq!(run.code, Some(1), "{}", run.output);
        assert!(run.output.contains(expected), "{}", run.output);
    }
    let lab = Lab::new(&[("a", "#!/bin/sh\n"), ("bin/b", "#!/bin/sh\n")]);
    let run = lab.build("slipway_plain");
    assert_eq!(run.code, Some(1));
    assert!(
        run.output.contains("Found: `a`, `bin/b`.\n"),
        "{}",
        run.output
    );
}

fn links_out_of_a_site() {
    let lab = Lab::new(&[("index.html", "hello")]);
    symlink("/etc/passwd", lab.app().join("passwd.html")).expect("linked");
    symlink("/etc", lab.app().join("etc")).expect("linked");
    symlink("../../platform", lab.app().join("up")).expect("linked");
    lab.build_ok("slipway_static");
    let running = lab.start("slipway_static", "web");
    for path in ["/passwd.html", "/passwd", "/etc/passwd", "/up/env"] {
        assert_eq!(running.get(path).status, 404, "{path}");
    }
}

fn a_procfile_suppresses_the_defaults() {
    let lab = Lab::new(&[
        ("package.json", r#"{"scripts": {"start": "node a.js"}}"#),
        ("Procfile", "worker: a\n"),
    ]);
    lab.build_ok("slipway_nodejs");
    assert!(lab.launch("slipway_nodejs").processes.is_empty());
    let lab = Lab::new(&[("main.py", ""), ("Procfile", "worker: a\n")]);
    lab.build_ok("slipway_python");
    assert!(lab.launch("slipway_python").processes.is_empty());
}
