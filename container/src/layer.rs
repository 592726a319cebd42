//! Layer bytes: a directory as the tar stream that the reference lifecycle writes, a pure function of names, modes and
//! content, so that the same tree has the same diffID everywhere.
//!
//! Every entry has an absolute name, mtime 1980-01-01T00:00:01Z and one owner; no extended attributes, no hard links;
//! directories carry no trailing slash. The format is USTAR, with a PAX record before it where USTAR does not suffice.

mod header;

use std::{
    fs::{self, File},
    io::{self, Read as _, Write},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use self::header::{Entry, Kind};
use crate::Digest;

/// 1980-01-01T00:00:01Z, in seconds since the Unix epoch.
pub const MTIME: u64 = 315_532_801;
const BLOCK: usize = 512;
const READ_BYTES: usize = 1024 * 1024;

/// Owner that every entry of a layer gets (CNB_USER_ID, CNB_GROUP_ID).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// The order of a layer's entries; the reference lifecycle has two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Buildpack layers: parents of `at` first, then pre-order, children by name.
    Dir,
    /// The app layer: parents first, then everything sorted by its full path.
    App,
}

/// A directory that becomes a layer: the content of `dir` appears at the absolute path `at` in the image.
#[derive(Debug, Clone, Copy)]
pub struct LayerSource<'a> {
    pub dir: &'a Path,
    pub at: &'a str,
    pub owner: Owner,
    pub form: Form,
}

/// Hashes the layer without keeping it.
pub fn diff_id(source: &LayerSource<'_>) -> io::Result<Digest> {
    write_tar(source, &mut io::sink())
}

/// Writes the layer's tar stream and returns its diffID.
pub fn write_tar(source: &LayerSource<'_>, out: &mut dyn Write) -> io::Result<Digest> {
    let mut tar = Tar {
        out,
        hasher: Sha256::new(),
        buffer: vec![0; READ_BYTES],
    };
    // The parents do not stand in `dir`, so they get what mkdir would give them.
    for parent in parents(source.at) {
        tar.header(&Entry {
            name: &parent,
            mode: 0o755,
            size: 0,
            kind: Kind::Directory,
            link: None,
            owner: source.owner,
        })?;
    }
    for path in entries(source)? {
        tar.entry(source, &path)?;
    }
    tar.write(&[0; 2 * BLOCK])?;
    Ok(Digest::finish(tar.hasher))
}

/// `/layers`, `/layers/bp` for `/layers/bp/name`.
fn parents(at: &str) -> Vec<String> {
    let mut parents: Vec<String> = Path::new(at)
        .ancestors()
        .skip(1)
        .map(|path| path.display().to_string())
        .collect();
    parents.retain(|path| path != "/" && !path.is_empty());
    parents.reverse();
    parents
}

/// Paths relative to `dir` in the order of the form; the empty path is `dir` itself, left out where `at` is the root.
fn entries(source: &LayerSource<'_>) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if source.at != "/" {
        found.push(PathBuf::new());
    }
    walk(source.dir, Path::new(""), &mut found)?;
    if source.form == Form::App {
        found.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    }
    Ok(found)
}

fn walk(dir: &Path, below: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let at = dir.join(below);
    let mut children: Vec<_> = fs::read_dir(&at)
        .map_err(|error| naming(&at, error))?
        .collect::<Result<_, _>>()?;
    children.sort_by_key(fs::DirEntry::file_name);
    for child in children {
        let path = below.join(child.file_name());
        let kind = child.file_type()?;
        if kind.is_socket() {
            continue;
        }
        found.push(path.clone());
        if kind.is_dir() {
            walk(dir, &path, found)?;
        }
    }
    Ok(())
}

struct Tar<'a> {
    out: &'a mut dyn Write,
    hasher: Sha256,
    buffer: Vec<u8>,
}

impl Tar<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }

    fn header(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let bytes = header::encode(entry);
        self.write(&bytes)
    }

    fn entry(&mut self, source: &LayerSource<'_>, path: &Path) -> io::Result<()> {
        let file = source.dir.join(path);
        let metadata = fs::symlink_metadata(&file).map_err(|error| naming(&file, error))?;
        let name = utf8(&Path::new(source.at).join(path))?;
        let name = name
            .strip_suffix('/')
            .filter(|name| !name.is_empty())
            .unwrap_or(&name)
            .to_owned();
        let link = metadata
            .is_symlink()
            .then(|| fs::read_link(&file))
            .transpose()?;
        let link = link.map(|link| utf8(&link)).transpose()?;
        let kind = kind(&metadata);
        let size = if kind == Kind::File {
            metadata.len()
        } else {
            0
        };
        let entry = Entry {
            name: &name,
            mode: metadata.mode() & 0o7777,
            size,
            kind,
            link: link.as_deref(),
            owner: source.owner,
        };
        self.header(&entry)?;
        if kind == Kind::File {
            self.content(&file, size)
        } else {
            Ok(())
        }
    }

    /// A file that shrinks or grows after its header has been written would break the archive, or silently lose its end.
    fn content(&mut self, path: &Path, size: u64) -> io::Result<()> {
        let mut file = File::from(rustix::fs::open(
            path,
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?);
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut left = size;
        loop {
            let length = file.read(&mut buffer)?;
            if length == 0 && left == 0 {
                break;
            }
            if length == 0 || length as u64 > left {
                return Err(naming(
                    path,
                    io::Error::other("the file changed while it was being read"),
                ));
            }
            self.write(&buffer[..length])?;
            left -= length as u64;
        }
        self.buffer = buffer;
        self.write(&[0; BLOCK][..(BLOCK - (size % BLOCK as u64) as usize) % BLOCK])
    }
}

fn kind(metadata: &fs::Metadata) -> Kind {
    let kind = metadata.file_type();
    let device = |rdev| (rustix::fs::major(rdev), rustix::fs::minor(rdev));
    if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        Kind::Symlink
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_char_device() {
        Kind::CharDevice(device(metadata.rdev()))
    } else if kind.is_block_device() {
        Kind::BlockDevice(device(metadata.rdev()))
    } else {
        Kind::File
    }
}

fn utf8(path: &Path) -> io::Result<String> {
    let text = path.to_str().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} is not UTF-8, and an image's names are", path.display()),
        )
    })?;
    Ok(text.to_owned())
}

fn naming(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_from_the_top() {
        assert_eq!(parents("/layers/bp/name"), ["/layers", "/layers/bp"]);
        assert!(parents("/workspace").is_empty());
        assert!(parents("/").is_empty());
    }

    #[test]
    fn the_app_form_sorts_by_full_path_and_the_other_by_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        for name in ["a/f", "a-b"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let order = |form| -> Vec<String> {
            let source = LayerSource {
                dir: dir.path(),
                at: "/workspace",
                owner: Owner { uid: 1, gid: 1 },
                form,
            };
            entries(&source)
                .unwrap()
                .iter()
                .map(|path| path.display().to_string())
                .collect()
        };
        assert_eq!(order(Form::Dir), ["", "a", "a/f", "a-b"]);
        assert_eq!(order(Form::App), ["", "a", "a-b", "a/f"]);
    }
}
