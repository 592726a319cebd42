//! Versions of the Buildpack API, which decide how a buildpack's files are read.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `<major>.<minor>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Api {
    major: u32,
    minor: u32,
}

/// What we tell buildpacks and write into images.
pub(crate) const PLATFORM: &str = "0.12";

impl Api {
    pub(crate) const V0_8: Self = Self { major: 0, minor: 8 };
    /// `command` is a list, processes are always direct.
    pub(crate) const V0_9: Self = Self { major: 0, minor: 9 };
    pub(crate) const V0_10: Self = Self {
        major: 0,
        minor: 10,
    };

    pub(crate) fn is_supported(self) -> bool {
        (Self::V0_8..=Self::V0_10).contains(&self)
    }
}

impl TryFrom<String> for Api {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = || format!("`{text}` is no version of the Buildpack API");
        let (major, minor) = text.split_once('.').ok_or_else(wrong)?;
        Ok(Self {
            major: major.parse().map_err(|_| wrong())?,
            minor: minor.parse().map_err(|_| wrong())?,
        })
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
        let supported = |text: &str| Api::try_from(text.to_owned()).map(Api::is_supported);
        for (text, expected) in [
            ("0.7", Ok(false)),
            ("0.8", Ok(true)),
            ("0.10", Ok(true)),
            ("0.11", Ok(false)),
            ("1.8", Ok(false)),
        ] {
            assert_eq!(supported(text), expected, "{text}");
        }
        assert!(supported("0").is_err());
        assert!(supported("0.x").is_err());
    }
}
