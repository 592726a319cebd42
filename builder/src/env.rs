//! The environment of buildpacks and of processes, and how layers change it (buildpack spec, "Environment").

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

/// Variables that hold lists of directories: the user's value goes before ours instead of in its place.
const PATHS: &[&str] = &[
    "PATH",
    "LD_LIBRARY_PATH",
    "LIBRARY_PATH",
    "CPATH",
    "PKG_CONFIG_PATH",
];

/// Directories at a layer's root and the variables that name them.
type Roots = &'static [(&'static str, &'static [&'static str])];
pub(crate) const BUILD_ROOTS: Roots = &[
    ("bin", &["PATH"]),
    ("lib", &["LD_LIBRARY_PATH", "LIBRARY_PATH"]),
    ("include", &["CPATH"]),
    ("pkgconfig", &["PKG_CONFIG_PATH"]),
];
pub(crate) const LAUNCH_ROOTS: Roots = &[("bin", &["PATH"]), ("lib", &["LD_LIBRARY_PATH"])];

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Env(BTreeMap<OsString, OsString>);

impl Env {
    pub(crate) fn current() -> Self {
        Self(std::env::vars_os().collect())
    }

    pub(crate) fn vars(&self) -> impl Iterator<Item = (&OsString, &OsString)> {
        self.0.iter()
    }

    pub(crate) fn get(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        self.0.get(name.as_ref()).map(OsString::as_os_str)
    }

    pub(crate) fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.0.insert(name.into(), value.into());
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.remove(OsStr::new(name));
    }

    /// `<platform>/env`: one file per variable.
    pub(crate) fn add_platform(&mut self, dir: &Path) -> io::Result<()> {
        for (name, path) in files(dir)? {
            let value = fs::read(path)?;
            if PATHS.iter().any(|known| *known == name) {
                self.prepend(&name, &value, b":");
            } else {
                self.set(name, OsString::from_vec(value));
            }
        }
        Ok(())
    }

    /// The directories at the layer's root.
    pub(crate) fn add_roots(&mut self, layer: &Path, roots: Roots) {
        for (dir, variables) in roots {
            let dir = layer.join(dir);
            if dir.is_dir() {
                for name in *variables {
                    self.prepend(OsStr::new(name), dir.as_os_str().as_bytes(), b":");
                }
            }
        }
    }

    /// A layer's `env`, `env.build` or `env.launch` directory. The file's suffix says what to do with its content.
    pub(crate) fn add_dir(&mut self, dir: &Path) -> io::Result<()> {
        for (file, path) in files(dir)? {
            let Some((name, action)) = split(&file) else {
                continue;
            };
            let value = fs::read(&path)?;
            match action {
                b"" | b"override" => self.set(name, OsString::from_vec(value)),
                b"default" if self.is_empty(name) => self.set(name, OsString::from_vec(value)),
                b"append" => self.append(name, &value, &delimiter(dir, name)?),
                b"prepend" => self.prepend(name, &value, &delimiter(dir, name)?),
                _ => {}
            }
        }
        Ok(())
    }

    fn is_empty(&self, name: &OsStr) -> bool {
        self.get(name).is_none_or(OsStr::is_empty)
    }

    fn append(&mut self, name: &OsStr, value: &[u8], delimiter: &[u8]) {
        let joined = match self.get(name) {
            Some(old) if !old.is_empty() => [old.as_bytes(), delimiter, value].concat(),
            _ => value.to_vec(),
        };
        self.set(name, OsString::from_vec(joined));
    }

    fn prepend(&mut self, name: &OsStr, value: &[u8], delimiter: &[u8]) {
        let joined = match self.get(name) {
            Some(old) if !old.is_empty() => [value, delimiter, old.as_bytes()].concat(),
            _ => value.to_vec(),
        };
        self.set(name, OsString::from_vec(joined));
    }
}

