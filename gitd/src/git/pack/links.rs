//! What the objects of a pack name: collected while each of them is at hand, followed when all are known.

use std::collections::{HashMap, HashSet};

use gix_hash::ObjectId;
use gix_object::Kind;

use super::id_hash::IdHash;
use crate::git::fsck::Link;

/// Neighbouring versions of a tree name nearly the same: a small table of the last ids spares most of the large one.
const LAST_BITS: u32 = 14;

/// Each object once, as each kind that it was named as, with one of those that named it.
pub(super) struct Links<'a> {
    /// Commits of which the client has no parents.
    shallow: &'a HashSet<ObjectId>,
    named: HashMap<Named, u32, IdHash>,
    last: Vec<Option<Named>>,
    /// Parents that may be missing, with the commit that names them.
    parents: Vec<(ObjectId, ObjectId)>,
    /// `.gitmodules`.
    modules: HashSet<ObjectId>,
}

/// `None`: a tag may name anything.
type Named = (ObjectId, Option<Kind>);

/// What has to be followed, of all who collected.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) named: Vec<HashMap<Named, u32, IdHash>>,
    pub(super) parents: Vec<(ObjectId, ObjectId)>,
    pub(super) modules: HashSet<ObjectId>,
}

impl<'a> Links<'a> {
    pub(super) fn new(shallow: &'a HashSet<ObjectId>) -> Self {
        Self {
            shallow,
            named: HashMap::default(),
            last: Vec::new(),
            parents: Vec::new(),
            modules: HashSet::new(),
        }
    }

    /// How many this remembers.
    pub(super) fn count(&self) -> usize {
        self.named.len() + self.parents.len()
    }

    /// `by`: the object that names it, and its place in the pack.
    pub(super) fn add(&mut self, (id, by): (ObjectId, u32), link: Link) {
        if link.modules {
            self.modules.insert(link.id);
        }
        if link.parent && self.shallow.contains(&id) {
            self.parents.push((link.id, id));
            return;
        }
        let named = (link.id, link.kind);
        if self.last.is_empty() {
            self.last.resize(1 << LAST_BITS, None);
        }
        let last = &mut self.last[slot(&link.id)];
        if *last != Some(named) {
            *last = Some(named);
            self.named.entry(named).or_insert(by);
        }
    }
}

impl Collected {
    pub(super) fn take(&mut self, links: Links<'_>) {
        self.named.push(links.named);
        self.parents.extend(links.parents);
        self.modules.extend(links.modules);
    }
}

fn slot(id: &ObjectId) -> usize {
    let bytes = id.as_slice();
    (usize::from(bytes[0]) << 8 | usize::from(bytes[1])) & ((1 << LAST_BITS) - 1)
}
