//! Node.js apps: a runtime, a package manager, the locked packages, the build scripts, a start command.

mod app;
mod carry;
mod errors;
mod manager;
mod manifest;
mod modules;
mod registry;
mod runtime;
mod scripts;
mod start;
mod version;

use libcnb::{
    Buildpack,
    build::{BuildContext, BuildResult, BuildResultBuilder},
    data::{build_plan::BuildPlanBuilder, launch::LaunchBuilder, layer_name},
    detect::{DetectContext, DetectResult, DetectResultBuilder},
    generic::{GenericMetadata, GenericPlatform},
    layer::UncachedLayerDefinition,
    layer_env::{LayerEnv, ModificationBehavior, Scope},
};

use app::App;
pub(crate) use errors::NodeError;

use crate::{error::report, print, procfile};

pub(crate) struct Nodejs;

impl Buildpack for Nodejs {
    type Platform = GenericPlatform;
    type Metadata = GenericMetadata;
    type Error = NodeError;

    fn detect(&self, context: DetectContext<Self>) -> libcnb::Result<DetectResult, NodeError> {
        if app::is_node(&context.app_dir) {
            let plan = BuildPlanBuilder::new().provides("node").requires("node");
            return DetectResultBuilder::pass().build_plan(plan.build()).build();
        }
        if let Some(name) = app::other_script(&context.app_dir) {
            print::detail(&format!(
                "Found `{name}`, but neither package.json, server.js nor index.js: `npm init -y` makes a package.json"
            ));
        }
        DetectResultBuilder::fail().build()
    }

    fn build(&self, context: BuildContext<Self>) -> libcnb::Result<BuildResult, NodeError> {
        let app = App::read(&context.app_dir)?;
        let node = runtime::provide(&context, &app)?;
        let manager = manager::provide(&context, &app, &node)?;
        scripts::prepare(&app, &manager)?;
        let modules = modules::install(&context, &app, &manager, &node)?;
        scripts::run(&app, &manager)?;
        modules.ship(&app)?;
        write_environment(&context)?;
        let mut launch = LaunchBuilder::new();
        if !procfile::is_present(&context.app_dir) {
            launch.processes(start::web(&app, &manager));
        }
        BuildResultBuilder::new().launch(launch.build()).build()
    }

    fn on_error(&self, error: libcnb::Error<NodeError>) {
        report(error, errors::explain);
    }
}

/// For the running app: production, unless it is told otherwise, and the packages' programs in PATH.
fn write_environment(context: &BuildContext<Nodejs>) -> libcnb::Result<(), NodeError> {
    let layer = context.uncached_layer(
        layer_name!("environment"),
        UncachedLayerDefinition {
            build: true,
            launch: true,
        },
    )?;
    let programs = context.app_dir.join("node_modules/.bin");
    layer.write_env(
        LayerEnv::new()
            .chainable_insert(
                Scope::All,
                ModificationBehavior::Default,
                "NODE_ENV",
                "production",
            )
            .chainable_insert(Scope::All, ModificationBehavior::Prepend, "PATH", programs)
            .chainable_insert(Scope::All, ModificationBehavior::Delimiter, "PATH", ":"),
    )
}
