//! The part of a fetch that protocols 0 and 2 have in common: may it be had, where does the history end, is enough known
//! of what the client has, and the pack.

use std::collections::{BTreeSet, HashMap, HashSet};

use gix_hash::ObjectId;
use tokio::sync::Semaphore;

use super::{
    UploadError,
    advert::Advert,
    boundary::{self, Boundary},
    filter::Filter,
    request::Request,
    select::{self, Selection, select},
    wire::PackStream,
};
use crate::{
    git::{
        graph::Graph,
        pack_writer::{Style, write_pack},
        packs::{PackError, Packs},
    },
    gone::Gone,
};

/// A search needs a processor, and memory for what it reads: more at once end no earlier.
const SEARCHES_MAX: usize = 4;
static SEARCHES: Semaphore = Semaphore::const_new(SEARCHES_MAX);
/// Longest chain of deltas that git unpacks.
const DEPTH_MAX: u16 = 4095;

pub(super) struct Fetch<'a> {
    pub(super) packs: &'a Packs,
    pub(super) graph: Graph<'a>,
    pub(super) advert: &'a Advert,
    pub(super) request: Request,
    /// Parents that become visible where the client's boundary goes away.
    beyond: Vec<ObjectId>,
    /// What both sides have.
    common: BTreeSet<ObjectId>,
    /// The answer to "is that enough", and for how many common objects it was given.
    enough: Option<(usize, bool)>,
}

impl<'a> Fetch<'a> {
    pub(super) fn new(
        packs: &'a Packs,
        graph: Graph<'a>,
        advert: &'a Advert,
        request: Request,
    ) -> Self {
        Self {
            packs,
            graph,
            advert,
            request,
            beyond: Vec::new(),
            common: BTreeSet::new(),
            enough: None,
        }
    }

    /// Only what a ref leads to may be had: the objects of a failed deploy lie in the packs too.
    pub(super) fn check_wants(
        &mut self,
        shown: &HashSet<ObjectId>,
        gone: &Gone,
    ) -> Result<(), UploadError> {
        let wants = self.request.wants.iter().copied();
        let mut missing: HashSet<ObjectId> = wants.filter(|id| !shown.contains(id)).collect();
        let mut tips = HashSet::new();
        for tip in self.advert.tips() {
            missing.remove(&tip);
            let (tags, target) = self.graph.peel(tip)?;
            for tag in tags {
                missing.remove(&tag);
            }
            tips.insert(target);
        }
        if !missing.is_empty() {
            self.graph.reach(tips.iter().copied(), |commit| {
                missing.remove(&commit);
                missing.is_empty()
            })?;
        }
        if missing.is_empty() {
            return Ok(());
        }
        // A partial clone asks for trees and files by name.
        let everything = select::Request {
            wants: &tips.into_iter().collect::<Vec<_>>(),
            haves: &[],
            filter: Filter::All,
            tags: &[],
        };
        let mut tick = |_| match gone.is_set() {
            true => Err(UploadError::Gone),
            false => Ok(()),
        };
        let all = select(&mut self.graph, &everything, &mut tick)?;
        let all: HashSet<ObjectId> = all.objects.into_iter().collect();
        match missing.into_iter().find(|id| !all.contains(id)) {
            Some(id) => Err(UploadError::NotOurs(id)),
            None => Ok(()),
        }
    }

    /// Where the client's history is to end. From here on, the history is walked as the client sees it.
    pub(super) fn deepen(&mut self) -> Result<Option<Boundary>, UploadError> {
        let client = self.request.shallow.clone();
        let shallow_here = self.graph.has_cuts();
        let boundary = match self.request.deepen.take() {
            None if !shallow_here || !client.is_empty() => None,
            deepen => {
                let deepen = deepen.unwrap_or_default();
                let not = deepen.not.iter().map(|name| {
                    let id = self.advert.expand(name);
                    id.ok_or_else(|| UploadError::NoRef(super::request::shown(name)))
                });
                let not = not.collect::<Result<Vec<_>, _>>()?;
                let wants = self.commits(&self.request.wants.clone())?;
                let not = self.commits(&not)?;
                Some(boundary::boundary(
                    &mut self.graph,
                    &wants,
                    &client,
                    &deepen,
                    &not,
                )?)
            }
        };
        if let Some(boundary) = &boundary {
            for id in &boundary.unshallow {
                self.beyond.extend(self.graph.parents(*id)?);
            }
            self.graph.cut(boundary.shallow.iter().copied());
        }
        self.graph.cut(client);
        Ok(boundary)
    }

