//! The build scripts of package.json, under Heroku's names.

use std::{env, time::Instant};

use super::{app::App, errors::NodeError, manager::Manager, manifest::Manifest};
use crate::{command, print};

/// Before the packages are installed; some write an `.npmrc` here.
const BEFORE: &str = "heroku-prebuild";
/// The first that exists.
const BUILD: [&str; 2] = ["heroku-build", "build"];
const AFTER: &str = "heroku-postbuild";

/// Whether any script needs the packages.
pub(super) fn has_any(manifest: &Manifest) -> bool {
    names(manifest).next().is_some()
}

pub(super) fn prepare(app: &App, manager: &Option<Manager>) -> Result<(), NodeError> {
    match (app.script(BEFORE), manager) {
        (Some(_), Some(manager)) => run_script(app, manager, BEFORE),
        _ => Ok(()),
    }
}

pub(super) fn run(app: &App, manager: &Option<Manager>) -> Result<(), NodeError> {
    let (Some(manifest), Some(manager)) = (&app.manifest, manager) else {
        return Ok(());
    };
    names(manifest).try_for_each(|name| run_script(app, manager, name))
}

fn names(manifest: &Manifest) -> impl Iterator<Item = &'static str> {
    let build = BUILD
        .into_iter()
        .find(|name| manifest.script(name).is_some());
    let after = manifest.script(AFTER).map(|_| AFTER);
    build.into_iter().chain(after)
}

fn run_script(app: &App, manager: &Manager, name: &'static str) -> Result<(), NodeError> {
    print::step(&format!("Running the script `{name}`"));
    let start = Instant::now();
    let mut command = manager.command(app);
    command.args(["run", name]);
    if env::var_os("NODE_ENV").is_none() {
        command.env("NODE_ENV", "production");
    }
    command::stream(&mut command).map_err(|source| NodeError::Script { name, source })?;
    print::done(start.elapsed());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_run_in_herokus_order() {
        for (scripts, expected) in [
            (r#"{}"#, vec![]),
            (r#"{"build": "a"}"#, vec!["build"]),
            (
                r#"{"build": "a", "heroku-build": "b"}"#,
                vec!["heroku-build"],
            ),
            (
                r#"{"heroku-postbuild": "c", "build": "a"}"#,
                vec!["build", AFTER],
            ),
            (r#"{"start": "a", "test": "b", "build": " "}"#, vec![]),
        ] {
            let manifest = Manifest::parse(&format!(r#"{{"scripts": {scripts}}}"#)).expect("valid");
            assert_eq!(names(&manifest).collect::<Vec<_>>(), expected, "{scripts}");
        }
    }
}
