//! LAUNCH: what runs first in an instance. Makes the environment from the image's layers and becomes the process.
//!
//! Read from `/layers/config/metadata.toml`: the buildpacks, whose layers change the environment in order, and the
//! process types (buildpack spec, "Launch"; platform spec, "Launcher").

mod command;
mod exec_d;

use std::{
    ffi::{OsStr, OsString},
    fmt::Display,
    fs, io,
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use crate::{
    dirs::{APP, LAYERS, LIFECYCLE, PROCESS},
    env::{Env, LAUNCH_ROOTS},
    files,
    launch::command::{Launch, Words},
    launch_metadata::{self, LaunchMetadata},
};

/// "Generic launch error" (platform spec, "Launcher").
const LAUNCH_ERROR: u8 = 82;
/// The platform's own; they mean nothing to an app.
const OURS: &[&str] = &[
    "CNB_LAYERS_DIR",
    "CNB_APP_DIR",
    "CNB_PROCESS_TYPE",
    "CNB_PLATFORM_API",
    "CNB_DEPRECATION_MODE",
];

/// Body of `/cnb/lifecycle/launcher`, and of `/cnb/process/<kind>`. Returns only when the process cannot be started.
pub(crate) fn main(kind: Option<&str>) -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let Err(error) = launch(kind, args);
    eprintln!("launcher: {error}");
    ExitCode::from(LAUNCH_ERROR)
}

fn launch(kind: Option<&str>, args: Vec<OsString>) -> Result<std::convert::Infallible, String> {
    let mut env = Env::current();
    let dirs = Places::take_from(&mut env);
    let metadata: LaunchMetadata = files::toml(&dirs.layers.join(launch_metadata::FILE))
        .map_err(|error| error.to_string())?
        .ok_or("this image has no launch metadata")?;
    let launch = Launch::choose(&metadata, kind, args)?;
    let layers = layers(&dirs, &metadata)?;
    add_layers(&mut env, &layers, launch.kind)?;
    exec_d::run_all(&mut env, &layers, launch.kind, &dirs.app)?;
    execute(&env, &dirs, &layers, launch)
}

struct Places {
    layers: PathBuf,
    app: PathBuf,
}

impl Places {
    /// Leaves nothing of the platform's in the environment.
    fn take_from(env: &mut Env) -> Self {
        let dir =
            |name: &str, default: &str| env.get(name).map_or_else(|| default.into(), PathBuf::from);
        let places = Self {
            layers: dir("CNB_LAYERS_DIR", LAYERS),
            app: dir("CNB_APP_DIR", APP),
        };
        for name in OURS {
            env.remove(name);
        }
        if let Some(path) = env.get("PATH") {
            let is_ours = |dir: &&[u8]| *dir == PROCESS.as_bytes() || *dir == LIFECYCLE.as_bytes();
            let dirs = path.as_bytes().split(|byte| *byte == b':');
            let kept: Vec<&[u8]> = dirs.filter(|dir| !is_ours(dir)).collect();
            let kept = OsStr::from_bytes(&kept.join(&b':')).to_owned();
            env.set("PATH", kept);
        }
        places
    }
}

/// Directories of layers by buildpack, in the order of the group, then by name.
type LayerDirs = Vec<Vec<PathBuf>>;

fn layers(places: &Places, metadata: &LaunchMetadata) -> Result<LayerDirs, String> {
    let of = |dir: PathBuf| subdirectories(&dir).map_err(naming(&dir));
    let buildpacks = metadata.buildpacks.iter();
    buildpacks
        .map(|member| of(places.layers.join(member.id.dir_name())))
        .collect()
}

fn add_layers(env: &mut Env, layers: &LayerDirs, kind: Option<&str>) -> Result<(), String> {
    for of_buildpack in layers {
        for layer in of_buildpack {
            env.add_roots(layer, LAUNCH_ROOTS);
        }
        for layer in of_buildpack {
            let shared = [layer.join("env"), layer.join("env.launch")];
            let own = kind.map(|kind| layer.join("env.launch").join(kind));
            for dir in shared.into_iter().chain(own) {
                env.add_dir(&dir).map_err(naming(&dir))?;
            }
        }
    }
    Ok(())
}

