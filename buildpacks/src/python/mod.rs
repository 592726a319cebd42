//! Python apps: an interpreter, the packages in a virtual environment, Django's static files, a start command.

mod app;
mod django;
mod errors;
mod index;
mod interpreter;
mod packages;
mod requirements;
mod start;
mod uv;
mod version;

use std::path::Path;

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
pub(crate) use errors::PythonError;
use interpreter::Interpreter;

use crate::{error::report, print, procfile, tree};

pub(crate) struct Python;

impl Buildpack for Python {
    type Platform = GenericPlatform;
    type Metadata = GenericMetadata;
    type Error = PythonError;

    fn detect(&self, context: DetectContext<Self>) -> libcnb::Result<DetectResult, PythonError> {
        if app::is_python(&context.app_dir) {
            let plan = BuildPlanBuilder::new()
                .provides("python")
                .requires("python");
            return DetectResultBuilder::pass().build_plan(plan.build()).build();
        }
        if let Some(name) = app::other_script(&context.app_dir) {
            print::detail(&format!(
                "Found `{name}`, but no requirements.txt, pyproject.toml, manage.py, main.py or app.py"
            ));
        }
        DetectResultBuilder::fail().build()
    }

    fn build(&self, context: BuildContext<Self>) -> libcnb::Result<BuildResult, PythonError> {
        let app = App::read(&context.app_dir)?;
        let interpreter = interpreter::provide(&context, &app)?;
        let packages = packages::install(&context, &app, &interpreter)?;
        write_environment(
            &context,
            &interpreter,
            packages.as_ref().map(|found| found.dir()),
        )?;
        django::collect_static(&app, packages.as_ref())?;
        let mut launch = LaunchBuilder::new();
        if !procfile::is_present(&context.app_dir) {
            launch.processes(start::web(&app, packages.as_ref()));
        }
        BuildResultBuilder::new().launch(launch.build()).build()
    }

    fn on_error(&self, error: libcnb::Error<PythonError>) {
        report(error, errors::explain);
    }
}

/// Output at once, as the log is read live. Without packages there is no virtual environment to call its Python `python`.
fn write_environment(
    context: &BuildContext<Python>,
    interpreter: &Interpreter,
    venv: Option<&Path>,
) -> libcnb::Result<(), PythonError> {
    let layer = context.uncached_layer(
        layer_name!("environment"),
        UncachedLayerDefinition {
            build: true,
            launch: true,
        },
    )?;
    let mut variables = LayerEnv::new().chainable_insert(
        Scope::All,
        ModificationBehavior::Default,
        "PYTHONUNBUFFERED",
        "1",
    );
    match venv {
        Some(venv) => {
            variables.insert(
                Scope::All,
                ModificationBehavior::Override,
                "VIRTUAL_ENV",
                venv,
            );
        }
        None => link_interpreter(&layer.path().join("bin"), &interpreter.program)?,
    }
    layer.write_env(variables)
}

fn link_interpreter(bin: &Path, program: &Path) -> Result<(), PythonError> {
    use crate::error::IoContext;
    std::fs::create_dir_all(bin).at("create", bin)?;
    for name in ["python", "python3"] {
        tree::link(program, &bin.join(name))?;
    }
    Ok(())
}
