//! Where the source comes from: project-metadata.toml as the label `io.buildpacks.project.metadata`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{failure::Failure, files, lifecycle::inputs::Inputs, metadata::table_to_json};

/// `project-metadata.toml`.
#[derive(Default, Deserialize)]
struct ProjectToml {
    source: Option<Project>,
}

#[derive(Default, Deserialize)]
struct Project {
    #[serde(default, rename = "type")]
    kind: String,
    version: Option<toml::Table>,
    metadata: Option<toml::Table>,
}

#[derive(Serialize)]
pub(super) struct ProjectLabel {
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<SourceLabel>,
}

#[derive(Serialize)]
struct SourceLabel {
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
}

pub(super) fn label(inputs: &Inputs) -> Result<ProjectLabel, Failure> {
    let project: Option<ProjectToml> =
        files::toml(&inputs.project_metadata).map_err(Failure::Input)?;
    let source = project.and_then(|project| project.source);
    let table = |table: Option<toml::Table>| {
        table
            .filter(|table| !table.is_empty())
            .map(|table| table_to_json(&table))
    };
    Ok(ProjectLabel {
        source: source.map(|source| SourceLabel {
            kind: source.kind,
            version: table(source.version),
            metadata: table(source.metadata),
        }),
    })
}
