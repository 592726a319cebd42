//! A site of files. The build lists what may be served, with a digest for each file ([`site`]); the server answers from
//! that list and nothing else, so there is no path to escape by and no time stamp to be wrong about.

mod body;
mod errors;
mod media_type;
mod respond;
mod server;
mod settings;
mod site;

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::ExitCode,
};

use libcnb::{
    Buildpack,
    build::{BuildContext, BuildResult, BuildResultBuilder},
    data::{
        launch::{LaunchBuilder, Process, ProcessBuilder},
        layer_name, process_type,
    },
    detect::{DetectContext, DetectResult, DetectResultBuilder},
    generic::{GenericMetadata, GenericPlatform},
    layer::UncachedLayerDefinition,
};

pub(crate) use errors::StaticError;
use site::Site;

use crate::{
    error::{IoContext, chain, report},
    key::Key,
    layer::{Use, keyed},
    print, procfile,
};

/// The name by which the running app calls this binary.
pub(crate) const SERVER_NAME: &str = "static-web-server";

const THIS_PROGRAM: &str = "/proc/self/exe";

pub(crate) struct StaticSite;

impl Buildpack for StaticSite {
    type Platform = GenericPlatform;
    type Metadata = GenericMetadata;
    type Error = StaticError;

    /// Fails beside a Procfile with a `web` process: an `index.html` is then a part of that app.
    fn detect(&self, context: DetectContext<Self>) -> libcnb::Result<DetectResult, StaticError> {
        let app = &context.app_dir;
        if settings::is_site(app) && !procfile::declares_web(app) {
            return DetectResultBuilder::pass().build();
        }
        if let Some(name) = settings::other_page(app) {
            print::detail(&format!(
                "Found `{name}`, but a site starts at index.html, or names its folder in a Staticfile"
            ));
        }
        DetectResultBuilder::fail().build()
    }

    fn build(&self, context: BuildContext<Self>) -> libcnb::Result<BuildResult, StaticError> {
        print::step("Listing the site's files");
        let (settings, ignored) = settings::read(&context.app_dir)?;
        for key in ignored {
            print::warning(&format!(
                "static.json: `{key}` is not supported yet and has no effect"
            ));
        }
        let root = settings.root.clone();
        let site = site::list(&context.app_dir, settings)?;
        print::detail(&summary(&site, &root));
        let site_file = write_site(&context, &site)?;
        let server = provide_server(&context)?;
        BuildResultBuilder::new()
            .launch(
                LaunchBuilder::new()
                    .process(web(&server, &site_file))
                    .build(),
            )
            .build()
    }

    fn on_error(&self, error: libcnb::Error<StaticError>) {
        report(error, errors::explain);
    }
}

/// Serves the site that `site_file` lists on `$PORT` until SIGTERM.
pub(crate) fn serve(site_file: Option<PathBuf>) -> ExitCode {
    match server::run(site_file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{SERVER_NAME}: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn summary(site: &Site, root: &Path) -> String {
    let bytes: u64 = site.files.values().map(|file| file.bytes).sum();
    let place = match root.as_os_str().is_empty() {
        true => "the app's folder".to_owned(),
        false => format!("{}/", root.display()),
    };
    let (files, kib) = (site.files.len(), bytes.div_ceil(1024));
    format!("{files} files, {kib} KiB, from {place}")
}

/// The list is made anew by each build: it is as cheap as finding out whether it changed.
fn write_site(
    context: &BuildContext<StaticSite>,
    site: &Site,
) -> libcnb::Result<PathBuf, StaticError> {
    let layer = context.uncached_layer(
        layer_name!("site"),
        UncachedLayerDefinition {
            build: false,
            launch: true,
        },
    )?;
    let path = layer.path().join("site.json");
    let text = serde_json::to_vec_pretty(site)
        .map_err(io::Error::from)
        .at("write", &path)
        .map_err(StaticError::Io)?;
    fs::write(&path, text)
        .at("write", &path)
        .map_err(StaticError::Io)?;
    Ok(path)
}

/// This program, copied into a layer: the app then runs wherever its image does.
fn provide_server(context: &BuildContext<StaticSite>) -> libcnb::Result<PathBuf, StaticError> {
    let this = Path::new(THIS_PROGRAM);
    let metadata = fs::metadata(this)
        .at("read", this)
        .map_err(StaticError::Io)?;
    // By what the file is, not by the version: whoever builds Slipway from source has many programs of one version.
    let key = Key::new(env!("CARGO_PKG_VERSION"))
        .with("bytes", metadata.len().to_le_bytes())
        .with("changed", metadata.mtime().to_le_bytes())
        .with("changed_nanoseconds", metadata.mtime_nsec().to_le_bytes())
        .finish();
    let layer = keyed(context, layer_name!("server"), Use::Launch, &key)?;
    let server = layer.path().join("bin").join(SERVER_NAME);
    if !layer.restored {
        copy_server(this, &server).map_err(StaticError::Io)?;
        layer.keep(env!("CARGO_PKG_VERSION"))?;
    }
    Ok(server)
}

fn copy_server(from: &Path, to: &Path) -> Result<(), crate::error::IoError> {
    if let Some(bin) = to.parent() {
        fs::create_dir_all(bin).at("create", bin)?;
    }
    fs::copy(from, to).at("copy", from)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).at("change the mode of", to)
}

fn web(server: &Path, site_file: &Path) -> Process {
    ProcessBuilder::new(
        process_type!("web"),
        [server.to_string_lossy(), site_file.to_string_lossy()],
    )
    .default(true)
    .build()
}
