//! Hosts of apps' own.

use std::{fmt, str::FromStr};

/// A host name in lower case, of at least two labels; the first may be `*` (RFC 1123, RFC 4592).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(String);

/// Longest name in the DNS.
const BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
/// How much of a wrong one an error repeats.
const SHOWN_CHARS_MAX: usize = 100;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no domain: {rule}")]
pub struct NotADomain {
    text: String,
    rule: &'static str,
}

impl Domain {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the platform's own, on which every app has its host: `apps.test`, `shop.apps.test`, `*.apps.test`.
    pub(crate) fn is_of_platform(&self, platform: &str) -> bool {
        let below = self.0.strip_suffix(platform);
        below.is_some_and(|below| {
            let label = below.strip_suffix('.');
            below.is_empty() || label.is_some_and(|label| !label.contains('.'))
        })
    }
}

impl FromStr for Domain {
    type Err = NotADomain;

    fn from_str(text: &str) -> Result<Self, NotADomain> {
        let wrong = |rule| NotADomain {
            text: (text.chars().filter(|c| !c.is_control()))
                .take(SHOWN_CHARS_MAX)
                .collect(),
            rule,
        };
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if !name.is_ascii() {
            return Err(wrong(
                "write it in its ASCII form, which begins with `xn--`",
            ));
        }
        if name.contains("://") || name.contains('/') || name.contains(':') {
            return Err(wrong("only the host is wanted, such as `www.example.com`"));
        }
        let labels: Vec<&str> = name
            .strip_prefix("*.")
            .unwrap_or(&name)
            .split('.')
            .collect();
        if name.len() > BYTES_MAX || !labels.iter().all(|label| is_label(label)) {
            return Err(wrong(
                "labels of letters, digits and dashes are wanted, and `*` only as the first",
            ));
        }
        if labels.len() < 2
            || labels
                .last()
                .is_some_and(|last| last.parse::<u64>().is_ok())
        {
            return Err(wrong("at least two labels are wanted, and no address"));
        }
        Ok(Self(name))
    }
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_host_names() {
        let check = |text: &str, expected: Option<&str>| {
            let domain = text.parse::<Domain>().ok();
            assert_eq!(domain.as_ref().map(Domain::as_str), expected, "{text:?}");
        };
        check("www.example.com", Some("www.example.com"));
        check("WWW.Example.COM.", Some("www.example.com"));
        check("*.example.com", Some("*.example.com"));
        check("xn--mnchen-3ya.example", Some("xn--mnchen-3ya.example"));
        for wrong in [
            "",
            ".",
            "*",
            "*.com",
            "com",
            "a..b",
            "-a.b",
            "a-.b",
            "a_b.c",
            "a.*.b",
            "w*.example.com",
            "http://example.com",
            "example.com/path",
            "example.com:80",
            "127.0.0.1",
            "::1",
            "münchen.example",
            "a b.c",
            "a.b\0",
        ] {
            check(wrong, None);
        }
        check(&format!("{}.b", "a".repeat(64)), None);
        check(&format!("{}a.b", "a.".repeat(126)), None);
    }

    #[test]
    fn the_hosts_that_apps_have_anyway_are_nobodys_to_add() {
        let check = |text: &str, expected| {
            let domain: Domain = text.parse().unwrap();
            assert_eq!(domain.is_of_platform("apps.test"), expected, "{text}");
        };
        check("apps.test", true);
        check("shop.apps.test", true);
        check("*.apps.test", true);
        check("a.shop.apps.test", false);
        check("myapps.test", false);
        check("example.com", false);
    }
}
