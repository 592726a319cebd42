//! Which objects a client needs: what is reached from what it wants, and not from what it has.

use std::{
    collections::{BinaryHeap, HashMap, HashSet},
    mem,
};

use gix_hash::ObjectId;
use gix_object::Kind;

use super::{Tick, UploadError, filter::Filter};
use crate::git::{
    graph::Graph,
    packs::{PackError, Reader},
    tree::{self, Mode},
};

/// Trees of commits that the client has, walked to know what need not be sent. The nearest ones know nearly all of it.
const EDGES_MAX: usize = 64;

/// What goes into the pack.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    pub(crate) objects: Vec<ObjectId>,
    /// Trees and files that the client has for certain: good bases of deltas.
    pub(crate) had: HashSet<ObjectId>,
}

pub(crate) struct Request<'a> {
    pub(crate) wants: &'a [ObjectId],
    pub(crate) haves: &'a [ObjectId],
    pub(crate) filter: Filter,
    /// Annotated tags to send along with what they name.
    pub(crate) tags: &'a [ObjectId],
}

pub(crate) fn select(
    graph: &mut Graph<'_>,
    request: &Request<'_>,
    tick: &mut Tick<'_>,
) -> Result<Selection, UploadError> {
    let wanted = sort(graph, request.wants)?;
    let had = sort(graph, request.haves)?;
    let history = paint(graph, &wanted.commits, &had.commits, tick)?;
    let mut trees = Vec::new();
    for commit in history.edges.iter().chain(&had.commits).take(EDGES_MAX) {
        if let Some(commit) = graph.commit(*commit)? {
            trees.push(commit.tree);
        }
    }
    let mut walk = Walk::new(graph, tick);
    walk.seen.extend(had.tags);
    for tree in trees {
        walk.tree(tree, 0)?;
    }
    walk.found.clear();
    walk.had = mem::take(&mut walk.seen);
    walk.filter = request.filter;
    walk.found.extend(&wanted.tags);
    for (commit, tree) in &history.commits {
        walk.found.push(*commit);
        walk.tree(*tree, 0)?;
    }
    // What was asked for by name is sent, whatever the filter says.
    walk.filter = Filter::All;
    for (id, kind) in &wanted.others {
        match kind {
            Kind::Tree => walk.tree(*id, 0)?,
            _ => walk.take(*id),
        }
    }
    walk.finish(request.tags)
}

#[derive(Default)]
struct Sorted {
    commits: Vec<ObjectId>,
    tags: Vec<ObjectId>,
    others: Vec<(ObjectId, Kind)>,
}

fn sort(graph: &mut Graph<'_>, ids: &[ObjectId]) -> Result<Sorted, PackError> {
    let mut sorted = Sorted::default();
    for id in ids {
        let (tags, id) = graph.peel(*id)?;
        sorted.tags.extend(tags);
        if graph.commit(id)?.is_some() {
            sorted.commits.push(id);
        } else if let Some(reader) = &mut graph.reader {
            let (kind, _) = reader.header(id)?;
            sorted.others.push((id, kind));
        }
    }
    Ok(sorted)
}

/// The commits to send, with their trees, newest first; and commits just below them, which the client has.
#[derive(Debug, Default, PartialEq, Eq)]
struct History {
    commits: Vec<(ObjectId, ObjectId)>,
    edges: Vec<ObjectId>,
}

const WANTED: u8 = 1;
const HAD: u8 = 2;
const QUEUED: u8 = 4;

