//! A layer before a byte of it is read: one walk fixes every header and every offset, so that its tar stream is a pure
//! function of what was found, any part of it can be made at any time, and a file that changes meanwhile is noticed.

use std::{
    fs::{self, File},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rustix::fs::OFlags;

use super::{
    BLOCK, Owner,
    header::{self, Entry, Kind},
    naming,
    stat::{Identity, Stat},
    walk::{Found, walk},
};

/// The two blocks of zeros that end a tar.
const END: u64 = 2 * BLOCK as u64;

#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) entries: Vec<Planned>,
    /// Of headers and content so far.
    bytes: u64,
    begun: SystemTime,
}

#[derive(Debug, Clone)]
pub(super) struct Planned {
    /// Where its header begins, and how long that is.
    at: u64,
    head_bytes: u64,
    pub(super) name: String,
    pub(super) mode: u32,
    pub(super) size: u64,
    pub(super) kind: Kind,
    pub(super) link: Option<String>,
    pub(super) owner: Owner,
    pub(super) content: Content,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    None,
    /// The file as it was found.
    File(PathBuf, Identity),
    /// Of what is there is never written again: see [`Plan::settled_tree`].
    Settled(PathBuf),
    Bytes(Arc<[u8]>),
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            entries: vec![],
            bytes: 0,
            begun: SystemTime::now(),
        }
    }
}

impl Plan {
    /// Before anything was looked at.
    pub(super) fn begun(&self) -> SystemTime {
        self.begun
    }

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
        let stat = stat(path)?;
        let content = Content::File(path.to_owned(), stat.identity);
        let target = target(path, &stat)?;
        self.found(name, &stat, target, content, owner.unwrap_or(stat.owner))
    }

    /// `dir` and everything in it under `name`, with the owners that `owner` gives. For files that are at most appended
    /// to, replaced or removed, and have a name of their own in `dir`: what is there when they are planned is what is
    /// read. Another name of theirs may come and go, which would change their ctime.
    pub fn settled_tree(
        &mut self,
        dir: &Path,
        name: &Path,
        owner: &dyn Fn(Owner) -> Owner,
    ) -> io::Result<()> {
        let stat = stat(dir)?;
        let (target, content) = (target(dir, &stat)?, Content::Settled(dir.to_owned()));
        self.found(name, &stat, target, content, owner(stat.owner))?;
        if stat.kind == Some(Kind::Directory) {
            for found in walk(dir)? {
                let content = Content::Settled(dir.join(&found.path));
                let (name, owner) = (name.join(&found.path), owner(found.stat.owner));
                self.found(&name, &found.stat, found.target, content, owner)?;
            }
        }
        Ok(())
    }

    /// Sockets are left out.
    fn found(
        &mut self,
        name: &Path,
        stat: &Stat,
        target: Option<PathBuf>,
        content: Content,
        owner: Owner,
    ) -> io::Result<()> {
        let Some(kind) = stat.kind else {
            return Ok(());
        };
        let content = match kind {
            Kind::File => content,
            _ => Content::None,
        };
        let link = target.map(|target| utf8(&target)).transpose()?;
        self.push(
            utf8(name)?,
            stat.mode,
            stat.size,
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
        self.all(walk(dir)?, dir, name, owner)
    }

    /// [`Plan::children`], but by the whole text of their paths.
    pub(super) fn by_path(&mut self, dir: &Path, name: &Path, owner: Owner) -> io::Result<()> {
        let mut all = walk(dir)?;
        all.sort_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
        self.all(all, dir, name, owner)
    }

    fn all(&mut self, all: Vec<Found>, dir: &Path, name: &Path, owner: Owner) -> io::Result<()> {
        for found in all {
            let content = Content::File(dir.join(&found.path), found.stat.identity);
            let name = name.join(&found.path);
            self.found(&name, &found.stat, found.target, content, owner)?;
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
            Content::File(path, found) => self
                .read(path, *found, from as u64, into)
                .map_err(|error| naming(path, error)),
            Content::Settled(path) => open(path)
                .and_then(|file| file.read_exact_at(into, from as u64))
                .map_err(|error| naming(path, error)),
        }
    }

    /// A file that is changed after its header has been planned would break the archive, or silently lose its end.
    fn read(&self, path: &Path, found: Identity, from: u64, into: &mut [u8]) -> io::Result<()> {
        let file = open(path)?;
        let read = file.read_exact_at(into, from);
        let now = Stat::of(&file.metadata()?);
        let is_same = now.size == self.size && now.identity.changed == found.changed;
        if is_same && now.kind == Some(Kind::File) {
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

fn stat(path: &Path) -> io::Result<Stat> {
    let metadata = fs::symlink_metadata(path).map_err(|error| naming(path, error))?;
    Ok(Stat::of(&metadata))
}

/// Of a symbolic link.
fn target(path: &Path, stat: &Stat) -> io::Result<Option<PathBuf>> {
    let is_link = stat.kind == Some(Kind::Symlink);
    is_link.then(|| fs::read_link(path)).transpose()
}

fn owner_of(metadata: &fs::Metadata) -> Owner {
    Owner {
        uid: metadata.uid(),
        gid: metadata.gid(),
    }
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
