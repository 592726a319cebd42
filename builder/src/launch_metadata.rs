//! `<layers>/config/metadata.toml`: what the launcher needs to know, joined from all buildpacks.

use serde::{Deserialize, Deserializer, Serialize};
use toml::Spanned;

use crate::{
    api::Api,
    bom::{self, BomEntry},
    files::{BadFile, Untrusted},
    go_toml::{block, field, list, quote},
    group::Member,
    id::BuildpackId,
    launch_toml::{Label, LaunchToml, Slice, check_type},
    metadata::go_json,
};

pub(crate) const FILE: &str = "config/metadata.toml";
/// Since then a command is a list; before, its first word.
pub(crate) const LISTS: Api = Api::of(10);

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(crate) struct LaunchMetadata {
    #[serde(default, rename = "buildpack-default-process-type")]
    pub(crate) default: Option<String>,
    /// Before Platform API 0.9.
    #[serde(default)]
    pub(crate) bom: Vec<BomEntry>,
    #[serde(default)]
    pub(crate) buildpacks: Vec<Member>,
    #[serde(default)]
    pub(crate) extensions: Vec<Member>,
    /// A later one of the same key replaces an earlier one in the image.
    #[serde(default)]
    pub(crate) labels: Vec<Label>,
    /// By type.
    #[serde(default)]
    pub(crate) processes: Vec<LaunchProcess>,
    #[serde(default)]
    pub(crate) slices: Vec<Slice>,
}

/// Fields in the order of the build label's JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LaunchProcess {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(deserialize_with = "command")]
    pub(crate) command: Vec<String>,
    pub(crate) args: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) direct: bool,
    #[serde(alias = "buildpack-id", rename(serialize = "buildpackID"))]
    #[serde(alias = "buildpackID")]
    pub(crate) buildpack_id: BuildpackId,
    #[serde(
        default,
        rename = "working-dir",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) working_dir: Option<String>,
    #[serde(default, rename = "exec-env", skip_serializing_if = "Vec::is_empty")]
    pub(crate) exec_env: Vec<String>,
}

/// A list, or the one word that it was before Platform API 0.10.
fn command<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "`command` must be a list of strings")]
    enum Command {
        One(String),
        List(Vec<String>),
    }
    Ok(match Command::deserialize(from)? {
        Command::One(command) => vec![command],
        Command::List(command) => command,
    })
}

impl LaunchMetadata {
    /// What a build has left; its buildpacks are those that the caller knows to have run.
    pub(crate) fn read_untrusted(layers: &Untrusted, group: &[Member]) -> Result<Self, BadFile> {
        let wrong = |what: String| BadFile::new(&layers.shown(FILE), what);
        let mut metadata: Self = layers
            .toml(FILE)?
            .ok_or_else(|| wrong("is missing".to_owned()))?;
        for process in &metadata.processes {
            check_type(&process.kind).map_err(wrong)?;
        }
        if let Some(default) = &metadata.default
            && metadata.process(default).is_none()
        {
            return Err(wrong("the default process type is not declared".to_owned()));
        }
        metadata.processes.sort_by(|a, b| a.kind.cmp(&b.kind));
        metadata.processes.dedup_by(|a, b| a.kind == b.kind);
        metadata.buildpacks = group.to_vec();
        Ok(metadata)
    }

    /// A later buildpack's processes and labels replace those of the same name. One that redefines the default process
    /// type without being a default itself leaves none, which is true then.
    pub(crate) fn add(&mut self, member: &Member, launch: &LaunchToml) -> bool {
        let mut lost_default = false;
        for process in launch.processes.iter().map(Spanned::get_ref) {
            if process.default {
                self.default = Some(process.kind.clone());
                lost_default = false;
            } else if self.default.as_deref() == Some(&process.kind) {
                self.default = None;
                lost_default = true;
            }
            self.processes.retain(|other| other.kind != process.kind);
            self.processes.push(LaunchProcess {
                kind: process.kind.clone(),
                command: process.command(),
                args: process.args.clone(),
                direct: process.is_direct(member.api),
                buildpack_id: member.id.clone(),
                working_dir: process
                    .working_dir
                    .clone()
                    .filter(|dir| !dir.is_empty() && member.api >= Api::of(8)),
                exec_env: process.exec_env.clone(),
            });
        }
        self.processes.sort_by(|a, b| a.kind.cmp(&b.kind));
        self.bom.extend(bom::of(member, &launch.bom));
        self.labels.extend_from_slice(&launch.labels);
        self.slices.extend_from_slice(&launch.slices);
        self.buildpacks.push(member.clone());
        lost_default
    }

    pub(crate) fn process(&self, kind: &str) -> Option<&LaunchProcess> {
        self.processes.iter().find(|process| process.kind == kind)
    }

    /// In the layout of the Go lifecycle, because the text becomes a layer.
    pub(crate) fn to_toml(&self, api: Api) -> String {
        let mut text = String::new();
        if self.processes.is_empty() {
            field(&mut text, "", "processes", "[]");
        }
        if let Some(default) = &self.default {
            let name = "buildpack-default-process-type";
            field(&mut text, "", name, &quote(default));
        }
        bom::write_toml(&mut text, &self.bom);
        for (name, members) in [
            ("buildpacks", &self.buildpacks),
            ("extensions", &self.extensions),
        ] {
            for member in members {
                block(&mut text, name);
                field(&mut text, "  ", "id", &quote(member.id.as_str()));
                field(&mut text, "  ", "version", &quote(member.version.as_str()));
                field(&mut text, "  ", "api", &quote(&member.api.to_string()));
                if let Some(homepage) = &member.homepage {
                    field(&mut text, "  ", "homepage", &quote(homepage));
                }
            }
        }
        for label in &self.labels {
            block(&mut text, "labels");
            field(&mut text, "  ", "key", &quote(&label.key));
            field(&mut text, "  ", "value", &quote(&label.value));
        }
        for process in &self.processes {
            process.for_platform(api).write(&mut text, api);
        }
        for slice in &self.slices {
            block(&mut text, "slices");
            field(&mut text, "  ", "paths", &list(&slice.paths));
        }
        text
    }
}