/// Walks from the newest commit to the oldest, and stops where only commits remain that the client has. A clock that went
/// wrong may make it stop early: then something is sent that the client has, never the other way round.
fn paint(
    graph: &mut Graph<'_>,
    wants: &[ObjectId],
    haves: &[ObjectId],
    tick: &mut Tick<'_>,
) -> Result<History, UploadError> {
    let mut painter = Painter::default();
    for id in haves {
        painter.paint(graph, *id, HAD)?;
    }
    for id in wants {
        painter.paint(graph, *id, WANTED)?;
    }
    let mut order = Vec::new();
    while painter.open > 0
        && let Some((_, id)) = painter.queue.pop()
    {
        tick(order.len())?;
        let colours = painter.taken(id);
        if colours & HAD == 0 {
            order.push(id);
        }
        for parent in graph.parents(id)? {
            painter.paint(graph, parent, colours & (WANTED | HAD))?;
        }
    }
    let mut history = History::default();
    for id in order {
        if painter.colours(id) & HAD != 0 {
            continue;
        }
        let Some(commit) = graph.commit(id)? else {
            continue;
        };
        history.commits.push((id, commit.tree));
        let parents = graph.parents(id)?;
        let had = |parent: &ObjectId| painter.colours(*parent) & HAD != 0;
        history.edges.extend(parents.into_iter().filter(had));
    }
    Ok(history)
}

#[derive(Default)]
struct Painter {
    colours: HashMap<ObjectId, u8>,
    queue: BinaryHeap<(i64, ObjectId)>,
    /// Queued commits that the client is not known to have.
    open: usize,
}

impl Painter {
    fn colours(&self, id: ObjectId) -> u8 {
        self.colours.get(&id).copied().unwrap_or_default()
    }

    fn paint(&mut self, graph: &mut Graph<'_>, id: ObjectId, paint: u8) -> Result<(), PackError> {
        if graph.commit(id)?.is_none() {
            return Ok(());
        }
        let time = graph.time(id)?;
        let old = self.colours(id);
        // Known as the client's: what else it is does not matter.
        if old & HAD != 0 || old | paint == old {
            return Ok(());
        }
        let new = old | paint | QUEUED;
        let was_open = old & QUEUED != 0;
        let is_open = new & HAD == 0;
        self.open = self.open + usize::from(is_open) - usize::from(was_open);
        if old & QUEUED == 0 {
            self.queue.push((time, id));
        }
        self.colours.insert(id, new);
        Ok(())
    }

    fn taken(&mut self, id: ObjectId) -> u8 {
        let colours = self.colours(id) & !QUEUED;
        self.open -= usize::from(colours & HAD == 0);
        self.colours.insert(id, colours);
        colours
    }
}

/// Through trees.
struct Walk<'a, 'p, 't> {
    graph: &'a mut Graph<'p>,
    tick: &'a mut Tick<'t>,
    filter: Filter,
    seen: HashSet<ObjectId>,
    had: HashSet<ObjectId>,
    found: Vec<ObjectId>,
    /// Only for filters by depth: where a tree was met, the nearest to its commit. It counts again when nearer.
    depths: HashMap<ObjectId, u64>,
}

impl<'a, 'p, 't> Walk<'a, 'p, 't> {
    fn new(graph: &'a mut Graph<'p>, tick: &'a mut Tick<'t>) -> Self {
        Self {
            graph,
            tick,
            filter: Filter::All,
            seen: HashSet::new(),
            had: HashSet::new(),
            found: Vec::new(),
            depths: HashMap::new(),
        }
    }

