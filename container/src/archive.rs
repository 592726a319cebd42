//! A compressed tar that is written plan by plan and says of itself whether it is whole: its first entry tells what it is,
//! its last one is the digest of all that goes before. Other programs read it as any `.tar.gz`.

use std::{
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use crate::{
    Digest,
    layer::{Owner, Plan},
    unpack::{Bounds, UnpackError, unpack_exactly},
};

const BLOCK: usize = 512;
/// Header and content of the last entry, and the two blocks that end a tar.
const TAIL: usize = 4 * BLOCK;
const TAIL_NAME: &str = "digest";
const BUFFER_BYTES: usize = 128 * 1024;
/// Of the first and the last entry.
const OWNER: Owner = Owner { uid: 0, gid: 0 };
const MODE: u32 = 0o600;

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("there is no `{0}` at its beginning")]
    Foreign(String),
    #[error("it is damaged, or its end is missing")]
    Damaged(#[source] Option<UnpackError>),
    #[error("it cannot be unpacked")]
    Unpack(#[source] UnpackError),
    #[error("it cannot be read")]
    Read(#[source] io::Error),
}

#[derive(Debug)]
pub struct ArchiveWriter<W> {
    out: W,
    hasher: Sha256,
}

impl<W: Write> ArchiveWriter<W> {
    /// `about`, of at most 512 bytes, stands in the first entry, which is called `name`.
    pub fn new(out: W, name: &str, about: &[u8]) -> io::Result<Self> {
        if about.len() > BLOCK {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut writer = Self {
            out,
            hasher: Sha256::new(),
        };
        let mut first = Plan::default();
        first.file(name, about.into(), MODE, OWNER);
        writer.append(&first)?;
        Ok(writer)
    }

    pub fn append(&mut self, plan: &Plan) -> io::Result<()> {
        plan.write_entries(&mut self.hasher, &mut self.out)
    }

    pub fn out(&self) -> &W {
        &self.out
    }

    /// Without it the archive is not whole.
    pub fn finish(mut self) -> io::Result<W> {
        let digest = Digest::finish(self.hasher).to_string();
        let mut last = Plan::default();
        last.file(TAIL_NAME, digest.into_bytes().into(), MODE, OWNER);
        last.write_gzip(&mut self.out)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

pub struct ArchiveReader<R> {
    plain: MultiGzDecoder<BufReader<R>>,
    /// Header and content of the first entry.
    first: [u8; 2 * BLOCK],
}

impl<R: Read + Send> ArchiveReader<R> {
    /// Reads no further than the first entry, which has to be called `name`; returns what it says.
    pub fn open(archive: R, name: &str) -> Result<(Self, Vec<u8>), ArchiveError> {
        let foreign = || ArchiveError::Foreign(name.to_owned());
        let reader = BufReader::with_capacity(BUFFER_BYTES, archive);
        let mut plain = MultiGzDecoder::new(reader);
        let mut first = [0; 2 * BLOCK];
        plain
            .read_exact(&mut first)
            .map_err(|error| match error.kind() {
                io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => foreign(),
                _ => ArchiveError::Read(error),
            })?;
        let (header, content) = first.split_at(BLOCK);
        let header = tar::Header::from_byte_slice(header);
        let size = header.entry_size().unwrap_or(u64::MAX);
        let about = usize::try_from(size)
            .ok()
            .and_then(|size| content.get(..size));
        match about {
            Some(about) if *header.path_bytes() == *name.as_bytes() => {
                let about = about.to_vec();
                Ok((Self { plain, first }, about))
            }
            _ => Err(foreign()),
        }
    }

    /// Everything for which `place` gives a name goes below `dir`. After an error some of it lies there.
    pub fn unpack(
        self,
        dir: &Path,
        place: impl Fn(&Path) -> Option<PathBuf>,
        owner: &dyn Fn(Owner) -> Owner,
    ) -> Result<(), ArchiveError> {
        let mut body = AllButTail {
            inner: self.first.as_slice().chain(self.plain),
            buffer: Vec::with_capacity(TAIL + BUFFER_BYTES),
            at: 0,
            is_broken: false,
        };
        let found = unpack_exactly(&mut body, dir, Bounds::NONE, place, owner);
        let found = found.map_err(|error| match error {
            UnpackError::Write { ref source, .. }
                if !body.is_broken && source.kind() != io::ErrorKind::UnexpectedEof =>
            {
                ArchiveError::Unpack(error)
            }
            UnpackError::Write { .. } => ArchiveError::Damaged(None),
            error => ArchiveError::Damaged(Some(error)),
        })?;
        match body.tail() {
            Some(digest) if digest == found.to_string().as_bytes() => Ok(()),
            _ => Err(ArchiveError::Damaged(None)),
        }
    }
}

/// Ends before the last entry, which nobody can tell from the others until nothing follows it.
struct AllButTail<R> {
    inner: R,
    buffer: Vec<u8>,
    /// What of the buffer has been given out.
    at: usize,
    /// It could not be read to its end. Who copies it to a file takes that for a fault of the file.
    is_broken: bool,
}

impl<R: Read> AllButTail<R> {
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let wanted = (TAIL + BUFFER_BYTES - self.buffer.len()) as u64;
        let read = (&mut self.inner).take(wanted).read_to_end(&mut self.buffer);
        self.is_broken |= read.is_err();
        read.map(drop)
    }

    /// What the last entry says, when all has been read.
    fn tail(&self) -> Option<&[u8]> {
        let tail = self
            .buffer
            .get(self.at..)
            .filter(|tail| tail.len() == TAIL)?;
        let header = tar::Header::from_byte_slice(&tail[..BLOCK]);
        let size = usize::try_from(header.entry_size().ok()?).ok()?;
        let is_it = *header.path_bytes() == *TAIL_NAME.as_bytes();
        is_it.then(|| tail[BLOCK..].get(..size))?
    }
}

impl<R: Read> Read for AllButTail<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.buffer.len() - self.at <= TAIL {
            self.fill()?;
        }
        let free = (self.buffer.len() - self.at).saturating_sub(TAIL);
        let length = free.min(into.len());
        into[..length].copy_from_slice(&self.buffer[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    const NAME: &str = "about.json";

    /// Modes that a plain unpacking would not keep, and a file of more than one buffer.
    fn written(dir: &Path) -> Vec<u8> {
        for (name, mode) in [("a", 0o444), ("b", 0o600), ("c", 0o4711)] {
            let file = dir.join(name);
            fs::write(&file, name.repeat(300_000)).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(dir.join("closed")).unwrap();
        fs::write(dir.join("closed/file"), "x").unwrap();
        fs::set_permissions(dir.join("closed"), fs::Permissions::from_mode(0o555)).unwrap();
        symlink("/nowhere", dir.join("link")).unwrap();
        let mut writer = ArchiveWriter::new(Vec::new(), NAME, b"{}").unwrap();
        for part in ["x", "y"] {
            let mut plan = Plan::default();
            plan.settled_tree(dir, Path::new(part), &|_| OWNER).unwrap();
            writer.append(&plan).unwrap();
        }
        fs::set_permissions(dir.join("closed"), fs::Permissions::from_mode(0o755)).unwrap();
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<tempfile::TempDir, ArchiveError> {
        let dir = tempfile::tempdir().unwrap();
        let (reader, _) = ArchiveReader::open(bytes, NAME)?;
        let place = |name: &Path| (name != Path::new(NAME)).then(|| name.to_owned());
        let unpacked = reader.unpack(dir.path(), place, &|owner| owner);
        unpacked.map(|()| dir)
    }

    #[test]
    fn what_goes_in_comes_out() {
        let source = tempfile::tempdir().unwrap();
        let bytes = written(source.path());
        let (_, about) = ArchiveReader::open(bytes.as_slice(), NAME).unwrap();
        assert_eq!(about, b"{}");
        let dir = read(&bytes).unwrap();
        for closed in ["x/closed", "y/closed"] {
            let path = dir.path().join(closed);
            assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "x");
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o555);
            // So that the folder can be removed.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for (name, mode) in [("a", 0o444), ("b", 0o600), ("c", 0o4711)] {
            for part in ["x", "y"] {
                let file = dir.path().join(part).join(name);
                assert_eq!(fs::read_to_string(&file).unwrap(), name.repeat(300_000));
                let found = fs::metadata(&file).unwrap().permissions().mode();
                assert_eq!(found & 0o7777, mode, "{name}");
            }
        }
        let link = fs::read_link(dir.path().join("y/link")).unwrap();
        assert_eq!(link, Path::new("/nowhere"));
        assert!(!dir.path().join(TAIL_NAME).exists());
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_noticed() {
        let source = tempfile::tempdir().unwrap();
        let bytes = written(source.path());
        for at in (0..bytes.len()).step_by(bytes.len() / 40) {
            assert!(read(&bytes[..at]).is_err(), "cut at {at}");
        }
        assert!(read(&bytes[..bytes.len() - 1]).is_err());
        for at in (0..bytes.len()).step_by(bytes.len() / 40) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            // What a gzip header says beside its contents may be anything.
            if let Ok(dir) = read(&changed) {
                let a = fs::read_to_string(dir.path().join("x/a")).unwrap();
                assert_eq!(a, "a".repeat(300_000));
            }
        }
    }

    #[test]
    fn what_somebody_else_has_packed_is_refused_before_anything_is_written() {
        let check = |bytes: &[u8]| {
            let error = ArchiveReader::open(bytes, NAME).err().unwrap();
            assert!(matches!(error, ArchiveError::Foreign(_)), "{error:?}");
        };
        check(b"");
        check(b"no archive at all, but a text that is longer than a header");
        let mut other = Plan::default();
        other.file("other", vec![0; 2000].into(), MODE, OWNER);
        let mut bytes = Vec::new();
        other.write_tar(&mut bytes).unwrap();
        check(&bytes);
        bytes.clear();
        other.write_gzip(&mut bytes).unwrap();
        check(&bytes);
    }

    /// Each gzip member is right and nothing is cut off, but a part in the middle is missing.
    #[test]
    fn a_missing_part_is_noticed() {
        let mut whole = ArchiveWriter::new(Vec::new(), NAME, b"{}").unwrap();
        let start = whole.out.len();
        let mut plan = Plan::default();
        plan.file("file", b"x".as_slice().into(), MODE, OWNER);
        whole.append(&plan).unwrap();
        let end = whole.out.len();
        let mut bytes = whole.finish().unwrap();
        assert!(read(&bytes).is_ok());
        bytes.drain(start..end);
        assert!(matches!(read(&bytes), Err(ArchiveError::Damaged(None))));
    }
}
