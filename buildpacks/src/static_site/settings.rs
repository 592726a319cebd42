//! What the app says about its site, in a `Staticfile` or a `static.json`, or by where its `index.html` is.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Component, Path, PathBuf},
};

use serde::Deserialize;

use super::errors::StaticError;
use crate::error::IoContext;

const STATICFILE: &str = "Staticfile";
const STATIC_JSON: &str = "static.json";

/// Served from here when nothing is said, if it holds an `index.html`.
const PUBLIC: &str = "public";

/// Relative paths are below the root.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// Relative to the app; never leads out of it.
    pub(super) root: PathBuf,
    /// `/about` shows `about.html`.
    pub(super) clean_urls: bool,
    /// Pattern (`*` is one segment, `**` any number) to file, in the order of the pattern's text.
    pub(super) routes: BTreeMap<String, String>,
    /// Shown with status 404.
    pub(super) error_page: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct StaticJson {
    root: Option<String>,
    clean_urls: Option<bool>,
    #[serde(default)]
    routes: BTreeMap<String, String>,
    error_page: Option<String>,
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

pub(super) fn is_site(app: &Path) -> bool {
    [STATICFILE, STATIC_JSON, "index.html"]
        .iter()
        .any(|name| app.join(name).is_file())
        || app.join(PUBLIC).join("index.html").is_file()
}

/// An HTML page at the root that is not called `index.html`: most likely a site that lacks its first page.
pub(super) fn other_page(app: &Path) -> Option<String> {
    if is_site(app) {
        return None;
    }
    let mut pages: Vec<String> = fs::read_dir(app)
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".html") || name.ends_with(".htm"))
        .collect();
    pages.sort();
    pages.into_iter().next()
}

/// The settings, and the keys of `static.json` that have no effect.
pub(super) fn read(app: &Path) -> Result<(Settings, Vec<String>), StaticError> {
    let json = match read_optional(&app.join(STATIC_JSON))? {
        Some(text) => serde_json::from_str(&text).map_err(StaticError::Json)?,
        None => StaticJson::default(),
    };
    let staticfile = read_optional(&app.join(STATICFILE))?;
    let root = match json
        .root
        .or(staticfile.as_deref().and_then(staticfile_root))
    {
        Some(root) => contained(&root)?,
        None if app.join("index.html").is_file() => PathBuf::new(),
        None if app.join(PUBLIC).is_dir() => PathBuf::from(PUBLIC),
        None => PathBuf::new(),
    };
    let below_root = |name: String| name.trim_start_matches('/').to_owned();
    let settings = Settings {
        root,
        clean_urls: json.clean_urls.unwrap_or(true),
        routes: json
            .routes
            .into_iter()
            .map(|(pattern, file)| (pattern, below_root(file)))
            .collect(),
        error_page: json.error_page.map(below_root),
    };
    Ok((settings, json.others.into_keys().collect()))
}

fn staticfile_root(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "root").then(|| value.trim().trim_matches(['"', '\'']).to_owned())
    })
}

/// The path in normal form, or an error when it leads out of the app.
fn contained(root: &str) -> Result<PathBuf, StaticError> {
    let mut path = PathBuf::new();
    for component in Path::new(root).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir if path.pop() => {}
            _ => return Err(StaticError::RootOutside(root.to_owned())),
        }
    }
    Ok(path)
}

fn read_optional(path: &Path) -> Result<Option<String>, StaticError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("read", path).map_err(StaticError::Io),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(files: &[(&str, &str)]) -> Result<(Settings, Vec<String>), StaticError> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("inside")).expect("made");
            fs::write(path, text).expect("written");
        }
        read(dir.path())
    }

    #[track_caller]
    fn check_root(files: &[(&str, &str)], expected: &str) {
        let (settings, _) = settings(files).expect("settings");
        assert_eq!(settings.root, Path::new(expected));
    }

    #[test]
    fn the_root_is_what_is_said_or_where_the_index_is() {
        check_root(&[("index.html", ""), ("public/index.html", "")], "");
        check_root(&[("public/index.html", "")], "public");
        check_root(&[("Staticfile", "# mine\nroot: 'dist'\n")], "dist");
        check_root(&[("Staticfile", ""), ("index.html", "")], "");
        check_root(
            &[("static.json", r#"{"root": "public_html/"}"#)],
            "public_html",
        );
        check_root(&[("static.json", r#"{"root": "./a/../b"}"#)], "b");
    }

    #[test]
    fn a_root_outside_the_app_is_refused() {
        for root in ["..", "/etc", "a/../../b"] {
            let json = format!(r#"{{"root": "{root}"}}"#);
            let error = settings(&[("static.json", &json)]).expect_err("refused");
            assert!(matches!(error, StaticError::RootOutside(_)), "{root}");
        }
    }

    #[test]
    fn other_keys_are_named() {
        let json = r#"{"routes": {"/**": "/index.html"}, "error_page": "/e.html", "headers": {}, "proxies": {}}"#;
        let (settings, ignored) = settings(&[("static.json", json)]).expect("settings");
        assert_eq!(ignored, ["headers", "proxies"]);
        assert_eq!(settings.routes["/**"], "index.html");
        assert_eq!(settings.error_page.as_deref(), Some("e.html"));
        assert!(settings.clean_urls);
    }
}
