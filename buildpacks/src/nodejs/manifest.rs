//! package.json, read leniently: what is not as expected is treated as absent, as npm does.

use serde_json::{Map, Value};

/// Decide what is installed; everything else in package.json may change without a new install.
const DEPENDENCY_KEYS: [&str; 14] = [
    "dependencies",
    "devDependencies",
    "optionalDependencies",
    "peerDependencies",
    "peerDependenciesMeta",
    "dependenciesMeta",
    "bundleDependencies",
    "bundledDependencies",
    "overrides",
    "resolutions",
    "engines",
    "packageManager",
    "pnpm",
    "allowScripts",
];

/// Run by the package manager around an install, and free to read any file of the app.
const INSTALL_SCRIPTS: [&str; 7] = [
    "preinstall",
    "install",
    "postinstall",
    "preprepare",
    "prepare",
    "postprepare",
    "prepublish",
];

#[derive(Debug)]
pub(super) struct Manifest(Map<String, Value>);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("it is not an object: `{{ ... }}`")]
    NotAnObject,
}

impl Manifest {
    pub(super) fn parse(text: &str) -> Result<Manifest, ManifestError> {
        match serde_json::from_str(text.trim_start_matches('\u{feff}'))? {
            Value::Object(map) => Ok(Manifest(map)),
            _ => Err(ManifestError::NotAnObject),
        }
    }

    pub(super) fn script(&self, name: &str) -> Option<&str> {
        self.0
            .get("scripts")?
            .get(name)?
            .as_str()
            .filter(|script| !script.trim().is_empty())
    }

    pub(super) fn engine(&self, name: &str) -> Option<&str> {
        self.0.get("engines")?.get(name)?.as_str()
    }

    pub(super) fn main(&self) -> Option<&str> {
        self.0.get("main")?.as_str()
    }

    /// Name and version, without the hash that may follow: `pnpm@9.1.0+sha512.…`.
    pub(super) fn package_manager(&self) -> Option<(&str, &str)> {
        let (name, version) = self.0.get("packageManager")?.as_str()?.split_once('@')?;
        Some((name, version.split('+').next().unwrap_or(version)))
    }

    pub(super) fn has_dependencies(&self) -> bool {
        ["dependencies", "devDependencies", "optionalDependencies"]
            .iter()
            .any(|key| self.is_filled(key))
            || self.has_workspaces()
    }

    pub(super) fn has_dev_dependencies(&self) -> bool {
        self.is_filled("devDependencies")
    }

    pub(super) fn has_install_scripts(&self) -> bool {
        INSTALL_SCRIPTS
            .iter()
            .any(|name| self.script(name).is_some())
    }

    /// Whether packages are links to folders of the app: they are relative, and would not survive a move of node_modules.
    pub(super) fn has_linked_packages(&self) -> bool {
        let is_link = |value: &Value| {
            value.as_str().is_some_and(|text| {
                [
                    "file:",
                    "link:",
                    "portal:",
                    "workspace:",
                    "./",
                    "../",
                    "~/",
                    "/",
                ]
                .iter()
                .any(|start| text.starts_with(start))
            })
        };
        self.has_workspaces()
            || ["dependencies", "devDependencies", "optionalDependencies"]
                .iter()
                .filter_map(|key| self.0.get(*key)?.as_object())
                .any(|packages| packages.values().any(is_link))
    }

    /// The parts that decide what is installed, in a stable order.
    pub(super) fn dependency_text(&self) -> String {
        let parts: Vec<(&str, &Value)> = DEPENDENCY_KEYS
            .iter()
            .filter_map(|key| Some((*key, self.0.get(*key)?)))
            .collect();
        format!("{parts:?}")
    }

    fn has_workspaces(&self) -> bool {
        self.0.contains_key("workspaces")
    }

    fn is_filled(&self, key: &str) -> bool {
        self.0
            .get(key)
            .and_then(Value::as_object)
            .is_some_and(|packages| !packages.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> Manifest {
        Manifest::parse(text).expect("a manifest")
    }

    #[test]
    fn odd_values_are_absent_ones() {
        let odd =
            manifest(r#"{"scripts": [], "engines": "node", "main": 1, "packageManager": "pnpm"}"#);
        assert_eq!(odd.script("start"), None);
        assert_eq!(odd.engine("node"), None);
        assert_eq!(odd.main(), None);
        assert_eq!(odd.package_manager(), None);
        assert!(!odd.has_dependencies());
        assert!(Manifest::parse("[]").is_err());
        assert!(Manifest::parse("{").is_err());
    }

    #[test]
    fn the_package_manager_is_a_name_and_a_version() {
        let pnpm = manifest(r#"{"packageManager": "pnpm@9.1.0+sha512.abc"}"#);
        assert_eq!(pnpm.package_manager(), Some(("pnpm", "9.1.0")));
    }

    #[test]
    fn only_what_decides_the_packages_is_in_the_key() {
        let first =
            manifest(r#"{"version": "1", "scripts": {"start": "a"}, "dependencies": {"b": "1"}}"#);
        let second = manifest(r#"{"dependencies": {"b": "1"}, "version": "2"}"#);
        let third = manifest(r#"{"dependencies": {"b": "2"}}"#);
        assert_eq!(first.dependency_text(), second.dependency_text());
        assert_ne!(first.dependency_text(), third.dependency_text());
    }

    #[test]
    fn links_into_the_app_are_seen() {
        for (text, expected) in [
            (r#"{"dependencies": {"a": "^1.0.0"}}"#, false),
            (r#"{"dependencies": {"a": "https://host/a.tgz"}}"#, false),
            (r#"{"dependencies": {"a": "file:../a"}}"#, true),
            (r#"{"devDependencies": {"a": "workspace:*"}}"#, true),
            (r#"{"workspaces": ["packages/*"]}"#, true),
        ] {
            assert_eq!(manifest(text).has_linked_packages(), expected, "{text}");
        }
    }
}
