//! Looks at every file of a tree, with a thread for each core: one question to the kernel per file is what takes the time.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread, vec,
};

use super::{header::Kind, naming, stat::Stat};

/// More wait for each other inside the kernel.
const WORKERS_MAX: usize = 4;

pub(super) struct Found {
    /// Relative to the top of the tree.
    pub(super) path: PathBuf,
    pub(super) stat: Stat,
    /// Of a symbolic link.
    pub(super) target: Option<PathBuf>,
}

/// Everything in the directory: directories before what is in them, the children of each by their names.
pub(super) fn walk(top: &Path) -> io::Result<Vec<Found>> {
    let walk = Walk {
        state: Mutex::new(State {
            pile: vec![(0, PathBuf::new())],
            dirs: vec![vec![]],
            busy: 0,
            failed: None,
        }),
        changed: Condvar::new(),
    };
    // A tree of one directory is not worth a thread.
    walk.work(top, Some(1));
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 1..workers.min(WORKERS_MAX).min(walk.state().pile.len()) {
            scope.spawn(|| walk.work(top, None));
        }
        walk.work(top, None);
    });
    let State { dirs, failed, .. } = walk
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    match failed {
        Some(error) => Err(error),
        None => Ok(in_order(dirs)),
    }
}

struct Walk {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Directories that nobody has read yet: their numbers and paths.
    pile: Vec<(usize, PathBuf)>,
    /// What is in each, by number.
    dirs: Vec<Vec<Child>>,
    /// Directories that are being read.
    busy: usize,
    failed: Option<io::Error>,
}

struct Child {
    name: OsString,
    stat: Stat,
    target: Option<PathBuf>,
    /// Its number, when it is a directory.
    dir: Option<usize>,
}

impl Walk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads directories until all are read, or `most` of them.
    fn work(&self, top: &Path, most: Option<usize>) {
        let mut count = 0;
        while most.is_none_or(|most| count < most) {
            let Some((number, path)) = self.take() else {
                return;
            };
            let children = read(&top.join(&path));
            self.give(number, &path, children);
            count += 1;
        }
    }

    /// Waits while others may still find directories; `None` when all is done.
    fn take(&self) -> Option<(usize, PathBuf)> {
        let mut state = self.state();
        loop {
            if state.failed.is_some() {
                return None;
            }
            if let Some(next) = state.pile.pop() {
                state.busy += 1;
                return Some(next);
            }
            if state.busy == 0 {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give(&self, number: usize, path: &Path, children: io::Result<Vec<Child>>) {
        let mut state = self.state();
        state.busy -= 1;
        match children {
            Err(error) => state.failed = Some(error),
            Ok(mut children) => {
                for child in &mut children {
                    if child.stat.kind == Some(Kind::Directory) {
                        child.dir = Some(state.dirs.len());
                        state.dirs.push(vec![]);
                        let next = (state.dirs.len() - 1, path.join(&child.name));
                        state.pile.push(next);
                    }
                }
                state.dirs[number] = children;
            }
        }
        self.changed.notify_all();
    }
}

fn read(dir: &Path) -> io::Result<Vec<Child>> {
    let entries = fs::read_dir(dir).map_err(|error| naming(dir, error))?;
    let mut children = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| naming(dir, error))?;
        let name = entry.file_name();
        let wrong = |error| naming(&dir.join(&name), error);
        let stat = Stat::of(&entry.metadata().map_err(wrong)?);
        let target = match stat.kind {
            Some(Kind::Symlink) => Some(fs::read_link(entry.path()).map_err(wrong)?),
            _ => None,
        };
        children.push(Child {
            name,
            stat,
            target,
            dir: None,
        });
    }
    children.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(children)
}

fn in_order(mut dirs: Vec<Vec<Child>>) -> Vec<Found> {
    let mut found = Vec::with_capacity(dirs.iter().map(Vec::len).sum());
    let mut open: Vec<(PathBuf, vec::IntoIter<Child>)> = Vec::new();
    let mut next = Some((PathBuf::new(), 0));
    loop {
        if let Some((path, number)) = next.take() {
            open.push((path, std::mem::take(&mut dirs[number]).into_iter()));
        }
        let Some((above, children)) = open.last_mut() else {
            return found;
        };
        let Some(child) = children.next() else {
            open.pop();
            continue;
        };
        let path = above.join(&child.name);
        next = child.dir.map(|number| (path.clone(), number));
        found.push(Found {
            path,
            stat: child.stat,
            target: child.target,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn parents_come_before_children_and_children_by_their_names() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a/b/c", "a-", "d"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        for number in 0..50 {
            let deep = dir.path().join(format!("d/{number:02}/x"));
            fs::create_dir_all(&deep).unwrap();
            fs::write(deep.join("file"), "").unwrap();
        }
        fs::write(dir.path().join("a/b.txt"), "text").unwrap();
        symlink("nowhere", dir.path().join("a/link")).unwrap();
        let found = walk(dir.path()).unwrap();
        let names: Vec<String> = found
            .iter()
            .map(|one| one.path.display().to_string())
            .collect();
        let first = ["a", "a/b", "a/b/c", "a/b.txt", "a/link", "a-", "d", "d/00"];
        assert_eq!(names[..first.len()], first);
        assert_eq!(names.len(), 7 + 50 * 3);
        assert_eq!(names[names.len() - 3..], ["d/49", "d/49/x", "d/49/x/file"]);
        assert_eq!(found[3].stat.size, 4);
        assert_eq!(found[4].target.as_deref(), Some(Path::new("nowhere")));
    }

    #[test]
    fn what_cannot_be_read_is_named_and_nobody_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..20 {
            fs::create_dir_all(dir.path().join(format!("{number}/x"))).unwrap();
        }
        assert!(walk(&dir.path().join("none")).is_err());
        if rustix::process::geteuid().is_root() {
            return;
        }
        let closed = dir.path().join("7/x");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
        let error = walk(dir.path()).map(drop).unwrap_err().to_string();
        assert!(error.contains("7/x"), "{error}");
    }
}
