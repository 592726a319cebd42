//! `exec.d`: programs of a layer that run before the process and say, in TOML on descriptor 3, what to set in its
//! environment (buildpack spec, "exec.d").

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::Path,
    process::Command,
};

use rustix::{
    io::fcntl_dupfd_cloexec,
    pipe::{PipeFlags, pipe_with},
};

use crate::{
    env::Env,
    launch::{LayerDirs, files_in, naming},
};

const FD: i32 = 3;
const OUTPUT_BYTES_MAX: u64 = 1024 * 1024;

/// After all layers have changed the environment; each program sees what those before it have set.
pub(super) fn run_all(
    env: &mut Env,
    layers: &LayerDirs,
    kind: Option<&str>,
    app: &Path,
) -> Result<(), String> {
    for layer in layers.iter().flatten() {
        let dir = layer.join("exec.d");
        let own = kind.map(|kind| dir.join(kind));
        for dir in std::iter::once(dir).chain(own) {
            for program in files_in(&dir).map_err(naming(&dir))? {
                for (name, value) in run(env, &program, app).map_err(naming(&program))? {
                    env.set(name, value);
                }
            }
        }
    }
    Ok(())
}

fn run(env: &Env, program: &Path, app: &Path) -> io::Result<BTreeMap<String, String>> {
    let (reader, low_writer) = pipe_with(PipeFlags::CLOEXEC)?;
    // Above the target, because dup2 onto itself would leave the descriptor to be closed on exec.
    let writer = fcntl_dupfd_cloexec(&low_writer, FD + 1)?;
    drop(low_writer);
    let mut command = Command::new(program);
    command.env_clear().envs(env.vars()).current_dir(app);
    give_fd(&mut command, writer);
    let mut child = command.spawn()?;
    // It holds the writing end; the output would never end.
    drop(command);
    let mut text = String::new();
    let read = File::from(reader)
        .take(OUTPUT_BYTES_MAX)
        .read_to_string(&mut text);
    let status = child.wait()?;
    read?;
    if !status.success() {
        return Err(io::Error::other(format!("ended with {status}")));
    }
    toml::from_str(&text)
        .map_err(|error| io::Error::other(format!("wrote no TOML of strings: {}", error.message())))
}

fn give_fd(command: &mut Command, writer: OwnedFd) {
    let install = move || {
        // SAFETY: dup2 is async-signal-safe, and descriptor 3 belongs to nobody between fork and exec.
        match unsafe { libc::dup2(writer.as_raw_fd(), FD) } {
            FD => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure only makes a system call; it neither allocates nor locks.
    unsafe { command.pre_exec(install) };
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    /// Written by a shell: while we held it open for writing, a test that forks beside us could keep it busy.
    fn write_program(path: &Path, script: &str) {
        let status = Command::new("sh")
            .args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\""])
            .arg(path)
            .arg(script)
            .status()
            .unwrap();
        assert!(status.success());
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run_script(script: &str) -> Result<Env, String> {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("layer/exec.d");
        fs::create_dir_all(&at).unwrap();
        write_program(&at.join("10-first"), "echo 'A = \"1\"' >&3");
        write_program(&at.join("20-second"), script);
        let mut env = Env::default();
        env.set("PATH", "/usr/bin:/bin");
        let layers = vec![vec![dir.path().join("layer")]];
        run_all(&mut env, &layers, Some("web"), dir.path())?;
        Ok(env)
    }

    #[test]
    fn what_a_program_writes_is_set() {
        let env = run_script("echo \"B = '$A$A'\" >&3; echo noise").unwrap();
        assert_eq!(env.get("B"), Some(OsStr::new("11")));
    }

    #[test]
    fn a_program_that_fails_stops_the_launch() {
        for (script, expected) in [
            ("exit 3", "ended with exit status: 3"),
            ("echo 'A = 1' >&3", "wrote no TOML of strings"),
            ("echo 'A' >&3", "wrote no TOML of strings"),
        ] {
            let error = run_script(script).unwrap_err();
            assert!(
                error.contains("20-second") && error.contains(expected),
                "{error}"
            );
        }
    }
}
