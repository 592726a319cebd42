//! Rules for one object, as git's `fsck --strict` has them (fsck-msgids) where they protect anyone who will read it: our
//! export, a later clone, a checkout on another system.

use gix_hash::ObjectId;
use gix_object::{Kind, bstr::ByteSlice};
use gix_validate::path::component;

use super::tree::{self, Entry, Mode, TreeError};

/// A name that fits no file system is only there to break one.
const NAME_MAX: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    #[error("tree {id} {problem}")]
    Tree { id: ObjectId, problem: TreeError },
    #[error("tree {id} has the entry `{name}`, which {problem}")]
    Entry {
        id: ObjectId,
        name: String,
        problem: &'static str,
    },
    #[error("{kind} {id} is malformed")]
    Malformed { kind: Kind, id: ObjectId },
}

/// Another object that an object names, and what it must be (`None`: a tag may name anything).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) id: ObjectId,
    pub(crate) kind: Option<Kind>,
    /// A parent: may be missing at the boundary of a shallow clone.
    pub(crate) parent: bool,
    /// The blob is a `.gitmodules`.
    pub(crate) modules: bool,
}

/// Checks the object and hands every link in it to `link`.
pub(crate) fn check(
    kind: Kind,
    id: ObjectId,
    data: &[u8],
    mut link: impl FnMut(Link),
) -> Result<(), FsckError> {
    match kind {
        Kind::Tree => check_tree(id, data, link),
        Kind::Commit => {
            let malformed = |_| FsckError::Malformed { kind, id };
            let commit =
                gix_object::CommitRef::from_bytes(data, gix_hash::Kind::Sha1).map_err(malformed)?;
            link(Link::new(commit.tree(), Some(Kind::Tree)));
            for parent in commit.parents() {
                link(Link {
                    parent: true,
                    ..Link::new(parent, Some(Kind::Commit))
                });
            }
            Ok(())
        }
        Kind::Tag => {
            let malformed = |_| FsckError::Malformed { kind, id };
            let tag =
                gix_object::TagRef::from_bytes(data, gix_hash::Kind::Sha1).map_err(malformed)?;
            link(Link::new(tag.target(), Some(tag.target_kind)));
            Ok(())
        }
        Kind::Blob => Ok(()),
    }
}

fn check_tree(id: ObjectId, data: &[u8], mut link: impl FnMut(Link)) -> Result<(), FsckError> {
    let mut previous: Option<Entry<'_>> = None;
    let mut files_since = Vec::new();
    for entry in tree::entries(data) {
        let entry = entry.map_err(|problem| FsckError::Tree { id, problem })?;
        let bad = |problem| FsckError::Entry {
            id,
            name: entry.name.escape_ascii().to_string(),
            problem,
        };
        if let Some(problem) = name_problem(&entry) {
            return Err(bad(problem));
        }
        if let Some(previous) = &previous {
            if previous.name == entry.name {
                return Err(bad("is there twice"));
            }
            if !tree::in_order(previous, &entry) {
                return Err(bad("is out of order"));
            }
        }
        if is_twin(&mut files_since, &entry) {
            return Err(bad("is there twice"));
        }
        self::link(&entry).map(&mut link);
        previous = Some(entry);
    }
    Ok(())
}

/// What an entry of a tree names, unless that is of another repository.
pub(crate) fn link(entry: &Entry<'_>) -> Option<Link> {
    let kind = match entry.mode {
        Mode::Gitlink => return None,
        Mode::Tree => Kind::Tree,
        Mode::File | Mode::Executable | Mode::Symlink => Kind::Blob,
    };
    Some(Link {
        modules: kind == Kind::Blob && is_gitmodules(entry.name),
        ..Link::new(entry.id, Some(kind))
    })
}

/// A file `a` and a tree `a` are not neighbours when `a.b` stands between them: remembers the files of which the
/// following names are continuations (git's verify_ordered does the same).
fn is_twin<'a>(files: &mut Vec<&'a [u8]>, entry: &Entry<'a>) -> bool {
    while files
        .last()
        .is_some_and(|file| !entry.name.starts_with(file))
    {
        files.pop();
    }
    match entry.mode {
        Mode::Tree => files.contains(&entry.name),
        _ => {
            files.push(entry.name);
            false
        }
    }
}

