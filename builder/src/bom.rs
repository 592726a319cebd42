//! The bill of materials that was before [`crate::sbom`]: `[[bom]]` of a buildpack's launch.toml and build.toml. Until
//! Platform API 0.8 it is in the image's label, the launch metadata and report.toml; since then in files of its own.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;
use toml::Table;

use crate::{
    go_toml,
    group::Member,
    id::{BuildpackId, Version},
    metadata::table_to_json,
};

/// One dependency, in TOML.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BomEntry {
    name: String,
    #[serde(default, skip_serializing, rename = "version")]
    _version: Misplaced,
    metadata: Option<Table>,
    /// Not the buildpack's to say.
    buildpack: Option<Origin>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Origin {
    id: BuildpackId,
    version: Version,
}

/// A version, which was beside the metadata once.
#[derive(Debug, Clone, Default, PartialEq)]
struct Misplaced;

impl<'de> Deserialize<'de> for Misplaced {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match String::deserialize(from)?.as_str() {
            "" => Ok(Self),
            _ => Err(D::Error::custom("`version` belongs into the metadata")),
        }
    }
}

/// With the buildpack that says so.
pub(crate) fn of(member: &Member, bom: &[BomEntry]) -> Vec<BomEntry> {
    let entries = bom.iter().cloned().map(|entry| BomEntry {
        buildpack: Some(Origin {
            id: member.id.clone(),
            version: member.version.clone(),
        }),
        ..entry
    });
    entries.collect()
}

/// The list in JSON; null when there is nothing, as in Go.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct BomJson(Option<Vec<JsonEntry>>);

#[derive(Debug, Serialize, Deserialize)]
struct JsonEntry {
    name: String,
    metadata: Option<Value>,
    buildpack: Option<Origin>,
}

impl From<&[BomEntry]> for BomJson {
    fn from(bom: &[BomEntry]) -> Self {
        let entries = bom.iter().map(|entry| JsonEntry {
            name: entry.name.clone(),
            metadata: entry.metadata.as_ref().map(table_to_json),
            buildpack: entry.buildpack.clone(),
        });
        Self((!bom.is_empty()).then(|| entries.collect()))
    }
}

/// Entries of metadata.toml, in the layout of the Go lifecycle.
pub(crate) fn write_toml(text: &mut String, bom: &[BomEntry]) {
    for entry in bom {
        let table = Table::try_from(entry).unwrap_or_default();
        go_toml::block(text, "bom");
        // Not sorted, as the fields of a struct are not.
        go_toml::field(text, "  ", "name", &go_toml::quote(&entry.name));
        for name in ["metadata", "buildpack"] {
            if let Some(toml::Value::Table(table)) = table.get(name) {
                go_toml::table(text, &["bom", name], table);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Bom {
        bom: Vec<BomEntry>,
    }

    fn bom(text: &str) -> Vec<BomEntry> {
        toml::from_str::<Bom>(text).unwrap().bom
    }

    #[test]
    fn a_version_belongs_into_the_metadata() {
        bom("[[bom]]\nname='a'\nversion=''\n[bom.metadata]\nversion='1'");
        let error = toml::from_str::<Bom>("[[bom]]\nname='a'\nversion='1'").unwrap_err();
        assert_eq!(error.message(), "`version` belongs into the metadata");
    }

    #[test]
    fn it_is_written_as_go_does() {
        let member: Member = toml::from_str("id='acme/x'\nversion='1'\napi='0.7'").unwrap();
        let bom = of(
            &member,
            &bom(
                "[[bom]]\nname='a'\n[bom.metadata]\nz=1\nb=['x', 'y']\n[bom.metadata.c]\nd=1.0\n[[bom]]\nname='e'",
            ),
        );
        let mut text = String::new();
        write_toml(&mut text, &bom);
        assert_eq!(
            text,
            r#"[[bom]]
  name = "a"
  [bom.metadata]
    b = ["x", "y"]
    z = 1
    [bom.metadata.c]
      d = 1.0
  [bom.buildpack]
    id = "acme/x"
    version = "1"

[[bom]]
  name = "e"
  [bom.buildpack]
    id = "acme/x"
    version = "1"
"#
        );
        assert_eq!(toml::from_str::<Bom>(&text).unwrap().bom, bom);
        let json = |bom: &[BomEntry]| serde_json::to_string(&BomJson::from(bom)).unwrap();
        let text = json(&bom);
        let last = r#"{"name":"e","metadata":null,"buildpack":{"id":"acme/x","version":"1"}}]"#;
        assert!(text.ends_with(last), "{text}");
        assert_eq!(json(&[]), "null");
    }
}
