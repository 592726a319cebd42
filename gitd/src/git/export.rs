//! A commit's tree, written out for a build. Never a checkout: no index, no filters, no configuration.

use std::{
    ffi::OsStr,
    fs::{self, File, Permissions},
    io::{self, Write},
    mem,
    os::unix::{
        ffi::OsStrExt,
        fs::{OpenOptionsExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use gix_hash::ObjectId;
use gix_object::{Find, FindExt, Kind};

use super::{
    Repo, RepoError,
    fsck::{self, FsckError},
    tree::{self, Mode},
    tree_count,
};

const ENTRIES_MAX: u64 = 1_000_000;
const BYTES_MAX: u64 = 4 << 30;
pub(super) const DEPTH_MAX: usize = 128;
/// PATH_MAX of Linux.
const PATH_MAX: usize = 4096;
/// Bytes of such a path in its error; it is escaped, so that there is a character in each.
const PATH_SHOWN: usize = 100;
/// The largest target of a symbolic link that Linux takes.
const LINK_MAX: usize = 4095;
const FILE_MODE: u32 = 0o644;
const EXECUTABLE_MODE: u32 = 0o755;

/// A pointer is smaller, and begins so (git-lfs, docs/spec.md).
const LFS_POINTER_MAX: usize = 1024;
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportSummary {
    /// Files and symbolic links.
    pub files: usize,
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("`{0}` is a submodule; submodules are not supported, add its files to the repository")]
    Submodule(String),
    #[error("`{0}` is stored in Git LFS; LFS is not supported, store the file itself")]
    Lfs(String),
    #[error("the tree has {0} entries, more than {ENTRIES_MAX}")]
    TooManyEntries(u64),
    #[error("the tree has more than {} MiB", BYTES_MAX >> 20)]
    TooLarge,
    #[error("the path `{0}` is too long or too deep")]
    Path(String),
    #[error("the symbolic link `{0}` has no valid target")]
    Link(String),
    #[error(transparent)]
    Tree(#[from] FsckError),
    #[error("object {id} cannot be read")]
    Object {
        id: ObjectId,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(transparent)]
    Repo(#[from] RepoError),
    #[error("stopped")]
    Stopped,
    #[error("`{path}` cannot be written")]
    Write { path: String, source: io::Error },
}

impl Repo {
    /// Writes the commit's tree into the directory, which must be there and empty. Blocking.
    ///
    /// Symbolic links are written as they are and never followed: every file and folder is created, none is opened. Modes
    /// are 644 or 755, whatever the process's umask. `stop`: looked at before each file.
    pub fn export(
        &self,
        commit: ObjectId,
        directory: &Path,
        stop: &AtomicBool,
    ) -> Result<ExportSummary, ExportError> {
        let objects = self.objects()?;
        let mut buffer = Vec::new();
        let tree = objects
            .find_commit(&commit, &mut buffer)
            .map_err(|e| ExportError::Object {
                id: commit,
                source: e.into(),
            })?
            .tree();
        let entries = tree_count::entries(&objects, tree)?;
        if entries > ENTRIES_MAX {
            return Err(ExportError::TooManyEntries(entries));
        }
        let mut export = Export {
            objects: &objects,
            root: directory,
            stop,
            summary: ExportSummary::default(),
            buffer: Vec::new(),
        };
        export.tree(tree)?;
        Ok(export.summary)
    }
}

struct Export<'a> {
    objects: &'a gix_odb::Handle,
    root: &'a Path,
    stop: &'a AtomicBool,
    summary: ExportSummary,
    buffer: Vec<u8>,
}

impl Export<'_> {
    fn tree(&mut self, root: ObjectId) -> Result<(), ExportError> {
        let mut pending = vec![(root, PathBuf::new(), 0)];
        let mut buffer = Vec::new();
        while let Some((id, folder, depth)) = pending.pop() {
            let data = read(self.objects, id, Kind::Tree, &mut buffer)?;
            // Trees were checked when they were pushed; names are checked again where they are used.
            fsck::check(Kind::Tree, id, data, |_| {})?;
            for entry in tree::entries(data) {
                let entry = entry.map_err(|problem| FsckError::Tree { id, problem })?;
                let path = folder.join(OsStr::from_bytes(entry.name));
                self.check(&path, depth)?;
                match entry.mode {
                    Mode::Tree => {
                        self.folder(&path)?;
                        pending.push((entry.id, path, depth + 1));
                    }
                    Mode::File => self.file(entry.id, &path, FILE_MODE)?,
                    Mode::Executable => self.file(entry.id, &path, EXECUTABLE_MODE)?,
                    Mode::Symlink => self.link(entry.id, &path)?,
                    Mode::Gitlink => return Err(ExportError::Submodule(shown(&path))),
                }
            }
        }
        Ok(())
    }

    fn check(&self, path: &Path, depth: usize) -> Result<(), ExportError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(ExportError::Stopped);
        }
        let length = self.root.as_os_str().len() + 1 + path.as_os_str().len();
        if length >= PATH_MAX || depth >= DEPTH_MAX {
            return Err(path_error(path));
        }
        Ok(())
    }

    fn folder(&self, path: &Path) -> Result<(), ExportError> {
        let full = self.root.join(path);
        let made = fs::create_dir(&full)
            .and_then(|()| fs::set_permissions(&full, Permissions::from_mode(EXECUTABLE_MODE)));
        made.map_err(|source| write_error(path, source))
    }

    fn file(&mut self, id: ObjectId, path: &Path, mode: u32) -> Result<(), ExportError> {
        let mut buffer = mem::take(&mut self.buffer);
        let data = self.blob(id, &mut buffer)?;
        if data.len() < LFS_POINTER_MAX && data.starts_with(LFS_POINTER) {
            return Err(ExportError::Lfs(shown(path)));
        }
        let write = || -> io::Result<()> {
            let mut file = File::options()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(self.root.join(path))?;
            file.write_all(data)?;
            file.set_permissions(Permissions::from_mode(mode))
        };
        write().map_err(|source| write_error(path, source))?;
        self.buffer = buffer;
        Ok(())
    }

    fn link(&mut self, id: ObjectId, path: &Path) -> Result<(), ExportError> {
        let mut buffer = Vec::new();
        let target = self.blob(id, &mut buffer)?;
        if target.is_empty() || target.len() > LINK_MAX || target.contains(&0) {
            return Err(ExportError::Link(shown(path)));
        }
        symlink(OsStr::from_bytes(target), self.root.join(path))
            .map_err(|source| write_error(path, source))
    }

    fn blob<'b>(&mut self, id: ObjectId, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], ExportError> {
        let data = read(self.objects, id, Kind::Blob, buffer)?;
        self.summary.files += 1;
        self.summary.bytes += data.len() as u64;
        if self.summary.bytes > BYTES_MAX {
            return Err(ExportError::TooLarge);
        }
        Ok(data)
    }
}

/// The object, if it is of that kind.
pub(super) fn read<'b>(
    objects: &gix_odb::Handle,
    id: ObjectId,
    kind: Kind,
    buffer: &'b mut Vec<u8>,
) -> Result<&'b [u8], ExportError> {
    let error = |source| ExportError::Object { id, source };
    match objects.try_find(&id, buffer).map_err(|e| error(e.into()))? {
        Some(object) if object.kind == kind => Ok(object.data),
        Some(object) => Err(error(
            format!("it is a {}, not a {kind}", object.kind).into(),
        )),
        None => Err(error("it is missing".into())),
    }
}

/// Its beginning says which: the end of a path that is too long is of no use to anybody.
pub(super) fn path_error(path: &Path) -> ExportError {
    let shown = shown(path);
    match shown.get(..PATH_SHOWN) {
        Some(beginning) => ExportError::Path(format!("{beginning}...")),
        None => ExportError::Path(shown),
    }
}

fn write_error(path: &Path, source: io::Error) -> ExportError {
    ExportError::Write {
        path: shown(path),
        source,
    }
}

fn shown(path: &Path) -> String {
    path.as_os_str().as_bytes().escape_ascii().to_string()
}
