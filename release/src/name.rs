//! Names that are parsed once, at the edge; past that they cannot be wrong.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// `^[a-z][a-z0-9-]{0,29}$`, no trailing `-` (Heroku's rule: also a DNS label and a git path).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct AppName(String);

/// `web`, `worker`: `^[A-Za-z0-9_-]{1,63}$`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ProcessType(String);

/// `^[A-Za-z_][A-Za-z0-9_]{0,127}$`, and none that the platform sets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ConfigName(String);

/// 1 and up; shown as `v3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseNumber(u64);

/// A text that is no such name, and the rule for it.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is no {what}: {rule}")]
pub struct NotAName {
    text: String,
    what: &'static str,
    rule: &'static str,
}

/// Set by the platform for every process.
const PLATFORM_NAMES: &[&str] = &["PORT", "DYNO", "SOURCE_VERSION"];
const PLATFORM_PREFIXES: &[&str] = &["CNB_", "SLIPWAY_"];
/// Heroku's limit.
const APP_NAME_BYTES_MAX: usize = 30;
/// A DNS label (RFC 1035): a process type may become one.
const PROCESS_TYPE_BYTES_MAX: usize = 63;
const CONFIG_NAME_BYTES_MAX: usize = 128;
/// How much of a wrong name an error repeats.
const SHOWN_CHARS_MAX: usize = 100;

impl NotAName {
    pub(crate) fn new(text: &str, what: &'static str, rule: &'static str) -> Self {
        let shown = text.chars().filter(|c| !c.is_control());
        Self {
            text: shown.take(SHOWN_CHARS_MAX).collect(),
            what,
            rule,
        }
    }
}

impl AppName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AppName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let right = text.len() <= APP_NAME_BYTES_MAX
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(allowed)
            && !text.ends_with('-');
        right.then(|| Self(text.to_owned())).ok_or_else(|| {
            let rule = "it starts with a lower-case letter, goes on with letters, digits and dashes, at most 30, and does not end in a dash";
            NotAName::new(text, "app name", rule)
        })
    }
}

impl ProcessType {
    /// The one that takes requests.
    pub const WEB: &str = "web";
    /// Runs once before a release goes live.
    pub const RELEASE: &str = "release";

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_web(&self) -> bool {
        self.0 == Self::WEB
    }
}

impl FromStr for ProcessType {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let right = (1..=PROCESS_TYPE_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed);
        right.then(|| Self(text.to_owned())).ok_or_else(|| {
            let rule = "1 to 63 letters, digits, dashes and underscores are wanted";
            NotAName::new(text, "process type", rule)
        })
    }
}

impl ConfigName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ConfigName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let wrong = |rule| NotAName::new(text, "config var name", rule);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let right = (1..=CONFIG_NAME_BYTES_MAX).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.starts_with(|first: char| first.is_ascii_digit());
        if !right {
            return Err(wrong(
                "1 to 128 letters, digits and underscores are wanted, not starting with a digit",
            ));
        }
        let reserved = PLATFORM_NAMES.contains(&text)
            || PLATFORM_PREFIXES
                .iter()
                .any(|prefix| text.starts_with(prefix));
        if reserved {
            return Err(wrong("the platform sets it"));
        }
        Ok(Self(text.to_owned()))
    }
}

macro_rules! as_text {
    ($($name:ident)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAName;

            fn try_from(text: String) -> Result<Self, NotAName> {
                text.parse()
            }
        }
    )*};
}

as_text!(AppName ProcessType ConfigName);

impl ReleaseNumber {
    pub fn new(number: u64) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }

    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ReleaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// `v3` or `3`.
impl FromStr for ReleaseNumber {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let digits = text.strip_prefix('v').unwrap_or(text);
        let number = digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| digits.parse().ok())
            .flatten();
        number
            .and_then(Self::new)
            .ok_or_else(|| NotAName::new(text, "release", "`v` and a number from 1 are wanted"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr + fmt::Display>(right: &[&str], wrong: &[&str]) {
        for text in right {
            assert_eq!(
                text.parse::<T>()
                    .ok()
                    .map(|name| name.to_string())
                    .as_deref(),
                Some(*text)
            );
        }
        for text in wrong {
            assert!(text.parse::<T>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn app_names_are_dns_labels_and_never_paths() {
        let long = "a".repeat(31);
        check::<AppName>(
            &["a", "shop", "a-b-9", &"a".repeat(30)],
            &[
                "", "-a", "9a", "a-", "A", "a.b", "a/b", "../a", "a_b", "ä", "a\n", &long,
            ],
        );
    }

    #[test]
    fn process_types() {
        let long = "a".repeat(64);
        check::<ProcessType>(
            &["web", "Web_2-x", "9"],
            &["", "a b", "a.b", "/", "web\0", &long],
        );
    }

    #[test]
    fn config_names_are_those_of_a_shell_and_not_the_platforms() {
        check::<ConfigName>(
            &["A", "_a1", "PORTS", "PATH"],
            &[
                "",
                "1A",
                "A-B",
                "A=B",
                "A B",
                "PORT",
                "DYNO",
                "CNB_APP_DIR",
                "SLIPWAY_APP",
                "Ä",
            ],
        );
    }

    #[test]
    fn release_numbers_start_at_one() {
        check::<ReleaseNumber>(
            &["v1", "v18446744073709551615"],
            &["", "v", "v0", "v-1", "v+1", "vv1", "v18446744073709551616"],
        );
        assert_eq!("3".parse::<ReleaseNumber>().unwrap().to_string(), "v3");
    }

    #[test]
    fn an_error_repeats_no_control_characters_and_not_too_much() {
        let error = format!("\x1b[2J{}", "x".repeat(1000))
            .parse::<AppName>()
            .unwrap_err();
        let text = error.to_string();
        assert!(!text.contains('\x1b') && text.len() < 400, "{text}");
    }
}
