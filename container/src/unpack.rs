//! Unpacks a tar, plain or compressed, that somebody else has made. Nothing of it lands outside its directory: names are
//! taken apart, links are made but never followed, and what it may cost is bounded. It is read, decompressed and hashed by a
//! thread of its own, ahead of the one that writes.

use std::{
    fs::{self, File},
    io::{self, Read, Write as _},
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags},
    io::Errno,
    process::{Gid, Uid},
};
use tar::EntryType;

use crate::{
    Digest,
    decompress::Plain,
    layer::Owner,
    read_ahead::{ReadAhead, read_ahead},
};

/// Of a header that goes before another: long names and PAX records.
const EXTENSION_BYTES_MAX: u64 = 1024 * 1024;
/// PATH_MAX.
const NAME_BYTES_MAX: usize = 4096;
const BLOCK: u64 = 512;
const COPY_BYTES: usize = 128 * 1024;

/// What an archive may cost.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Unpacked, headers included.
    pub bytes_max: u64,
    pub entries_max: u64,
}

impl Bounds {
    /// For archives of our own making: the disk is the bound.
    pub(crate) const NONE: Self = Self {
        bytes_max: u64::MAX - 1,
        entries_max: u64::MAX - 1,
    };
}

impl Default for Bounds {
    /// The largest buildpackages, those with runtimes for an air gap, stay below.
    fn default() -> Self {
        Self {
            bytes_max: 8 * 1024 * 1024 * 1024,
            entries_max: 500_000,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("`{name}` {why}")]
    Refused { name: String, why: &'static str },
    #[error("unpacks to more than {0} bytes")]
    TooLarge(u64),
    #[error("has more than {0} entries")]
    TooMany(u64),
    #[error("is no tar archive that can be read")]
    Broken(#[from] io::Error),
    #[error("cannot write `{name}`")]
    Write { name: String, source: io::Error },
}

/// Unpacks into `dir`, which is there. `place` says where an entry goes, relative to `dir`, or that it is left out; it is
/// asked with plain relative paths. Returns the digest of the uncompressed archive: a layer's diffID.
pub fn unpack(
    archive: impl Read + Send,
    dir: &Path,
    bounds: Bounds,
    place: impl Fn(&Path) -> Option<PathBuf>,
) -> Result<Digest, UnpackError> {
    unpack_with(archive, dir, bounds, &place, None)
}

/// The same with all mode bits, whatever the umask is, and, for root, with the owners that `owner` gives.
pub(crate) fn unpack_exactly(
    archive: impl Read + Send,
    dir: &Path,
    bounds: Bounds,
    place: impl Fn(&Path) -> Option<PathBuf>,
    owner: &dyn Fn(Owner) -> Owner,
) -> Result<Digest, UnpackError> {
    unpack_with(archive, dir, bounds, &place, Some(owner))
}

fn unpack_with(
    archive: impl Read + Send,
    dir: &Path,
    bounds: Bounds,
    place: &dyn Fn(&Path) -> Option<PathBuf>,
    exactly: Option<&dyn Fn(Owner) -> Owner>,
) -> Result<Digest, UnpackError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, dir, flags, Mode::empty())
        .map_err(|error| write_error(dir, error))?;
    let unpacker = Unpacker {
        root,
        bounds,
        long_name: None,
        long_link: None,
        last_bytes: 0,
        exactly,
        closed: Vec::new(),
        parent: None,
        buffer: vec![0; COPY_BYTES],
    };
    let plain = Plain::new(archive)?.take(bounds.bytes_max + 1);
    let ((), diff_id) = read_ahead(plain, |plain| all(unpacker, plain, place))?;
    Ok(diff_id)
}

/// To the end, padding behind the last entry included.
fn all(
    mut unpacker: Unpacker<'_>,
    plain: &mut ReadAhead,
    place: &dyn Fn(&Path) -> Option<PathBuf>,
) -> Result<(), UnpackError> {
    let mut archive = tar::Archive::new(Padded {
        inner: plain,
        bytes: 0,
        padding: 0,
    });
    let unpacked = unpacker.run(&mut archive, place);
    let mut padded = archive.into_inner();
    if unpacked.is_ok() {
        io::copy(&mut padded, &mut io::sink())?;
    }
    let bytes_max = unpacker.bounds.bytes_max;
    if padded.bytes > bytes_max {
        return Err(UnpackError::TooLarge(bytes_max));
    }
    unpacked?;
    // What was missing was more than padding: the last file's own end.
    let padding_of_last = (BLOCK - unpacker.last_bytes % BLOCK) % BLOCK;
    if padded.padding > padding_of_last {
        return Err(UnpackError::Broken(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(())
}

struct Padded<R> {
    inner: R,
    bytes: u64,
    /// Zeros that were added.
    padding: u64,
}

impl<R: Read> Read for Padded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        if length == 0 && !buffer.is_empty() {
            // Some archivers, umoci among them, leave out the padding of the last file.
            let whole = self.bytes.next_multiple_of(BLOCK);
            let missing = whole - self.bytes - self.padding;
            let length = usize::try_from(missing).map_or(buffer.len(), |n| n.min(buffer.len()));
            buffer[..length].fill(0);
            self.padding += length as u64;
            return Ok(length);
        }
        self.bytes += length as u64;
        Ok(length)
    }
}

struct Unpacker<'a> {
    root: OwnedFd,
    bounds: Bounds,
    /// Of the entry that comes next.
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    /// Content of the last entry.
    last_bytes: u64,
    exactly: Option<&'a dyn Fn(Owner) -> Owner>,
    /// Folders that their owner may not write to, which is for the end.
    closed: Vec<(PathBuf, Mode)>,
    /// The folder that was last asked for: most entries have the same as the one before. What is removed lies in it, so it
    /// is still there.
    parent: Option<(PathBuf, Arc<OwnedFd>)>,
    buffer: Vec<u8>,
}

impl Unpacker<'_> {
    fn run<R: Read>(
        &mut self,
        archive: &mut tar::Archive<R>,
        place: &dyn Fn(&Path) -> Option<PathBuf>,
    ) -> Result<(), UnpackError> {
        // Raw: the crate would read a long name of any length into memory.
        let entries = archive.entries().map_err(UnpackError::Broken)?.raw(true);
        for (count, entry) in (1..).zip(entries) {
            if count > self.bounds.entries_max {
                return Err(UnpackError::TooMany(self.bounds.entries_max));
            }
            let mut entry = entry.map_err(UnpackError::Broken)?;
            self.last_bytes = entry.size();
            match entry.header().entry_type() {
                EntryType::GNULongName => self.long_name = Some(extension(&mut entry)?),
                EntryType::GNULongLink => self.long_link = Some(extension(&mut entry)?),
                EntryType::XHeader => self.records(&extension(&mut entry)?),
                EntryType::XGlobalHeader => _ = extension(&mut entry)?,
                kind => self.entry(kind, &mut entry, place)?,
            }
        }
        // The innermost first: behind a closed one nothing can be opened.
        while let Some((dir, mode)) = self.closed.pop() {
            let close = || Ok(rustix::fs::fchmod(self.open_dir(&dir)?, mode)?);
            close().map_err(|source| UnpackError::Write {
                name: dir.display().to_string(),
                source,
            })?;
        }
        Ok(())
    }

