//! What a layer is made of, without its content: what stands in its headers; and, of each file, what tells that nobody has
//! written to it since.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use sha2::{Digest as _, Sha256};

use super::{
    Owner,
    header::Kind,
    plan::{Content, Plan},
    stat::{Identity, Stat},
};
use crate::Digest;

/// In every fingerprint: what is recorded does not count for a later way to write a layer.
const WRITER: &[u8] = b"slipway layer 1";

/// Equal for two trees, at two times, only if they are the same files, of which none was changed.
#[derive(Debug, Clone)]
pub struct Fingerprint {
    pub(super) digest: Digest,
    /// `None` of a tree without files.
    pub(super) files: Option<Files>,
    /// From before the first file was looked at.
    pub(super) begun: SystemTime,
}

#[derive(Debug, Clone)]
pub(super) struct Files {
    /// They are all on one file system.
    device: u64,
    /// A directory of that file system.
    pub(super) near: PathBuf,
    /// The last change (ctime) of any of them.
    pub(super) newest: (i64, i64),
}

/// The headers of a layer, one after the other, in any form that has their fields.
#[derive(Debug)]
pub struct Headers(Sha256);

impl Default for Headers {
    fn default() -> Self {
        Self(Sha256::new_with_prefix(WRITER))
    }
}

impl Headers {
    /// `kind` is the header's type flag.
    pub fn add(
        &mut self,
        name: &[u8],
        kind: u8,
        mode: u32,
        size: u64,
        owner: Owner,
        link: Option<&[u8]>,
    ) {
        let mut bytes = [0; 32];
        bytes[0] = kind;
        bytes[4..8].copy_from_slice(&mode.to_le_bytes());
        bytes[8..12].copy_from_slice(&owner.uid.to_le_bytes());
        bytes[12..16].copy_from_slice(&owner.gid.to_le_bytes());
        bytes[16..24].copy_from_slice(&size.to_le_bytes());
        self.0.update(bytes);
        for text in [name, link.unwrap_or_default()] {
            self.0.update((text.len() as u64).to_le_bytes());
            self.0.update(text);
        }
    }

    pub fn finish(self) -> Digest {
        Digest::finish(self.0)
    }
}

impl Plan {
    /// Of all its headers: equal to what a tar has, when the tar has the same.
    pub fn headers(&self) -> Digest {
        let mut headers = Headers::default();
        for entry in &self.entries {
            let link = entry.link.as_deref().map(str::as_bytes);
            let (name, kind) = (entry.name.as_bytes(), entry.kind.flag());
            headers.add(name, kind, entry.mode, entry.size, entry.owner, link);
        }
        headers.finish()
    }

    /// `None` where nothing can be said: of content that is no file's, of devices, of several file systems.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        let mut seen = Seen::new(b"tree", self.begun());
        seen.hasher.update(self.headers().hex());
        for entry in &self.entries {
            match (&entry.content, entry.kind) {
                (Content::None, Kind::Directory | Kind::Symlink | Kind::Fifo) => {}
                (Content::File(path, identity), _) => seen.add(path, identity)?,
                (Content::None | Content::Settled(_) | Content::Bytes(_), _) => return None,
            }
        }
        Some(seen.finish())
    }
}

impl Fingerprint {
    /// Of one file, whatever it is called.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let mut seen = Seen::new(b"file", SystemTime::now());
        let stat = Stat::of(&fs::symlink_metadata(path)?);
        seen.hasher.update(stat.size.to_le_bytes());
        let is_file = stat.kind == Some(Kind::File);
        let added = is_file.then(|| seen.add(path, &stat.identity));
        added.ok_or_else(|| io::Error::other("it is not a file"))?;
        Ok(seen.finish())
    }
}

struct Seen {
    hasher: Sha256,
    files: Option<Files>,
    begun: SystemTime,
}

impl Seen {
    fn new(what: &[u8], begun: SystemTime) -> Self {
        let mut hasher = Sha256::new_with_prefix(WRITER);
        hasher.update(what);
        Self {
            hasher,
            files: None,
            begun,
        }
    }

    /// `None` when it is on another file system than the others.
    fn add(&mut self, path: &Path, identity: &Identity) -> Option<()> {
        let (modified, changed) = (identity.modified, identity.changed);
        let files = self.files.get_or_insert_with(|| Files {
            device: identity.device,
            near: path.parent().unwrap_or(path).to_owned(),
            newest: changed,
        });
        files.newest = files.newest.max(changed);
        let numbers = [identity.device, identity.inode].map(u64::to_le_bytes);
        let times = [modified.0, modified.1, changed.0, changed.1].map(i64::to_le_bytes);
        for field in numbers.iter().chain(&times) {
            self.hasher.update(field);
        }
        (files.device == identity.device).then_some(())
    }

    fn finish(self) -> Fingerprint {
        Fingerprint {
            digest: Digest::finish(self.hasher),
            files: self.files,
            begun: self.begun,
        }
    }
}
