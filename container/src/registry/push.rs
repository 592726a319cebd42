//! To a registry: blobs that it has not got yet, then the manifest that names them, under each of its tags.

use std::path::Path;

use ureq::http::{HeaderMap, Method, header};

use super::{
    auth::Scope,
    error::RegistryError,
    http::{Call, Client, Payload},
    parallel,
    pull::{named, text},
    reference::{Reference, Repository},
    upload::Upload,
};
use crate::{
    Digest,
    layout::Layout,
    manifest::{Descriptor, Manifest, OCI_CONFIG},
};

const CONTENT_DIGEST: &str = "docker-content-digest";

/// The bytes of a blob that is pushed.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    Bytes(&'a [u8]),
    File(&'a Path),
}

/// How a blob got into a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It was there.
    Present,
    /// From another repository of the same registry, without its bytes.
    Mounted,
    Uploaded,
}

impl Client {
    /// Pushes an image of a layout to every one of `targets`. Blobs go first, several at a time; layers that come from
    /// one of `origins` are mounted where registry and rights allow it. Returns what `targets` name now.
    pub fn push(
        &self,
        layout: &Layout,
        image: &Descriptor,
        targets: &[Reference],
        origins: &[Repository],
    ) -> Result<(), RegistryError> {
        let json = layout.bytes(image)?;
        let manifest = Manifest::parse(&json).map_err(|why| RegistryError::BadManifest {
            what: layout.dir().display().to_string(),
            why,
        })?;
        let mut origins = origins.to_vec();
        let mut done: Vec<&Repository> = vec![];
        for target in targets {
            let repository = &target.repository;
            if !done.contains(&repository) {
                self.push_blobs(layout, &manifest, repository, &origins)?;
                done.push(repository);
                origins.insert(0, repository.clone());
            }
            self.push_manifest(target, &manifest.media_type, &json)?;
        }
        Ok(())
    }

    pub(super) fn push_blobs(
        &self,
        layout: &Layout,
        manifest: &Manifest,
        to: &Repository,
        origins: &[Repository],
    ) -> Result<(), RegistryError> {
        let mut blobs: Vec<&Descriptor> = manifest.blobs().collect();
        blobs.sort_by_key(|blob| blob.digest);
        blobs.dedup_by_key(|blob| blob.digest);
        parallel::each(&blobs, |blob| {
            let file = layout.blob(&blob.digest);
            self.push_blob(to, blob, Content::File(&file), origins)
                .map(|_| ())
        })
    }

    /// Sends one blob, unless the repository has it or can have it from one of `origins`.
    pub fn push_blob(
        &self,
        to: &Repository,
        blob: &Descriptor,
        content: Content<'_>,
        origins: &[Repository],
    ) -> Result<Sent, RegistryError> {
        if self.has_blob(to, blob)? {
            return Ok(Sent::Present);
        }
        let same = |from: &&Repository| from.registry() == to.registry() && *from != to;
        let origins: Vec<&Repository> = origins.iter().filter(same).collect();
        Upload::new(self, to, blob, content).run(&origins)
    }

    /// Finds out early whether our credentials may push to the repository.
    pub fn check_push(&self, to: &Repository) -> Result<(), RegistryError> {
        let nothing = Descriptor::of(OCI_CONFIG, &[]);
        Upload::new(self, to, &nothing, Content::Bytes(&[])).rehearse()
    }

    /// Whether the repository holds the blob. One of that digest with another length is an error.
    pub fn has_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
    ) -> Result<bool, RegistryError> {
        let (what, scope) = (named(repository, blob), Scope::push(repository));
        let call = Call {
            action: "push",
            what: &what,
            scope: &scope,
            method: Method::HEAD,
            url: format!("{}/blobs/{}", self.url(repository), blob.digest),
            headers: vec![],
            payload: Payload::None,
            again: true,
        };
        let response = self.done(&call, &[200, 404])?;
        if response.status == 404 {
            return Ok(false);
        }
        let length = text(&response.headers, header::CONTENT_LENGTH.as_str());
        match length.and_then(|length| length.parse::<u64>().ok()) {
            Some(length) if length != blob.size => Err(RegistryError::Size {
                what,
                expected: blob.size,
                found: length.to_string(),
            }),
            _ => Ok(true),
        }
    }

    /// Gives `json` the name `reference`. What it names has to be there already.
    pub fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        json: &[u8],
    ) -> Result<Digest, RegistryError> {
        self.put_manifest(reference, media_type, json)?;
        Ok(Digest::of(json))
    }

    /// The same; the answer's headers.
    pub(super) fn put_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        json: &[u8],
    ) -> Result<HeaderMap, RegistryError> {
        let (what, scope) = (reference.to_string(), Scope::push(&reference.repository));
        let url = self.url(&reference.repository);
        let call = Call {
            action: "push",
            what: &what,
            scope: &scope,
            method: Method::PUT,
            url: format!("{url}/manifests/{}", reference.target()),
            headers: vec![(header::CONTENT_TYPE, media_type.to_owned())],
            payload: Payload::Bytes(json),
            again: true,
        };
        let response = self.done(&call, &[200, 201, 202])?;
        let expected = Digest::of(json);
        match text(&response.headers, CONTENT_DIGEST).and_then(|digest| digest.parse().ok()) {
            Some(found) if found != expected => Err(RegistryError::Digest {
                what,
                expected,
                found,
            }),
            _ => Ok(response.headers),
        }
    }
}
