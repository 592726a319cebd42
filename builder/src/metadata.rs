//! The labels of an image: what restore, rebase and other platforms' tools read (platform spec, "Labels"). The JSON is
//! that of the Go tools to the byte, because it is part of the image's digest.

use std::collections::{BTreeMap, BTreeSet};

use container::{Digest, ImageConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    api::Api,
    bom::BomJson,
    group::Member,
    id::{BuildpackId, Version},
    launch_metadata::{LISTS, LaunchMetadata, LaunchProcess},
};

pub(crate) const LIFECYCLE: &str = "io.buildpacks.lifecycle.metadata";
pub(crate) const BUILD: &str = "io.buildpacks.build.metadata";
pub(crate) const PROJECT: &str = "io.buildpacks.project.metadata";

/// `pack` goes by the version of the reference lifecycle in what it shows of an image: this is the one whose labels ours are.
const LAUNCHER_VERSION: &str = concat!("0.21.17+slipway.", env!("CARGO_PKG_VERSION"));

/// `io.buildpacks.lifecycle.metadata`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LifecycleMetadata {
    #[serde(default)]
    pub(crate) app: Vec<Sha>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sbom: Option<Sha>,
    #[serde(default)]
    pub(crate) buildpacks: Vec<BuildpackLayers>,
    #[serde(default)]
    pub(crate) config: Sha,
    #[serde(default)]
    pub(crate) launcher: Sha,
    #[serde(default, rename = "process-types")]
    pub(crate) process_types: Sha,
    #[serde(default, rename = "runImage")]
    pub(crate) run_image: RunImage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stack: Option<StackMetadata>,
}

/// Of a layer; the empty text of one that is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sha {
    #[serde(default, with = "or_empty")]
    pub(crate) sha: Option<Digest>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BuildpackLayers {
    pub(crate) key: BuildpackId,
    pub(crate) version: Version,
    #[serde(default)]
    pub(crate) layers: BTreeMap<String, LayerMetadata>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) store: Option<Store>,
}

