//! Names of people: users, teams of them, and who can be granted a role.

use std::{fmt, str::FromStr};

use crate::NotAName;

/// What a key's comment usually is: `ann`, `ann@laptop`, `Ann Lee`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(String);

/// Like an app's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TeamName(String);

/// `ann`, or `@backend` for a team.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grantee {
    User(UserName),
    Team(TeamName),
}

const USER_CHARS_MAX: usize = 64;
const TEAM_BYTES_MAX: usize = 30;
const TEAM_MARK: char = '@';

impl UserName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let right = (1..=USER_CHARS_MAX).contains(&text.chars().count())
            && !text.chars().any(char::is_control)
            && !text.starts_with([TEAM_MARK, '-'])
            && text.trim() == text;
        right.then(|| Self(text.to_owned())).ok_or_else(|| {
            let rule = "1 to 64 printable characters are wanted, the first of them no `@` or `-`";
            NotAName::new(text, "user name", rule)
        })
    }
}

impl TeamName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// With or without the `@`.
impl FromStr for TeamName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let name = text.strip_prefix(TEAM_MARK).unwrap_or(text);
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let right = (1..=TEAM_BYTES_MAX).contains(&name.len())
            && name.bytes().all(allowed)
            && !name.starts_with('-');
        right.then(|| Self(name.to_owned())).ok_or_else(|| {
            let rule = "1 to 30 lower-case letters, digits and dashes are wanted";
            NotAName::new(text, "team name", rule)
        })
    }
}

impl FromStr for Grantee {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        match text.starts_with(TEAM_MARK) {
            true => text.parse().map(Self::Team),
            false => text.parse().map(Self::User),
        }
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Without the `@`.
impl fmt::Display for TeamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Grantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "{name}"),
            Self::Team(name) => write!(f, "{TEAM_MARK}{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grantee_is_a_user_or_a_team_and_reads_back_as_it_was_written() {
        for text in ["ann", "ann@laptop", "Ann Lee", "@backend", "@9-x", "ü"] {
            assert_eq!(text.parse::<Grantee>().unwrap().to_string(), text);
        }
        let long = "x".repeat(65);
        for text in [
            "", " ann", "ann\n", "-ann", "@", "@Backend", "@a b", "@-a", &long,
        ] {
            assert!(text.parse::<Grantee>().is_err(), "{text:?}");
        }
        let team = |text: &str| text.parse::<TeamName>().unwrap();
        assert_eq!(team("backend"), team("@backend"));
    }
}
