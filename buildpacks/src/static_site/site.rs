//! The site as the server knows it: each file that may be served, by its path below the root, and how an address finds
//! its file.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{errors::StaticError, settings::Settings};
use crate::{
    error::{IoContext, IoError},
    key::hex,
};

/// Of the SHA-256, in hex digits: 128 bits tell any two files of a site apart.
const ETAG_DIGITS: usize = 32;

/// For the platform, not for visitors, when the whole app is the site.
const NOT_SERVED_AT_ROOT: [&str; 3] = ["Procfile", "Staticfile", "static.json"];

/// The one folder with a dot that is meant to be seen (RFC 8615).
const WELL_KNOWN: &str = ".well-known";

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Site {
    /// Absolute, in the image.
    pub(super) root: PathBuf,
    pub(super) clean_urls: bool,
    pub(super) routes: Vec<(String, String)>,
    pub(super) error_page: Option<String>,
    /// By path below the root, `/` between the segments.
    pub(super) files: BTreeMap<String, SiteFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SiteFile {
    /// With its quotes. By content: every file of an image has the same time stamp.
    pub(super) etag: String,
    pub(super) bytes: u64,
}

/// What an address leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    File(&'a str),
    /// The address of a folder without its slash.
    Folder,
    Nothing,
}

pub(super) fn list(app: &Path, settings: Settings) -> Result<Site, StaticError> {
    let (root, shown) = match settings.root.as_os_str().is_empty() {
        true => (app.to_owned(), ".".to_owned()),
        false => (
            app.join(&settings.root),
            settings.root.to_string_lossy().into_owned(),
        ),
    };
    if !root.is_dir() {
        return Err(StaticError::NoRoot(shown));
    }
    let mut files = files_below(&root).map_err(StaticError::Io)?;
    if root == app {
        files.retain(|name, _| !NOT_SERVED_AT_ROOT.contains(&name.as_str()));
    }
    if files.is_empty() {
        return Err(StaticError::NoFiles(shown));
    }
    let missing = |key, file: &String| match files.contains_key(file) {
        true => Ok(()),
        false => Err(StaticError::Missing {
            key,
            file: file.clone(),
        }),
    };
    settings
        .routes
        .values()
        .try_for_each(|file| missing("routes", file))?;
    settings
        .error_page
        .iter()
        .try_for_each(|file| missing("error_page", file))?;
    let has_404 = files.contains_key("404.html");
    Ok(Site {
        root,
        clean_urls: settings.clean_urls,
        routes: settings.routes.into_iter().collect(),
        error_page: settings
            .error_page
            .or_else(|| has_404.then(|| "404.html".to_owned())),
        files,
    })
}

impl Site {
    /// `path` is decoded and begins with `/`.
    pub(super) fn find(&self, path: &str) -> Found<'_> {
        let name = path.strip_prefix('/').unwrap_or(path);
        let file = |name: &str| {
            self.files
                .get_key_value(name)
                .map(|(name, _)| name.as_str())
        };
        if let Some(file) = file(name) {
            return Found::File(file);
        }
        if name.is_empty() || name.ends_with('/') {
            if let Some(file) = file(&format!("{name}index.html")) {
                return Found::File(file);
            }
        } else if file(&format!("{name}/index.html")).is_some() {
            return Found::Folder;
        } else if self.clean_urls
            && let Some(file) = file(&format!("{name}.html"))
        {
            return Found::File(file);
        }
        let route = self
            .routes
            .iter()
            .find(|(pattern, _)| matches(pattern, path));
        match route.and_then(|(_, target)| file(target)) {
            Some(file) => Found::File(file),
            None => Found::Nothing,
        }
    }
}

/// `*` stands for one segment, `**` for any number of them.
fn matches(pattern: &str, path: &str) -> bool {
    fn segments_match(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern, path) {
            ([], []) => true,
            (["**", rest @ ..], _) => {
                // Only the last of several `**` in a row can matter, so the depth is that of the pattern.
                (0..=path.len()).any(|skipped| segments_match(rest, &path[skipped..]))
            }
            (["*", rest @ ..], [_, path @ ..]) => segments_match(rest, path),
            ([word, rest @ ..], [segment, path @ ..]) => {
                word == segment && segments_match(rest, path)
            }
            _ => false,
        }
    }
    let split = |text: &'_ str| -> Vec<String> {
        let mut segments: Vec<String> = text
            .trim_start_matches('/')
            .split('/')
            .map(str::to_owned)
            .collect();
        segments.dedup_by(|next, previous| next == "**" && previous == "**");
        segments
    };
    let (pattern, path) = (split(pattern), split(path));
    segments_match(
        &pattern.iter().map(String::as_str).collect::<Vec<_>>(),
        &path.iter().map(String::as_str).collect::<Vec<_>>(),
    )
}

