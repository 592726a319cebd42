//! Which command is to run, from the process type and the user's words.

use alloc::{format, vec::Vec};

use crate::{
    launch::{Failure, Place},
    metadata::{Api, Metadata, Process},
    text::{Path, shown},
};

/// Since then the user's arguments take the place of a process's own.
const REPLACING: Api = Api(0, 10);
/// Since then a buildpack's processes expect that.
const REPLACEABLE: Api = Api(0, 9);
const EXEC_ENVS: Api = Api(0, 15);

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Launch {
    /// The process type; a command of the user's own has none.
    pub(crate) kind: Option<Vec<u8>>,
    pub(crate) words: Words,
    pub(crate) working_dir: Option<Path>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Words {
    Direct(Vec<Vec<u8>>),
    /// A command line, or a command and its arguments, for bash to expand.
    Shell(Vec<Vec<u8>>),
}

impl Launch {
    /// `name` is the one that we were started under: a process type, when the image has one of that name.
    pub(crate) fn choose(
        metadata: &Metadata,
        place: &Place,
        name: &[u8],
        args: &[Vec<u8>],
    ) -> Result<Self, Failure> {
        if !metadata.has(name) {
            return Self::of_user(args);
        }
        let suits = |process: &&Process| process.kind == name && process.suits(place);
        let process = metadata.processes.iter().find(suits).ok_or_else(|| {
            Failure::launch(format!(
                "process type `{}` is not for the execution environment `{}`",
                shown(name),
                shown(&place.exec_env)
            ))
        })?;
        Self::of_process(metadata, place, process, args)
    }

    fn of_user(args: &[Vec<u8>]) -> Result<Self, Failure> {
        let is_direct = args.len() > 1 && args[0] == b"--";
        let words = args[usize::from(is_direct)..].to_vec();
        if words.is_empty() {
            return Err(Failure::launch(
                "neither a process type nor a command was given".into(),
            ));
        }
        Ok(Self {
            kind: None,
            words: if is_direct {
                Words::Direct(words)
            } else {
                Words::Shell(words)
            },
            working_dir: None,
        })
    }

    fn of_process(
        metadata: &Metadata,
        place: &Place,
        process: &Process,
        args: &[Vec<u8>],
    ) -> Result<Self, Failure> {
        let unknown = || {
            Failure::launch(format!(
                "process type `{}` comes from `{}`, which is no buildpack of this image",
                shown(&process.kind),
                shown(&process.buildpack)
            ))
        };
        let api = metadata
            .buildpack(&process.buildpack)
            .map(|buildpack| buildpack.api);
        let replaces = place.platform_api >= REPLACING
            && (process.command.len() > 1
                || args.is_empty()
                || api.ok_or_else(unknown)? >= REPLACEABLE);
        let args = match (replaces, args.is_empty()) {
            (_, true) => process.args.clone(),
            (true, false) => args.to_vec(),
            (false, false) => [&process.args, args].concat(),
        };
        let words = [process.command.clone(), args].concat();
        Ok(Self {
            kind: Some(process.kind.clone()),
            words: if process.direct {
                Words::Direct(words)
            } else {
                Words::Shell(words)
            },
            working_dir: process.working_dir.clone(),
        })
    }
}

impl Process {
    fn suits(&self, place: &Place) -> bool {
        let named = |exec_env: &Vec<u8>| *exec_env == b"*" || *exec_env == place.exec_env;
        place.platform_api < EXEC_ENVS
            || self.exec_env.is_empty()
            || self.exec_env.iter().any(named)
    }
}

/// Sources the profile scripts and then becomes the command. One word is a command line; several are expanded one by
/// one, so that `$PORT` works in an argument. The scripts see `own_name` as `$0`.
pub(crate) fn bash(
    profile: &[Path],
    working_dir: &[u8],
    own_name: &[u8],
    words: Vec<Vec<u8>>,
) -> Vec<Vec<u8>> {
    let mut script = Vec::new();
    for file in profile {
        script.extend_from_slice(b"source ");
        script.extend(quote(file));
        script.push(b'\n');
    }
    script.extend_from_slice(b"cd ");
    script.extend(quote(working_dir));
    script.extend_from_slice(b" || exit\n");
    script.extend_from_slice(if words.len() == 1 {
        b"exec bash -c \"$1\"\n"
    } else {
        br#"words=()
for word in "$@"; do words+=("$(eval "printf %s \"$word\"")"); done
exec "${words[@]}"
"#
    });
    let start = [b"bash".to_vec(), b"-c".to_vec(), script, own_name.to_vec()];
    start.into_iter().chain(words).collect()
}

/// In single quotes, which bash leaves alone.
fn quote(text: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::from(b"'");
    for byte in text {
        match byte {
            b'\'' => quoted.extend_from_slice(b"'\\''"),
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, process::Command};

    use super::*;
    use crate::metadata::Buildpack;

    fn words(text: &str) -> Vec<Vec<u8>> {
        text.split_whitespace()
            .map(|word| word.as_bytes().to_vec())
            .collect()
    }

    fn place(platform: u32) -> Place {
        Place {
            layers: b"/layers".to_vec(),
            app: b"/workspace".to_vec(),
            exec_env: b"production".to_vec(),
            platform_api: Api(0, platform),
        }
    }

    fn metadata(buildpack: u32, process: Process) -> Metadata {
        Metadata {
            buildpacks: vec![Buildpack {
                id: b"a".to_vec(),
                api: Api(0, buildpack),
            }],
            processes: vec![Process {
                kind: b"web".to_vec(),
                buildpack: b"a".to_vec(),
                ..process
            }],
        }
    }

    #[test]
    fn user_arguments_replace_or_follow() {
        for (platform, buildpack, command, user, expected) in [
            (15, 10, "x always", "", "x always default"),
            (15, 10, "x always", "mine", "x always mine"),
            (15, 8, "x always", "mine", "x always mine"),
            (15, 9, "x", "mine", "x mine"),
            (15, 9, "x", "", "x default"),
            (15, 8, "x", "mine", "x default mine"),
            (9, 9, "x", "mine", "x default mine"),
        ] {
            let process = Process {
                command: words(command),
                args: words("default"),
                direct: true,
                ..Process::default()
            };
            let metadata = metadata(buildpack, process);
            let launch = Launch::choose(&metadata, &place(platform), b"web", &words(user)).unwrap();
            assert_eq!(
                launch.words,
                Words::Direct(words(expected)),
                "{platform} {buildpack} {user}"
            );
            assert_eq!(launch.kind.as_deref(), Some(&b"web"[..]));
        }
    }

    #[test]
    fn a_process_may_be_for_some_environments_only() {
        for (exec_env, platform, expected) in [
            ("", 15, true),
            ("test production", 15, true),
            ("*", 15, true),
            ("test", 15, false),
            ("test", 14, true),
        ] {
            let process = Process {
                command: words("x"),
                exec_env: words(exec_env),
                ..Process::default()
            };
            let chosen = Launch::choose(&metadata(12, process), &place(platform), b"web", &[]);
            assert_eq!(chosen.is_ok(), expected, "{exec_env} {platform}");
        }
    }

    #[test]
    fn a_command_of_the_users_own_goes_through_bash_unless_told_otherwise() {
        let metadata = metadata(
            10,
            Process {
                command: words("x"),
                ..Process::default()
            },
        );
        let choose =
            |name: &[u8], args: &str| Launch::choose(&metadata, &place(15), name, &words(args));
        assert_eq!(
            choose(b"launcher", "-- a b").unwrap().words,
            Words::Direct(words("a b"))
        );
        assert_eq!(
            choose(b"launcher", "a b").unwrap().words,
            Words::Shell(words("a b"))
        );
        assert_eq!(choose(b"launcher", "a b").unwrap().kind, None);
        let failure = choose(b"cron", "").unwrap_err();
        assert_eq!(
            (failure.status, failure.text.as_str()),
            (82, "neither a process type nor a command was given")
        );
    }

    #[test]
    fn bash_expands_after_the_profile() {
        let dir = tempfile::tempdir().unwrap();
        let profile = dir.path().join("it's a profile");
        std::fs::write(&profile, "export A='one two' N=\"$0\"").unwrap();
        for (words, expected) in [
            (&["echo \"<$A>\" | tr a-z A-Z"][..], "<ONE TWO>\n"),
            (&["printf", "<%s>", "$A", "b  c"], "<one two><b  c>"),
            (&["echo", "$N"], "/cnb/process/web\n"),
            (&["pwd"], &format!("{}\n", dir.path().display())),
        ] {
            let words = words.iter().map(|word| word.as_bytes().to_vec()).collect();
            let profile = [profile.as_os_str().as_bytes().to_vec()];
            let argv = bash(
                &profile,
                dir.path().as_os_str().as_bytes(),
                b"/cnb/process/web",
                words,
            );
            let args = argv[1..].iter().map(|arg| OsStr::from_bytes(arg));
            let output = Command::new("/bin/bash").args(args).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
        }
    }
}
