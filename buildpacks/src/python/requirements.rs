//! requirements.txt, as far as it decides what an install depends on: the files that it includes, the folders of the app
//! that it installs.

use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
};

use super::{app::read_optional, errors::PythonError};
use crate::key::Key;

/// Deeper nesting is a circle, or as good as one.
const FILES_MAX: usize = 100;

#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    /// `-r file`, `-c file`
    Include(&'a str),
    /// A folder or archive of the app, which is copied: its contents decide the result.
    Copied(&'a str),
    /// `-e folder`: only what describes the package decides the result; the code stays where it is.
    Linked(&'a str),
    Other,
}

/// Adds everything to the key that `file` makes the install depend on.
pub(super) fn add_to_key(mut key: Key, app: &Path, file: &str) -> Result<Key, PythonError> {
    let mut todo = vec![PathBuf::from(file)];
    let mut seen = BTreeSet::new();
    while let Some(name) = todo.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        if seen.len() > FILES_MAX {
            return Err(PythonError::TooManyIncludes(FILES_MAX));
        }
        let path = app.join(&name);
        key = key.with_file(&path)?;
        let text = read_optional(&path)?.unwrap_or_default();
        // Included files are named relative to the one that includes them, folders to where the installer runs.
        let parent = name.parent().unwrap_or(Path::new(""));
        for line in joined_lines(&text) {
            match parse_line(&line) {
                Line::Include(other) if !other.contains("://") => {
                    todo.push(normal(&parent.join(other)));
                }
                Line::Copied(place) => key = add_place(key, &app.join(place))?,
                Line::Linked(place) => {
                    for name in ["setup.py", "setup.cfg", "pyproject.toml"] {
                        key = key.with_file(&app.join(place).join(name))?;
                    }
                }
                Line::Include(_) | Line::Other => {}
            }
        }
    }
    Ok(key)
}

fn add_place(key: Key, place: &Path) -> Result<Key, PythonError> {
    Ok(match place.is_dir() {
        true => key.with_tree(place)?,
        false => key.with_file(place)?,
    })
}

/// A backslash at the end of a line continues it.
fn joined_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut current = String::new();
    for line in text.lines() {
        match line.strip_suffix('\\') {
            Some(start) => current.push_str(start),
            None => {
                current.push_str(line);
                lines.push(std::mem::take(&mut current));
            }
        }
    }
    if !current.is_empty() {
        lines.push(current);
    }
    lines
}

fn parse_line(line: &str) -> Line<'_> {
    let line = match line.trim_start().starts_with('#') {
        true => "",
        false => line.split(" #").next().unwrap_or(line).trim(),
    };
    if let Some(file) = option(line, &["-r", "--requirement", "-c", "--constraint"]) {
        return Line::Include(file);
    }
    if let Some(place) = option(line, &["-e", "--editable"]) {
        return Line::Linked(without_extras(place));
    }
    let place = line.split(';').next().unwrap_or(line).trim();
    let place = match place.split_once(" @ ") {
        Some((_, reference)) => reference.trim(),
        None => place,
    };
    let place = place
        .strip_prefix("file://")
        .or(place.strip_prefix("file:"))
        .unwrap_or(place);
    let is_path = place.starts_with('.') || place.starts_with('/') || is_archive(place);
    match is_path && !place.contains("://") {
        true => Line::Copied(without_extras(place)),
        false => Line::Other,
    }
}

fn is_archive(place: &str) -> bool {
    [".whl", ".tar.gz", ".zip"]
        .iter()
        .any(|end| place.ends_with(end))
}

/// The value of an option, written `-r file`, `-rfile` or `--requirement=file`.
fn option<'a>(line: &'a str, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| {
        let rest = line.strip_prefix(name)?;
        let value = rest.trim_start_matches('=').trim();
        let is_separate = rest.starts_with([' ', '\t', '=']);
        let is_short = !name.starts_with("--");
        (!value.is_empty() && (is_separate || is_short)).then_some(value)
    })
}

fn without_extras(place: &str) -> &str {
    place.split('[').next().unwrap_or(place).trim()
}

fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(normal.pop()),
            other => normal.push(other),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_that_lead_to_other_files_are_seen() {
        for (line, expected) in [
            ("flask==3.1.3", Line::Other),
            ("flask @ https://host/flask.whl", Line::Other),
            ("git+https://host/repo.git", Line::Other),
            ("# -r other.txt", Line::Other),
            ("", Line::Other),
            ("--hash=sha256:abc", Line::Other),
            ("--index-url https://host/simple", Line::Other),
            ("-r base.txt", Line::Include("base.txt")),
            ("-rbase.txt", Line::Include("base.txt")),
            ("  --requirement=base.txt # more", Line::Include("base.txt")),
            ("-c constraints.txt", Line::Include("constraints.txt")),
            ("-e .", Line::Linked(".")),
            ("-e ./lib[extra]", Line::Linked("./lib")),
            (".", Line::Copied(".")),
            ("./lib[extra] ; python_version > '3'", Line::Copied("./lib")),
            ("lib @ file:./lib", Line::Copied("./lib")),
            (
                "vendor/a-1.0-py3-none-any.whl",
                Line::Copied("vendor/a-1.0-py3-none-any.whl"),
            ),
        ] {
            assert_eq!(parse_line(line), expected, "{line}");
        }
        assert_eq!(joined_lines("a \\\n  b\nc"), ["a   b", "c"]);
    }

    #[test]
    fn the_key_follows_includes_and_local_packages() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("inside")).expect("made");
            fs::write(path, text).expect("written");
        };
        let key = || {
            add_to_key(Key::new("t"), dir.path(), "requirements.txt")
                .expect("readable")
                .finish()
        };
        write("requirements.txt", "-r req/base.txt\n./lib\n-e ./linked\n");
        write("req/base.txt", "-r ../req/base.txt\n-c more.txt\n");
        write("req/more.txt", "flask==1\n");
        write("lib/a.py", "1");
        write("linked/a.py", "1");
        write("unrelated.py", "1");
        let first = key();

        write("unrelated.py", "2");
        write("linked/a.py", "2");
        assert_eq!(key(), first, "code that stays where it is does not count");
        write("req/more.txt", "flask==2\n");
        let second = key();
        assert_ne!(second, first);
        write("lib/a.py", "2");
        assert_ne!(key(), second);
    }
}