/// Files below `root`, and links to files that stay inside it. Links to folders are not followed: they can make a circle.
fn files_below(root: &Path) -> Result<BTreeMap<String, SiteFile>, IoError> {
    let inside = root.canonicalize().at("read", root)?;
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).at("read", &folder)? {
            let entry = entry.at("read", &folder)?;
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if name.starts_with('.') && name != WELL_KNOWN {
                continue;
            }
            let kind = entry.file_type().at("read", &path)?;
            if kind.is_dir() {
                folders.push(path);
                continue;
            }
            let served = kind.is_file()
                || kind.is_symlink()
                    && path.is_file()
                    && path
                        .canonicalize()
                        .is_ok_and(|real| real.starts_with(&inside));
            if let (true, Ok(below), Some(_)) = (served, path.strip_prefix(root), path.to_str()) {
                files.insert(below.to_string_lossy().into_owned(), describe(&path)?);
            }
        }
    }
    Ok(files)
}

fn describe(path: &Path) -> Result<SiteFile, IoError> {
    struct Hashing(Sha256);
    impl io::Write for Hashing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut file = File::open(path).at("read", path)?;
    let mut hash = Hashing(Sha256::new());
    let bytes = io::copy(&mut file, &mut hash).at("read", path)?;
    let digest = hex(&hash.0.finalize());
    Ok(SiteFile {
        etag: format!("\"{}\"", &digest[..ETAG_DIGITS]),
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn site(names: &[&str], routes: &[(&str, &str)]) -> Site {
        let file = SiteFile {
            etag: "\"e\"".to_owned(),
            bytes: 1,
        };
        Site {
            root: PathBuf::from("/workspace"),
            clean_urls: true,
            routes: routes
                .iter()
                .map(|(pattern, file)| ((*pattern).to_owned(), (*file).to_owned()))
                .collect(),
            error_page: None,
            files: names
                .iter()
                .map(|name| ((*name).to_owned(), file.clone()))
                .collect(),
        }
    }

    #[test]
    fn an_address_finds_its_file() {
        let site = site(
            &[
                "index.html",
                "about.html",
                "docs/index.html",
                "a.js",
                "app.html",
            ],
            &[("/app/**", "app.html"), ("/user/*", "app.html")],
        );
        for (path, expected) in [
            ("/", Found::File("index.html")),
            ("/a.js", Found::File("a.js")),
            ("/about", Found::File("about.html")),
            ("/about/", Found::Nothing),
            ("/docs/", Found::File("docs/index.html")),
            ("/docs", Found::Folder),
            ("/app/x/y", Found::File("app.html")),
            ("/user/1", Found::File("app.html")),
            ("/user/1/2", Found::Nothing),
            ("/../index.html", Found::Nothing),
            ("/docs/../a.js", Found::Nothing),
            ("//a.js", Found::Nothing),
            ("/none", Found::Nothing),
        ] {
            assert_eq!(site.find(path), expected, "{path}");
        }
    }

    #[test]
    fn clean_urls_can_be_switched_off() {
        let mut site = site(&["about.html"], &[]);
        site.clean_urls = false;
        assert_eq!(site.find("/about"), Found::Nothing);
    }

    #[test]
    fn patterns_match_by_segment() {
        for (pattern, path, expected) in [
            ("/**", "/", true),
            ("/**", "/a/b", true),
            ("/a/**", "/a", true),
            ("/a/**/z", "/a/b/c/z", true),
            ("/a/*", "/a/", true),
            ("/*", "/a/b", false),
            ("/a", "/a/b", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
        // Would take for ever if each `**` of a row were tried by itself.
        let stars = "/**".repeat(40);
        assert!(!matches(&format!("{stars}/z"), &"/a".repeat(200)));
    }

    #[test]
    fn only_what_is_meant_for_visitors_is_listed() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let app = dir.path();
        for (name, text) in [
            ("index.html", "hello"),
            (".env", "secret"),
            (".git/config", "secret"),
            (".well-known/security.txt", "mail"),
            ("static.json", "{}"),
            ("sub/static.json", "{}"),
        ] {
            let path = app.join(name);
            fs::create_dir_all(path.parent().expect("inside")).expect("made");
            fs::write(path, text).expect("written");
        }
        symlink("/etc/passwd", app.join("passwd")).expect("linked");
        symlink("index.html", app.join("home.html")).expect("linked");
        symlink("..", app.join("sub/up")).expect("linked");

        let (settings, _) = super::super::settings::read(app).expect("settings");
        let site = list(app, settings).expect("a site");

        let names: Vec<&str> = site.files.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                ".well-known/security.txt",
                "home.html",
                "index.html",
                "sub/static.json"
            ]
        );
        assert_eq!(site.files["index.html"], site.files["home.html"]);
        assert_eq!(site.files["index.html"].bytes, 5);
    }
}
