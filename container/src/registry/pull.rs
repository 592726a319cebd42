//! From a registry: manifests, and blobs into whatever takes their bytes. What arrives is what its digest and its size
//! promise, or an error.

use std::{
    fs,
    io::{self, Read as _, Write},
    path::Path,
};

use sha2::{Digest as _, Sha256};
use ureq::{
    Body,
    http::{HeaderMap, Method, Response, header},
};

use super::{
    auth::Scope,
    error::RegistryError,
    http::{Call, Client, Payload, Tries},
    pace::Paced,
    parallel,
    reference::{Reference, Repository},
};
use crate::{
    Digest,
    manifest::{
        DOCKER_LIST, DOCKER_MANIFEST, Descriptor, Index, Manifest, OCI_INDEX, OCI_MANIFEST,
        Platform,
    },
};

/// Registries allow 4 MiB (distribution-spec, "Pushing Manifests").
pub(super) const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// A configuration holds labels, which hold what buildpacks put there.
const CONFIG_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Of one blob; the largest layers seen, with model weights in them, stay below.
const BLOB_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;
const READ_BYTES: usize = 64 * 1024;
const CONTENT_DIGEST: &str = "docker-content-digest";

/// An image of a registry, without its layers.
#[derive(Debug, Clone)]
pub struct RemoteImage {
    pub repository: Repository,
    /// Of the manifest of one platform.
    pub descriptor: Descriptor,
    pub manifest: Manifest,
    /// The manifest's own bytes, which its digest is of.
    pub manifest_json: Vec<u8>,
    pub config_json: Vec<u8>,
}

impl RemoteImage {
    pub fn pinned(&self) -> Reference {
        Reference {
            repository: self.repository.clone(),
            tag: None,
            digest: Some(self.descriptor.digest),
        }
    }
}

