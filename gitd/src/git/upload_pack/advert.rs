//! The refs as a client sees them.

use gix_hash::ObjectId;

use crate::git::{Repo, graph::Graph, packs::PackError};

use super::UploadError;

/// The ref that a clone checks out.
pub(super) const HEAD: &str = "HEAD";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ref {
    pub(super) name: String,
    pub(super) id: ObjectId,
    /// What an annotated tag names in the end.
    pub(super) peeled: Option<ObjectId>,
}

/// As they are at one moment.
pub(super) struct Refs {
    refs: Vec<(String, ObjectId)>,
    head: String,
}

#[derive(Debug)]
pub(super) struct Advert {
    /// In the order of their names; without HEAD.
    pub(super) refs: Vec<Ref>,
    /// The branch that HEAD names, whether or not it is there.
    pub(super) head: String,
}

impl Refs {
    pub(super) fn read(repo: &Repo) -> Result<Self, UploadError> {
        Ok(Self {
            refs: repo.refs()?,
            head: repo.head()?,
        })
    }
}

impl Advert {
    /// Refs whose objects are not here are left out: one broken ref must not end every clone.
    pub(super) fn new(found: Refs, graph: &mut Graph<'_>) -> Result<Self, UploadError> {
        let mut refs = Vec::new();
        for (name, id) in found.refs {
            match graph.peel(id) {
                Ok((tags, target)) => refs.push(Ref {
                    name,
                    id,
                    peeled: (!tags.is_empty()).then_some(target),
                }),
                Err(PackError::Missing(_)) => {
                    tracing::error!(name, %id, "the object of a ref is missing");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self {
            refs,
            head: found.head,
        })
    }

    pub(super) fn head_id(&self) -> Option<ObjectId> {
        self.find(&self.head).map(|found| found.id)
    }

    pub(super) fn find(&self, name: &str) -> Option<&Ref> {
        self.refs.iter().find(|found| found.name == name)
    }

    /// A full name, or the short one of a tag or a branch.
    pub(super) fn expand(&self, name: &str) -> Option<ObjectId> {
        if name == HEAD {
            return self.head_id();
        }
        ["", "refs/", "refs/tags/", "refs/heads/"]
            .iter()
            .find_map(|prefix| self.find(&format!("{prefix}{name}")))
            .map(|found| found.id)
    }

    pub(super) fn tips(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.refs.iter().map(|found| found.id)
    }

    pub(super) fn annotated_tags(&self) -> Vec<ObjectId> {
        self.refs
            .iter()
            .filter(|found| found.peeled.is_some())
            .map(|found| found.id)
            .collect()
    }
}
