//! Files of the buildpack spec. What a build has left is not to be trusted: it is read without following a link,
//! up to a bounded size, and what is wrong with it is said with its name and line.

use std::{
    ffi::CStr,
    fs::File,
    io::{self, Read as _},
    os::fd::OwnedFd,
    path::Path,
};

use rustix::{
    fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2},
    io::Errno,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{failure::Failure, id::is_file_name};

/// Of a TOML file; the largest real ones, build plans with metadata, have some kilobytes.
pub(crate) const TOML_BYTES_MAX: u64 = 1024 * 1024;
/// Entries of one directory of layers.
const ENTRIES_MAX: usize = 10_000;

/// A file that is not what the spec wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{file}{}: {what}", line.map(|line| format!(", line {line}")).unwrap_or_default())]
pub struct BadFile {
    /// As the buildpack sees it: `/layers/acme_node/modules.toml`.
    pub file: String,
    pub line: Option<usize>,
    pub what: String,
}

impl BadFile {
    pub(crate) fn new(file: &str, what: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            what: what.into(),
        }
    }
}

/// Where in a file, in bytes, and what.
pub(crate) type Wrong = (usize, String);

/// What a name stands for in an [`Untrusted`] directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Absent,
    Directory,
    /// An overlay's mark that the lower entry has been removed.
    Whiteout,
    Other,
}

/// A directory into which a build could write.
pub(crate) struct Untrusted {
    dir: OwnedFd,
    /// Its path inside the sandbox, for messages.
    shown: String,
}

impl Untrusted {
    pub(crate) fn open(dir: &Path, shown: &str) -> Result<Self, BadFile> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(CWD, dir, flags, Mode::empty()).map_err(|error| failed(shown, error))?;
        Ok(Self {
            dir,
            shown: shown.to_owned(),
        })
    }

    /// `None` when there is no such file.
    pub(crate) fn toml<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, BadFile> {
        let shown = self.shown(path);
        match self.bytes(path, TOML_BYTES_MAX)? {
            Some(bytes) => parse(&shown, &bytes).map(Some),
            None => Ok(None),
        }
    }

    /// The same, of what TOML alone cannot say to be wrong.
    pub(crate) fn checked_toml<T: DeserializeOwned>(
        &self,
        path: &str,
        check: impl FnOnce(&T) -> Result<(), Wrong>,
    ) -> Result<Option<T>, BadFile> {
        let shown = self.shown(path);
        let Some(bytes) = self.bytes(path, TOML_BYTES_MAX)? else {
            return Ok(None);
        };
        let value = parse(&shown, &bytes)?;
        match check(&value) {
            Ok(()) => Ok(Some(value)),
            Err((at, what)) => Err(BadFile {
                file: shown,
                line: Some(line(&bytes, at)),
                what,
            }),
        }
    }

    /// `None` when there is no such file.
    pub(crate) fn bytes(&self, path: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, BadFile> {
        let shown = self.shown(path);
        // Not blocking: it may be a pipe without a writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        match self.resolve(path, flags) {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            result => {
                let fd = result.map_err(|error| failed(&shown, error))?;
                read_file(fd, &shown, bytes_max).map(Some)
            }
        }
    }

    /// Names of a directory's entries in byte order; none when it is absent. Names that are not UTF-8 are left out:
    /// no file of the spec has one.
    pub(crate) fn names(&self, path: &str) -> Result<Vec<String>, BadFile> {
        let shown = self.shown(path);
        let fd = match self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => return Ok(vec![]),
            result => result.map_err(|error| failed(&shown, error))?,
        };
        let mut names = Vec::new();
        for entry in Dir::read_from(&fd).map_err(|error| failed(&shown, error))? {
            let entry = entry.map_err(|error| failed(&shown, error))?;
            names.extend(usable_name(entry.file_name()));
            if names.len() > ENTRIES_MAX {
                return Err(BadFile::new(
                    &shown,
                    format!("has more than {ENTRIES_MAX} entries"),
                ));
            }
        }
        names.sort();
        Ok(names)
    }

    /// A link on the way, or at the end, is [`Entry::Other`].
    pub(crate) fn entry(&self, path: &str) -> Result<Entry, BadFile> {
        let stat = match self.resolve(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(Entry::Absent),
            Err(Errno::LOOP | Errno::NOTDIR | Errno::XDEV) => return Ok(Entry::Other),
            result => result.and_then(fstat),
        };
        let stat = stat.map_err(|error| failed(&self.shown(path), error))?;
        Ok(kind(&stat))
    }

    fn resolve(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        openat2(
            &self.dir,
            if path.is_empty() { "." } else { path },
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )
    }

    pub(crate) fn shown(&self, path: &str) -> String {
        format!("{}/{path}", self.shown)
    }
}

/// A TOML file of a place that builds cannot write; `None` when there is none.
pub(crate) fn toml<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, BadFile> {
    toml_as(path, &path.display().to_string())
}