/// A launch layer of an image, or a layer of a cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LayerMetadata {
    pub(crate) sha: Digest,
    #[serde(default)]
    pub(crate) data: Value,
    #[serde(default)]
    pub(crate) build: bool,
    #[serde(default)]
    pub(crate) launch: bool,
    #[serde(default)]
    pub(crate) cache: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Store {
    #[serde(default)]
    pub(crate) metadata: Value,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunImage {
    #[serde(default, rename = "topLayer", with = "or_empty")]
    pub(crate) top_layer: Option<Digest>,
    #[serde(default)]
    pub(crate) reference: String,
    #[serde(flatten)]
    pub(crate) names: RunImageNames,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StackMetadata {
    #[serde(default, rename = "runImage")]
    pub(crate) run_image: RunImageNames,
}

/// Where the image's base can be had.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunImageNames {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) image: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) mirrors: Vec<String>,
}

/// Go has no absent text, but an empty one.
mod or_empty {
    use container::Digest;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(sha: &Option<Digest>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&sha.map(|sha| sha.to_string()).unwrap_or_default())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Digest>, D::Error> {
        let text = String::deserialize(from)?;
        let some = Some(text).filter(|text| !text.is_empty());
        some.map(|text| text.parse().map_err(D::Error::custom))
            .transpose()
    }
}

/// `io.buildpacks.build.metadata`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BuildMetadata {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bom: Option<BomJson>,
    pub(crate) buildpacks: Vec<BuildpackName>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    extensions: Vec<BuildpackName>,
    #[serde(default)]
    launcher: Launcher,
    pub(crate) processes: Vec<LaunchProcess>,
    #[serde(
        default,
        rename = "buildpack-default-process-type",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) default: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Launcher {
    version: String,
    source: LauncherSource,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct LauncherSource {
    git: LauncherGit,
}

/// Empty: the version says it all.
#[derive(Debug, Default, Serialize, Deserialize)]
struct LauncherGit {
    repository: String,
    commit: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BuildpackName {
    pub(crate) id: BuildpackId,
    pub(crate) version: Version,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    homepage: Option<String>,
}

impl LifecycleMetadata {
    /// `None` when the label is absent or not understood: such an image counts as none.
    pub(crate) fn of(image: &ImageConfig) -> Option<Self> {
        serde_json::from_str(image.labels.get(LIFECYCLE)?).ok()
    }

    /// Every layer of the image but the stack's.
    pub(crate) fn all_layers(&self) -> BTreeSet<Digest> {
        let own = [
            Some(&self.config),
            Some(&self.launcher),
            Some(&self.process_types),
            self.sbom.as_ref(),
        ];
        let shas = own
            .into_iter()
            .flatten()
            .chain(&self.app)
            .filter_map(|layer| layer.sha);
        let layers = self.buildpacks.iter().flat_map(|one| one.layers.values());
        shas.chain(layers.map(|layer| layer.sha)).collect()
    }

    pub(crate) fn buildpack(&self, id: &BuildpackId) -> Option<&BuildpackLayers> {
        self.buildpacks.iter().find(|layers| layers.key == *id)
    }
}

impl BuildMetadata {
    pub(crate) fn new(launch: &LaunchMetadata, api: Api) -> Self {
        Self {
            bom: (api < Api::of(9)).then(|| BomJson::from(&launch.bom[..])),
            buildpacks: launch.buildpacks.iter().map(BuildpackName::from).collect(),
            extensions: launch.extensions.iter().map(BuildpackName::from).collect(),
            launcher: Launcher {
                version: LAUNCHER_VERSION.to_owned(),
                ..Launcher::default()
            },
            processes: launch
                .processes
                .iter()
                .map(|process| process.for_platform(api))
                .collect(),
            default: launch.default.clone(),
        }
    }

    pub(crate) fn of(image: &ImageConfig) -> Option<Self> {
        serde_json::from_str(image.labels.get(BUILD)?).ok()
    }

    /// The label's text.
    pub(crate) fn to_json(&self, api: Api) -> serde_json::Result<String> {
        let mut text = go_json(self)?;
        if api >= LISTS {
            return Ok(text);
        }
        // Before, a command was one word.
        for process in &self.processes {
            if let Some(word) = process.command.first() {
                let (list, word) = (go_json(&process.command)?, go_json(word)?);
                let (list, word) = (format!("\"command\":{list}"), format!("\"command\":{word}"));
                text = text.replacen(&list, &word, 1);
            }
        }
        Ok(text)
    }
}

impl From<&Member> for BuildpackName {
    fn from(member: &Member) -> Self {
        Self {
            id: member.id.clone(),
            version: member.version.clone(),
            homepage: member.homepage.clone(),
        }
    }
}

/// `io.buildpacks.project.metadata`: which commit was built.
pub(crate) fn project(source_version: Option<&str>) -> Value {
    match source_version {
        Some(commit) => json!({ "source": { "type": "git", "version": { "commit": commit } } }),
        None => json!({}),
    }
}

/// JSON as Go's encoder writes it: it escapes what could end a script element, which occurs only inside strings.
pub(crate) fn go_json(value: &impl Serialize) -> serde_json::Result<String> {
    let json = serde_json::to_string(value)?;
    let escaped = json
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029");
    Ok(escaped)
}

/// A layer's TOML metadata for a label. JSON has no dates; they become text, as in Go.
pub(crate) fn to_json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.clone().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(yes) => (*yes).into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(values) => values.iter().map(to_json).collect(),
        toml::Value::Table(table) => table_to_json(table),
    }
}

pub(crate) fn table_to_json(table: &toml::Table) -> Value {
    let sorted: BTreeMap<&String, &toml::Value> = table.iter().collect();
    let pairs = sorted.into_iter();
    Value::Object(
        pairs
            .map(|(name, value)| (name.clone(), to_json(value)))
            .collect(),
    )
}

