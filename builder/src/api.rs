//! Versions of the Buildpack API, which decide how a buildpack's files are read, and of the Platform API, which decide
//! what its caller expects.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// `<major>.<minor>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Api {
    major: u32,
    minor: u32,
}

/// 0.7 to these are supported, of each API.
const FLOOR: Api = Api::of(7);
const BUILDPACK_NEWEST: Api = Api::of(12);
/// What our own builds use, too.
pub(crate) const PLATFORM_NEWEST: Api = Api::of(15);

impl Api {
    /// `0.<minor>`: there is no other major version yet.
    pub(crate) const fn of(minor: u32) -> Self {
        Self { major: 0, minor }
    }

    /// Whether a buildpack may ask for it.
    pub(crate) fn is_buildpack_api(self) -> bool {
        (FLOOR..=BUILDPACK_NEWEST).contains(&self)
    }

    pub(crate) fn is_platform_api(self) -> bool {
        (FLOOR..=PLATFORM_NEWEST).contains(&self)
    }
}

impl FromStr for Api {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is no version of an API");
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        Ok(Self {
            major: major.parse().map_err(|_| wrong())?,
            minor: minor.parse().map_err(|_| wrong())?,
        })
    }
}

impl TryFrom<String> for Api {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Api> for String {
    fn from(api: Api) -> Self {
        api.to_string()
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_comes_after_nine() {
        for (text, buildpack, platform) in [
            ("0.6", false, false),
            ("0.7", true, true),
            ("0.10", true, true),
            ("0.12", true, true),
            ("0.13", false, true),
            ("0.15", false, true),
            ("0.16", false, false),
            ("1.8", false, false),
            ("1", false, false),
        ] {
            let api: Api = text.parse().unwrap();
            assert_eq!(
                (api.is_buildpack_api(), api.is_platform_api()),
                (buildpack, platform),
                "{text}"
            );
        }
        assert!("".parse::<Api>().is_err());
        assert!("0.x".parse::<Api>().is_err());
    }
}
