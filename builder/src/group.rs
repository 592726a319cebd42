//! `group.toml`: the buildpacks that take part, in order.

use serde::{Deserialize, Serialize};

use crate::{
    api::Api,
    id::{BuildpackId, Version},
};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    #[serde(default)]
    pub(crate) group: Vec<Member>,
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