fn execute(
    env: &Env,
    places: &Places,
    layers: &LayerDirs,
    launch: Launch<'_>,
) -> Result<std::convert::Infallible, String> {
    let working_dir = launch.working_dir.map_or(places.app.as_path(), Path::new);
    let argv = match launch.words {
        Words::Direct(argv) => argv,
        // Profile scripts expect the app's directory; the script changes to the other one after them.
        Words::Shell(words) => {
            let profile = profile(places, layers, launch.kind)?;
            command::bash(&profile, working_dir, words)
        }
    };
    let (program, args) = argv.split_first().ok_or("the process has no command")?;
    let found = find(program, env, working_dir);
    let start_dir = if launch.direct {
        working_dir
    } else {
        &places.app
    };
    let error = Command::new(&found)
        .arg0(program)
        .args(args)
        .env_clear()
        .envs(env.vars())
        .current_dir(start_dir)
        .exec();
    Err(naming(Path::new(program))(error))
}

/// Scripts of `profile.d` directories, then the app's `.profile`.
fn profile(
    places: &Places,
    layers: &LayerDirs,
    kind: Option<&str>,
) -> Result<Vec<PathBuf>, String> {
    let mut scripts = Vec::new();
    for layer in layers.iter().flatten() {
        let dir = layer.join("profile.d");
        let own = kind.map(|kind| dir.join(kind));
        for dir in std::iter::once(dir).chain(own) {
            scripts.extend(files_in(&dir).map_err(naming(&dir))?);
        }
    }
    let last = places.app.join(".profile");
    scripts.extend(last.is_file().then_some(last));
    Ok(scripts)
}

/// In the PATH of the process, not in ours; a relative path is relative to where it will run.
fn find(program: &OsStr, env: &Env, working_dir: &Path) -> PathBuf {
    if program.as_bytes().contains(&b'/') {
        return working_dir.join(program);
    }
    let path = env.get("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(path).map(|dir| working_dir.join(dir).join(program));
    files
        .find(|file| is_executable(file))
        .unwrap_or_else(|| program.into())
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

fn subdirectories(dir: &Path) -> io::Result<Vec<PathBuf>> {
    sorted(dir, |path| path.is_dir())
}

fn files_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    sorted(dir, |path| path.is_file())
}

/// By name; none when there is no such directory.
fn sorted(dir: &Path, wanted: impl Fn(&Path) -> bool) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        result => result?,
    };
    let mut found = Vec::new();
    for entry in entries {
        found.extend(Some(entry?.path()).filter(|path| wanted(path)));
    }
    found.sort();
    Ok(found)
}

fn naming<E: Display>(path: &Path) -> impl FnOnce(E) -> String {
    move |error| format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_platform_reaches_the_process() {
        let mut env = Env::default();
        env.set("PATH", "/cnb/process:/a:/cnb/lifecycle:/b");
        env.set("CNB_APP_DIR", "/elsewhere");
        env.set("CNB_PLATFORM_API", "0.12");
        let places = Places::take_from(&mut env);
        assert_eq!(places.app, Path::new("/elsewhere"));
        assert_eq!(places.layers, Path::new("/layers"));
        let left: Vec<_> = env.vars().collect();
        assert_eq!(left, [(&"PATH".into(), &"/a:/b".into())]);
    }

    #[test]
    fn the_environment_follows_the_order_of_buildpacks_and_layers() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, content: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        write("a/one/bin/x", "");
        write("a/one/env/V.append", "1");
        write("a/one/env.build/V.append", "not at launch");
        write("a/two/env.launch/V.append", "2");
        write("a/two/env.launch/web/V.append", "w");
        write("a/two/env.launch/worker/V.append", "not for web");
        write("b/bin/x", "not a layer of a");
        write("b/one/bin/x", "");
        let layers = ["a", "b"]
            .map(|buildpack| subdirectories(&dir.path().join(buildpack)).unwrap())
            .to_vec();
        let mut env = Env::default();
        env.set("PATH", "/bin");
        add_layers(&mut env, &layers, Some("web")).unwrap();
        assert_eq!(env.get("V"), Some(OsStr::new("12w")));
        let at = dir.path().display();
        let path = format!("{at}/b/one/bin:{at}/a/one/bin:/bin");
        assert_eq!(env.get("PATH"), Some(OsStr::new(&path)));
    }
}
