//! The story of a launch.

use alloc::{format, string::String, vec::Vec};
use core::convert::Infallible;

use crate::{
    command::{Launch, Words, bash},
    env::Env,
    exec_d,
    layers::{self, Layers},
    metadata::{self, Metadata},
    sys::{self, Errno},
    text::{Path, base_name, join, shown},
};

/// The platform's own variables; they mean nothing to an app.
const OURS: &[&[u8]] = &[
    b"CNB_LAYERS_DIR",
    b"CNB_APP_DIR",
    b"CNB_PROCESS_TYPE",
    b"CNB_PLATFORM_API",
    b"CNB_DEPRECATION_MODE",
];
/// In PATH for the image's entrypoint, and of no use behind it.
const OUR_DIRS: &[&[u8]] = &[b"/cnb/process", b"/cnb/lifecycle"];

/// Why nothing was started.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit status (platform spec, "Launcher").
    pub status: i32,
    pub text: String,
}

impl Failure {
    /// The image itself cannot be read.
    pub(crate) fn image(text: String) -> Self {
        Self { status: 1, text }
    }

    pub(crate) fn platform_api(text: String) -> Self {
        Self { status: 11, text }
    }

    pub(crate) fn buildpack_api(text: String) -> Self {
        Self { status: 12, text }
    }

    /// "Generic launch error".
    pub(crate) fn launch(text: String) -> Self {
        Self { status: 82, text }
    }

    pub(crate) fn at(path: &[u8], error: Errno) -> Self {
        Self::launch(format!("{}: {error}", shown(path)))
    }
}

/// Becomes the process that `argv` asks for; returns only when it cannot.
pub fn launch(argv: Vec<Vec<u8>>, env: Env) -> Result<Infallible, Failure> {
    let mut env = env;
    let place = Place::take_from(&mut env)?;
    let metadata = Metadata::read(&join(&place.layers, b"config/metadata.toml"))?;
    let (own_name, args) = argv
        .split_first()
        .map_or((&b""[..], &[][..]), |(a, b)| (a, b));
    let launch = Launch::choose(&metadata, &place, base_name(own_name), args)?;
    sys::chdir(&place.app).map_err(|error| Failure::at(&place.app, error))?;
    let layers = Layers::find(&place.layers, &metadata)?;
    layers.change(&mut env, launch.kind.as_deref())?;
    exec_d::run_all(&mut env, &layers, launch.kind.as_deref())?;
    become_process(&env, &place, &layers, launch, own_name)
}

/// Where the image has things, and what the platform asks for.
pub(crate) struct Place {
    pub(crate) layers: Path,
    pub(crate) app: Path,
    pub(crate) exec_env: Vec<u8>,
    pub(crate) platform_api: metadata::Api,
}

impl Place {
    /// Leaves nothing of the platform's in the environment.
    fn take_from(env: &mut Env) -> Result<Self, Failure> {
        let or = |name: &[u8], default: &[u8]| {
            let value = env.get(name).filter(|value| !value.is_empty());
            value.unwrap_or(default).to_vec()
        };
        let place = Self {
            layers: or(b"CNB_LAYERS_DIR", b"/layers"),
            app: or(b"CNB_APP_DIR", b"/workspace"),
            exec_env: or(b"CNB_EXEC_ENV", b"production"),
            platform_api: metadata::platform_api(env.get(b"CNB_PLATFORM_API"))?,
        };
        for name in OURS {
            env.remove(name);
        }
        if let Some(path) = env.get(b"PATH") {
            let dirs = path.split(|byte| *byte == b':');
            let kept: Vec<&[u8]> = dirs.filter(|dir| !OUR_DIRS.contains(dir)).collect();
            let kept = kept.join(&b':');
            env.set(b"PATH", &kept);
        }
        Ok(place)
    }
}

fn become_process(
    env: &Env,
    place: &Place,
    layers: &Layers,
    launch: Launch,
    own_name: &[u8],
) -> Result<Infallible, Failure> {
    let working_dir = launch.working_dir.as_deref().unwrap_or(&place.app);
    let argv = match launch.words {
        Words::Direct(argv) => argv,
        // Profile scripts expect the app's directory; the script changes to the other one after them.
        Words::Shell(words) => {
            let profile = layers.profile(launch.kind.as_deref(), &place.app)?;
            return execute(
                b"/bin/bash",
                &bash(&profile, working_dir, own_name, words),
                env,
            );
        }
    };
    let program = argv.first().filter(|program| !program.is_empty());
    let program = program.ok_or_else(|| Failure::launch("the process has no command".into()))?;
    let found = find(program, env, working_dir).ok_or_else(|| not_found(program))?;
    sys::chdir(working_dir).map_err(|error| Failure::at(working_dir, error))?;
    execute(&found, &argv, env)
}

fn execute(program: &[u8], argv: &[Vec<u8>], env: &Env) -> Result<Infallible, Failure> {
    Err(Failure::at(
        program,
        sys::execute(program, argv, &env.pairs()),
    ))
}

/// In the PATH of the process, not in ours; a relative path is relative to where it will run.
fn find(program: &[u8], env: &Env, working_dir: &[u8]) -> Option<Path> {
    if program.contains(&b'/') {
        return Some(join(working_dir, program));
    }
    let path = env.get(b"PATH").unwrap_or_default();
    let dirs = path.split(|byte| *byte == b':');
    let files = dirs.map(|dir| join(&join(working_dir, dir), program));
    files
        .into_iter()
        .find(|file| layers::is_file(file) && sys::is_executable(file))
}

fn not_found(program: &[u8]) -> Failure {
    Failure::launch(format!("{}: not found in PATH", shown(program)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_platform_reaches_the_process() {
        let mut env = Env::default();
        env.set(b"PATH", b"/cnb/process:/a:/cnb/lifecycle:/b");
        env.set(b"CNB_APP_DIR", b"/elsewhere");
        env.set(b"CNB_PLATFORM_API", b"0.12");
        env.set(b"CNB_EXEC_ENV", b"test");
        let place = Place::take_from(&mut env).unwrap();
        assert_eq!(place.app, b"/elsewhere");
        assert_eq!(place.layers, b"/layers");
        assert_eq!(place.exec_env, b"test");
        assert_eq!(
            env.pairs(),
            [b"CNB_EXEC_ENV=test".to_vec(), b"PATH=/a:/b".to_vec()]
        );
    }

    #[test]
    fn a_platform_that_is_not_understood_is_refused() {
        for api in [
            None,
            Some(&b""[..]),
            Some(b"0.6"),
            Some(b"0.16"),
            Some(b"1.0"),
            Some(b"x"),
        ] {
            let mut env = Env::default();
            if let Some(api) = api {
                env.set(b"CNB_PLATFORM_API", api);
            }
            assert_eq!(
                Place::take_from(&mut env).map(|_| ()).unwrap_err().status,
                11,
                "{api:?}"
            );
        }
    }
}
