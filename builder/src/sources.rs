//! Buildpacks from wherever they are kept: bundled ones by their id, folders, archives, buildpackages as files or in a
//! registry, and git repositories. [`Sources::assemble`] puts those that a build asks for into a folder of its own, in the
//! form in which detection finds them; what is not a Cloud Native buildpack is wrapped ([`crate::classic`]).

mod error;
mod git;
mod package;
mod set;
mod tree;
mod uri;

use std::{
    borrow::Cow,
    fs::File,
    path::{Path, PathBuf},
};

use container::{
    layout::Layout,
    manifest::Platform,
    registry::{Client, Reference},
    store::Scratch,
    unpack::{Bounds, unpack},
};

pub(crate) use self::package::unpack_all;
pub use self::{
    error::SourceError,
    set::{Chosen, Set},
    tree::copy,
    uri::{NotASource, SourceUri},
};
use crate::{
    Builder,
    id::{BuildpackId, Version},
};

/// Of an archive that is fetched.
const ARCHIVE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Where buildpacks come from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// In whose name they are fetched, also by git.
    pub client: Client,
    /// Bundled and installed ones: [`Builder::buildpacks`].
    pub installed: PathBuf,
}

/// The buildpacks that a build is done with.
#[derive(Debug, Clone)]
pub enum Asked<'a> {
    /// Detection chooses among those that are installed, by their order.
    Any,
    These(Cow<'a, [Wanted]>),
    /// Those of a builder image, by its order.
    Builder(Reference),
}

/// One buildpack that a build asks for.
#[derive(Debug, Clone)]
pub enum Wanted {
    Source(SourceUri),
    /// A folder or an archive of the app: where it is now, and what the app calls it.
    Own {
        path: PathBuf,
        name: String,
    },
    Inline(Inline),
}

/// A buildpack that is one script (project descriptor, `script`).
#[derive(Debug, Clone)]
pub struct Inline {
    pub id: BuildpackId,
    pub version: Version,
    /// Buildpack API, as it is written.
    pub api: String,
    pub shell: String,
    pub script: String,
}

impl Sources {
    /// `None`: those that are installed.
    pub fn gather(&self, builder: &Builder, asked: &Asked<'_>) -> Result<Option<Set>, SourceError> {
        match asked {
            Asked::Any => Ok(None),
            Asked::These(wanted) => self.assemble(builder, wanted).map(Some),
            Asked::Builder(image) => self.assemble_builder(builder, image).map(Some),
        }
    }

    /// Ids of those that are installed, in alphabetical order.
    pub fn names(&self) -> Vec<String> {
        let names = std::fs::read_dir(&self.installed).into_iter().flatten();
        let names = names.flatten().filter(|entry| entry.path().is_dir());
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.map(|name| name.replacen('_', "/", 1)).collect();
        names.sort();
        names
    }

    /// Whether a buildpack can be had, now, from where it is said to be. Of an image only what it says of itself is
    /// fetched: it may be large.
    pub fn check(&self, builder: &Builder, uri: &SourceUri) -> Result<(), SourceError> {
        match uri {
            SourceUri::Image(reference) => {
                package::check(&self.client, reference).map_err(|error| error.of(uri))
            }
            other => {
                let wanted = [Wanted::Source(other.clone())];
                self.assemble(builder, &wanted).map(drop)
            }
        }
    }

    /// A folder with the buildpacks that are `wanted`, and one group of them in that order. It goes with the [`Set`].
    fn assemble(&self, builder: &Builder, wanted: &[Wanted]) -> Result<Set, SourceError> {
        let mut set = Set::new(builder.store.scratch()?);
        for one in wanted {
            let scratch = builder.store.scratch()?;
            match one {
                Wanted::Source(uri) => self
                    .add(uri, &mut set, &scratch)
                    .map_err(|error| error.of(uri))?,
                Wanted::Own { path, name } => self
                    .add(&SourceUri::Path(path.clone()), &mut set, &scratch)
                    .map_err(|error| error.below(path, scratch.path()).of(name))?,
                Wanted::Inline(inline) => set.add_inline(inline)?,
            }
        }
        set.add_procfile(&self.installed)?;
        set.write_order()?;
        Ok(set)
    }

    /// The buildpacks of a builder image, in the order that it says.
    fn assemble_builder(&self, builder: &Builder, image: &Reference) -> Result<Set, SourceError> {
        let mut set = Set::new(builder.store.scratch()?);
        let scratch = builder.store.scratch()?;
        let order = package::builder(&self.client, image, scratch.path(), set.dir())
            .map_err(|error| error.of(image))?;
        set.take_order(order)?;
        Ok(set)
    }

    fn add(&self, uri: &SourceUri, set: &mut Set, scratch: &Scratch) -> Result<(), SourceError> {
        let dir = scratch.path();
        match uri {
            SourceUri::Installed { id, version } => {
                set.add_installed(&self.installed, id, version.as_ref())
            }
            SourceUri::Path(path) if path.is_dir() => self.folder(path, uri, set, dir),
            SourceUri::Path(path) => self.archive(path, uri, set, dir),
            SourceUri::Archive(url) => {
                let file = dir.join("archive");
                let mut out = tree::create(&file)?;
                self.client.download(url, ARCHIVE_BYTES_MAX, &mut out)?;
                self.archive(&file, uri, set, dir)
            }
            SourceUri::Git { url, rev } => {
                let tree = dir.join("tree");
                let commit = git::checkout(&self.client, url, rev.as_deref(), dir, &tree)?;
                set.add_tree(&tree, &uri.name(), &commit)
            }
            SourceUri::Image(reference) => {
                let main = package::pull(&self.client, reference, dir, set.dir())?;
                set.choose(main);
                Ok(())
            }
        }
    }

    fn folder(
        &self,
        path: &Path,
        uri: &SourceUri,
        set: &mut Set,
        dir: &Path,
    ) -> Result<(), SourceError> {
        if let Ok(layout) = Layout::open(path) {
            return self.layout(&layout, set);
        }
        let copy = dir.join("copy");
        tree::copy(path, &copy)?;
        set.add_tree(&copy, &uri.name(), "0")
    }

    /// A tarball of a buildpack, or a buildpackage file (`.cnb`), which is a tarball of an OCI layout.
    fn archive(
        &self,
        file: &Path,
        uri: &SourceUri,
        set: &mut Set,
        dir: &Path,
    ) -> Result<(), SourceError> {
        let tree = dir.join("unpacked");
        tree::make_dir(&tree)?;
        let archive = File::open(file).map_err(SourceError::io("open", file))?;
        unpack(archive, &tree, Bounds::default(), |path| {
            Some(path.to_owned())
        })?;
        if let Ok(layout) = Layout::open(&tree) {
            return self.layout(&layout, set);
        }
        set.add_tree(&tree::without_top(&tree)?, &uri.name(), "0")
    }

    fn layout(&self, layout: &Layout, set: &mut Set) -> Result<(), SourceError> {
        let (_, manifest) = layout.image(None, &Platform::here())?;
        let config = layout.bytes(&manifest.config)?;
        let main = package::unpack_all(&manifest, &config, set.dir(), |blob| layout.blob(blob))?;
        set.choose(main);
        Ok(())
    }
}