/// `NAME.append` is `NAME` and `append`; a name holds no dot.
fn split(file: &OsStr) -> Option<(&OsStr, &[u8])> {
    let bytes = file.as_bytes();
    let (name, action) = match bytes.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&bytes[..dot], &bytes[dot + 1..]),
        None => (bytes, &b""[..]),
    };
    (!name.is_empty()).then(|| (OsStr::from_bytes(name), action))
}

fn delimiter(dir: &Path, name: &OsStr) -> io::Result<Vec<u8>> {
    let mut file = name.to_owned();
    file.push(".delim");
    match fs::read(dir.join(file)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        result => result,
    }
}

/// Files and links to files, by name; none when there is no such directory.
fn files(dir: &Path) -> io::Result<BTreeMap<OsString, PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        result => result?,
    };
    let mut files = BTreeMap::new();
    for entry in entries {
        let entry = entry?;
        if entry.path().is_file() {
            files.insert(entry.file_name(), entry.path());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, files: &[(&str, &str)]) {
        for (name, content) in files {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    fn check(old: Option<&str>, files: &[(&str, &str)], expected: Option<&str>) {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), files);
        let mut env = Env::default();
        if let Some(old) = old {
            env.set("V", old);
        }
        env.add_dir(dir.path()).unwrap();
        assert_eq!(env.get("V"), expected.map(OsStr::new), "{old:?} {files:?}");
    }

    #[test]
    fn the_suffix_says_what_to_do() {
        check(Some("old"), &[("V", "new")], Some("new"));
        check(Some("old"), &[("V.override", "new\n")], Some("new\n"));
        check(Some("old"), &[("V.default", "new")], Some("old"));
        check(Some(""), &[("V.default", "new")], Some("new"));
        check(None, &[("V.default", "new")], Some("new"));
        check(Some("old"), &[("V.append", "new")], Some("oldnew"));
        check(
            Some("old"),
            &[("V.append", "new"), ("V.delim", ";")],
            Some("old;new"),
        );
        check(None, &[("V.append", "new"), ("V.delim", ";")], Some("new"));
        check(
            Some("old"),
            &[("V.prepend", "new"), ("V.delim", ":")],
            Some("new:old"),
        );
        // In the order of the names: append, override, prepend.
        check(
            Some("old"),
            &[("V.append", "a"), ("V.override", "o"), ("V.prepend", "p")],
            Some("po"),
        );
        check(Some("old"), &[("V.unknown", "new")], Some("old"));
        check(Some("old"), &[("V.x.append", "new")], Some("old"));
        check(None, &[(".append", "new"), ("web/V", "deep")], None);
    }

    #[test]
    fn the_last_layer_comes_first_in_path() {
        let dir = tempfile::tempdir().unwrap();
        write(
            dir.path(),
            &[
                ("a/bin/x", ""),
                ("b/bin/x", ""),
                ("b/lib/x", ""),
                ("b/include", ""),
            ],
        );
        let mut env = Env::default();
        env.set("PATH", "/usr/bin");
        for layer in ["a", "b"] {
            env.add_roots(&dir.path().join(layer), BUILD_ROOTS);
        }
        let at = dir.path().display();
        let of = |name: &str| {
            env.get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(of("PATH"), Some(format!("{at}/b/bin:{at}/a/bin:/usr/bin")));
        assert_eq!(of("LIBRARY_PATH"), Some(format!("{at}/b/lib")));
        assert_eq!(of("CPATH"), None, "a file is no directory");
    }

    #[test]
    fn the_user_overrides_but_adds_to_paths() {
        let dir = tempfile::tempdir().unwrap();
        write(
            dir.path(),
            &[("PATH", "/mine"), ("A.B", "dotted"), ("X", "2\n")],
        );
        let mut env = Env::default();
        env.set("PATH", "/usr/bin");
        env.set("X", "1");
        env.add_platform(dir.path()).unwrap();
        assert_eq!(env.get("PATH"), Some(OsStr::new("/mine:/usr/bin")));
        assert_eq!(env.get("A.B"), Some(OsStr::new("dotted")));
        assert_eq!(env.get("X"), Some(OsStr::new("2\n")));
    }
}
