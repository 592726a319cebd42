//! Folders as they were last seen. The next version of a folder mostly has other contents under the same names: nothing
//! is left to check then, and little to follow.

use crate::git::{
    fsck::{self, Link},
    tree,
};

const SLOTS: usize = 1024;
/// Of all slots together. Beyond, all are forgotten.
const BYTES_MAX: usize = 4 << 20;
const ID: usize = 20;
const STRIDE: usize = 64;

#[derive(Default)]
pub(super) struct Folders {
    slots: Vec<Folder>,
    bytes: usize,
}

/// A tree that has passed.
#[derive(Default)]
struct Folder {
    tree: Vec<u8>,
    /// Where its entries end.
    ends: Vec<u32>,
}

impl Folders {
    /// Whether a tree is one that has passed, or differs from it in ids only. Those are handed to `link`.
    pub(super) fn know(&mut self, tree: &[u8], link: impl FnMut(Link)) -> bool {
        let folder = slot(tree).and_then(|slot| self.slots.get_mut(slot));
        folder.is_some_and(|folder| folder.becomes(tree, link))
    }

    /// A tree that has passed.
    pub(super) fn put(&mut self, tree: &[u8]) {
        let Some(slot) = slot(tree).filter(|_| tree.len() <= BYTES_MAX) else {
            return;
        };
        if self.bytes + tree.len() > BYTES_MAX {
            *self = Self::default();
        }
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS, Folder::default);
        }
        let folder = &mut self.slots[slot];
        self.bytes += tree.len();
        self.bytes -= folder.tree.len();
        folder.tree.clear();
        folder.tree.extend_from_slice(tree);
        folder.ends.clear();
        folder.ends.extend(tree::ends(tree));
    }
}

impl Folder {
    fn becomes(&mut self, tree: &[u8], mut link: impl FnMut(Link)) -> bool {
        if tree.len() != self.tree.len() {
            return false;
        }
        let mut from = 0;
        while let Some(at) = difference(&tree[from..], &self.tree[from..]) {
            let at = from + at;
            let entry = self.ends.partition_point(|end| *end as usize <= at);
            let start = entry
                .checked_sub(1)
                .map_or(0, |before| self.ends[before] as usize);
            let end = self.ends[entry] as usize;
            let changed = tree::entries(&tree[start..end]).next();
            let Some(Ok(changed)) = changed.filter(|_| at >= end - ID) else {
                return false;
            };
            if changed.id.is_null() {
                return false;
            }
            fsck::link(&changed).map(&mut link);
            self.tree[start..end].copy_from_slice(&tree[start..end]);
            from = end;
        }
        true
    }
}

/// By the last id: it changes as rarely as any, and no other folder has it.
fn slot(tree: &[u8]) -> Option<usize> {
    let id = tree.last_chunk::<ID>()?;
    Some((usize::from(id[0]) << 8 | usize::from(id[1])) % SLOTS)
}

/// Where two of the same length differ first.
fn difference(a: &[u8], b: &[u8]) -> Option<usize> {
    let strides = a.chunks(STRIDE).zip(b.chunks(STRIDE));
    let from = STRIDE * strides.into_iter().position(|(a, b)| a != b)?;
    let bytes = a[from..].iter().zip(&b[from..]);
    let within = bytes.into_iter().position(|(a, b)| a != b)?;
    Some(from + within)
}

#[cfg(test)]
mod tests {
    use gix_hash::ObjectId;
    use proptest::prelude::*;

    use super::*;
    use crate::git::HASH;

    fn tree(entries: &[(&str, &str, u8)]) -> Vec<u8> {
        let entry = |(mode, name, id): &(&str, &str, u8)| {
            [format!("{mode} {name}\0").as_bytes(), &[*id; ID]].concat()
        };
        entries.iter().flat_map(entry).collect()
    }

    /// What a tree names, by the rules; `None`: it does not pass.
    fn links(tree: &[u8]) -> Option<Vec<Link>> {
        let mut links = Vec::new();
        let id = ObjectId::null(HASH);
        let checked = fsck::check(gix_object::Kind::Tree, id, tree, |link| links.push(link));
        checked.ok().map(|()| links)
    }

    fn known(folders: &mut Folders, tree: &[u8]) -> Option<Vec<Link>> {
        let mut links = Vec::new();
        let known = folders.know(tree, |link| links.push(link));
        known.then_some(links)
    }

    const FOLDER: [(&str, &str, u8); 4] = [
        ("100644", ".gitmodules", 1),
        ("40000", "folder", 2),
        ("160000", "sub", 3),
        ("100755", "tool", 4),
    ];

    #[test]
    fn only_new_ids_are_followed() {
        let mut folders = Folders::default();
        assert_eq!(known(&mut folders, &tree(&FOLDER)), None);
        folders.put(&tree(&FOLDER));
        assert_eq!(known(&mut folders, &tree(&FOLDER)), Some(Vec::new()));
        let mut changed = FOLDER;
        changed[0].2 = 7;
        changed[2].2 = 8;
        let links = known(&mut folders, &tree(&changed)).expect("only ids changed");
        let [modules] = links.as_slice() else {
            panic!("{links:?}");
        };
        assert!(modules.modules && modules.id == ObjectId::Sha1([7; ID]));
        assert_eq!(known(&mut folders, &tree(&changed)), Some(Vec::new()));
    }

    #[test]
    fn anything_else_is_checked_in_full() {
        let check = |change: &dyn Fn(&mut (&str, &str, u8))| {
            let mut folders = Folders::default();
            folders.put(&tree(&FOLDER));
            let mut changed = FOLDER;
            change(&mut changed[1]);
            assert_eq!(known(&mut folders, &tree(&changed)), None);
        };
        check(&|entry| entry.0 = "10644");
        check(&|entry| entry.1 = "folded");
        check(&|entry| entry.1 = "longer");
        check(&|entry| entry.1 = "long");
        check(&|entry| entry.2 = 0);
    }

    #[test]
    fn memory_is_bounded() {
        let mut folders = Folders::default();
        let large = vec![("100644", "a-file", 1); 40_000];
        for last in 0..=255 {
            let tree = [tree(&large), tree(&[("100644", "z", last)])].concat();
            folders.put(&tree);
            let bytes = folders
                .slots
                .iter()
                .map(|folder| folder.tree.len())
                .sum::<usize>();
            assert!(bytes == folders.bytes && bytes <= BYTES_MAX);
        }
    }

    proptest! {
        /// Who is known would have passed, and names nothing that was not followed.
        #[test]
        fn no_byte_can_be_changed_unseen(
            changes in prop::collection::vec((0usize..160, any::<u8>()), 1..4),
        ) {
            let before = tree(&FOLDER);
            let mut folders = Folders::default();
            folders.put(&before);
            let mut after = before.clone();
            for (at, byte) in changes {
                let at = at % after.len();
                after[at] = byte;
            }
            if let Some(new) = known(&mut folders, &after) {
                let followed = [links(&before).expect("passes"), new].concat();
                let names = links(&after).expect("passes too");
                prop_assert!(names.iter().all(|link| followed.contains(link)));
            }
        }
    }
}
