//! `WWW-Authenticate`: how a registry wants to be convinced (RFC 9110 section 11.6.1; distribution "token authentication").

use std::collections::HashMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    /// A token from `realm`, made for `service`.
    Bearer {
        realm: String,
        service: String,
    },
}

impl Challenge {
    /// The first of a response's headers that we can answer; a token before a password.
    pub(super) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut known: Vec<Self> = headers.filter_map(Self::parse).collect();
        known.sort_by_key(|challenge| *challenge == Self::Basic);
        known.into_iter().next()
    }

    fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut parameters = parameters(rest);
        Some(Self::Bearer {
            realm: parameters.remove("realm")?,
            service: parameters.remove("service").unwrap_or_default(),
        })
    }
}

/// `a="b",c=d`, names in lower case. What cannot be read ends it.
fn parameters(text: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        let name = name.trim_matches([',', ' ', '\t']);
        found.insert(name.to_ascii_lowercase(), value);
        rest = after;
    }
    found
}

/// Up to the closing quote, and what follows it.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn challenges_are_read() {
        let bearer = |realm: &str, service: &str| {
            Some(Challenge::Bearer {
                realm: realm.to_owned(),
                service: service.to_owned(),
            })
        };
        for (headers, expected) in [
            (&["Basic realm=\"x\""][..], Some(Challenge::Basic)),
            (&["basic"], Some(Challenge::Basic)),
            (
                &[
                    "Bearer realm=\"https://a.io/token\",service=\"r.io\",scope=\"repository:a:pull,push\"",
                ],
                bearer("https://a.io/token", "r.io"),
            ),
            (
                &["Basic realm=x", "bearer Service=s, Realm=\"a\\\"b\""],
                bearer("a\"b", "s"),
            ),
            (&["Bearer service=\"x\""], None),
            (&["Negotiate"], None),
            (&["Bearer realm=\"open"], bearer("open", "")),
            (&[], None),
        ] {
            assert_eq!(
                Challenge::choose(headers.iter().copied()),
                expected,
                "{headers:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(text in "(Bearer )?[a-z=\",\\\\ é]{0,60}") {
            _ = Challenge::choose([text.as_str()].into_iter());
        }
    }
}
