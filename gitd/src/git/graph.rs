//! The history of a repository as readers of it walk it: commits, read once, and cut where a shallow clone is cut.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use gix_hash::ObjectId;

use super::packs::{Commit, PackError, Reader};

/// Annotated tags of annotated tags; nobody honest makes more.
const TAGS_MAX: usize = 16;

/// Commits by id; the ones that were not given from the start are read when they are asked for.
pub(crate) struct Graph<'a> {
    pub(crate) reader: Option<Reader<'a>>,
    known: HashMap<ObjectId, Option<Rc<Commit>>>,
    /// Commits that count as first ones: boundaries of this repository, or of the client's clone.
    cuts: HashSet<ObjectId>,
}

impl<'a> Graph<'a> {
    pub(crate) fn new(reader: Reader<'a>, cuts: impl IntoIterator<Item = ObjectId>) -> Self {
        Self {
            reader: Some(reader),
            known: HashMap::new(),
            cuts: cuts.into_iter().collect(),
        }
    }

    pub(crate) fn cut(&mut self, commits: impl IntoIterator<Item = ObjectId>) {
        self.cuts.extend(commits);
    }

    pub(crate) fn is_cut(&self, id: &ObjectId) -> bool {
        self.cuts.contains(id)
    }

    pub(crate) fn has_cuts(&self) -> bool {
        !self.cuts.is_empty()
    }

    /// `None`: it is no commit, or it is not here.
    pub(crate) fn commit(&mut self, id: ObjectId) -> Result<Option<Rc<Commit>>, PackError> {
        if let Some(known) = self.known.get(&id) {
            return Ok(known.clone());
        }
        let read = match self.reader.as_mut().map(|reader| reader.commit(id)) {
            Some(Ok(commit)) => commit.map(Rc::new),
            Some(Err(PackError::Missing(_))) | None => None,
            Some(Err(error)) => return Err(error),
        };
        self.known.insert(id, read.clone());
        Ok(read)
    }

    /// Without those behind a cut.
    pub(crate) fn parents(&mut self, id: ObjectId) -> Result<Vec<ObjectId>, PackError> {
        if self.is_cut(&id) {
            return Ok(Vec::new());
        }
        let commit = self.commit(id)?;
        Ok(commit.map_or_else(Vec::new, |commit| commit.parents.clone()))
    }

    pub(crate) fn time(&mut self, id: ObjectId) -> Result<i64, PackError> {
        Ok(self.commit(id)?.map_or(i64::MIN, |commit| commit.time))
    }

    /// The tags on the way from `id` to what is no tag, and that.
    pub(crate) fn peel(&mut self, id: ObjectId) -> Result<(Vec<ObjectId>, ObjectId), PackError> {
        let mut tags = Vec::new();
        let mut id = id;
        if let Some(reader) = &mut self.reader {
            while let Some(target) = reader.tag_target(id)? {
                tags.push(id);
                id = target;
                if tags.len() > TAGS_MAX {
                    return Err(PackError::Damaged(id));
                }
            }
        }
        Ok((tags, id))
    }

    /// Every commit that is reached from `tips`, until `stop` says that it is enough.
    pub(crate) fn reach(
        &mut self,
        tips: impl IntoIterator<Item = ObjectId>,
        mut stop: impl FnMut(ObjectId) -> bool,
    ) -> Result<HashSet<ObjectId>, PackError> {
        let mut seen = HashSet::new();
        let mut next: Vec<ObjectId> = tips.into_iter().collect();
        while let Some(id) = next.pop() {
            if self.commit(id)?.is_none() || !seen.insert(id) {
                continue;
            }
            if stop(id) {
                break;
            }
            next.extend(self.parents(id)?);
        }
        Ok(seen)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn id(n: u8) -> ObjectId {
        ObjectId::from_bytes_or_panic(&[n; 20])
    }

    /// Rows of a commit and its parents; a commit's time is its number.
    pub(crate) fn graph(rows: &[(u8, &[u8])]) -> Graph<'static> {
        let row = |(commit, parents): &(u8, &[u8])| {
            let commit_of = Commit {
                tree: id(0),
                parents: parents.iter().copied().map(id).collect(),
                time: i64::from(*commit),
            };
            (id(*commit), Some(Rc::new(commit_of)))
        };
        Graph {
            reader: None,
            known: rows.iter().map(row).collect(),
            cuts: HashSet::new(),
        }
    }

    #[test]
    fn a_cut_hides_what_is_behind_it() {
        let mut graph = graph(&[(1, &[]), (2, &[1]), (3, &[2]), (4, &[3, 1])]);
        let reach = |graph: &mut Graph<'_>| {
            let mut all: Vec<ObjectId> = graph
                .reach([id(4)], |_| false)
                .expect("reads")
                .into_iter()
                .collect();
            all.sort_unstable();
            all
        };
        assert_eq!(reach(&mut graph), [id(1), id(2), id(3), id(4)]);
        graph.cut([id(3)]);
        assert_eq!(reach(&mut graph), [id(1), id(3), id(4)]);
        graph.cut([id(4)]);
        assert_eq!(reach(&mut graph), [id(4)]);
    }
}
