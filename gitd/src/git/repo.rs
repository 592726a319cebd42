//! A bare repository that we made ourselves, and that stock git can read.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use gix_hash::ObjectId;
use gix_object::{Exists as _, FindExt};

use super::{HASH, quarantine, refs};

/// Everything that stock git needs to accept the directory. Nothing in it runs programs, and we never read it back.
const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n";
const DIRECTORIES: [&str; 4] = ["objects/pack", "objects/info", "refs/heads", "refs/tags"];
/// No object of a push is larger ([`super::Limits`]); what is read from disk is held to the same.
pub(super) const ALLOC_MAX: usize = 100 << 20;

/// Repositories are made one after the other.
static CREATION: Mutex<()> = Mutex::new(());

/// A cheap handle; every operation opens what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo {
    path: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    #[error("there is no repository at `{}`", .0.display())]
    Missing(PathBuf),
    #[error("the repository `{}` cannot be created", .path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("objects of `{}` cannot be read", .path.display())]
    Objects { path: PathBuf, source: io::Error },
    #[error("commit {commit} of `{}` cannot be read", .path.display())]
    Commit {
        path: PathBuf,
        commit: ObjectId,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What a build says about its commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    /// First line of the message, at most 200 characters, without control characters.
    pub subject: String,
    pub author: String,
}

impl Repo {
    /// Opens the repository, and makes it first if there is none. `default_branch`: what a clone checks out.
    pub fn init(path: impl Into<PathBuf>, default_branch: &str) -> Result<Self, RepoError> {
        let path = path.into();
        if let Ok(repo) = Self::open(&path) {
            return Ok(repo);
        }
        // Two first pushes at once: the second finds what the first has made.
        let _turn = CREATION.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(repo) = Self::open(&path) {
            return Ok(repo);
        }
        // Made beside and renamed: a crash leaves no half repository under the name.
        let unfinished = path.with_extension("git-new");
        let made =
            create(&unfinished, default_branch).and_then(|()| fs::rename(&unfinished, &path));
        match made {
            Ok(()) => Ok(Self { path }),
            Err(source) => Err(RepoError::Create { path, source }),
        }
    }

    pub fn open(path: impl Into<PathBuf>) -> Result<Self, RepoError> {
        let path = path.into();
        if path.join("HEAD").is_file() && path.join("objects").is_dir() {
            Ok(Self { path })
        } else {
            Err(RepoError::Missing(path))
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what interrupted pushes and ref updates left. Only while nobody pushes: at a start.
    pub fn clean(&self) {
        quarantine::remove_stale(&self.objects_dir());
        refs::remove_stale_locks(&self.path);
    }

    /// Subject and author, for the log of a build.
    pub fn commit_info(&self, commit: ObjectId) -> Result<CommitInfo, RepoError> {
        let objects = self.objects()?;
        let mut buffer = Vec::new();
        let error = |source: Box<dyn std::error::Error + Send + Sync>| RepoError::Commit {
            path: self.path.clone(),
            commit,
            source,
        };
        let found = objects
            .find_commit(&commit, &mut buffer)
            .map_err(|e| error(e.into()))?;
        let author = found.author().map_err(|e| error(e.into()))?;
        let subject = String::from_utf8_lossy(found.message);
        Ok(CommitInfo {
            subject: one_line(subject.trim_start().lines().next().unwrap_or_default()),
            author: one_line(&String::from_utf8_lossy(author.name)),
        })
    }

    /// What cannot be read is not there.
    pub(crate) fn contains(&self, id: ObjectId) -> bool {
        self.objects().is_ok_and(|objects| objects.exists(&id))
    }

    pub(crate) fn objects_dir(&self) -> PathBuf {
        self.path.join("objects")
    }

    /// A handle for one thread.
    pub(crate) fn objects(&self) -> Result<gix_odb::Handle, RepoError> {
        let options = gix_odb::store::init::Options {
            alloc_limit_bytes: Some(ALLOC_MAX),
            current_dir: Some(PathBuf::from("/")),
            ..Default::default()
        };
        gix_odb::at_opts(self.objects_dir(), HASH, None, options).map_err(|source| {
            RepoError::Objects {
                path: self.path.clone(),
                source,
            }
        })
    }
}

fn create(path: &Path, default_branch: &str) -> io::Result<()> {
    if path.exists() {
        fs::remove_dir_all(path)?;
    }
    for directory in DIRECTORIES {
        fs::create_dir_all(path.join(directory))?;
    }
    fs::write(path.join("config"), CONFIG)?;
    fs::write(
        path.join("HEAD"),
        format!("ref: refs/heads/{default_branch}\n"),
    )?;
    File::open(path)?.sync_all()
}

fn one_line(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    text.chars()
        .filter(|c| !c.is_control())
        .take(CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_made_once_and_whole() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("1.git");
        assert!(matches!(Repo::open(&path), Err(RepoError::Missing(_))));
        let repo = Repo::init(&path, "main").expect("made");
        fs::write(path.join("marker"), "").expect("writes");
        assert_eq!(Repo::init(&path, "main").expect("opened"), repo);
        assert!(path.join("marker").exists(), "not made anew");
        assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 1);
    }

    #[test]
    fn all_who_make_it_at_once_get_it() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for round in 0..20 {
            let path = dir.path().join(format!("{round}.git"));
            let make = || Repo::init(&path, "main").expect("made or found");
            std::thread::scope(|scope| (0..8).for_each(|_| _ = scope.spawn(make)));
            assert!(Repo::open(&path).is_ok());
        }
        assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 20);
    }
}
