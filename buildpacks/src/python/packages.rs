//! The app's packages, in a virtual environment that is a layer. The same key means that nothing is started.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use libcnb::{build::BuildContext, data::layer_name};

use super::{
    Python,
    app::{App, Source},
    errors::PythonError,
    interpreter::Interpreter,
    requirements,
    uv::{self, UV_VERSION, Uv},
};
use crate::{
    command,
    error::{IoContext, IoError},
    key::Key,
    layer::{Use, keyed},
    print, tree,
};

/// Decide where packages come from, and so what they are.
const INDEX_VARIABLES: [&str; 6] = [
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_EXTRA_INDEX_URL",
];

/// The virtual environment.
#[derive(Debug)]
pub(super) struct Packages {
    dir: PathBuf,
    site_packages: PathBuf,
}

/// `None` for an app that needs nothing but Python itself.
pub(super) fn install(
    context: &BuildContext<Python>,
    app: &App,
    interpreter: &Interpreter,
) -> libcnb::Result<Option<Packages>, PythonError> {
    if app.source == Source::Nothing {
        return Ok(None);
    }
    print::step("Installing packages with uv");
    if let Source::Pyproject { .. } = app.source {
        print::warning(
            "There is no uv.lock, so versions may differ from those on your machine.\n\
             `uv lock` writes one: commit it.",
        );
    }
    let key = key(app, interpreter)?;
    let layer = keyed(context, layer_name!("venv"), Use::BuildAndLaunch, &key)?;
    if layer.restored {
        print::detail("Nothing has changed: the packages of the last build are used");
        uv::keep_for_later(context)?;
    } else {
        let start = Instant::now();
        let uv = uv::provide(context)?;
        fill(&uv, app, interpreter, &layer.path())?;
        layer.keep(&interpreter.version.to_string())?;
        uv.bound_cache().map_err(PythonError::Io)?;
        print::done(start.elapsed());
    }
    Ok(Some(Packages::at(layer.path())?))
}

impl Packages {
    fn at(dir: PathBuf) -> Result<Packages, PythonError> {
        let lib = dir.join("lib");
        let site_packages = fs::read_dir(&lib)
            .at("read", &lib)?
            .flatten()
            .map(|entry| entry.path().join("site-packages"))
            .find(|path| path.is_dir())
            .unwrap_or_else(|| lib.join("site-packages"));
        Ok(Packages { dir, site_packages })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether a module can be imported, by its folder.
    pub(super) fn has(&self, module: &str) -> bool {
        self.site_packages.join(module).is_dir()
    }

    pub(super) fn has_program(&self, name: &str) -> bool {
        command::is_executable(&self.dir.join("bin").join(name))
    }

    /// The environment's Python in the app's folder.
    pub(super) fn python(&self, app: &App) -> Command {
        let mut command = Command::new(self.dir.join("bin/python"));
        command
            .current_dir(&app.dir)
            .env("VIRTUAL_ENV", &self.dir)
            .env("PYTHONUNBUFFERED", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

fn key(app: &App, interpreter: &Interpreter) -> Result<String, PythonError> {
    let mut key = Key::new("venv")
        .with("source", format!("{:?}", app.source))
        .with("uv", UV_VERSION)
        .with("python", interpreter.version.to_string())
        .with("program", interpreter.program.to_string_lossy().as_bytes())
        .with("arch", env::consts::ARCH);
    for name in INDEX_VARIABLES {
        key = key.with(name, env::var(name).unwrap_or_default());
    }
    let file = |name: &str| app.dir.join(name);
    Ok(match app.source {
        Source::Requirements => requirements::add_to_key(key, &app.dir, "requirements.txt")?,
        Source::UvLock => key
            .with_file(&file("uv.lock"))?
            .with_file(&file("pyproject.toml"))?
            .with_file(&file("uv.toml"))?,
        Source::Pyproject { .. } => key
            .with_file(&file("pyproject.toml"))?
            .with_file(&file("uv.toml"))?,
        Source::Setup => key
            .with_file(&file("setup.py"))?
            .with_file(&file("setup.cfg"))?,
        Source::Nothing => key,
    }
    .finish())
}

fn fill(uv: &Uv, app: &App, interpreter: &Interpreter, dir: &Path) -> Result<(), PythonError> {
    let mut venv = uv.command(app);
    venv.args([
        "venv",
        "--quiet",
        "--no-project",
        "--allow-existing",
        "--python",
    ])
    .args([&interpreter.program, dir]);
    command::stream(&mut venv).map_err(PythonError::Venv)?;

    let mut install = uv.command(app);
    match app.source {
        Source::UvLock => {
            install
                .args(["sync", "--locked", "--no-default-groups"])
                .env("UV_PROJECT_ENVIRONMENT", dir);
        }
        _ => {
            install
                .args(["pip", "install", "--python"])
                .arg(dir.join("bin/python"))
                .args(arguments(app.source));
        }
    }
    command::stream(&mut install).map_err(|source| PythonError::Install {
        from: app.source,
        source,
    })?;
    Ok(remove_records(dir)?)
}

/// What is to be installed. A package is linked, not copied: its code is the app's, and changes without a new install.
fn arguments(source: Source) -> &'static [&'static str] {
    match source {
        Source::Requirements => &["-r", "requirements.txt"],
        Source::Pyproject { is_package: false } => &["-r", "pyproject.toml"],
        Source::Pyproject { is_package: true } | Source::Setup => &["--editable", "."],
        Source::UvLock | Source::Nothing => &[],
    }
}

/// Their time stamps would make two equal installs differ.
fn remove_records(dir: &Path) -> Result<(), IoError> {
    for name in [".lock", ".gitignore", "CACHEDIR.TAG"] {
        tree::remove(&dir.join(name))?;
    }
    let packages = Packages::at(dir.to_owned()).map(|packages| packages.site_packages);
    let Ok(entries) = packages.map(fs::read_dir) else {
        return Ok(());
    };
    for entry in entries.at("read", dir)?.flatten() {
        if entry.file_name().to_string_lossy().ends_with(".dist-info") {
            tree::remove(&entry.path().join("uv_cache.json"))?;
        }
    }
    Ok(())
}
