//! A layer before a byte of it is read: one walk fixes every header and every offset, so that its tar stream is a pure
//! function of what was found, any part of it can be made at any time, and a file that changes meanwhile is noticed.

use std::{
    fs::{self, File},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::OFlags;

use super::{
    BLOCK, Owner,
    header::{self, Entry, Kind},
};

/// The two blocks of zeros that end a tar.
const END: u64 = 2 * BLOCK as u64;

#[derive(Debug, Clone, Default)]
pub struct Plan {
    entries: Vec<Planned>,
    /// Of headers and content so far.
    bytes: u64,
}

#[derive(Debug, Clone)]
struct Planned {
    /// Where its header begins, and how long that is.
    at: u64,
    head_bytes: u64,
    name: String,
    mode: u32,
    size: u64,
    kind: Kind,
    link: Option<String>,
    owner: Owner,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    None,
    /// Its last change (ctime), which nobody can set back.
    File(PathBuf, (i64, i64)),
    /// Of what is there is never written again: see [`Plan::settled_tree`].
    Settled(PathBuf),
    Bytes(Arc<[u8]>),
}

impl Plan {
    /// Of the whole tar stream.
    pub fn bytes(&self) -> u64 {
        self.bytes + END
    }

    /// Without the end that a tar has.
    pub(super) fn entries_bytes(&self) -> u64 {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn directory(&mut self, name: &str, mode: u32, owner: Owner) {
        self.push(
            name.to_owned(),
            mode,
            0,
            Kind::Directory,
            None,
            owner,
            Content::None,
        );
    }

    pub fn symlink(&mut self, name: &str, link: &str, mode: u32, owner: Owner) {
        let (kind, link) = (Kind::Symlink, Some(link.to_owned()));
        self.push(name.to_owned(), mode, 0, kind, link, owner, Content::None);
    }

    pub fn file(&mut self, name: &str, content: Arc<[u8]>, mode: u32, owner: Owner) {
        let size = content.len() as u64;
        self.push(
            name.to_owned(),
            mode,
            size,
            Kind::File,
            None,
            owner,
            Content::Bytes(content),
        );
    }

    /// What lies at `path`, under `name`. `None`: with the owner that it has. Sockets are left out.
    pub fn path(&mut self, path: &Path, name: &Path, owner: Option<Owner>) -> io::Result<()> {
        let metadata = fs::symlink_metadata(path).map_err(|error| naming(path, error))?;
        let content = Content::File(path.to_owned(), change(&metadata));
        let owner = owner.unwrap_or(owner_of(&metadata));
        self.found(path, name, &metadata, content, owner)
    }

    /// `dir` and everything in it under `name`, with the owners that `owner` gives. For files that are at most appended
    /// to, replaced or removed, and have a name of their own in `dir`: what is there when they are planned is what is
    /// read. Another name of theirs may come and go, which would change their ctime.
    pub fn settled_tree(
        &mut self,
        dir: &Path,
        name: &Path,
        owner: &dyn Fn(&fs::Metadata) -> Owner,
    ) -> io::Result<()> {
        let metadata = fs::symlink_metadata(dir).map_err(|error| naming(dir, error))?;
        let content = Content::Settled(dir.to_owned());
        self.found(dir, name, &metadata, content, owner(&metadata))?;
        if metadata.is_dir() {
            for child in sorted(dir)? {
                self.settled_tree(&child.path(), &name.join(child.file_name()), owner)?;
            }
        }
        Ok(())
    }

    /// Sockets are left out.
    fn found(
        &mut self,
        path: &Path,
        name: &Path,
        metadata: &fs::Metadata,
        content: Content,
        owner: Owner,
    ) -> io::Result<()> {
        let Some(kind) = kind(metadata) else {
            return Ok(());
        };
        let link = metadata
            .is_symlink()
            .then(|| fs::read_link(path))
            .transpose()?;
        let link = link.map(|link| utf8(&link)).transpose()?;
        let (size, content) = match kind {
            Kind::File => (metadata.len(), content),
            _ => (0, Content::None),
        };
        self.push(
            utf8(name)?,
            metadata.mode() & 0o7777,
            size,
            kind,
            link,
            owner,
            content,
        );
        Ok(())
    }

    /// The directories above `path`, from the top, as they are: names, modes and owners.
    pub fn parents(&mut self, path: &Path) -> io::Result<()> {
        let mut parents: Vec<&Path> = path.ancestors().skip(1).collect();
        parents.retain(|parent| *parent != Path::new("/") && !parent.as_os_str().is_empty());
        for parent in parents.into_iter().rev() {
            // What a link on the way leads to counts: the path of a layer is what its user typed.
            let metadata = fs::metadata(parent).map_err(|error| naming(parent, error))?;
            let owner = owner_of(&metadata);
            self.directory(&utf8(parent)?, metadata.mode() & 0o7777, owner);
        }
        Ok(())
    }

    /// `dir` and everything in it under `name`: parents before children, children by their names.
    pub fn tree(&mut self, dir: &Path, name: &Path, owner: Owner) -> io::Result<()> {
        self.path(dir, name, Some(owner))?;
        if fs::symlink_metadata(dir)?.is_dir() {
            self.children(dir, name, owner)?;
        }
        Ok(())
    }

    /// [`Plan::tree`] without the directory itself.
    pub(super) fn children(&mut self, dir: &Path, name: &Path, owner: Owner) -> io::Result<()> {
        for child in sorted(dir)? {
            let (path, name) = (child.path(), name.join(child.file_name()));
            self.path(&path, &name, Some(owner))?;
            if child.file_type()?.is_dir() {
                self.children(&path, &name, owner)?;
            }
        }
        Ok(())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of a header, and what follows it"
    )]
    fn push(
        &mut self,
        name: String,
        mode: u32,
        size: u64,
        kind: Kind,
        link: Option<String>,
        owner: Owner,
        content: Content,
    ) {
        let mut planned = Planned {
            at: self.bytes,
            head_bytes: 0,
            name,
            mode,
            size,
            kind,
            link,
            owner,
            content,
        };
        planned.head_bytes = planned.header().len() as u64;
        self.bytes += planned.head_bytes + size.next_multiple_of(BLOCK as u64);
        self.entries.push(planned);
    }

    /// Makes the part of the stream that begins `at`; as much of it as there is room in `part`, which is all zeros.
    pub(super) fn fill(&self, at: u64, part: &mut [u8]) -> io::Result<()> {
        let end = at + part.len() as u64;
        let first = self
            .entries
            .partition_point(|entry| entry.at <= at)
            .saturating_sub(1);
        for entry in self.entries[first..]
            .iter()
            .take_while(|entry| entry.at < end)
        {
            if let Some((from, into)) = overlap(at, part, entry.at, entry.head_bytes) {
                into.copy_from_slice(&entry.header()[from..from + into.len()]);
            }
            if let Some((from, into)) = overlap(at, part, entry.at + entry.head_bytes, entry.size) {
                entry.content(from, into)?;
            }
        }
        Ok(())
    }
}

/// Where `[start, start + length)` meets the part: from where in it, and which bytes of the part.
fn overlap(at: u64, part: &mut [u8], start: u64, length: u64) -> Option<(usize, &mut [u8])> {
    let end = (start + length).min(at + part.len() as u64);
    let begin = start.max(at);
    if begin >= end {
        return None;
    }
    let into = &mut part[(begin - at) as usize..(end - at) as usize];
    Some(((begin - start) as usize, into))
}

impl Planned {
    fn header(&self) -> Vec<u8> {
        header::encode(&Entry {
            name: &self.name,
            mode: self.mode,
            size: self.size,
            kind: self.kind,
            link: self.link.as_deref(),
            owner: self.owner,
        })
    }

    fn content(&self, from: usize, into: &mut [u8]) -> io::Result<()> {
        match &self.content {
            Content::None => Ok(()),
            Content::Bytes(bytes) => {
                into.copy_from_slice(&bytes[from..from + into.len()]);
                Ok(())
            }
            Content::File(path, changed) => self
                .read(path, *changed, from as u64, into)
                .map_err(|error| naming(path, error)),
            Content::Settled(path) => open(path)
                .and_then(|file| file.read_exact_at(into, from as u64))
                .map_err(|error| naming(path, error)),
        }
    }

    /// A file that is changed after its header has been planned would break the archive, or silently lose its end.
    fn read(&self, path: &Path, changed: (i64, i64), from: u64, into: &mut [u8]) -> io::Result<()> {
        let file = open(path)?;
        let read = file.read_exact_at(into, from);
        let metadata = file.metadata()?;
        let is_same =
            metadata.is_file() && metadata.len() == self.size && change(&metadata) == changed;
        if is_same {
            return read;
        }
        Err(io::Error::other("the file changed while it was being read"))
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

fn sorted(dir: &Path) -> io::Result<Vec<fs::DirEntry>> {
    let children = fs::read_dir(dir).map_err(|error| naming(dir, error))?;
    let mut children: Vec<_> = children.collect::<Result<_, _>>()?;
    children.sort_by_key(fs::DirEntry::file_name);
    Ok(children)
}

fn owner_of(metadata: &fs::Metadata) -> Owner {
    Owner {
        uid: metadata.uid(),
        gid: metadata.gid(),
    }
}

fn change(metadata: &fs::Metadata) -> (i64, i64) {
    (metadata.ctime(), metadata.ctime_nsec())
}

fn kind(metadata: &fs::Metadata) -> Option<Kind> {
    let kind = metadata.file_type();
    let device = |rdev| (rustix::fs::major(rdev), rustix::fs::minor(rdev));
    Some(if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        Kind::Symlink
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_char_device() {
        Kind::CharDevice(device(metadata.rdev()))
    } else if kind.is_block_device() {
        Kind::BlockDevice(device(metadata.rdev()))
    } else if kind.is_file() {
        Kind::File
    } else {
        return None;
    })
}

fn utf8(path: &Path) -> io::Result<String> {
    let text = std::str::from_utf8(path.as_os_str().as_bytes()).map_err(|_| {
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
