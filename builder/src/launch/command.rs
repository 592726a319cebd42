//! Which command is to run, from the process type and the user's words.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use crate::{
    api::Api,
    launch_metadata::{LaunchMetadata, LaunchProcess},
};

const BASH: &str = "/bin/bash";

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Launch<'a> {
    /// The process type; a command of the user's own has none.
    pub(super) kind: Option<&'a str>,
    pub(super) words: Words,
    pub(super) direct: bool,
    pub(super) working_dir: Option<&'a str>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Words {
    Direct(Vec<OsString>),
    /// A command line, or a command and its arguments, for bash to expand.
    Shell(Vec<OsString>),
}

impl<'a> Launch<'a> {
    pub(super) fn choose(
        metadata: &'a LaunchMetadata,
        kind: Option<&str>,
        args: Vec<OsString>,
    ) -> Result<Self, String> {
        if let Some(kind) = kind {
            let process = metadata
                .process(kind)
                .ok_or_else(|| format!("this image has no process type `{kind}`"))?;
            return Ok(Self::of_process(metadata, process, args));
        }
        let is_direct = args.first().is_some_and(|first| first == "--");
        let words: Vec<OsString> = args.into_iter().skip(usize::from(is_direct)).collect();
        if words.is_empty() {
            return Err("neither a process type nor a command was given".to_owned());
        }
        Ok(Self {
            kind: None,
            words: if is_direct {
                Words::Direct(words)
            } else {
                Words::Shell(words)
            },
            direct: is_direct,
            working_dir: None,
        })
    }

    fn of_process(
        metadata: &LaunchMetadata,
        process: &'a LaunchProcess,
        args: Vec<OsString>,
    ) -> Self {
        let of = |member: &&crate::group::Member| member.id == process.buildpack_id;
        let api = metadata.buildpacks.iter().find(of).map(|member| member.api);
        let words = words(process, api.unwrap_or(Api::V0_9), args);
        Self {
            kind: Some(&process.kind),
            words: if process.direct {
                Words::Direct(words)
            } else {
                Words::Shell(words)
            },
            direct: process.direct,
            working_dir: process.working_dir.as_deref(),
        }
    }
}

/// The user's arguments take the place of `args`; before Buildpack API 0.9 they follow them.
fn words(process: &LaunchProcess, api: Api, user: Vec<OsString>) -> Vec<OsString> {
    let own = process.args.iter().flatten();
    let own: Vec<OsString> = own.map(OsString::from).collect();
    let replaces = api >= Api::V0_9 && !user.is_empty();
    let args = if replaces { user } else { [own, user].concat() };
    let command = process.command.iter().map(OsString::from);
    command.chain(args).collect()
}

/// Sources the profile scripts and then becomes the command. One word is a command line; several are expanded one by
/// one, so that `$PORT` works in an argument.
pub(super) fn bash(profile: &[PathBuf], working_dir: &Path, words: Vec<OsString>) -> Vec<OsString> {
    let mut script = Vec::new();
    for file in profile {
        script.extend_from_slice(b". ");
        script.extend(quote(file.as_os_str()));
        script.push(b'\n');
    }
    script.extend_from_slice(b"cd ");
    script.extend(quote(working_dir.as_os_str()));
    script.extend_from_slice(b" || exit\n");
    script.extend_from_slice(if words.len() == 1 {
        b"exec bash -c \"$1\"\n"
    } else {
        br#"words=()
for word in "$@"; do words+=("$(eval "printf %s \"$word\"")"); done
exec "${words[@]}"
"#
    });
    let start = [
        BASH.into(),
        "-c".into(),
        OsString::from_vec(script),
        "bash".into(),
    ];
    start.into_iter().chain(words).collect()
}

/// In single quotes, which bash leaves alone.
fn quote(text: &OsStr) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for byte in text.as_bytes() {
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
    use std::process::Command;

    use super::*;

    fn metadata(api: &str, process: &str) -> LaunchMetadata {
        toml::from_str(&format!(
            "[[buildpacks]]\nid='a'\nversion='1'\napi='{api}'\n[[processes]]\ntype='web'\nbuildpack-id='a'\n{process}"
        ))
        .unwrap()
    }

    fn os(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn user_arguments_replace_or_follow() {
        let list = "command=['x', 'always']\nargs=['default']\ndirect=true";
        let shell = "command=['x']\nargs=['default']";
        for (api, process, user, expected) in [
            (
                "0.10",
                list,
                &[][..],
                Words::Direct(os(&["x", "always", "default"])),
            ),
            (
                "0.10",
                list,
                &["mine"],
                Words::Direct(os(&["x", "always", "mine"])),
            ),
            (
                "0.8",
                shell,
                &["mine"],
                Words::Shell(os(&["x", "default", "mine"])),
            ),
        ] {
            let metadata = metadata(api, process);
            let launch = Launch::choose(&metadata, Some("web"), os(user)).unwrap();
            assert_eq!(launch.words, expected, "{api} {user:?}");
        }
    }

    #[test]
    fn a_command_of_the_users_own_goes_through_bash_unless_told_otherwise() {
        let metadata = metadata("0.10", "command=['x']");
        let choose = |args: &[&str]| Launch::choose(&metadata, None, os(args));
        assert_eq!(
            choose(&["--", "a", "b"]).unwrap().words,
            Words::Direct(os(&["a", "b"]))
        );
        assert_eq!(choose(&["a b"]).unwrap().words, Words::Shell(os(&["a b"])));
        assert!(choose(&[]).is_err());
        assert!(choose(&["--"]).is_err());
        let unknown = Launch::choose(&metadata, Some("cron"), vec![]).unwrap_err();
        assert_eq!(unknown, "this image has no process type `cron`");
    }

    #[test]
    fn bash_expands_after_the_profile() {
        let dir = tempfile::tempdir().unwrap();
        let profile = dir.path().join("it's a profile");
        std::fs::write(&profile, "export A='one two'").unwrap();
        for (words, expected) in [
            (&["echo \"<$A>\" | tr a-z A-Z"][..], "<ONE TWO>\n"),
            (&["printf", "<%s>", "$A", "b  c"], "<one two><b  c>"),
            (&["pwd"], &format!("{}\n", dir.path().display())),
        ] {
            let argv = bash(std::slice::from_ref(&profile), dir.path(), os(words));
            let output = Command::new(&argv[0]).args(&argv[1..]).output().unwrap();
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                expected,
                "{words:?}"
            );
        }
    }
}