/// The same, by another name in what is said of it.
pub(crate) fn toml_as<T: DeserializeOwned>(path: &Path, shown: &str) -> Result<Option<T>, BadFile> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BadFile::new(shown, format!("cannot be read: {error}"))),
        Ok(file) => parse(shown, &read_file(file.into(), shown, TOML_BYTES_MAX)?).map(Some),
    }
}

/// An input of a phase, without which it cannot begin.
pub(crate) fn wanted<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let missing = || BadFile::new(&path.display().to_string(), "is missing");
    let read = toml(path).and_then(|found| found.ok_or_else(missing));
    read.map_err(Failure::Input)
}

pub(crate) fn parse<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T, BadFile> {
    let text = std::str::from_utf8(bytes).map_err(|error| BadFile {
        file: file.to_owned(),
        line: Some(line(bytes, error.valid_up_to())),
        what: "is not UTF-8".to_owned(),
    })?;
    toml::from_str(text).map_err(|error| BadFile {
        file: file.to_owned(),
        line: error.span().map(|span| line(bytes, span.start)),
        what: error.message().to_owned(),
    })
}

/// JSON of a file, or of an image's label, which is named like one.
pub(crate) fn json<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T, BadFile> {
    serde_json::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        let what = text.split(" at line ").next().unwrap_or(&text);
        BadFile {
            file: file.to_owned(),
            line: Some(error.line()),
            what: what.to_owned(),
        }
    })
}

/// Counted from one.
fn line(bytes: &[u8], at: usize) -> usize {
    let before = &bytes[..at.min(bytes.len())];
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

fn read_file(fd: OwnedFd, shown: &str, bytes_max: u64) -> Result<Vec<u8>, BadFile> {
    let file = File::from(fd);
    let metadata = file.metadata().map_err(|error| failed(shown, error))?;
    if !metadata.is_file() {
        return Err(BadFile::new(shown, "is not a file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(shown, error))?;
    if bytes.len() as u64 > bytes_max {
        return Err(BadFile::new(
            shown,
            format!("is larger than {} KiB", bytes_max / 1024),
        ));
    }
    Ok(bytes)
}

fn kind(stat: &Stat) -> Entry {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Entry::Directory,
        FileType::CharacterDevice if stat.st_rdev == 0 => Entry::Whiteout,
        _ => Entry::Other,
    }
}

fn usable_name(name: &CStr) -> Option<String> {
    let name = name.to_str().ok()?;
    is_file_name(name).then(|| name.to_owned())
}

fn failed(shown: &str, error: impl Into<io::Error>) -> BadFile {
    let error = error.into();
    let link = Errno::from_io_error(&error) == Some(Errno::LOOP);
    let what = if link {
        "is a symbolic link, which is not followed".to_owned()
    } else {
        format!("cannot be read: {error}")
    };
    BadFile::new(shown, what)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn untrusted(dir: &Path) -> Untrusted {
        Untrusted::open(dir, "/layers").unwrap()
    }

    #[test]
    fn no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        fs::write(dir.path().join("real/a.toml"), "").unwrap();
        symlink("/etc/passwd", dir.path().join("file")).unwrap();
        symlink("real", dir.path().join("dir")).unwrap();
        let layers = untrusted(dir.path());
        for path in ["file", "dir/a.toml", "../x", "/etc/passwd"] {
            let read = layers.toml::<toml::Table>(path);
            assert!(read.is_err(), "{path}: {read:?}");
        }
        assert!(layers.names("dir").is_err());
        for (path, expected) in [
            ("file", Entry::Other),
            ("dir", Entry::Other),
            ("dir/a.toml", Entry::Other),
            ("real", Entry::Directory),
            ("real/a.toml", Entry::Other),
            ("none", Entry::Absent),
        ] {
            assert_eq!(layers.entry(path).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn only_files_of_a_sensible_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mkfifoat(CWD, &fifo, Mode::from_raw_mode(0o600)).unwrap();
        fs::create_dir(dir.path().join("dir")).unwrap();
        let big = File::create(dir.path().join("big")).unwrap();
        big.set_len(TOML_BYTES_MAX + 1).unwrap();
        for (path, what) in [
            ("fifo", "is not a file"),
            ("dir", "is not a file"),
            ("big", "is larger than 1024 KiB"),
        ] {
            let error = untrusted(dir.path()).toml::<toml::Table>(path).unwrap_err();
            assert_eq!(error.to_string(), format!("/layers/{path}: {what}"));
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        #[derive(Debug, Deserialize)]
        struct Shape {
            #[expect(dead_code, reason = "only its type matters")]
            wanted: bool,
        }
        for (text, expected) in [
            (&b"\n\nwanted = 3\n"[..], "x.toml, line 3: "),
            (b"a = 1\nwanted =\n", "x.toml, line 2: "),
            (b"a = 1\n\xff", "x.toml, line 2: is not UTF-8"),
        ] {
            let error = parse::<Shape>("x.toml", text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