    fn commits(&mut self, ids: &[ObjectId]) -> Result<Vec<ObjectId>, PackError> {
        ids.iter().map(|id| Ok(self.graph.peel(*id)?.1)).collect()
    }

    /// Whether we have it too.
    pub(super) fn have(&mut self, id: ObjectId) -> bool {
        let here = self.packs.contains(&id);
        if here {
            self.common.insert(id);
        }
        here
    }

    pub(super) fn has_common(&self) -> bool {
        !self.common.is_empty()
    }

    /// Every want leads to something that the client has: more of that would not make the pack much smaller.
    pub(super) fn is_enough(&mut self) -> Result<bool, UploadError> {
        let known = self.common.len();
        if let Some((at, enough)) = self.enough
            && at == known
        {
            return Ok(enough);
        }
        let enough = known > 0 && self.every_want_meets_common()?;
        self.enough = Some((known, enough));
        Ok(enough)
    }

    fn every_want_meets_common(&mut self) -> Result<bool, UploadError> {
        let common: Vec<ObjectId> = self.common.iter().copied().collect();
        let common: HashSet<ObjectId> = self.commits(&common)?.into_iter().collect();
        let mut oldest = i64::MAX;
        for id in &common {
            if self.graph.commit(*id)?.is_some() {
                oldest = oldest.min(self.graph.time(*id)?);
            }
        }
        let wants = self.commits(&self.request.wants.clone())?;
        // From the wants down, noting who came from whom; then from the common ones up again.
        let mut children: HashMap<ObjectId, Vec<ObjectId>> = HashMap::new();
        let mut seen: HashSet<ObjectId> = HashSet::new();
        let mut next = wants.clone();
        while let Some(id) = next.pop() {
            if self.graph.time(id)? < oldest || !seen.insert(id) || common.contains(&id) {
                continue;
            }
            for parent in self.graph.parents(id)? {
                children.entry(parent).or_default().push(id);
                next.push(parent);
            }
        }
        let mut meets: HashSet<ObjectId> = HashSet::new();
        let mut next: Vec<ObjectId> = common.into_iter().collect();
        while let Some(id) = next.pop() {
            if meets.insert(id) {
                next.extend(children.remove(&id).unwrap_or_default());
            }
        }
        for want in wants {
            // Trees and files have no history to look into.
            if !meets.contains(&want) && self.graph.commit(want)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Searches the objects and sends them.
    pub(super) fn send(self, mut stream: PackStream<'_>) -> Result<(), UploadError> {
        match self.send_pack(&mut stream) {
            Ok(()) => stream.finish(),
            Err(error) => {
                if let Some(words) = error.told() {
                    stream.fail(&words)?;
                }
                Err(error)
            }
        }
    }

    fn send_pack(self, stream: &mut PackStream<'_>) -> Result<(), UploadError> {
        let (packs, options) = (self.packs, self.request.options);
        let selection = self.search(stream)?;
        let count = selection.objects.len();
        stream.text(&format!("Enumerating objects: {count}, done.\n"))?;
        let style = Style {
            ofs_delta: options.ofs_delta,
            depth_max: DEPTH_MAX,
        };
        let written = write_pack(packs, &selection.objects, &selection.had, style, stream)?;
        stream.text(&format!(
            "Total {} (delta {}), reused {}\n",
            written.objects, written.deltas, written.copied
        ))
    }

    /// Gives up all that it has read: a client may take its time for the pack.
    fn search(mut self, stream: &mut PackStream<'_>) -> Result<Selection, UploadError> {
        let _turn = stream.wait_for(&SEARCHES)?;
        let options = self.request.options;
        let mut wants = self.request.wants;
        wants.append(&mut self.beyond);
        let haves: Vec<ObjectId> = self.common.into_iter().collect();
        let tags = match options.include_tag {
            true => self.advert.annotated_tags(),
            false => Vec::new(),
        };
        let request = select::Request {
            wants: &wants,
            haves: &haves,
            filter: self.request.filter,
            tags: &tags,
        };
        let mut selection = select(&mut self.graph, &request, &mut |found| stream.tick(found))?;
        // A partial clone says that it has commits, and has not all of their files.
        if !options.thin_pack || request.filter != Filter::All {
            selection.had = HashSet::new();
        }
        Ok(selection)
    }
}
