//! Patterns of paths, as Go's `path/filepath` has them: `*` and `?` within one name, `[a-z]` and `[^a-z]`, and `\` before
//! what is to be taken as it is.

use std::path::{Component, Path, PathBuf};

#[derive(Debug)]
pub(super) struct Pattern(Vec<Part>);

#[derive(Debug)]
enum Part {
    Char(char),
    /// `?`
    Any,
    /// `*`
    Many,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Pattern {
    /// Lexically simplified first: `./a//b/` is `a/b`.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parts = Vec::new();
        let text = clean(Path::new(text));
        let text = text.to_str().unwrap_or_default();
        let mut chars = text.chars().peekable();
        while let Some(char) = chars.next() {
            parts.push(match char {
                '*' => Part::Many,
                '?' => Part::Any,
                '\\' => Part::Char(chars.next().ok_or("ends with a `\\`")?),
                '[' => {
                    let negated = chars.next_if_eq(&'^').is_some();
                    let mut ranges = Vec::new();
                    while chars.next_if_eq(&']').is_none() || ranges.is_empty() {
                        let mut bound = || match chars.next() {
                            Some('\\') => chars.next().ok_or("has a `[` without its `]`"),
                            other => other.ok_or("has a `[` without its `]`"),
                        };
                        let low = bound()?;
                        let high = match chars.next_if_eq(&'-') {
                            Some(_) => chars.next().ok_or("has a `[` without its `]`")?,
                            None => low,
                        };
                        ranges.push((low, high));
                    }
                    Part::Class { negated, ranges }
                }
                char => Part::Char(char),
            });
        }
        Ok(Self(parts))
    }

    /// The whole path.
    pub(super) fn matches(&self, path: &Path) -> bool {
        let Some(text) = path.to_str() else {
            return false;
        };
        let text: Vec<char> = text.chars().collect();
        // One `*` at a time is enough to go back to, because a later one can take what an earlier one could.
        let (mut part, mut at) = (0, 0);
        let mut back: Option<(usize, usize)> = None;
        loop {
            match self.0.get(part) {
                None if at == text.len() => return true,
                Some(Part::Many) => {
                    back = Some((part, at));
                    part += 1;
                    continue;
                }
                Some(one) if at < text.len() && one.takes(text[at]) => {
                    part += 1;
                    at += 1;
                    continue;
                }
                _ => {}
            }
            match back {
                Some((many, from)) if from < text.len() && text[from] != '/' => {
                    back = Some((many, from + 1));
                    part = many + 1;
                    at = from + 1;
                }
                _ => return false,
            }
        }
    }
}

impl Part {
    fn takes(&self, char: char) -> bool {
        match self {
            Self::Char(own) => *own == char,
            Self::Any => char != '/',
            Self::Many => false,
            Self::Class { negated, ranges } => {
                let is_in = ranges
                    .iter()
                    .any(|(low, high)| (*low..=*high).contains(&char));
                char != '/' && is_in != *negated
            }
        }
    }
}

fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if clean.file_name().is_some() => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_paths() {
        for (pattern, path, expected) in [
            ("a", "a", true),
            ("a", "a/b", false),
            ("*", "abc", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("a*c", "abbc", true),
            ("a*c", "ab/c", false),
            ("a*b*c", "axbxbxc", true),
            ("*.txt", "x.txt", true),
            ("*.txt", "d/x.txt", false),
            ("?", "a", true),
            ("?", "/", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[\\]]", "]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("./a//b/", "a/b", true),
            ("a/../b", "b", true),
            ("ä?", "äö", true),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            assert_eq!(
                parsed.matches(Path::new(path)),
                expected,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in ["[", "[]", "[a", "[a-", "a\\"] {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
    }
}