impl LaunchProcess {
    /// Before Platform API 0.10 a command is one word: the others are arguments.
    pub(crate) fn for_platform(&self, api: Api) -> Self {
        let mut process = self.clone();
        if api < LISTS && !process.command.is_empty() {
            let more = process.command.split_off(1);
            process.args = Some([more, process.args.unwrap_or_default()].concat());
        }
        process
    }

    fn write(&self, text: &mut String, api: Api) {
        // The Go lifecycle writes a command as JSON, which TOML can read.
        let command = self
            .command
            .iter()
            .map(|word| go_json(word).unwrap_or_default());
        let command: Vec<String> = command.collect();
        let command = match command.first() {
            Some(first) if api < LISTS => first.clone(),
            _ => format!("[{}]", command.join(", ")),
        };
        block(text, "processes");
        field(text, "  ", "type", &quote(&self.kind));
        field(text, "  ", "command", &command);
        if let Some(args) = &self.args {
            field(text, "  ", "args", &list(args));
        }
        field(text, "  ", "direct", &self.direct.to_string());
        field(
            text,
            "  ",
            "buildpack-id",
            &quote(self.buildpack_id.as_str()),
        );
        if let Some(dir) = &self.working_dir {
            field(text, "  ", "working-dir", &quote(dir));
        }
        if !self.exec_env.is_empty() {
            field(text, "  ", "exec-env", &list(&self.exec_env));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, api: &str) -> Member {
        toml::from_str(&format!("id='{id}'\nversion='1'\napi='{api}'")).unwrap()
    }

    fn launch(text: &str) -> LaunchToml {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn it_is_written_as_the_go_lifecycle_does_and_read_back() {
        let mut metadata = LaunchMetadata::default();
        metadata.add(
            &member("acme/node", "0.10"),
            &launch(
                "[[labels]]\nkey='k'\nvalue='\"v\"\\'\n[[processes]]\ntype='web'\ncommand=['node', 'a b']\n\
                 args=['\\n']\ndefault=true\nworking-dir='/x'",
            ),
        );
        metadata.add(
            &member("acme/old", "0.8"),
            &launch(
                "[[processes]]\ntype='cron'\ncommand='run \\t <&'\n[[slices]]\npaths=['a', 'b/*']",
            ),
        );
        let text = metadata.to_toml(Api::of(15));
        let expected = r#"buildpack-default-process-type = "web"

[[buildpacks]]
  id = "acme/node"
  version = "1"
  api = "0.10"

[[buildpacks]]
  id = "acme/old"
  version = "1"
  api = "0.8"

[[labels]]
  key = "k"
  value = "\"v\"\\"

[[processes]]
  type = "cron"
  command = ["run \\t \u003c\u0026"]
  direct = false
  buildpack-id = "acme/old"

[[processes]]
  type = "web"
  command = ["node", "a b"]
  args = ["\\n"]
  direct = true
  buildpack-id = "acme/node"
  working-dir = "/x"

[[slices]]
  paths = ["a", "b/*"]
"#;
        assert_eq!(text, expected);
        assert_eq!(toml::from_str::<LaunchMetadata>(&text).unwrap(), metadata);
    }

    #[test]
    fn an_older_platform_gets_one_word_and_the_others_as_arguments() {
        let mut metadata = LaunchMetadata::default();
        let text = metadata.to_toml(Api::of(9));
        assert_eq!(text, "processes = []\n");
        let web = "[[processes]]\ntype='web'\ncommand=['a', 'b']\nargs=['c']\n[[processes]]\ntype='x'\ncommand=['x']";
        metadata.add(&member("acme/node", "0.10"), &launch(web));
        let text = metadata.to_toml(Api::of(9));
        assert!(
            text.contains("command = \"a\"\n  args = [\"b\", \"c\"]\n"),
            "{text}"
        );
        assert!(text.contains("command = \"x\"\n  args = []\n"), "{text}");
        let read: LaunchMetadata = toml::from_str(&text).unwrap();
        assert_eq!(read.process("web").unwrap().command, ["a"]);
    }

    #[test]
    fn any_text_survives() {
        for text in ["\u{0}\u{7f}\u{1b}[0m", "\"\\\r\n\t", "ä\u{2028}"] {
            let toml = format!("x = {}", quote(text));
            let table: toml::Table = toml::from_str(&toml).unwrap();
            assert_eq!(table["x"].as_str(), Some(text));
        }
    }

    #[test]
    fn a_later_buildpack_replaces_and_may_clear_the_default() {
        let web = "[[processes]]\ntype='web'\ncommand=['one']\ndefault=true";
        let plain = "[[processes]]\ntype='web'\ncommand=['two']";
        for (texts, default, command) in [
            ([web, ""], Some("web"), "one"),
            ([web, plain], None, "two"),
            ([plain, web], Some("web"), "one"),
        ] {
            let mut metadata = LaunchMetadata::default();
            for text in texts {
                metadata.add(&member("a", "0.10"), &launch(text));
            }
            assert_eq!(metadata.default.as_deref(), default, "{texts:?}");
            assert_eq!(metadata.process("web").unwrap().command, [command]);
        }
    }
}
