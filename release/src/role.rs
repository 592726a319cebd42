//! What somebody may do with one app.

use std::{fmt, str::FromStr};

use serde::Serialize;

use crate::NotAName;

/// Each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees what runs, and the logs; clones.
    Viewer,
    /// Pushes and rolls back.
    Deployer,
    /// Reads and sets config, scales, restarts, runs processes.
    Operator,
    /// Decides who else may, and may destroy the app.
    Owner,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Deployer, Self::Operator, Self::Owner];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Deployer => "deployer",
            Self::Operator => "operator",
            Self::Owner => "owner",
        }
    }

    /// Heroku's word for it.
    fn permission(self) -> &'static str {
        match self {
            Self::Viewer => "view",
            Self::Deployer => "deploy",
            Self::Operator => "operate",
            Self::Owner => "manage",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let named = |role: &Self| text == role.as_str() || text == role.permission();
        Self::ALL.into_iter().find(named).ok_or_else(|| {
            let rule = "there are `viewer`, `deployer`, `operator` and `owner`";
            NotAName::new(text, "role", rule)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_ordered_and_known_by_two_words() {
        assert!(Role::ALL.is_sorted());
        for (text, role) in ["viewer", "deploy", "operate", "owner"]
            .into_iter()
            .zip(Role::ALL)
        {
            assert_eq!(text.parse::<Role>().unwrap(), role);
        }
        for text in ["", "Owner", "admin", "view er"] {
            assert!(text.parse::<Role>().is_err(), "{text}");
        }
    }
}
