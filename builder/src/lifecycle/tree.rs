//! A directory that is being filled, by us alone. Whoever reads the layer makes directories and links; files, which are most
//! of it, are made by threads of their own, all those of a directory by the same one, because the kernel lets only one thread
//! at a time into a directory.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read, Write as _},
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
};

use rustix::fs::{Mode, OFlags, fchmod, mkdirat, openat, symlinkat};

const WRITERS_MAX: usize = 4;
/// Files that wait for a writer.
const AHEAD: usize = 64;
/// Larger files are written as they come, by whoever reads them.
const SMALL_BYTES: u64 = 128 * 1024;
const COPY_BYTES: usize = 128 * 1024;

pub(super) struct Tree<'a> {
    root: &'a Path,
    /// Made by us; nothing is put into another.
    dirs: HashSet<PathBuf>,
    /// The one that is being filled, and whose turn it is.
    current: Option<(PathBuf, Arc<OwnedFd>, usize)>,
    turns: usize,
    /// Set last, because they may forbid writing.
    modes: Vec<(PathBuf, u32)>,
    writers: Vec<SyncSender<Waiting>>,
    buffer: Vec<u8>,
}

struct Waiting {
    dir: Arc<OwnedFd>,
    name: PathBuf,
    mode: u32,
    content: Vec<u8>,
}

/// Makes the new directory `root` and fills it. What this leaves when it fails is of no use.
pub(super) fn fill<T, E: From<io::Error>>(
    root: &Path,
    work: impl FnOnce(&mut Tree<'_>) -> Result<T, E>,
) -> Result<T, E> {
    fs::create_dir(root)?;
    let count = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let (mut writers, mut threads) = (vec![], vec![]);
        for _ in 0..count.min(WRITERS_MAX) {
            let (send, files) = mpsc::sync_channel(AHEAD);
            writers.push(send);
            threads.push(scope.spawn(move || write_all(&files)));
        }
        let mut tree = Tree {
            root,
            dirs: HashSet::from([PathBuf::new()]),
            current: None,
            turns: 0,
            modes: vec![],
            writers,
            buffer: vec![0; COPY_BYTES],
        };
        let result = work(&mut tree);
        let modes = tree.end();
        for writer in threads {
            // What a writer could not do is why nothing more could be given to it.
            writer
                .join()
                .unwrap_or_else(|cause| std::panic::resume_unwind(cause))?;
        }
        let result = result?;
        for (path, mode) in modes.iter().rev() {
            fs::set_permissions(path, fs::Permissions::from_mode(*mode))?;
        }
        Ok(result)
    })
}

impl Tree<'_> {
    fn end(self) -> Vec<(PathBuf, u32)> {
        self.modes
    }

    /// The top too may come again, with its mode.
    pub(super) fn directory(&mut self, below: &Path, mode: u32) -> io::Result<()> {
        if self.dirs.insert(below.to_owned()) {
            let (dir, name) = self.place(below)?;
            mkdirat(&*dir, name, Mode::RWXU)?;
        }
        self.modes.push((self.root.join(below), mode));
        Ok(())
    }

    pub(super) fn symlink(&mut self, below: &Path, target: &[u8]) -> io::Result<()> {
        let (dir, name) = self.place(below)?;
        Ok(symlinkat(OsStr::from_bytes(target), &*dir, name)?)
    }

    pub(super) fn file(
        &mut self,
        below: &Path,
        mode: u32,
        bytes: u64,
        content: &mut impl Read,
    ) -> io::Result<()> {
        let (dir, name) = self.place(below)?;
        if bytes > SMALL_BYTES {
            let mut file = create(&dir, name, mode)?;
            loop {
                match content.read(&mut self.buffer)? {
                    0 => return settle(&file, mode),
                    length => file.write_all(&self.buffer[..length])?,
                }
            }
        }
        let mut waiting = Waiting {
            dir,
            name: name.into(),
            mode,
            content: Vec::with_capacity(bytes as usize),
        };
        content.read_to_end(&mut waiting.content)?;
        let turn = self.current.as_ref().map_or(0, |(_, _, turn)| *turn);
        let sent = self.writers[turn].send(waiting);
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// The directory that it belongs into, opened, and its name there.
    fn place<'b>(&mut self, below: &'b Path) -> io::Result<(Arc<OwnedFd>, &'b OsStr)> {
        let not_ours = || io::Error::from(io::ErrorKind::NotADirectory);
        let (parent, name) = below.parent().zip(below.file_name()).ok_or_else(not_ours)?;
        if let Some((path, dir, _)) = &self.current
            && path == parent
        {
            return Ok((dir.clone(), name));
        }
        if !self.dirs.contains(parent) {
            return Err(not_ours());
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let dir = rustix::fs::open(self.root.join(parent), flags, Mode::empty())?;
        let dir = Arc::new(dir);
        self.turns += 1;
        let turn = self.turns % self.writers.len();
        self.current = Some((parent.to_owned(), dir.clone(), turn));
        Ok((dir, name))
    }
}

fn write_all(files: &Receiver<Waiting>) -> io::Result<()> {
    for waiting in files {
        let mut file = create(&waiting.dir, waiting.name.as_os_str(), waiting.mode)?;
        file.write_all(&waiting.content)?;
        settle(&file, waiting.mode)?;
    }
    Ok(())
}

/// Never through what is there already.
fn create(dir: &OwnedFd, name: &OsStr, mode: u32) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::from_raw_mode(mode & 0o777))?;
    Ok(file.into())
}

/// The umask has taken something of most modes, but not of the usual ones.
fn settle(file: &File, mode: u32) -> io::Result<()> {
    if file.metadata()?.permissions().mode() & 0o7777 != mode {
        fchmod(file, Mode::from_raw_mode(mode))?;
    }
    Ok(())
}
