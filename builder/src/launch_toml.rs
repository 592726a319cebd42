//! `launch.toml`, `build.toml` and `store.toml`: what a buildpack says besides its layers.

use serde::{Deserialize, Serialize};
use toml::{Spanned, Table};

use crate::{
    api::Api,
    bom::BomEntry,
    files::{BadFile, Untrusted, Wrong},
};

/// Since then `command` is a list, and processes are always direct.
const LISTS: Api = Api::of(9);
/// Would change what a process's path in the image means, or a shell's command line.
const FORBIDDEN: &str = "/><:|&\\";

#[derive(Debug, Default, Deserialize)]
pub(crate) struct LaunchToml {
    #[serde(default)]
    pub(crate) bom: Vec<BomEntry>,
    #[serde(default)]
    pub(crate) labels: Vec<Label>,
    #[serde(default)]
    pub(crate) processes: Vec<Spanned<ProcessToml>>,
    #[serde(default)]
    pub(crate) slices: Vec<Slice>,
}

/// Files of the app that become a layer of their own: patterns relative to its directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slice {
    #[serde(default)]
    pub(crate) paths: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Label {
    pub(crate) key: String,
    pub(crate) value: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ProcessToml {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    command: Command,
    #[serde(default)]
    pub(crate) args: Option<Vec<String>>,
    direct: Option<bool>,
    #[serde(default)]
    pub(crate) default: bool,
    #[serde(default, rename = "working-dir")]
    pub(crate) working_dir: Option<String>,
    #[serde(default, rename = "exec-env")]
    pub(crate) exec_env: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "`command` must be a list of strings")]
enum Command {
    /// Until Buildpack API 0.8.
    One(String),
    List(Vec<String>),
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct BuildToml {
    #[serde(default)]
    pub(crate) bom: Vec<BomEntry>,
    #[serde(default)]
    unmet: Vec<Unmet>,
}

#[derive(Debug, Deserialize)]
struct Unmet {
    name: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct StoreToml {
    #[serde(default)]
    pub(crate) metadata: Table,
}

impl LaunchToml {
    pub(crate) fn read(layers: &Untrusted, buildpack: &str, api: Api) -> Result<Self, BadFile> {
        let path = format!("{buildpack}/launch.toml");
        let launch = layers.checked_toml(&path, |launch: &Self| launch.check(api))?;
        Ok(launch.unwrap_or_default())
    }

    fn check(&self, api: Api) -> Result<(), Wrong> {
        let processes = self.processes.iter().map(Spanned::get_ref);
        let mut defaults = processes
            .zip(&self.processes)
            .filter(|(one, _)| one.default);
        if let Some((_, second)) = defaults.nth(1) {
            let what = "more than one process type is the default".to_owned();
            return Err((second.span().start, what));
        }
        self.processes.iter().try_for_each(|process| {
            let checked = process.get_ref().check(api);
            checked.map_err(|what| (process.span().start, what))
        })
    }
}

impl ProcessToml {
    fn check(&self, api: Api) -> Result<(), String> {
        let kind = &self.kind;
        check_type(kind)?;
        let lists = api >= LISTS;
        match &self.command {
            Command::One(_) if lists => {
                Err(format!("`command` of process `{kind}` must be a list"))
            }
            Command::List(_) if !lists => {
                Err(format!("`command` of process `{kind}` must be a string"))
            }
            _ if lists && self.direct.is_some() => Err(format!(
                "process `{kind}` has the key `direct`, which is gone since Buildpack API 0.9"
            )),
            _ if self.command().is_empty() => Err(format!("process `{kind}` has no command")),
            _ => Ok(()),
        }
    }

    pub(crate) fn command(&self) -> Vec<String> {
        match &self.command {
            Command::One(command) => vec![command.clone()],
            Command::List(command) => command.clone(),
        }
    }

    pub(crate) fn is_direct(&self, api: Api) -> bool {
        api >= LISTS || self.direct == Some(true)
    }
}

/// A process type becomes a file in the image and a word on the operator's command line.
pub(crate) fn check_type(kind: &str) -> Result<(), String> {
    if !kind.contains(|char| FORBIDDEN.contains(char)) && crate::id::is_file_name(kind) {
        Ok(())
    } else {
        Err(format!(
            "`{}` cannot be a process type, in which there may be none of `{FORBIDDEN}`",
            kind.escape_debug()
        ))
    }
}

impl BuildToml {
    pub(crate) fn read(layers: &Untrusted, buildpack: &str) -> Result<Self, BadFile> {
        let path = format!("{buildpack}/build.toml");
        Ok(layers.toml(&path)?.unwrap_or_default())
    }

    pub(crate) fn unmet(&self) -> Vec<String> {
        self.unmet.iter().map(|unmet| unmet.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn check(api: Api, text: &str, expected: Result<(), &str>) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bp")).unwrap();
        fs::write(dir.path().join("bp/launch.toml"), text).unwrap();
        let layers = Untrusted::open(dir.path(), "/layers").unwrap();
        let read = LaunchToml::read(&layers, "bp", api).map(drop);
        let expected = expected.map_err(|what| what.to_owned());
        assert_eq!(read.map_err(|error| error.what), expected, "{text}");
    }

    #[test]
    fn a_command_is_what_the_api_says() {
        let web = "[[processes]]\ntype='web'\n";
        check(Api::of(10), &format!("{web}command=['a','b']"), Ok(()));
        check(Api::of(8), &format!("{web}command='a b'"), Ok(()));
        check(
            Api::of(8),
            &format!("{web}command='a'\ndirect=true"),
            Ok(()),
        );
        for (api, text, what) in [
            (
                Api::of(9),
                "command='a'",
                "`command` of process `web` must be a list",
            ),
            (
                Api::of(8),
                "command=['a']",
                "`command` of process `web` must be a string",
            ),
            (
                Api::of(9),
                "command=['a']\ndirect=true",
                "process `web` has the key `direct`, which is gone since Buildpack API 0.9",
            ),
            (Api::of(9), "command=[]", "process `web` has no command"),
            (
                Api::of(9),
                "command=3",
                "`command` must be a list of strings",
            ),
        ] {
            check(api, &format!("{web}{text}"), Err(what));
        }
    }

    #[test]
    fn defaults_and_types_are_checked() {
        let process =
            |kind: &str| format!("[[processes]]\ntype='{kind}'\ncommand=['a']\ndefault=true\n");
        check(
            Api::of(10),
            &(process("a") + &process("b")),
            Err("more than one process type is the default"),
        );
        for kind in ["", "..", "a/b", "a|b", "x:y"] {
            let what = format!(
                "`{kind}` cannot be a process type, in which there may be none of `/><:|&\\`"
            );
            check(Api::of(10), &process(kind), Err(&what));
        }
    }
}
