//! The app as its files describe it, read once.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use super::{errors::NodeError, manifest::Manifest};
use crate::error::{IoContext, IoError};

/// Started when nothing else is said, the first that is there.
pub(super) const MAIN_FILES: [&str; 2] = ["server.js", "index.js"];

#[derive(Debug)]
pub(super) struct App {
    pub(super) dir: PathBuf,
    /// `None` for a script without package.json.
    pub(super) manifest: Option<Manifest>,
    pub(super) lock: Option<Lock>,
    /// What is asked of Node.js, before it is understood.
    pub(super) asked_node: Option<Asked>,
}

/// A lock file says which package manager wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    NpmShrinkwrap,
    Npm,
    Yarn,
    Pnpm,
    Bun,
}

/// A version as somebody wrote it, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(super) text: String,
    pub(super) source: &'static str,
}

impl Lock {
    /// In npm's order of preference.
    const ALL: [Lock; 5] = [
        Lock::NpmShrinkwrap,
        Lock::Npm,
        Lock::Yarn,
        Lock::Pnpm,
        Lock::Bun,
    ];

    fn manager(self) -> &'static str {
        match self {
            Lock::NpmShrinkwrap | Lock::Npm => "npm",
            Lock::Yarn => "yarn",
            Lock::Pnpm => "pnpm",
            Lock::Bun => "bun",
        }
    }

    pub(super) fn file(self) -> &'static str {
        match self {
            Lock::NpmShrinkwrap => "npm-shrinkwrap.json",
            Lock::Npm => "package-lock.json",
            Lock::Yarn => "yarn.lock",
            Lock::Pnpm => "pnpm-lock.yaml",
            Lock::Bun => "bun.lock",
        }
    }
}

pub(super) fn is_node(app: &Path) -> bool {
    app.join("package.json").is_file() || MAIN_FILES.iter().any(|name| app.join(name).is_file())
}

/// A script at the root of something that is not quite a Node.js app.
pub(super) fn other_script(app: &Path) -> Option<String> {
    let mut scripts: Vec<String> = fs::read_dir(app)
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| {
            [".js", ".mjs", ".cjs", ".ts"]
                .iter()
                .any(|end| name.ends_with(end))
        })
        .collect();
    scripts.sort();
    scripts.into_iter().next()
}

impl App {
    pub(super) fn read(dir: &Path) -> Result<App, NodeError> {
        let manifest = read_optional(&dir.join("package.json"))?
            .map(|text| Manifest::parse(&text))
            .transpose()
            .map_err(NodeError::Manifest)?;
        Ok(App {
            asked_node: asked_node(dir, manifest.as_ref())?,
            lock: lock(dir, manifest.as_ref())?,
            manifest,
            dir: dir.to_owned(),
        })
    }

    pub(super) fn script(&self, name: &str) -> Option<&str> {
        self.manifest.as_ref()?.script(name)
    }
}

/// The user's word first, then the files made for it, then what the package claims to work with.
fn asked_node(dir: &Path, manifest: Option<&Manifest>) -> Result<Option<Asked>, NodeError> {
    let asked = |text: String, source| {
        let text = text.trim().to_owned();
        (!text.is_empty()).then_some(Asked { text, source })
    };
    if let Some(found) = env::var("BP_NODE_VERSION")
        .ok()
        .and_then(|text| asked(text, "BP_NODE_VERSION"))
    {
        return Ok(Some(found));
    }
    if let Some(found) = manifest
        .and_then(|manifest| manifest.engine("node"))
        .and_then(|text| asked(text.to_owned(), "engines.node in package.json"))
    {
        return Ok(Some(found));
    }
    for source in [".nvmrc", ".node-version"] {
        let text = read_optional(&dir.join(source))?;
        let line = text.as_deref().and_then(first_line).map(str::to_owned);
        if let Some(found) = line.and_then(|line| asked(line, source)) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Without what follows a `#`, as nvm reads it.
fn first_line(text: &str) -> Option<&str> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .find(|line| !line.is_empty())
}

/// Two package managers' locks describe two different sets of packages: which one is meant, only the author knows.
fn lock(dir: &Path, manifest: Option<&Manifest>) -> Result<Option<Lock>, NodeError> {
    let found: Vec<Lock> = Lock::ALL
        .into_iter()
        .filter(|lock| dir.join(lock.file()).is_file())
        .collect();
    let named = manifest.and_then(Manifest::package_manager);
    let fits = |lock: &Lock| named.is_none_or(|(name, _)| name == lock.manager());
    match found
        .iter()
        .copied()
        .filter(fits)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [] => match found.first() {
            Some(other) => Err(NodeError::LockOfAnother {
                lock: other.file(),
                manager: named.map_or("", |(name, _)| name).to_owned(),
            }),
            None => Ok(None),
        },
        [only] | [only @ Lock::NpmShrinkwrap, Lock::Npm] => Ok(Some(*only)),
        several => Err(NodeError::SeveralLocks(
            several.iter().map(|lock| lock.file()).collect(),
        )),
    }
}

fn read_optional(path: &Path) -> Result<Option<String>, IoError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("read", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(files: &[(&str, &str)]) -> Result<App, NodeError> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in files {
            fs::write(dir.path().join(name), text).expect("written");
        }
        App::read(dir.path())
    }

    #[track_caller]
    fn check_asked(files: &[(&str, &str)], expected: Option<(&str, &str)>) {
        let asked = app(files).expect("an app").asked_node;
        let asked = asked
            .as_ref()
            .map(|asked| (asked.text.as_str(), asked.source));
        assert_eq!(asked, expected);
    }

    #[test]
    fn the_version_comes_from_the_first_that_names_one() {
        let engines = ("package.json", r#"{"engines": {"node": " >=20 "}}"#);
        check_asked(
            &[engines, (".nvmrc", "18")],
            Some((">=20", "engines.node in package.json")),
        );
        check_asked(
            &[(".nvmrc", "# ours\nv18 # old\n")],
            Some(("v18", ".nvmrc")),
        );
        check_asked(
            &[(".nvmrc", "\n"), (".node-version", "22.1.0\n")],
            Some(("22.1.0", ".node-version")),
        );
        check_asked(&[("package.json", r#"{"engines": ["node"]}"#)], None);
    }

    #[track_caller]
    fn check_lock(files: &[&str], manifest: &str, expected: Option<Lock>) {
        let mut files: Vec<(&str, &str)> = files.iter().map(|name| (*name, "")).collect();
        files.push(("package.json", manifest));
        assert_eq!(app(&files).ok().map(|app| app.lock), expected.map(Some));
    }

    #[test]
    fn one_lock_counts_and_two_are_a_question() {
        check_lock(&["package-lock.json"], "{}", Some(Lock::Npm));
        check_lock(
            &["package-lock.json", "npm-shrinkwrap.json"],
            "{}",
            Some(Lock::NpmShrinkwrap),
        );
        check_lock(&["package-lock.json", "yarn.lock"], "{}", None);
        let pnpm = r#"{"packageManager": "pnpm@9.1.0"}"#;
        check_lock(
            &["package-lock.json", "pnpm-lock.yaml"],
            pnpm,
            Some(Lock::Pnpm),
        );
        check_lock(&["package-lock.json"], pnpm, None);
    }
}
