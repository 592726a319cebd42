//! The environment of buildpacks (buildpack spec, "Environment"): which of the platform's variables reach them, and how
//! the files that change it are read. What those mean is decided by [`launcher::env`].

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::Path,
};

pub(crate) use launcher::env::Env;
use launcher::env::{BUILD_ROOTS, Files, PATHS, Plain};

/// Of the environment in which a phase runs, a buildpack sees these and the lists of directories, and nothing else.
const PASSED: &[&[u8]] = &[
    b"CNB_STACK_ID",
    b"HOSTNAME",
    b"HOME",
    b"HTTPS_PROXY",
    b"https_proxy",
    b"HTTP_PROXY",
    b"http_proxy",
    b"NO_PROXY",
    b"no_proxy",
];

/// What of our own environment reaches buildpacks; `home`, if it is known, in the place of ours.
pub(crate) fn of_phase(home: Option<&Path>) -> Env {
    let all = std::env::vars_os().map(|(name, value)| (name.into_vec(), value.into_vec()));
    let mut env: Env = all
        .filter(|(name, _)| PASSED.contains(&name.as_slice()) || PATHS.contains(&name.as_slice()))
        .collect();
    if let Some(home) = home {
        set(&mut env, "HOME", home);
    }
    env
}

/// For a command.
pub(crate) fn vars(env: &Env) -> impl Iterator<Item = (&OsStr, &OsStr)> {
    env.vars()
        .map(|(name, value)| (OsStr::from_bytes(name), OsStr::from_bytes(value)))
}

pub(crate) fn set(env: &mut Env, name: &str, value: impl AsRef<OsStr>) {
    env.set(name.as_bytes(), value.as_ref().as_bytes());
}

/// The user's variables, unless the buildpack does not want them, and the builder's own, whether it wants them or not.
pub(crate) fn add_overrides(
    env: &mut Env,
    platform: Option<&Path>,
    build_config: &Path,
) -> io::Result<()> {
    if let Some(platform) = platform {
        env.add_platform(&files(&platform.join("env"))?);
    }
    env.add_files(&files(&build_config.join("env"))?, Plain::Default);
    Ok(())
}

/// What a layer that is for builds does to the buildpacks behind it.
pub(crate) fn add_layer(env: &mut Env, layer: &Path) -> io::Result<()> {
    for (dir, variables) in BUILD_ROOTS {
        let dir = layer.join(OsStr::from_bytes(dir));
        if dir.is_dir() {
            env.add_root(dir.as_os_str().as_bytes(), variables);
        }
    }
    for dir in ["env", "env.build"] {
        env.add_files(&files(&layer.join(dir))?, Plain::Override);
    }
    Ok(())
}

/// Files and links to files; none when there is no such directory.
fn files(dir: &Path) -> io::Result<Files> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Files::new()),
        result => result?,
    };
    let mut files = Files::new();
    for entry in entries {
        let entry = entry?;
        if entry.path().is_file() {
            files.insert(entry.file_name().into_vec(), fs::read(entry.path())?);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, files: &[(&str, &str)]) {
        for (name, content) in files {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    #[test]
    fn the_last_layer_comes_first_in_path() {
        let dir = tempfile::tempdir().unwrap();
        write(
            dir.path(),
            &[
                ("a/bin/x", ""),
                ("b/bin/x", ""),
                ("b/lib/x", ""),
                ("b/include", "a file is no directory"),
                ("b/env/V.append", "1"),
                ("b/env.build/V.append", "2"),
                ("b/env.launch/V.append", "not now"),
                ("b/env/deep/V", "not read"),
            ],
        );
        let mut env = Env::default();
        set(&mut env, "PATH", "/usr/bin");
        for layer in ["a", "b"] {
            add_layer(&mut env, &dir.path().join(layer)).unwrap();
        }
        let at = dir.path().display();
        let of = |name: &str| {
            let value = env.get(name.as_bytes());
            value.map(|value| String::from_utf8_lossy(value).into_owned())
        };
        assert_eq!(of("PATH"), Some(format!("{at}/b/bin:{at}/a/bin:/usr/bin")));
        assert_eq!(of("LIBRARY_PATH"), Some(format!("{at}/b/lib")));
        assert_eq!(of("CPATH"), None);
        assert_eq!(of("V").as_deref(), Some("12"));
    }

    #[test]
    fn the_builder_gives_defaults_which_the_user_overrides() {
        let dir = tempfile::tempdir().unwrap();
        write(
            dir.path(),
            &[
                ("platform/env/A", "user"),
                ("config/env/A", "builder"),
                ("config/env/B", "builder"),
                ("config/env/C.override", "builder"),
                ("platform/env/C", "user"),
            ],
        );
        let overridden = |platform: Option<&Path>| {
            let mut env = Env::default();
            add_overrides(&mut env, platform, &dir.path().join("config")).unwrap();
            env.pairs().join(&b' ')
        };
        let platform = dir.path().join("platform");
        assert_eq!(overridden(Some(&platform)), b"A=user B=builder C=builder");
        assert_eq!(overridden(None), b"A=builder B=builder C=builder");
    }
}
