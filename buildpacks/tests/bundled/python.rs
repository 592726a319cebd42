//! Python apps, installed from the package index.

use std::{fs, os::unix::fs::MetadataExt};

use crate::{Case, lab::Lab};

const PYTHON: &str = "slipway_python";

pub(crate) const CASES: &[Case] = &[
    (
        "python_django_collects_static_files",
        django_collects_static_files,
    ),
    ("python_flask_is_installed_once", flask_is_installed_once),
    ("python_fastapi_by_uv", fastapi_by_uv),
    ("python_local_packages", local_packages),
    ("python_alone", alone),
    ("python_failures_are_explained", failures_are_explained),
];

fn flask_is_installed_once() {
    let mut lab = Lab::sample("python-flask");
    let output = lab.build_ok(PYTHON);
    assert!(
        output.contains("-----> Installing packages with uv\n"),
        "{output}"
    );
    assert!(
        output.contains("       web -> gunicorn --bind 0.0.0.0:$PORT 'app:app'\n"),
        "{output}"
    );
    lab.check_reproducible(PYTHON, "python-flask");
    let running = lab.start(PYTHON, "web");
    assert_eq!(running.get("/").body, "Hello from Flask\n");
    assert_eq!(running.get("/env/PYTHONUNBUFFERED").body, "1\n");
    assert_eq!(running.stop(), Some(0), "SIGTERM reaches gunicorn itself");

    lab.restore(PYTHON, Some("python-flask"));
    lab.cut_off(PYTHON);
    let text = fs::read_to_string(lab.app().join("app.py")).expect("readable");
    lab.write("app.py", &text.replace("Hello from", "Goodbye from"));
    let output = lab.build_ok(PYTHON);
    assert!(output.contains("Nothing has changed"), "{output}");
    assert_eq!(
        lab.start(PYTHON, "web").get("/").body,
        "Goodbye from Flask\n"
    );

    // Now something has.
    lab.restore(PYTHON, Some("python-flask"));
    let inode = || {
        fs::metadata(lab.layers(PYTHON).join("venv"))
            .expect("the layer")
            .ino()
    };
    let before = inode();
    lab.write("requirements.txt", "flask==3.1.2\n");
    let run = lab.build(PYTHON);
    assert_eq!(run.code, Some(1), "uv was started, and could do nothing");
    assert_eq!(
        inode(),
        before,
        "a stale layer may be a mount: it is emptied, not deleted"
    );
    assert!(
        run.output
            .contains(" !     The packages could not be installed\n"),
        "{}",
        run.output
    );
}

fn fastapi_by_uv() {
    let lab = Lab::sample("python-fastapi-uv");
    lab.build_ok(PYTHON);
    let running = lab.start(PYTHON, "web");
    assert_eq!(running.get("/").body, "Hello from FastAPI\n");
    let command = lab.command_line(PYTHON, "web");
    assert_eq!(
        command,
        "bash -c exec uvicorn main:app --host 0.0.0.0 --port $PORT"
    );
    let packages = walk(&lab.layers(PYTHON).join("venv/lib"));
    assert!(packages.iter().any(|name| name.ends_with("fastapi")));
    assert!(
        !packages.iter().any(|name| name.ends_with("iniconfig")),
        "no development packages"
    );
}

fn django_collects_static_files() {
    let lab = Lab::sample("python-django");
    let output = lab.build_ok(PYTHON);
    assert!(output.contains("static file"), "{output}");
    let running = lab.start(PYTHON, "web");
    let page = running.get("/").body;
    assert!(page.contains("<h1>Hello from Django</h1>"), "{page}");
    let style = page
        .split("href=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let style = running.get(style.expect("a style sheet"));
    assert_eq!(style.status, 200);
    assert!(style.body.contains("sans-serif"));

    lab.write(
        "site_config/settings.py",
        "import os\nSECRET_KEY = os.environ['NO_SUCH_KEY']\n",
    );
    let run = lab.build(PYTHON);
    assert_eq!(run.code, Some(1));
    assert!(
        run.output.contains("KeyError: 'NO_SUCH_KEY'"),
        "{}",
        run.output
    );
    assert!(
        run.output.contains("DISABLE_COLLECTSTATIC=1"),
        "{}",
        run.output
    );
}

/// A package of the app itself: the code is used as pushed, also when nothing is installed anew.
fn local_packages() {
    let lab = Lab::new(&[
        (
            "pyproject.toml",
            "[project]\nname = 'shop'\nversion = '1'\n[project.scripts]\nshop = 'shop:main'\n\
             [build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n\
             [tool.setuptools]\npackages = ['shop']\npackage-dir = {'' = 'src'}\n",
        ),
        ("src/shop/__init__.py", "def main(): print('first')\n"),
    ]);
    lab.build_ok(PYTHON);
    let shop = lab.layers(PYTHON).join("venv/bin/shop");
    let run = || {
        let output = std::process::Command::new(&shop).output().expect("started");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(run(), "first\n");
    lab.restore(PYTHON, None);
    lab.write("src/shop/__init__.py", "def main(): print('second')\n");
    assert!(lab.build_ok(PYTHON).contains("Nothing has changed"));
    assert_eq!(run(), "second\n");
}

/// Only the standard library: nothing is downloaded.
fn alone() {
    let mut lab = Lab::new(&[(
        "main.py",
        "import os\nfrom http.server import *\n\
         HTTPServer(('', int(os.environ['PORT'])), SimpleHTTPRequestHandler).serve_forever()\n",
    )]);
    lab.env
        .insert("HTTPS_PROXY".to_owned(), "http://127.0.0.1:9".to_owned());
    lab.build_ok(PYTHON);
    assert_eq!(
        lab.command_line(PYTHON, "web"),
        "bash -c exec python main.py"
    );
    assert_eq!(lab.start(PYTHON, "web").get("/main.py").status, 200);
}

fn failures_are_explained() {
    for (files, expected) in [
        (
            vec![("requirements.txt", "no-such-package-at-all==1\n")],
            " !     The packages could not be installed\n",
        ),
        (
            vec![("pyproject.toml", "[project\n")],
            " !     pyproject.toml is not valid\n",
        ),
        (
            vec![("poetry.lock", "")],
            " !         poetry export -o requirements.txt\n",
        ),
        (
            vec![("main.py", ""), (".python-version", "banana\n")],
            " !     .python-version says `banana`. Ask for a line such as `3.13`.\n",
        ),
        (
            vec![("main.py", ""), (".python-version", "3.99\n")],
            " !     .python-version asks for `3.99`; the stack has 3.",
        ),
    ] {
        let lab = Lab::new(&files);
        assert_eq!(lab.detect(PYTHON).code, Some(0));
        let run = lab.build(PYTHON);
        assert_eq!(run.code, Some(1), "{}", run.output);
        assert!(run.output.contains(expected), "{}", run.output);
    }
}

fn walk(dir: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).expect("readable").flatten() {
        names.push(entry.path().display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.extend(walk(&entry.path()));
        }
    }
    names
}
