//! What the objects of a pack name: collected while each of them is at hand, followed when all are known.

use std::collections::HashSet;

use gix_hash::ObjectId;
use gix_object::Kind;

use super::inspect::Context;
use crate::git::fsck::Link;

/// What was named a moment ago is not noted again.
const LAST_BITS: u32 = 14;
/// So many, and twins are looked for.
const TIDY_AT: usize = 1 << 18;

/// Each object, as each kind that it was named as, with one of those that named it.
pub(super) struct Links<'a> {
    context: Context<'a>,
    named: Vec<(Named, u32)>,
    last: Vec<Option<Named>>,
    /// Parents that may be missing, with the commit that names them.
    parents: Vec<(ObjectId, ObjectId)>,
    /// `.gitmodules`.
    modules: HashSet<ObjectId>,
    tidy_at: usize,
    /// What the watch knows of.
    counted: usize,
}

/// `None`: a tag may name anything.
type Named = (ObjectId, Option<Kind>);

/// What has to be followed, of all who collected.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) named: Vec<Vec<(Named, u32)>>,
    pub(super) parents: Vec<(ObjectId, ObjectId)>,
    pub(super) modules: HashSet<ObjectId>,
}

impl<'a> Links<'a> {
    pub(super) fn new(context: Context<'a>) -> Self {
        Self {
            context,
            named: Vec::new(),
            last: Vec::new(),
            parents: Vec::new(),
            modules: HashSet::new(),
            tidy_at: TIDY_AT,
            counted: 0,
        }
    }

    /// `by`: the object that names it, and its place in the pack.
    pub(super) fn add(&mut self, (id, by): (ObjectId, u32), link: Link) {
        if link.modules {
            self.modules.insert(link.id);
        }
        if link.parent && self.context.shallow.contains(&id) {
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
            self.named.push((named, by));
        }
        if self.len() >= self.tidy_at {
            self.tidy();
        }
    }

    /// Leaves each once, and has the watch know how many they are.
    fn tidy(&mut self) {
        self.named.sort_unstable();
        self.named.dedup_by_key(|(named, _)| *named);
        let len = self.len();
        self.tidy_at = len + TIDY_AT.max(len / 2);
        self.context.watch.named(len.saturating_sub(self.counted));
        self.counted = len;
    }

    fn len(&self) -> usize {
        self.named.len() + self.parents.len() + self.modules.len()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::{Limits, watch::Watch};

    fn id(n: usize) -> ObjectId {
        let mut id = [7; 20];
        id[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        ObjectId::Sha1(id)
    }

    fn blob(n: usize) -> Link {
        Link {
            id: id(n),
            kind: Some(Kind::Blob),
            parent: false,
            modules: false,
        }
    }

    #[test]
    fn what_is_named_again_and_again_is_noted_once() {
        let (watch, shallow) = (Watch::new(Limits::default()), HashSet::new());
        let mut links = Links::new(Context {
            shallow: &shallow,
            watch: &watch,
        });
        let many: Vec<Link> = (0..50_000).map(blob).collect();
        for round in 0..12 {
            for link in &many {
                links.add((id(0), round), *link);
            }
        }
        assert!(links.named.len() <= TIDY_AT + many.len());
        links.tidy();
        assert_eq!(links.named.len(), many.len());
        assert!(!watch.stopped());
    }

    #[test]
    fn who_names_without_end_is_stopped() {
        let limits = Limits {
            objects: 50_000,
            ..Limits::default()
        };
        let (watch, shallow) = (Watch::new(limits), HashSet::new());
        let mut links = Links::new(Context {
            shallow: &shallow,
            watch: &watch,
        });
        let mut named = 0;
        while !watch.stopped() {
            links.add((id(0), 0), blob(named));
            named += 1;
            assert!(named <= 2_000_000, "without end");
        }
        assert!(named > 400_000);
    }
}
