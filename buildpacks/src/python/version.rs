//! Which version of Python is asked for.

use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};

/// A version as somebody wrote it, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(super) text: String,
    pub(super) source: &'static str,
}

impl Asked {
    pub(super) fn new(text: &str, source: &'static str) -> Asked {
        Asked {
            text: text.trim().to_owned(),
            source,
        }
    }

    /// `None` when the text is no version that anybody would understand. `3.11` asks for any of that line.
    pub(super) fn specifiers(&self) -> Option<VersionSpecifiers> {
        let text = self.request();
        let is_plain = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        let text = match is_plain {
            true if text.split('.').count() < 3 => format!("=={text}.*"),
            true => format!("=={text}"),
            false => text.to_owned(),
        };
        VersionSpecifiers::from_str(&text).ok()
    }

    /// As uv wants it.
    pub(super) fn request(&self) -> &str {
        ["python-", "cpython-", "cpython@"]
            .iter()
            .find_map(|prefix| self.text.strip_prefix(prefix))
            .unwrap_or(&self.text)
    }
}

/// What the interpreter prints of itself: `3.11.2`.
pub(super) fn parse_printed(text: &str) -> Option<Version> {
    Version::from_str(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_or_a_version_or_a_range() {
        for (text, version, fits) in [
            ("3.11", "3.11.2", true),
            ("3.11", "3.12.0", false),
            ("3", "3.12.0", true),
            ("3.11.2", "3.11.2", true),
            ("3.11.2", "3.11.3", false),
            ("python-3.11.2", "3.11.2", true),
            (">=3.10", "3.11.2", true),
            (">=3.10,<3.13", "3.13.0", false),
            ("~=3.11", "3.12.1", true),
            (">= 3.8, != 3.11.*", "3.11.2", false),
        ] {
            let specifiers = Asked::new(text, "a test").specifiers().expect("specifiers");
            let version = parse_printed(version).expect("a version");
            assert_eq!(specifiers.contains(&version), fits, "{text} {version}");
        }
        for text in ["banana", "pypy-7.3", "3..1", ""] {
            assert!(Asked::new(text, "a test").specifiers().is_none(), "{text}");
        }
    }
}
