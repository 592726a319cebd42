//! Artifacts that say something about an image (distribution-spec "Listing Referrers", "Pushing Manifests with Subject").
//! A registry that does not keep track of them has an index of them under a tag made of the image's digest, which its
//! clients keep.

use ureq::http::{HeaderMap, header};

use super::{
    auth::Scope,
    error::RegistryError,
    http::Client,
    pull::{MANIFEST_BYTES_MAX, get, read_all, text},
    reference::{Reference, Repository},
};
use crate::{
    Digest,
    layout::Layout,
    manifest::{Descriptor, Index, Manifest, OCI_INDEX},
};

/// Says that the registry keeps track of what it has just got.
const SUBJECT: &str = "oci-subject";
/// Of a list.
const PAGES_MAX: usize = 100;

impl Client {
    /// Pushes an artifact of a layout that refers to the image `subject`, and makes it findable by that.
    pub fn push_referrer(
        &self,
        layout: &Layout,
        artifact: &Descriptor,
        subject: &Digest,
        to: &Repository,
    ) -> Result<(), RegistryError> {
        let json = layout.bytes(artifact)?;
        let manifest = Manifest::parse(&json).map_err(|why| RegistryError::BadManifest {
            what: layout.dir().display().to_string(),
            why,
        })?;
        self.push_blobs(layout, &manifest, to, &[])?;
        let target = Reference {
            repository: to.clone(),
            tag: None,
            digest: Some(artifact.digest),
        };
        let answer = self.put_manifest(&target, &manifest.media_type, &json)?;
        if text(&answer, SUBJECT).is_some_and(|kept| kept == subject.to_string()) {
            return Ok(());
        }
        let mut known = self.tagged(to, subject)?;
        if known.iter().any(|one| one.digest == artifact.digest) {
            return Ok(());
        }
        known.push(artifact.clone());
        let index = Index::new(known).to_json();
        self.push_manifest(&fallback(to, subject), OCI_INDEX, &index)?;
        Ok(())
    }

    /// What refers to the image `subject`.
    pub fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        match self.listed(repository, subject)? {
            Some(known) => Ok(known),
            None => self.tagged(repository, subject),
        }
    }

    /// `None`: this registry does not keep track.
    fn listed(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let what = format!("{repository}@{subject}");
        let scope = Scope::pull(repository);
        let mut url = format!("{}/referrers/{subject}", self.url(repository));
        let mut known = vec![];
        for _ in 0..PAGES_MAX {
            let mut call = get(&what, &scope, url);
            call.headers = vec![(header::ACCEPT, OCI_INDEX.to_owned())];
            let response = match self.expect(&call, &[200]) {
                Err(RegistryError::NotFound { .. }) => return Ok(None),
                Err(RegistryError::Status { status: 405, .. }) => return Ok(None),
                response => response?,
            };
            // Some answer every path, with a page for people.
            let kind = text(response.headers(), header::CONTENT_TYPE.as_str());
            if !kind.is_some_and(|kind| kind.starts_with(OCI_INDEX)) {
                return Ok(None);
            }
            let next = next_page(response.headers());
            let json = read_all(response, &what, MANIFEST_BYTES_MAX)?;
            known.extend(parse(&json, &what)?);
            match next {
                Some(path) => url = format!("{}{path}", self.origin(repository.registry())),
                None => return Ok(Some(known)),
            }
        }
        Err(RegistryError::Nonsense {
            registry: repository.registry().to_owned(),
            why: format!("a list of what refers to `{what}` that has no end"),
        })
    }

    /// By the tag that every registry can keep.
    fn tagged(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let index = fallback(repository, subject);
        match self.manifest(&index) {
            Ok((_, json)) => parse(&json, &index.to_string()),
            Err(RegistryError::NotFound { .. }) => Ok(vec![]),
            Err(error) => Err(error),
        }
    }
}

fn parse(json: &[u8], what: &str) -> Result<Vec<Descriptor>, RegistryError> {
    let index = Index::parse(json).map_err(|why| RegistryError::BadManifest {
        what: what.to_owned(),
        why,
    })?;
    Ok(index.manifests)
}

/// `Link: </v2/a/referrers/sha256:...?n=2>; rel="next"`. Another registry is never led to.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let link = text(headers, header::LINK.as_str())?;
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = rest.contains("rel=\"next\"") || rest.contains("rel=next");
    let is_path = target.starts_with('/') && !target.starts_with("//");
    (is_next && is_path).then(|| target.to_owned())
}

fn fallback(repository: &Repository, subject: &Digest) -> Reference {
    Reference {
        repository: repository.clone(),
        tag: Some(format!("sha256-{}", subject.hex())),
        digest: None,
    }
}
