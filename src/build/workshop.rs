//! What builds of folders share on this machine: a store, caches, a stack and buildpacks.

use std::{
    error::Error,
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use builder::{
    Builder,
    project::Project,
    sources::{Asked, Set, SourceUri, Sources, Wanted},
};
use container::{
    Digest, Spawner, Store,
    registry::{Client, Credentials},
};
use rustix::fs::{FlockOperation, flock};

use super::{Args, printer::Printer, target::Target};
use crate::up::{BUILD_LIMITS, BUILD_TIME_MAX};

/// What stays when the source has been consumed.
pub(super) struct Workshop {
    data: PathBuf,
    pub(super) builder: Builder,
    pub(super) sources: Sources,
    /// One build at a time: opening the store tidies what another would be using.
    _lock: File,
}

impl Workshop {
    pub(super) fn open(args: &Args) -> Result<Self, Box<dyn Error>> {
        let data = args.data.clone().map_or_else(data_default, Ok)?;
        fs::create_dir_all(&data)?;
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700))?;
        let data = data.canonicalize()?;
        let lock = lock(&data)?;
        let store = Store::open(&data.join("store"))?;
        let credentials = Credentials::from_environment()?;
        let client = Client::new(credentials, args.insecure_registry.clone());
        let stack = args.stack.open(&client, &store, &data)?;
        let (lifecycle, bundled) = (data.join("lifecycle"), data.join("buildpacks"));
        let installed = stack.buildpacks.unwrap_or(bundled);
        builder::install_lifecycle(&std::env::current_exe()?, &lifecycle)?;
        // Beside those of a builder image, whose order stays.
        buildpacks::install(&installed, Path::new("/cnb/lifecycle/slipway"))?;
        let builder = Builder {
            stack: stack.stack,
            spawner: Arc::new(Spawner::start(Path::new("/proc/self/exe"))?),
            store,
            buildpacks: installed.clone(),
            lifecycle,
            limits: BUILD_LIMITS,
            wall_time_max: BUILD_TIME_MAX,
        };
        if builder.stack.id != container::stack::HOST {
            builder.try_stack()?;
        }
        Ok(Self {
            sources: Sources { client, installed },
            builder,
            data,
            _lock: lock,
        })
    }

    /// The build consumes its source, and the author wants to keep it.
    pub(super) fn copy(&self, app: &Path) -> Result<PathBuf, Box<dyn Error>> {
        if self.data.starts_with(app) {
            return Err(format!(
                "{} lies within the app; name another folder with --data",
                self.data.display()
            )
            .into());
        }
        let scratch = self.builder.store.scratch()?;
        let source = scratch.path().join("source");
        builder::sources::copy(app, &source)?;
        scratch.keep();
        Ok(source)
    }

    /// Those of the command line, else of project.toml; `None`: those that are installed, by their order.
    pub(super) fn buildpacks(
        &self,
        args: &Args,
        project: &Project,
    ) -> Result<Option<Set>, Box<dyn Error>> {
        let named = args.buildpack.iter().map(|text| {
            let uri = SourceUri::parse(text, Some(&std::env::current_dir()?))?;
            Ok(Wanted::Source(uri))
        });
        let named: Vec<Wanted> = named.collect::<Result<_, Box<dyn Error>>>()?;
        let asked = match named.as_slice() {
            [] if args.stack.is_builder() => Asked::Any,
            [] => project.asked()?,
            _ => Asked::These(named.into()),
        };
        Ok(self.sources.gather(&self.builder, &asked)?)
    }

    pub(super) fn builder(&self, set: Option<&Set>) -> Builder {
        let mut builder = self.builder.clone();
        if let Some(set) = set {
            builder.buildpacks = set.dir().to_owned();
        }
        builder
    }

    /// The image that somebody else has built, or this author elsewhere.
    pub(super) fn adopt(
        &self,
        image: &Target,
        output: &mut Printer,
    ) -> Result<Option<Digest>, Box<dyn Error>> {
        let adopted = self
            .builder
            .adopt(image.previous(), &self.sources.client, output)
            .map_err(|error| format!("cannot reuse {image}: {}", error.reason()))?;
        if adopted.is_none() {
            output.line(&format!("There is no image {image} yet: nothing is reused"));
        }
        Ok(adopted)
    }

    /// One per folder that is built, or per name.
    pub(super) fn cache(&self, app: &Path, name: Option<&str>) -> Result<PathBuf, Box<dyn Error>> {
        let of = match name {
            Some(name) => Digest::of(format!("name {name}").as_bytes()),
            None => Digest::of(app.as_os_str().as_encoded_bytes()),
        };
        let cache = self.data.join("cache").join(of.hex());
        fs::create_dir_all(&cache)?;
        Ok(cache)
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        self.builder.store.clear_scratch();
    }
}

fn data_default() -> Result<PathBuf, Box<dyn Error>> {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty());
    let cache = cache.map(PathBuf::from);
    let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache")));
    Ok(cache
        .ok_or("there is no home folder; name one with --data DIR")?
        .join("slipway"))
}

fn lock(data: &Path) -> Result<File, Box<dyn Error>> {
    let lock = File::create(data.join("lock"))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let shown = data.display();
        eprintln!("       Another build uses {shown}; waiting for it to end");
        flock(&lock, FlockOperation::LockExclusive)?;
    }
    Ok(lock)
}
