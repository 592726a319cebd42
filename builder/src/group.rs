//! `group.toml`: the buildpacks that take part, in order, and the image extensions before them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    api::Api,
    failure::Failure,
    files,
    id::{BuildpackId, Version},
};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    #[serde(default)]
    pub(crate) group: Vec<Member>,
    #[serde(
        default,
        rename = "group-extensions",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(crate) extensions: Vec<Member>,
}

/// A buildpack that takes part; also how images and launch metadata name one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) id: BuildpackId,
    pub(crate) version: Version,
    pub(crate) api: Api,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) homepage: Option<String>,
}

impl Group {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let group: Self = files::wanted(path)?;
        for member in group.group.iter().chain(&group.extensions) {
            if !member.api.is_buildpack_api() {
                return Err(Failure::buildpack_api(&member.id, &member.api.to_string()));
            }
        }
        Ok(group)
    }
}