    /// PAX: `<length> <key>=<value>\n`.
    fn records(&mut self, mut bytes: &[u8]) {
        while let Some(space) = bytes.iter().position(|byte| *byte == b' ') {
            let length = std::str::from_utf8(&bytes[..space]).ok();
            let length: Option<usize> = length.and_then(|text| text.parse().ok());
            let Some(record) = length.and_then(|length| bytes.get(space + 1..length)) else {
                return;
            };
            let record = record.strip_suffix(b"\n").unwrap_or(record);
            if let Some(path) = record.strip_prefix(b"path=") {
                self.long_name = Some(path.to_vec());
            } else if let Some(link) = record.strip_prefix(b"linkpath=") {
                self.long_link = Some(link.to_vec());
            }
            bytes = bytes.get(length.unwrap_or(0)..).unwrap_or_default();
        }
    }

    fn entry<R: Read>(
        &mut self,
        kind: EntryType,
        entry: &mut tar::Entry<'_, R>,
        place: &dyn Fn(&Path) -> Option<PathBuf>,
    ) -> Result<(), UnpackError> {
        let header = entry.header();
        let name = self.long_name.take();
        let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = self.long_link.take();
        let link = link.or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
        let bits = if self.exactly.is_some() {
            0o7777
        } else {
            0o777
        };
        let mode = header.mode().unwrap_or(0o644) & bits;
        let owner = self.exactly.map(|owner| {
            let id = |id: io::Result<u64>| u32::try_from(id.unwrap_or(0)).unwrap_or(0);
            let (uid, gid) = (id(header.uid()), id(header.gid()));
            owner(Owner { uid, gid })
        });
        let name = relative(&name)?;
        let Some(to) = place(&name).filter(|to| !to.as_os_str().is_empty()) else {
            return Ok(());
        };
        let shown = || name.display().to_string();
        let refuse = |why| Err(UnpackError::Refused { name: shown(), why });
        let made = match kind {
            EntryType::Directory => self.directory(&to, mode, owner),
            EntryType::Regular | EntryType::Continuous => self.file(&to, mode, owner, entry),
            EntryType::Symlink => self.symlink(&to, &link.unwrap_or_default(), owner),
            EntryType::Link => {
                let of = relative(&link.unwrap_or_default())?;
                match place(&of) {
                    Some(of) => self.hard_link(&to, &of),
                    None => return refuse("is a link to what is left out"),
                }
            }
            _ => return refuse("is neither a file, a folder nor a link"),
        };
        made.map_err(|source| UnpackError::Write {
            name: shown(),
            source,
        })
    }

