//! Names that become part of paths: parsed once at the door, so that nothing behind it can leave its directory.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Directories of the lifecycle's own under `<layers>` (buildpack spec, "Buildpack Identifiers").
const RESERVED: &[&str] = &["app", "config", "generated", "sbom"];
const NAME_BYTES_MAX: usize = 255;

/// A buildpack's id: letters, digits and `./-_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BuildpackId(String);

impl BuildpackId {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its directory below `<layers>` and below the folder of buildpacks.
    pub(crate) fn dir_name(&self) -> String {
        self.0.replace('/', "_")
    }
}

impl TryFrom<String> for BuildpackId {
    type Error = String;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        let plain = id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"./-_".contains(&byte));
        if plain && is_file_name(&id.replace('/', "_")) && !RESERVED.contains(&id.as_str()) {
            Ok(Self(id))
        } else {
            Err(format!("`{id}` cannot be the id of a buildpack"))
        }
    }
}

impl From<BuildpackId> for String {
    fn from(id: BuildpackId) -> Self {
        id.0
    }
}

impl fmt::Display for BuildpackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A buildpack's version, which is a directory name too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(String);

impl Version {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Version {
    type Error = String;

    fn try_from(version: String) -> Result<Self, Self::Error> {
        if is_file_name(&version) {
            Ok(Self(version))
        } else {
            Err(format!("`{version}` cannot be a buildpack's version"))
        }
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `name` names an entry of one directory, and can be shown on a terminal.
pub(crate) fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= NAME_BYTES_MAX
        && !name.contains('/')
        && !name.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_leave_its_directory() {
        for id in ["heroku/nodejs", "a.b-c_d", "x"] {
            assert!(BuildpackId::try_from(id.to_owned()).is_ok(), "{id}");
        }
        for id in [
            "", ".", "..", "a b", "a\0", "ä", "config", "sbom", "a\n", "$x",
        ] {
            assert!(BuildpackId::try_from(id.to_owned()).is_err(), "{id:?}");
        }
        let odd = BuildpackId::try_from("../../etc".to_owned()).unwrap();
        assert_eq!(odd.dir_name(), ".._.._etc");
    }

    #[test]
    fn a_version_is_one_name() {
        for version in ["..", "", "1/2", "1\n", &"1".repeat(256)] {
            assert!(
                Version::try_from(version.to_owned()).is_err(),
                "{version:?}"
            );
        }
    }
}
