//! The environment of buildpacks and of processes, and how layers change it (buildpack spec, "Environment"). Both the
//! builder and the launcher follow these rules, so they are written once and read no file themselves.

use alloc::{collections::BTreeMap, vec::Vec};

/// Variables that hold lists of directories: the user's value goes before ours instead of in its place.
pub const PATHS: &[&[u8]] = &[
    b"PATH",
    b"LD_LIBRARY_PATH",
    b"LIBRARY_PATH",
    b"CPATH",
    b"PKG_CONFIG_PATH",
];

/// Directories at a layer's root and the variables that name them.
pub type Roots = &'static [(&'static [u8], &'static [&'static [u8]])];
pub const BUILD_ROOTS: Roots = &[
    (b"bin", &[b"PATH"]),
    (b"lib", &[b"LD_LIBRARY_PATH", b"LIBRARY_PATH"]),
    (b"include", &[b"CPATH"]),
    (b"pkgconfig", &[b"PKG_CONFIG_PATH"]),
];
pub const LAUNCH_ROOTS: Roots = &[(b"bin", &[b"PATH"]), (b"lib", &[b"LD_LIBRARY_PATH"])];

/// The files of one directory, by name.
pub type Files = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a file without a suffix in its name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// In a layer's directories.
    Override,
    /// In the builder's own `build-config/env`.
    Default,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Env(BTreeMap<Vec<u8>, Vec<u8>>);

impl Env {
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }

    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.0.insert(name.to_vec(), value.to_vec());
    }

    pub fn remove(&mut self, name: &[u8]) {
        self.0.remove(name);
    }

    pub fn vars(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    /// `NAME=value`, by name.
    pub fn pairs(&self) -> Vec<Vec<u8>> {
        self.vars()
            .map(|(name, value)| [name, b"=", value].concat())
            .collect()
    }

    /// `<platform>/env`.
    pub fn add_platform(&mut self, files: &Files) {
        for (name, value) in files {
            if PATHS.contains(&name.as_slice()) {
                self.prepend(name, value, b":");
            } else {
                self.set(name, value);
            }
        }
    }

    /// A directory at a layer's root: its path goes to the front of each variable.
    pub fn add_root(&mut self, dir: &[u8], variables: &[&[u8]]) {
        for name in variables {
            self.prepend(name, dir, b":");
        }
    }

    /// A layer's `env`, `env.build` or `env.launch`. The file's suffix says what to do with its content.
    pub fn add_files(&mut self, files: &Files, plain: Plain) {
        for (file, value) in files {
            let Some((name, action)) = split(file) else {
                continue;
            };
            let delimiter = || {
                let file = [name, b".delim"].concat();
                files.get(&file).cloned().unwrap_or_default()
            };
            match (action, plain) {
                (b"override", _) | (b"", Plain::Override) => self.set(name, value),
                (b"default", _) | (b"", Plain::Default) => self.set_default(name, value),
                (b"append", _) => self.append(name, value, &delimiter()),
                (b"prepend", _) => self.prepend(name, value, &delimiter()),
                _ => {}
            }
        }
    }

    fn set_default(&mut self, name: &[u8], value: &[u8]) {
        if self.get(name).is_none_or(<[u8]>::is_empty) {
            self.set(name, value);
        }
    }

    fn append(&mut self, name: &[u8], value: &[u8], delimiter: &[u8]) {
        match self.get(name) {
            Some(old) if !old.is_empty() => self.set(name, &[old, delimiter, value].concat()),
            _ => self.set(name, value),
        }
    }

    fn prepend(&mut self, name: &[u8], value: &[u8], delimiter: &[u8]) {
        match self.get(name) {
            Some(old) if !old.is_empty() => self.set(name, &[value, delimiter, old].concat()),
            _ => self.set(name, value),
        }
    }
}

impl FromIterator<(Vec<u8>, Vec<u8>)> for Env {
    fn from_iter<I: IntoIterator<Item = (Vec<u8>, Vec<u8>)>>(vars: I) -> Self {
        Self(vars.into_iter().collect())
    }
}

/// `NAME.append` is `NAME` and `append`; a name holds no dot.
fn split(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, action) = match file.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&file[..dot], &file[dot + 1..]),
        None => (file, &b""[..]),
    };
    (!name.is_empty()).then_some((name, action))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(pairs: &[(&str, &str)]) -> Files {
        let pairs = pairs.iter();
        pairs
            .map(|(name, content)| (name.as_bytes().to_vec(), content.as_bytes().to_vec()))
            .collect()
    }

    fn check(old: Option<&str>, plain: Plain, pairs: &[(&str, &str)], expected: Option<&str>) {
        let mut env = Env::default();
        if let Some(old) = old {
            env.set(b"V", old.as_bytes());
        }
        env.add_files(&files(pairs), plain);
        assert_eq!(
            env.get(b"V"),
            expected.map(str::as_bytes),
            "{old:?} {pairs:?}"
        );
    }

    #[test]
    fn the_suffix_says_what_to_do() {
        use Plain::{Default, Override};
        check(Some("old"), Override, &[("V", "new")], Some("new"));
        check(Some("old"), Default, &[("V", "new")], Some("old"));
        check(None, Default, &[("V", "new")], Some("new"));
        check(
            Some("old"),
            Override,
            &[("V.override", "new\n")],
            Some("new\n"),
        );
        check(Some("old"), Override, &[("V.default", "new")], Some("old"));
        check(Some(""), Override, &[("V.default", "new")], Some("new"));
        check(None, Override, &[("V.default", "new")], Some("new"));
        check(
            Some("old"),
            Override,
            &[("V.append", "new")],
            Some("oldnew"),
        );
        let semicolon = ("V.delim", ";");
        check(
            Some("old"),
            Override,
            &[("V.append", "new"), semicolon],
            Some("old;new"),
        );
        check(
            None,
            Override,
            &[("V.append", "new"), semicolon],
            Some("new"),
        );
        check(
            Some("old"),
            Override,
            &[("V.prepend", "new"), semicolon],
            Some("new;old"),
        );
        // In the order of the names: append, override, prepend.
        let all = [("V.append", "a"), ("V.override", "o"), ("V.prepend", "p")];
        check(Some("old"), Override, &all, Some("po"));
        check(Some("old"), Override, &[("V.unknown", "new")], Some("old"));
        check(Some("old"), Override, &[("V.x.append", "new")], Some("old"));
        check(None, Override, &[(".append", "new")], None);
    }

    #[test]
    fn the_user_overrides_but_adds_to_paths() {
        let mut env = Env::default();
        env.set(b"PATH", b"/usr/bin");
        env.set(b"X", b"1");
        env.add_platform(&files(&[
            ("PATH", "/mine"),
            ("A.B", "dotted"),
            ("X", "2\n"),
        ]));
        assert_eq!(
            env.pairs().join(&b' '),
            b"A.B=dotted PATH=/mine:/usr/bin X=2\n"
        );
    }
}
