//! `exec.d`: programs of a layer that run before the process and say, in TOML on descriptor 3, what to set in its
//! environment (buildpack spec, "exec.d").

use alloc::{format, string::String};

use toml::de::DeTable;

use crate::{
    env::Env,
    launch::Failure,
    layers::Layers,
    sys,
    text::{Path, shown},
};

const OUTPUT_BYTES_MAX: usize = 1024 * 1024;

/// After all layers have changed the environment; each program sees what those before it have set.
pub(crate) fn run_all(env: &mut Env, layers: &Layers, kind: Option<&[u8]>) -> Result<(), Failure> {
    for program in layers.files_of(b"exec.d", kind)? {
        let failed = |what: String| Failure::launch(format!("{}: {what}", shown(&program)));
        for (name, value) in run(env, &program).map_err(failed)?.vars() {
            env.set(name, value);
        }
    }
    Ok(())
}

fn run(env: &Env, program: &Path) -> Result<Env, String> {
    let (status, output) = sys::capture(program, &env.pairs(), OUTPUT_BYTES_MAX)
        .map_err(|error| format!("{error}"))?;
    if !status.is_success() {
        return Err(format!("ended with {status}"));
    }
    let wrong = |what: &str| format!("wrote no TOML of strings: {what}");
    let text = core::str::from_utf8(&output).map_err(|_| wrong("not UTF-8"))?;
    let table = DeTable::parse(text).map_err(|error| wrong(error.message()))?;
    let pairs = table.get_ref().iter().map(|(name, value)| {
        let name = name.get_ref();
        let value = value.get_ref().as_str().ok_or_else(|| wrong(name))?;
        Ok((name.as_bytes().to_vec(), value.as_bytes().to_vec()))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
        process::Command,
    };

    use super::*;
    use crate::metadata::{Api, Buildpack, Metadata};

    /// Written by a shell: while we held it open for writing, a test that forks beside us could keep it busy.
    fn write_program(path: &std::path::Path, script: &str) {
        let status = Command::new("sh")
            .args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\""])
            .arg(path)
            .arg(script)
            .status()
            .unwrap();
        assert!(status.success());
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run_script(script: &str) -> Result<Env, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("a/layer/exec.d");
        fs::create_dir_all(at.join("web")).unwrap();
        write_program(&at.join("10-first"), "echo 'A = \"1\"' >&3");
        write_program(&at.join("web/own"), script);
        let mut env = Env::default();
        env.set(b"PATH", b"/usr/bin:/bin");
        let metadata = Metadata {
            buildpacks: vec![Buildpack {
                id: b"a".to_vec(),
                api: Api(0, 10),
            }],
            processes: vec![],
        };
        let layers = Layers::find(dir.path().as_os_str().as_bytes(), &metadata)?;
        run_all(&mut env, &layers, Some(b"web"))?;
        Ok(env)
    }

    #[test]
    fn what_a_program_writes_is_set() {
        let env = run_script("echo \"B = '$A$A'\" >&3; echo noise").unwrap();
        assert_eq!(env.get(b"B"), Some(&b"11"[..]));
        assert_eq!(run_script("true").unwrap().get(b"A"), Some(&b"1"[..]));
    }

    #[test]
    fn a_program_that_fails_stops_the_launch() {
        for (script, expected) in [
            ("exit 3", "ended with exit status 3"),
            ("kill -KILL $$", "ended with signal 9"),
            ("echo 'A = 1' >&3", "wrote no TOML of strings"),
            ("echo 'A' >&3", "wrote no TOML of strings"),
            ("head -c 2000000 /dev/zero >&3", "output"),
        ] {
            let error = run_script(script).unwrap_err().text;
            assert!(
                error.contains("web/own") && error.contains(expected),
                "{script}: {error}"
            );
        }
    }
}
