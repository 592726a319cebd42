//! Which version of Node.js is asked for, and which of those that there are is it.

use nodejs_semver::{Range, Version};

use super::app::Asked;

/// The newest line with long-term support; taken when the app asks for none and the stack has none.
pub(super) const LTS_MAJOR: u64 = 26;

/// Lines by the code names that `.nvmrc` files use.
const LTS_NAMES: [(&str, u64); 8] = [
    ("dubnium", 10),
    ("erbium", 12),
    ("fermium", 14),
    ("gallium", 16),
    ("hydrogen", 18),
    ("iron", 20),
    ("jod", 22),
    ("krypton", 24),
];

/// `None` when the text is no version that anybody would understand.
pub(super) fn range(asked: &Asked) -> Option<Range> {
    let text = asked.text.to_ascii_lowercase();
    let major = |major: u64| Range::parse(format!("{major}.x")).ok();
    match text.as_str() {
        "lts" | "lts/*" | "lts/-1" => major(LTS_MAJOR),
        "node" | "latest" | "current" | "stable" => Some(Range::any()),
        _ => match text.strip_prefix("lts/") {
            Some(name) => LTS_NAMES
                .iter()
                .find(|(known, _)| *known == name)
                .and_then(|(_, number)| major(*number)),
            None => Range::parse(&asked.text).ok(),
        },
    }
}

pub(super) fn lts_range() -> Range {
    Range::parse(format!("{LTS_MAJOR}.x")).unwrap_or_else(|_| Range::any())
}

/// What `node --version` prints: `v20.11.1`.
pub(super) fn parse_printed(text: &str) -> Option<Version> {
    Version::parse(text.trim().trim_start_matches('v')).ok()
}

/// The newest that fits, from a line with long-term support (an even number) where there is one.
pub(super) fn choose(range: &Range, versions: impl Iterator<Item = Version>) -> Option<Version> {
    versions
        .filter(|version| !version.is_prerelease() && version.satisfies(range))
        .max_by(|a, b| {
            let rank = |version: &Version| {
                let long_term = version.major().is_multiple_of(2) && version.major() <= LTS_MAJOR;
                (long_term, version.clone())
            };
            rank(a).cmp(&rank(b))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Asked {
        Asked {
            text: text.to_owned(),
            source: "a test",
        }
    }

    #[test]
    fn ranges_are_npms() {
        for (text, version, fits) in [
            ("20", "20.11.1", true),
            ("20", "21.0.0", false),
            ("v20.11.1", "20.11.1", true),
            ("20.x", "20.0.0", true),
            (">=18", "26.1.0", true),
            (">= 18.0.0 < 21", "20.9.0", true),
            ("^18 || ^20", "20.9.0", true),
            ("18 - 20", "20.9.0", true),
            ("~20.1", "20.2.0", false),
            ("*", "20.2.0", true),
            ("lts/iron", "20.2.0", true),
            ("lts/Iron", "22.2.0", false),
            ("lts/*", "26.0.0", true),
            ("node", "25.0.0", true),
        ] {
            let range = range(&asked(text)).expect("a range");
            let version = Version::parse(version).expect("a version");
            assert_eq!(version.satisfies(&range), fits, "{text} {version}");
        }
        for text in ["banana", "lts/banana", "20.x.y.z"] {
            assert!(range(&asked(text)).is_none(), "{text}");
        }
    }

    #[test]
    fn long_term_support_is_preferred_and_prereleases_are_not_taken() {
        let versions = [
            "20.1.0",
            "20.2.0",
            "25.9.0",
            "27.0.0",
            "28.0.0-rc.1",
            "28.0.0",
        ];
        for (text, expected) in [
            (">=18", Some("20.2.0")),
            ("25", Some("25.9.0")),
            (">=27", Some("28.0.0")),
            ("^28.0.0-rc.1", Some("28.0.0")),
            ("19", None),
        ] {
            let range = range(&asked(text)).expect("a range");
            let versions = versions
                .iter()
                .map(|text| Version::parse(text).expect("a version"));
            let chosen = choose(&range, versions).map(|version| version.to_string());
            assert_eq!(chosen.as_deref(), expected, "{text}");
        }
    }
}