/// And back. TOML has no null; such entries are left out.
pub(crate) fn to_toml(value: &Value) -> Option<toml::Value> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(yes) => (*yes).into(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64()?.into(),
        },
        Value::String(text) => text.clone().into(),
        Value::Array(values) => values
            .iter()
            .filter_map(to_toml)
            .collect::<Vec<toml::Value>>()
            .into(),
        Value::Object(object) => {
            let pairs = object.iter();
            let table: toml::Table = pairs
                .filter_map(|(name, value)| Some((name.clone(), to_toml(value)?)))
                .collect();
            table.into()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha(letter: char) -> Sha {
        let sha = format!("sha256:{}", letter.to_string().repeat(64));
        Sha {
            sha: Some(sha.parse().unwrap()),
        }
    }

    #[test]
    fn the_lifecycle_label_has_the_fields_in_the_order_of_go() {
        let id = |text: &str| BuildpackId::try_from(text.to_owned()).unwrap();
        let metadata = LifecycleMetadata {
            app: vec![sha('a')],
            sbom: None,
            buildpacks: vec![BuildpackLayers {
                key: id("acme/node"),
                version: Version::try_from("1".to_owned()).unwrap(),
                layers: BTreeMap::from([(
                    "modules".to_owned(),
                    LayerMetadata {
                        sha: sha('b').sha.unwrap(),
                        data: json!({ "b": "<&>", "a": 1 }),
                        build: false,
                        launch: true,
                        cache: true,
                    },
                )]),
                store: None,
            }],
            config: sha('c'),
            launcher: sha('d'),
            process_types: Sha::default(),
            run_image: RunImage {
                top_layer: sha('f').sha,
                reference: "host".to_owned(),
                names: RunImageNames {
                    image: "run".to_owned(),
                    mirrors: vec!["mirror".to_owned()],
                },
            },
            stack: Some(StackMetadata {
                run_image: RunImageNames {
                    image: "run".to_owned(),
                    mirrors: vec![],
                },
            }),
        };
        let text = go_json(&metadata).unwrap();
        let expected = concat!(
            r#"{"app":[{"sha":"A"}],"buildpacks":[{"key":"acme/node","version":"1","layers":{"modules":"#,
            r#"{"sha":"B","data":{"a":1,"b":"\u003c\u0026\u003e"},"build":false,"launch":true,"cache":true}}}],"#,
            r#""config":{"sha":"C"},"launcher":{"sha":"D"},"process-types":{"sha":""},"#,
            r#""runImage":{"topLayer":"F","reference":"host","image":"run","mirrors":["mirror"]},"stack":{"runImage":{"image":"run"}}}"#,
        );
        let short = ('a'..='f').fold(text.clone(), |text, letter| {
            text.replace(
                &sha(letter).sha.unwrap().to_string(),
                &letter.to_ascii_uppercase().to_string(),
            )
        });
        assert_eq!(short, expected);
        let mut image = ImageConfig {
            env: vec![],
            entrypoint: vec![],
            working_dir: String::new(),
            user: String::new(),
            labels: BTreeMap::from([(LIFECYCLE.to_owned(), text)]),
            layers: vec![],
            ..ImageConfig::default()
        };
        let read = LifecycleMetadata::of(&image).unwrap();
        assert!(read.buildpack(&id("acme/node")).is_some());
        assert!(read.buildpack(&id("acme/other")).is_none());
        image.labels.insert(LIFECYCLE.to_owned(), "{".to_owned());
        assert!(LifecycleMetadata::of(&image).is_none());
    }

    #[test]
    fn the_build_label_has_null_where_args_are_unset() {
        let launch: LaunchMetadata = toml::from_str(
            "buildpack-default-process-type='web'\n[[buildpacks]]\nid='a/b'\nversion='1'\napi='0.10'\n\
             [[processes]]\ntype='web'\ncommand=['x']\ndirect=true\nbuildpack-id='a/b'",
        )
        .unwrap();
        let text = BuildMetadata::new(&launch, Api::of(15))
            .to_json(Api::of(15))
            .unwrap();
        let version = LAUNCHER_VERSION;
        let expected = [
            r#"{"buildpacks":[{"id":"a/b","version":"1"}],"launcher":{"version":""#,
            version,
            r#"","source":{"git":{"repository":"","commit":""}}},"processes":[{"type":"web","command":["x"],"#,
            r#""args":null,"direct":true,"buildpackID":"a/b"}],"buildpack-default-process-type":"web"}"#,
        ];
        assert_eq!(text, expected.concat());
        let text = BuildMetadata::new(&launch, Api::of(8))
            .to_json(Api::of(8))
            .unwrap();
        assert!(text.starts_with(r#"{"bom":null,"buildpacks":"#), "{text}");
        assert!(text.contains(r#""command":"x","args":[],"#), "{text}");
    }

    #[test]
    fn metadata_survives_the_label() {
        let text = "b = [1, 2.5]\na = { x = true, y = 'z' }\nwhen = 1980-01-01T00:00:01Z\n";
        let table: toml::Table = toml::from_str(text).unwrap();
        let json = table_to_json(&table);
        assert_eq!(
            json.to_string(),
            r#"{"a":{"x":true,"y":"z"},"b":[1,2.5],"when":"1980-01-01T00:00:01Z"}"#
        );
        let back = to_toml(&json).unwrap();
        assert_eq!(back["b"], table["b"]);
        assert_eq!(back["when"].as_str(), Some("1980-01-01T00:00:01Z"));
        assert_eq!(
            to_toml(&json!({ "x": null })).unwrap(),
            toml::Value::Table(toml::Table::new())
        );
    }
}