fn name_problem(entry: &Entry<'_>) -> Option<&'static str> {
    let name = entry.name;
    if entry.id.is_null() {
        return Some("names the null object");
    }
    if name.len() > NAME_MAX {
        return Some("is too long");
    }
    if name.is_empty() {
        return Some("has no name");
    }
    if name.contains(&b'/') {
        return Some("contains a slash");
    }
    // For Windows a backslash is a slash.
    let parts = &mut name.split(|byte| *byte == b'\\');
    if parts.any(|part| matches!(special(part, None), Some(component::Error::DotGitDir))) {
        return Some("some system takes for `.git`");
    }
    let mode = (entry.mode == Mode::Symlink).then_some(component::Mode::Symlink);
    match special(name, mode)? {
        component::Error::Relative => Some("leads out of its folder"),
        component::Error::SymlinkedGitModules => Some("is a symbolic link"),
        _ => Some("is not a safe name"),
    }
}

/// Also in the spellings that HFS+ and NTFS take for it: validation refuses those as symbolic links.
fn is_gitmodules(name: &[u8]) -> bool {
    let as_link = special(name, Some(component::Mode::Symlink));
    matches!(as_link, Some(component::Error::SymlinkedGitModules))
}

/// What a name is that some system takes for a special one.
fn special(name: &[u8], mode: Option<component::Mode>) -> Option<component::Error> {
    // They begin with a dot, or as `git~1` does, or with a character that HFS+ ignores. Nearly no name is looked at twice.
    if !matches!(name.first(), Some(b'.' | b'g' | b'G' | 0x80..)) {
        return None;
    }
    let options = component::Options {
        // Backslashes, `aux` and `a:b` are fine names on every system that will ever check this out for us.
        protect_windows: false,
        protect_hfs: true,
        protect_ntfs: true,
    };
    gix_validate::path::component(name.as_bstr(), mode, options).err()
}

impl Link {
    fn new(id: ObjectId, kind: Option<Kind>) -> Self {
        Self {
            id,
            kind,
            parent: false,
            modules: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut data = Vec::new();
        for (mode, name) in entries {
            data.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            data.extend_from_slice(&[7; 20]);
        }
        data
    }

    fn problem(entries: &[(&str, &str)]) -> Option<String> {
        let id = ObjectId::null(gix_hash::Kind::Sha1);
        check(Kind::Tree, id, &tree(entries), |_| {})
            .err()
            .map(|error| error.to_string())
    }

    #[test]
    fn ordinary_trees_pass() {
        let check = |entries: &[(&str, &str)]| assert_eq!(problem(entries), None);
        check(&[]);
        check(&[
            ("100644", ".gitignore"),
            ("100644", ".gitmodules"),
            ("120000", "link"),
            ("160000", "sub"),
        ]);
        check(&[("100644", "a"), ("100644", "a.b"), ("40000", "ab")]);
        check(&[
            ("100644", "a b\\c:d"),
            ("100644", "a\\..\\gitx"),
            ("100644", "git"),
            ("100644", "gitx"),
            ("100644", "x.git"),
            ("100644", "ü"),
        ]);
    }

    #[test]
    fn dangerous_trees_do_not() {
        let check = |entries: &[(&str, &str)], part: &str| {
            let problem = problem(entries).unwrap_or_default();
            assert!(problem.contains(part), "{entries:?}: {problem:?}");
        };
        for git in [
            ".git",
            ".GIT",
            ".Git",
            "git~1",
            "GIT~1",
            ".git ",
            ".git.",
            ".g\u{200c}it",
            ".git::$INDEX_ALLOCATION",
            "a\\.git",
            ".GIT\\config",
        ] {
            check(&[("40000", git)], "takes for `.git`");
        }
        check(&[("100644", "..")], "leads out");
        check(&[("100644", ".")], "leads out");
        check(&[("100644", "")], "no name");
        check(&[("100644", "a/b")], "slash");
        check(&[("120000", ".gitmodules")], "symbolic link");
        check(&[("120000", ".GITMODULES")], "symbolic link");
        check(&[("100644", "a"), ("100644", "a")], "twice");
        check(
            &[("100644", "a"), ("100644", "a.b"), ("40000", "a")],
            "twice",
        );
        check(&[("100644", "b"), ("100644", "a")], "order");
        check(&[("100777", "a")], "mode `100777`");
    }

    #[test]
    fn links() {
        let id = ObjectId::null(gix_hash::Kind::Sha1);
        let mut links = Vec::new();
        let data = tree(&[
            ("100644", ".gitmodules"),
            ("40000", "dir"),
            ("160000", "sub"),
        ]);
        check(Kind::Tree, id, &data, |link| {
            links.push((link.kind, link.modules))
        })
        .expect("a good tree");
        assert_eq!(links, [(Some(Kind::Blob), true), (Some(Kind::Tree), false)]);
    }

    proptest! {
        #[test]
        fn any_object_is_checked_without_panic(data: Vec<u8>) {
            let id = ObjectId::null(gix_hash::Kind::Sha1);
            for kind in [Kind::Tree, Kind::Commit, Kind::Tag, Kind::Blob] {
                _ = check(kind, id, &data, |_| {});
            }
        }
    }
}