impl Client {
    /// What `reference` names now, without fetching it; `None` when there is no such thing.
    pub fn resolve(&self, reference: &Reference) -> Result<Option<Descriptor>, RegistryError> {
        match self.manifest(reference) {
            Ok((descriptor, _)) => Ok(Some(descriptor)),
            Err(RegistryError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The manifest or index that `reference` names, as it was sent.
    pub fn manifest(&self, reference: &Reference) -> Result<(Descriptor, Vec<u8>), RegistryError> {
        let what = reference.to_string();
        let accept = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].join(", ");
        let scope = Scope::pull(&reference.repository);
        let url = self.url(&reference.repository);
        let call = Call {
            headers: vec![(header::ACCEPT, accept)],
            ..get(
                &what,
                &scope,
                format!("{url}/manifests/{}", reference.target()),
            )
        };
        let response = self.expect(&call, &[200])?;
        let kind = text(response.headers(), header::CONTENT_TYPE.as_str()).unwrap_or_default();
        let promised =
            text(response.headers(), CONTENT_DIGEST).and_then(|digest| digest.parse().ok());
        let bytes = read_all(response, &what, MANIFEST_BYTES_MAX)?;
        let descriptor = Descriptor::of(media_type(&kind, &bytes), &bytes);
        let found = descriptor.digest;
        for expected in [reference.digest, promised].into_iter().flatten() {
            if found != expected {
                return Err(RegistryError::Digest {
                    what,
                    expected,
                    found,
                });
            }
        }
        Ok((descriptor, bytes))
    }

    /// The image of `platform`, through an index if there is one, with its configuration.
    pub fn image(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<RemoteImage, RegistryError> {
        let bad = |why| RegistryError::BadManifest {
            what: reference.to_string(),
            why,
        };
        let (mut descriptor, mut json) = self.manifest(reference)?;
        if descriptor.is_index() {
            let index = Index::parse(&json).map_err(bad)?;
            let chosen = index.select(platform).map_err(bad)?;
            (descriptor, json) = self.manifest(&reference.pinned(chosen.digest))?;
        }
        let manifest = Manifest::parse(&json).map_err(bad)?;
        manifest.check_layers().map_err(bad)?;
        let config_json =
            self.blob_bytes(&reference.repository, &manifest.config, CONFIG_BYTES_MAX)?;
        Ok(RemoteImage {
            repository: reference.repository.clone(),
            descriptor,
            manifest,
            manifest_json: json,
            config_json,
        })
    }

    /// A small blob.
    pub fn blob_bytes(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        bytes_max: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        if blob.size > bytes_max {
            return Err(RegistryError::TooLarge {
                what: named(repository, blob),
                max: bytes_max,
            });
        }
        let mut bytes = Vec::new();
        self.blob(repository, blob, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes a blob to `out`, each byte once, also when its transfer has to be taken up again. Whoever gets an error has
    /// to throw away what has been written.
    pub fn blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        out: &mut dyn Write,
    ) -> Result<(), RegistryError> {
        let what = named(repository, blob);
        if blob.size > BLOB_BYTES_MAX {
            return Err(RegistryError::TooLarge {
                what,
                max: BLOB_BYTES_MAX,
            });
        }
        let mut download = Download {
            client: self,
            url: format!("{}/blobs/{}", self.url(repository), blob.digest),
            scope: Scope::pull(repository),
            what,
            size: blob.size,
            at: 0,
            hasher: Sha256::new(),
            out,
        };
        let mut tries = Tries::default();
        while let Err(error) = download.more() {
            let broke_off = matches!(error, RegistryError::BrokeOff { .. });
            if !broke_off || !tries.pause(None) {
                return Err(error);
            }
        }
        download.verify(&blob.digest)
    }

    /// Fetches blobs into `dir` as `<hex of the digest>`, several at a time; those that are there already are not
    /// fetched again.
    pub fn blobs_into(
        &self,
        repository: &Repository,
        blobs: &[Descriptor],
        dir: &Path,
    ) -> Result<(), RegistryError> {
        self.blobs_into_with(repository, blobs, dir, &|_| {})
    }

    /// The same; `done` is told of each blob once it is there.
    pub fn blobs_into_with(
        &self,
        repository: &Repository,
        blobs: &[Descriptor],
        dir: &Path,
        done: &(dyn Fn(&Descriptor) + Sync),
    ) -> Result<(), RegistryError> {
        let mut wanted: Vec<&Descriptor> = blobs.iter().collect();
        wanted.sort_by_key(|blob| blob.digest);
        wanted.dedup_by_key(|blob| blob.digest);
        parallel::each(&wanted, |blob| {
            self.blob_into(repository, blob, dir)?;
            done(blob);
            Ok(())
        })
    }

    fn blob_into(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        dir: &Path,
    ) -> Result<(), RegistryError> {
        let fixed = dir.join(blob.digest.hex());
        if fixed.exists() {
            return Ok(());
        }
        let part = fixed.with_extension("part");
        let fetched = fs::File::create(&part)
            .map_err(|source| io_error("make", &part, source))
            .and_then(|mut file| self.blob(repository, blob, &mut file))
            .and_then(|()| {
                fs::rename(&part, &fixed).map_err(|source| io_error("write", &fixed, source))
            });
        if fetched.is_err() {
            // Of no use to anybody; where it stays, the next try overwrites it.
            _ = fs::remove_file(&part);
        }
        fetched
    }
}

/// A blob on its way.
struct Download<'a> {
    client: &'a Client,
    url: String,
    scope: Scope,
    what: String,
    size: u64,
    /// Bytes that have been passed on.
    at: u64,
    hasher: Sha256,
    out: &'a mut dyn Write,
}

impl Download<'_> {
    /// From where it is to the end; [`RegistryError::BrokeOff`] may be followed by another try.
    fn more(&mut self) -> Result<(), RegistryError> {
        let mut call = get(&self.what, &self.scope, self.url.clone());
        if self.at > 0 {
            call.headers = vec![(header::RANGE, format!("bytes={}-", self.at))];
        }
        let response = self.client.expect(&call, &[200, 206])?;
        let skip = self.skip(&response)?;
        let mut body = Paced::new(response.into_body().into_reader());
        let skipped = io::copy(&mut (&mut body).take(skip), &mut io::sink());
        if skipped.map_err(|error| self.broke_off(error))? < skip {
            return Err(self.broke_off(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match body
                .read(&mut buffer)
                .map_err(|error| self.broke_off(error))?
            {
                0 if self.at == self.size => return Ok(()),
                0 => return Err(self.broke_off(io::ErrorKind::UnexpectedEof.into())),
                length => self.pass_on(&buffer[..length])?,
            }
        }
    }

    /// Bytes of this answer that have been passed on already: all of them where the registry knows no ranges.
    fn skip(&self, response: &Response<Body>) -> Result<u64, RegistryError> {
        let length = text(response.headers(), header::CONTENT_LENGTH.as_str());
        let length: Option<u64> = length.and_then(|length| length.parse().ok());
        if response.status() == 200 {
            return match length {
                Some(length) if length != self.size => Err(self.other_size(length.to_string())),
                _ => Ok(self.at),
            };
        }
        let range = text(response.headers(), header::CONTENT_RANGE.as_str()).unwrap_or_default();
        let begins = format!("bytes {}-", self.at);
        if self.at > 0 && range.starts_with(&begins) {
            return Ok(0);
        }
        Err(RegistryError::Nonsense {
            registry: self.scope.registry().to_owned(),
            why: format!("another part of `{}` than was asked for", self.what),
        })
    }

    fn pass_on(&mut self, bytes: &[u8]) -> Result<(), RegistryError> {
        if bytes.len() as u64 > self.size - self.at {
            return Err(self.other_size("more".to_owned()));
        }
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        self.out
            .write_all(bytes)
            .map_err(|source| RegistryError::Sink {
                what: self.what.clone(),
                source,
            })
    }

    fn verify(self, expected: &Digest) -> Result<(), RegistryError> {
        let found = Digest::finish(self.hasher);
        if found == *expected {
            return Ok(());
        }
        Err(RegistryError::Digest {
            what: self.what,
            expected: *expected,
            found,
        })
    }

    fn other_size(&self, found: String) -> RegistryError {
        RegistryError::Size {
            what: self.what.clone(),
            expected: self.size,
            found,
        }
    }

    fn broke_off(&self, source: io::Error) -> RegistryError {
        RegistryError::BrokeOff {
            what: self.what.clone(),
            at: self.at,
            size: self.size,
            source,
        }
    }
}

pub(super) fn get<'a>(what: &'a str, scope: &'a Scope, url: String) -> Call<'a> {
    Call {
        action: "pull",
        what,
        scope,
        method: Method::GET,
        url,
        headers: vec![],
        payload: Payload::None,
        again: true,
    }
}

pub(super) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    value.to_str().ok().map(str::to_owned)
}

/// As errors name a blob.
pub(super) fn named(repository: &Repository, blob: &Descriptor) -> String {
    format!("{repository}@{}", blob.digest)
}

pub(super) fn read_all(
    response: Response<Body>,
    what: &str,
    max: u64,
) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    let reader = Paced::new(response.into_body().into_reader());
    reader
        .take(max + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| RegistryError::BrokeOff {
            what: what.to_owned(),
            at: bytes.len() as u64,
            size: max,
            source,
        })?;
    if bytes.len() as u64 > max {
        return Err(RegistryError::TooLarge {
            what: what.to_owned(),
            max,
        });
    }
    Ok(bytes)
}

/// What a manifest says of itself counts: a `Content-Type` is not covered by the digest.
fn media_type<'a>(header: &'a str, json: &[u8]) -> &'a str {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let header = header.split(';').next().unwrap_or_default().trim();
    let Ok(kind) = serde_json::from_slice::<Kind>(json) else {
        return header;
    };
    let known = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];
    let said = kind.media_type.unwrap_or_default();
    match known.into_iter().find(|known| *known == said) {
        Some(known) => known,
        None if kind.manifests.is_some() => OCI_INDEX,
        None => OCI_MANIFEST,
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> RegistryError {
    RegistryError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