    fn reader(&mut self) -> Result<&mut Reader<'p>, UploadError> {
        self.graph.reader.as_mut().ok_or(UploadError::Gone)
    }

    fn take(&mut self, id: ObjectId) {
        if !self.had.contains(&id) && self.seen.insert(id) {
            self.found.push(id);
        }
    }

    /// Whether the tree is to be looked into: it is new, or nearer than before.
    fn enter(&mut self, tree: ObjectId, depth: u64) -> bool {
        if self.had.contains(&tree) || self.filter.leaves_out_tree(depth) {
            return false;
        }
        self.take_tree(tree, depth)
    }

    fn take_tree(&mut self, tree: ObjectId, depth: u64) -> bool {
        let new = self.seen.insert(tree);
        if new {
            self.found.push(tree);
        }
        if !matches!(self.filter, Filter::Depth { .. }) {
            return new;
        }
        let nearest = self.depths.entry(tree).or_insert(u64::MAX);
        let nearer = depth < *nearest;
        *nearest = depth.min(*nearest);
        nearer
    }

    fn tree(&mut self, root: ObjectId, depth: u64) -> Result<(), UploadError> {
        let mut pending = Vec::new();
        if self.enter(root, depth) {
            pending.push((root, depth));
        }
        let mut entries = Vec::new();
        while let Some((id, depth)) = pending.pop() {
            (self.tick)(self.found.len())?;
            let (_, data) = self.reader()?.object(id)?;
            entries.clear();
            for entry in tree::entries(data) {
                let entry = entry.map_err(|_| PackError::Damaged(id))?;
                entries.push((entry.mode, entry.id));
            }
            for (mode, id) in &entries {
                match mode {
                    Mode::Tree if self.enter(*id, depth + 1) => pending.push((*id, depth + 1)),
                    Mode::Tree | Mode::Gitlink => {}
                    _ => self.blob(*id, depth + 1)?,
                }
            }
        }
        Ok(())
    }

    fn blob(&mut self, id: ObjectId, depth: u64) -> Result<(), UploadError> {
        if self.seen.contains(&id) || self.had.contains(&id) {
            return Ok(());
        }
        let filter = self.filter;
        let left_out = filter.leaves_out_blob(depth, || -> Result<u64, UploadError> {
            Ok(self.reader()?.header(id)?.1)
        })?;
        if !left_out {
            self.take(id);
        }
        Ok(())
    }

    fn finish(self, tags: &[ObjectId]) -> Result<Selection, UploadError> {
        let mut objects = self.found;
        let mut inside: HashSet<ObjectId> = objects.iter().copied().collect();
        for tag in tags {
            let (chain, target) = self.graph.peel(*tag)?;
            if inside.contains(&target) {
                objects.extend(
                    chain
                        .into_iter()
                        .filter(|tag| !self.had.contains(tag) && inside.insert(*tag)),
                );
            }
        }
        let mut once = HashSet::with_capacity(objects.len());
        objects.retain(|id| once.insert(*id));
        Ok(Selection {
            objects,
            had: self.had,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::graph::tests::{graph, id};

    fn check(rows: &[(u8, &[u8])], wants: &[u8], haves: &[u8], commits: &[u8], edges: &[u8]) {
        let ids = |numbers: &[u8]| numbers.iter().copied().map(id).collect::<Vec<_>>();
        let history =
            paint(&mut graph(rows), &ids(wants), &ids(haves), &mut |_| Ok(())).expect("walks");
        let found: Vec<ObjectId> = history.commits.iter().map(|(commit, _)| *commit).collect();
        assert_eq!(found, ids(commits), "{wants:?} {haves:?}");
        assert_eq!(history.edges, ids(edges), "{wants:?} {haves:?}");
    }

    #[test]
    fn what_is_wanted_and_not_had() {
        // 1 - 2 - 3 - 6
        //      \ 4 - 5 /
        let rows: &[(u8, &[u8])] = &[
            (1, &[]),
            (2, &[1]),
            (3, &[2]),
            (4, &[2]),
            (5, &[4]),
            (6, &[3, 5]),
        ];
        check(rows, &[6], &[], &[6, 5, 4, 3, 2, 1], &[]);
        check(rows, &[6], &[3], &[6, 5, 4], &[3, 2]);
        check(rows, &[6], &[5], &[6, 3], &[5, 2]);
        check(rows, &[6], &[3, 5], &[6], &[3, 5]);
        check(rows, &[6], &[6], &[], &[]);
        check(rows, &[3], &[6], &[], &[]);
        check(rows, &[3, 5], &[2], &[5, 4, 3], &[2, 2]);
        check(rows, &[9], &[], &[], &[]);
    }

    #[test]
    fn a_wrong_clock_never_leaves_out_what_is_needed() {
        // The parent 9 says that it is younger than its child 2.
        let rows: &[(u8, &[u8])] = &[(1, &[]), (9, &[1]), (2, &[9]), (3, &[2])];
        check(rows, &[3], &[1], &[3, 2, 9], &[1]);
        check(rows, &[3], &[9], &[3, 2], &[9]);
    }
}
