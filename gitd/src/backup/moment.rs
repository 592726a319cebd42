//! A data folder at one moment, as hard links: what is linked stays, whatever becomes of the platform meanwhile. Files that
//! matter are never rewritten where they are: packs and logs are made, appended to and removed, refs are replaced.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
};

use container::layer::{Owner, Plan};
use release::ledger;

use super::{BackupError, Doing as _, KEPT, LEDGER, REPOS};

/// Packs are put together beside pushes, and what is being linked may go away.
const TRIES_MAX: usize = 10;

/// Whoever restores it.
const OURS: Owner = Owner { uid: 0, gid: 0 };

pub(super) struct Moment {
    root: PathBuf,
}

/// A part of it that is small enough to be planned at once.
pub(super) struct Part<'m> {
    moment: &'m Moment,
    /// Below the data folder.
    path: PathBuf,
}

impl Moment {
    /// The order of a push is: objects, release in the ledger, ref. While the ledger stands still, every ref is where it says
    /// or will be moved there by the next start.
    pub(super) fn take(data: &Path, place: &Path) -> Result<Self, BackupError> {
        let moment = Self {
            root: place.join("data"),
        };
        fs::create_dir(&moment.root).doing("make", &moment.root)?;
        let repos = || link_repos(&data.join(REPOS), &moment.root.join(REPOS));
        ledger::snapshot(&data.join(LEDGER), &moment.ledger(), repos)??;
        for name in KEPT {
            let path = data.join(name);
            link(&path, &moment.root.join(name)).doing("link", &path)?;
        }
        Ok(moment)
    }

    pub(super) fn ledger(&self) -> PathBuf {
        self.root.join(LEDGER)
    }

    /// The topmost folders, without what is in them.
    pub(super) fn outline(&self) -> Result<Plan, BackupError> {
        let mut plan = Plan::default();
        for name in names(&self.root).doing("read", &self.root)? {
            let path = self.root.join(&name);
            if path.is_dir() {
                plan.path(&path, Path::new(&name), Some(OURS))
                    .doing("read", &path)?;
            }
        }
        Ok(plan)
    }

    /// Everything else.
    pub(super) fn parts(&self) -> Result<Vec<Part<'_>>, BackupError> {
        let mut parts = Vec::new();
        for name in names(&self.root).doing("read", &self.root)? {
            let path = self.root.join(&name);
            let part = |path| Part { moment: self, path };
            if path.is_dir() {
                let below = names(&path).doing("read", &path)?;
                parts.extend(below.iter().map(|below| part(Path::new(&name).join(below))));
            } else {
                parts.push(part(name.into()));
            }
        }
        Ok(parts)
    }
}

impl Part<'_> {
    pub(super) fn plan(&self) -> Result<Plan, BackupError> {
        let mut plan = Plan::default();
        let from = self.moment.root.join(&self.path);
        plan.settled_tree(&from, &self.path, &|_| OURS)
            .doing("read", &from)?;
        Ok(plan)
    }
}

fn names(dir: &Path) -> io::Result<Vec<OsString>> {
    let mut names: Vec<_> = fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()?;
    names.sort();
    Ok(names)
}

fn link_repos(from: &Path, to: &Path) -> Result<(), BackupError> {
    if !from.exists() {
        return Ok(());
    }
    fs::create_dir(to).doing("make", to)?;
    for name in names(from).doing("read", from)? {
        let repo = from.join(&name);
        if repo.extension() == Some(OsStr::new("git")) {
            link_repo(&repo, &to.join(&name)).doing("link", &repo)?;
        }
    }
    Ok(())
}

/// All of it, or nothing when it has been destroyed meanwhile.
fn link_repo(from: &Path, to: &Path) -> io::Result<()> {
    for _ in 0..TRIES_MAX {
        match link_whole(from, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if to.exists() {
                    fs::remove_dir_all(to)?;
                }
                if !from.join("HEAD").exists() {
                    return Ok(());
                }
            }
            result => return result,
        }
    }
    Err(io::Error::other("it changes faster than it can be read"))
}

fn link_whole(from: &Path, to: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(from)?.is_dir() {
        return link_file(from, to);
    }
    make_alike(from, to)?;
    let all = names(from)?;
    for name in &all {
        if !is_passing(name) && !is_early(name, &all) {
            link_whole(&from.join(name), &to.join(name))?;
        }
    }
    Ok(())
}

/// The index of a pack that came while the folder was being listed, and that no ref of this moment needs.
fn is_early(name: &OsStr, all: &[OsString]) -> bool {
    let path = Path::new(name);
    path.extension() == Some(OsStr::new("idx"))
        && !all
            .iter()
            .any(|other| path.with_extension("pack") == **other)
}

/// Of a push or a change of refs that is under way.
fn is_passing(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("incoming-") || name.ends_with(".lock") || name.starts_with("tmp_")
}

/// What is there; something that goes away meanwhile need not be.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    let passing = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    };
    match fs::symlink_metadata(from) {
        Ok(metadata) if metadata.is_dir() => {
            make_alike(from, to)?;
            names(from)?
                .iter()
                .try_for_each(|name| link(&from.join(name), &to.join(name)))
        }
        Ok(_) => link_file(from, to),
        Err(error) => Err(error),
    }
    .or_else(passing)
}

fn make_alike(from: &Path, to: &Path) -> io::Result<()> {
    let mode = fs::metadata(from)?.permissions();
    fs::create_dir(to)?;
    fs::set_permissions(to, mode)
}

/// A file of another user's may not be linked to, and none on another disk.
fn link_file(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Err(error),
        _ => fs::copy(from, to).map(drop),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_linked_without_what_is_under_way() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("repos"), dir.path().join("copy"));
        let repo = from.join("1.git");
        for path in ["objects/pack", "objects/incoming-7-1", "refs/heads"] {
            fs::create_dir_all(repo.join(path)).unwrap();
        }
        for file in [
            "HEAD",
            "objects/incoming-7-1/x",
            "objects/pack/pack-1.idx",
            "objects/pack/pack-2.idx",
            "objects/pack/pack-2.pack",
            "refs/heads/main",
            "refs/heads/main.lock",
        ] {
            fs::write(repo.join(file), "x").unwrap();
        }
        fs::create_dir(from.join("2.git-new")).unwrap();
        link_repos(&from, &to).unwrap();
        // Replaced as git does it: the link is to what was there.
        fs::write(repo.join("refs/heads/next"), "y").unwrap();
        fs::rename(repo.join("refs/heads/next"), repo.join("refs/heads/main")).unwrap();
        assert_eq!(names(&to).unwrap(), ["1.git"]);
        let copy = to.join("1.git");
        assert_eq!(names(&copy.join("objects")).unwrap(), ["pack"]);
        let packs = names(&copy.join("objects/pack")).unwrap();
        assert_eq!(packs, ["pack-2.idx", "pack-2.pack"]);
        assert_eq!(names(&copy.join("refs/heads")).unwrap(), ["main"]);
        assert_eq!(
            fs::read_to_string(copy.join("refs/heads/main")).unwrap(),
            "x"
        );
    }

    #[test]
    fn a_destroyed_repository_is_no_trouble() {
        let dir = tempfile::tempdir().unwrap();
        link_repo(&dir.path().join("gone.git"), &dir.path().join("copy")).unwrap();
        assert!(!dir.path().join("copy").exists());
    }
}