    fn directory(&mut self, to: &Path, mode: u32, owner: Option<Owner>) -> io::Result<()> {
        let parent = self.parent(to)?;
        let name = file_name(to)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(mode | 0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) if self.open_dir(to).is_ok() => {}
            Err(Errno::EXIST) => {
                // What is no directory, a link among them, gives way to one.
                let parent = self.free(to)?;
                rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(mode | 0o700))?;
            }
            Err(error) => return Err(error.into()),
        }
        let dir = self.open_dir(to)?;
        if owner.is_some() {
            give(&dir, owner)?;
            rustix::fs::fchmod(&dir, Mode::from_raw_mode(mode | 0o700))?;
            if mode & 0o700 != 0o700 {
                self.closed.push((to.to_owned(), Mode::from_raw_mode(mode)));
            }
        }
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        to: &Path,
        mode: u32,
        owner: Option<Owner>,
        entry: &mut tar::Entry<'_, R>,
    ) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let usable = if owner.is_some() { mode } else { mode | 0o600 };
        let mode = Mode::from_raw_mode(usable);
        let name = file_name(to)?;
        let file = match rustix::fs::openat(&self.parent(to)?, name, flags, mode) {
            Err(Errno::EXIST) => rustix::fs::openat(&self.free(to)?, name, flags, mode)?,
            opened => opened?,
        };
        let mut file = File::from(file);
        let mut missing = entry.size();
        while missing > 0 {
            let length = entry.read(&mut self.buffer)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.write_all(&self.buffer[..length])?;
            missing -= length as u64;
        }
        give(&file, owner)?;
        // The umask has had its say; what others may do is part of what was packed.
        Ok(rustix::fs::fchmod(&file, mode)?)
    }

    fn symlink(&mut self, to: &Path, target: &[u8], owner: Option<Owner>) -> io::Result<()> {
        let parent = self.free(to)?;
        let name = file_name(to)?;
        rustix::fs::symlinkat(target, &parent, name)?;
        if let Some((uid, gid)) = ids(owner) {
            rustix::fs::chownat(&parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    fn hard_link(&mut self, to: &Path, of: &Path) -> io::Result<()> {
        let from = self.parent(of)?;
        let parent = self.free(to)?;
        let (of, to) = (file_name(of)?, file_name(to)?);
        Ok(rustix::fs::linkat(
            &from,
            of,
            &parent,
            to,
            AtFlags::empty(),
        )?)
    }

    /// The parent directory, made where it is missing, with nothing of that name in it.
    fn free(&mut self, to: &Path) -> io::Result<Arc<OwnedFd>> {
        let parent = self.parent(to)?;
        let name = file_name(to)?;
        match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(parent),
            Err(Errno::ISDIR) => {
                // The parent was reached through no link, and nobody else is in here.
                fs::remove_dir_all(
                    Path::new("/proc/self/fd")
                        .join(parent.as_raw_fd().to_string())
                        .join(name),
                )?;
                Ok(parent)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn parent(&mut self, of: &Path) -> io::Result<Arc<OwnedFd>> {
        let path = of.parent().unwrap_or(Path::new(""));
        if let Some((last, dir)) = &self.parent
            && last == path
        {
            return Ok(dir.clone());
        }
        let mut dir = rustix::io::fcntl_dupfd_cloexec(&self.root, 0)?;
        for part in path.components() {
            match rustix::fs::mkdirat(&dir, part.as_os_str(), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            dir = beneath(dir.as_fd(), Path::new(part.as_os_str()))?;
        }
        let dir = Arc::new(dir);
        self.parent = Some((path.to_owned(), dir.clone()));
        Ok(dir)
    }

    fn open_dir(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        beneath(self.root.as_fd(), path)
    }
}

/// Only root can.
fn ids(owner: Option<Owner>) -> Option<(Option<Uid>, Option<Gid>)> {
    let owner = owner.filter(|_| rustix::process::geteuid().is_root())?;
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    Some((Some(uid), Some(gid)))
}

fn give(file: impl AsFd, owner: Option<Owner>) -> io::Result<()> {
    match ids(owner) {
        Some((uid, gid)) => Ok(rustix::fs::fchown(file, uid, gid)?),
        None => Ok(()),
    }
}

/// Through no link.
fn beneath(dir: rustix::fd::BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat2(
        dir,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    )
}

fn file_name(path: &Path) -> io::Result<&std::ffi::OsStr> {
    path.file_name()
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// A name without `/` before it, `.` in it, and never with `..`.
fn relative(name: &[u8]) -> Result<PathBuf, UnpackError> {
    use std::os::unix::ffi::OsStrExt as _;
    let name = name.strip_suffix(b"\0").unwrap_or(name);
    let refuse = |why| {
        Err(UnpackError::Refused {
            name: String::from_utf8_lossy(&name[..name.len().min(200)])
                .escape_debug()
                .to_string(),
            why,
        })
    };
    if name.len() > NAME_BYTES_MAX || name.contains(&0) {
        return refuse("cannot be a name");
    }
    let mut path = PathBuf::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return refuse("leads out of the archive"),
            part => path.push(std::ffi::OsStr::from_bytes(part)),
        }
    }
    Ok(path)
}

fn extension<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Vec<u8>, UnpackError> {
    let mut bytes = Vec::new();
    let read = entry.take(EXTENSION_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(UnpackError::Broken)?;
    if bytes.len() as u64 > EXTENSION_BYTES_MAX {
        let name = "a header".to_owned();
        let why = "is larger than 1 MiB";
        return Err(UnpackError::Refused { name, why });
    }
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(bytes)
}

fn write_error(dir: &Path, error: Errno) -> UnpackError {
    UnpackError::Write {
        name: dir.display().to_string(),
        source: error.into(),
    }
}

#[cfg(test)]
mod tests;
