//! The app's directory, divided into layers: one per slice that a buildpack asked for, and one for what is left (platform
//! spec, "Export"; buildpack spec, "launch.toml").

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use container::layer::{Owner, Plan};

use crate::{
    failure::{Doing as _, Failure},
    launch_toml::Slice,
};

mod glob;

/// Of the whole app.
const ENTRIES_MAX: usize = 4_000_000;

/// The layers, each as the paths in it.
pub(super) fn divide(app: &Path, slices: &[Slice]) -> Result<Vec<BTreeSet<PathBuf>>, Failure> {
    let tree = Tree::read(app).failing("read", app)?;
    let mut left = Left {
        tree: &tree,
        taken: BTreeSet::new(),
    };
    let mut layers = Vec::new();
    for slice in slices {
        layers.push(left.take(slice)?);
    }
    layers.push(left.rest());
    Ok(layers)
}

/// What a layer of the app holds, at its place in the image; an empty one holds nothing at all.
pub(super) fn plan(app: &Path, paths: &BTreeSet<PathBuf>, owner: Owner) -> io::Result<Plan> {
    let mut plan = Plan::default();
    if paths.is_empty() {
        return Ok(plan);
    }
    plan.parents(app)?;
    // By the whole text of their paths, which is not the order of paths.
    let mut sorted: Vec<&PathBuf> = paths.iter().collect();
    sorted.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    for path in sorted {
        let at = if path.as_os_str().is_empty() {
            app.to_owned()
        } else {
            app.join(path)
        };
        plan.path(&at, &at, Some(owner))?;
    }
    Ok(plan)
}

/// The app: each path relative to it, with the names in it if it is a directory.
struct Tree(BTreeMap<PathBuf, Vec<PathBuf>>);

impl Tree {
    fn read(app: &Path) -> io::Result<Self> {
        let mut tree = BTreeMap::new();
        let mut todo = vec![PathBuf::new()];
        while let Some(path) = todo.pop() {
            let at = app.join(&path);
            let mut children = Vec::new();
            if fs::symlink_metadata(&at)?.is_dir() {
                for child in fs::read_dir(&at)? {
                    children.push(path.join(child?.file_name()));
                }
            }
            todo.extend_from_slice(&children);
            tree.insert(path, children);
            if tree.len() > ENTRIES_MAX {
                return Err(io::Error::other(format!(
                    "it holds more than {ENTRIES_MAX} files"
                )));
            }
        }
        Ok(Self(tree))
    }
}

struct Left<'a> {
    tree: &'a Tree,
    /// In a layer already.
    taken: BTreeSet<PathBuf>,
}

impl Left<'_> {
    /// What the patterns match, whole directories with all that is in them, and the directories above.
    fn take(&mut self, slice: &Slice) -> Result<BTreeSet<PathBuf>, Failure> {
        let mut found = BTreeSet::new();
        for pattern in &slice.paths {
            let wrong = |what| Failure::Refused(format!("slice `{pattern}` {what}"));
            let pattern = glob::Pattern::parse(pattern).map_err(wrong)?;
            let paths = self
                .tree
                .0
                .keys()
                .filter(|path| !path.as_os_str().is_empty());
            let matching: Vec<&PathBuf> = paths.filter(|path| pattern.matches(path)).collect();
            for path in matching {
                self.take_whole(path, &mut found);
            }
        }
        let mut parents: BTreeSet<PathBuf> = BTreeSet::new();
        for path in &found {
            let above = path
                .ancestors()
                .skip(1)
                .filter(|parent| !found.contains(*parent));
            parents.extend(above.map(Path::to_owned));
        }
        // From the deepest: a directory of which nothing is left is not left either.
        for dir in parents.iter().rev() {
            if self.tree.0[dir]
                .iter()
                .all(|child| self.taken.contains(child))
            {
                self.taken.insert(dir.clone());
            }
        }
        found.extend(parents);
        Ok(found)
    }

    fn take_whole(&mut self, path: &Path, found: &mut BTreeSet<PathBuf>) {
        let mut todo = vec![path.to_owned()];
        while let Some(path) = todo.pop() {
            if self.taken.insert(path.clone()) {
                todo.extend_from_slice(&self.tree.0[&path]);
                found.insert(path);
            }
        }
    }

    fn rest(self) -> BTreeSet<PathBuf> {
        let left = self
            .tree
            .0
            .keys()
            .filter(|path| !self.taken.contains(*path));
        left.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Layers of `slices` (patterns with spaces between) over files, as `a b | c`.
    fn check(files: &[&str], slices: &[&str], expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let slices: Vec<Slice> = slices
            .iter()
            .map(|paths| Slice {
                paths: paths.split(' ').map(str::to_owned).collect(),
            })
            .collect();
        let layers = divide(dir.path(), &slices).unwrap();
        let shown: Vec<String> = layers
            .iter()
            .map(|paths| {
                let names = paths.iter().map(|path| match path.to_str().unwrap() {
                    "" => ".",
                    name => name,
                });
                names.collect::<Vec<_>>().join(" ")
            })
            .collect();
        assert_eq!(shown.join(" | "), expected, "{files:?}");
    }

    #[test]
    fn every_file_is_in_one_layer() {
        let files = ["a", "b.txt", "d/e", "d/f/g"];
        check(&files, &[], ". a b.txt d d/e d/f d/f/g");
        check(&files, &["a"], ". a | . b.txt d d/e d/f d/f/g");
        check(&files, &["d"], ". d d/e d/f d/f/g | . a b.txt");
        check(
            &files,
            &["d/f", "d/*"],
            ". d d/f d/f/g | . d d/e | . a b.txt",
        );
        check(&files, &["*.txt d/*"], ". b.txt d d/e d/f d/f/g | . a");
        check(&files, &["none"], " | . a b.txt d d/e d/f d/f/g");
        check(&files, &["*"], ". a b.txt d d/e d/f d/f/g | ");
        check(&files, &["./d/", "d/e"], ". d d/e d/f d/f/g |  | . a b.txt");
        check(&files, &["../a /a"], " | . a b.txt d d/e d/f d/f/g");
    }

    #[test]
    fn what_is_no_pattern_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let slice = Slice {
            paths: vec!["[a".to_owned()],
        };
        let failure = divide(dir.path(), &[slice]).unwrap_err();
        assert_eq!(failure.to_string(), "slice `[a` has a `[` without its `]`");
    }
}
