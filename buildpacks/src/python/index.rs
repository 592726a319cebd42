//! A Python package index, in the JSON form of the simple API (PEP 691).

use std::env;

use serde::Deserialize;

use crate::download::{Client, DownloadError, Expected};

const DEFAULT_INDEX: &str = "https://pypi.org/simple/";
const SIMPLE_JSON: &str = "application/vnd.pypi.simple.v1+json";

/// In uv's order, then pip's.
const INDEX_VARIABLES: [&str; 3] = ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"];

#[derive(Debug, Deserialize)]
pub(super) struct Project {
    pub(super) files: Vec<IndexFile>,
}

#[derive(Debug, Deserialize)]
pub(super) struct IndexFile {
    pub(super) filename: String,
    url: String,
    hashes: Hashes,
}

#[derive(Debug, Deserialize)]
struct Hashes {
    sha256: Option<String>,
}

/// The index that the environment names, else the default; without the `/` at its end.
pub(super) fn url() -> String {
    let url = INDEX_VARIABLES
        .iter()
        .find_map(|name| env::var(name).ok().filter(|url| !url.trim().is_empty()))
        .unwrap_or_else(|| DEFAULT_INDEX.to_owned());
    url.trim().trim_end_matches('/').to_owned()
}

pub(super) fn project(client: &Client, name: &str) -> Result<(String, Project), DownloadError> {
    let page = format!("{}/{name}/", url());
    let project = client.json(&page, SIMPLE_JSON, None)?;
    Ok((page, project))
}

impl IndexFile {
    /// Absolute, also when the index names its files relative to `page`.
    pub(super) fn url(&self, page: &str) -> String {
        join(page, &self.url)
    }

    pub(super) fn expected(&self) -> Option<Expected> {
        self.hashes.sha256.clone().map(Expected::Sha256Hex)
    }
}

fn join(page: &str, reference: &str) -> String {
    let reference = reference.split('#').next().unwrap_or(reference);
    let Some((scheme, rest)) = page.split_once("://") else {
        return reference.to_owned();
    };
    if reference.contains("://") {
        return reference.to_owned();
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if let Some(absolute) = reference.strip_prefix('/') {
        return format!("{scheme}://{host}/{absolute}");
    }
    let mut segments: Vec<&str> = path.split('/').collect();
    segments.pop();
    for segment in reference.split('/') {
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    format!("{scheme}://{host}/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_may_be_named_relative_to_their_page() {
        let page = "https://host/simple/uv/";
        for (reference, expected) in [
            ("https://files/uv.whl#sha256=x", "https://files/uv.whl"),
            ("/packages/uv.whl", "https://host/packages/uv.whl"),
            ("uv.whl", "https://host/simple/uv/uv.whl"),
            ("../../packages/uv.whl", "https://host/packages/uv.whl"),
            ("../../../../uv.whl", "https://host/uv.whl"),
        ] {
            assert_eq!(join(page, reference), expected, "{reference}");
        }
    }
}
