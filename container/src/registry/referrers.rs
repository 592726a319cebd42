//! Artifacts that say something about an image (distribution-spec "Pushing Manifests with Subject"): a registry that does
//! not keep track of them has an index under a tag made of the image's digest.

use super::{
    error::RegistryError,
    http::Client,
    reference::{Reference, Repository},
};
use crate::{
    Digest,
    layout::Layout,
    manifest::{Descriptor, Index, OCI_INDEX},
};

impl Client {
    /// Pushes an artifact of a layout that refers to the image `subject`, and makes it findable by that.
    pub fn push_referrer(
        &self,
        layout: &Layout,
        artifact: &Descriptor,
        subject: &Digest,
        to: &Repository,
    ) -> Result<(), RegistryError> {
        let target = Reference {
            repository: to.clone(),
            tag: None,
            digest: Some(artifact.digest),
        };
        self.push(layout, artifact, &[target], &[])?;
        let index = fallback(to, subject);
        let mut known = self.referrers(to, subject)?;
        if known.iter().any(|one| one.digest == artifact.digest) {
            return Ok(());
        }
        known.push(artifact.clone());
        self.push_manifest(&index, OCI_INDEX, &Index::new(known).to_json())?;
        Ok(())
    }

    /// What refers to the image `subject`, by the tag that every registry can keep.
    pub fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let index = fallback(repository, subject);
        match self.manifest(&index) {
            Ok((_, json)) => Ok(Index::parse(&json)
                .map_err(|why| RegistryError::BadManifest {
                    what: index.to_string(),
                    why,
                })?
                .manifests),
            Err(RegistryError::NotFound { .. }) => Ok(vec![]),
            Err(error) => Err(error),
        }
    }
}

fn fallback(repository: &Repository, subject: &Digest) -> Reference {
    Reference {
        repository: repository.clone(),
        tag: Some(format!("sha256-{}", subject.hex())),
        digest: None,
    }
}
