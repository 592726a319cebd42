//! The buildpacks that an operator sets for an app, in their order. What they are written as means something to the builder
//! only.

use crate::AppName;

/// Of one app.
pub const BUILDPACKS_MAX: usize = 20;

/// A change of the list. Places count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildpacksEdit {
    /// In the place of what is there, or at the end.
    Set {
        buildpack: String,
        index: usize,
    },
    /// Before what is there; at the end, where no place is named.
    Add {
        buildpack: String,
        index: Option<usize>,
    },
    Remove(String),
    RemoveAt(usize),
    Clear,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildpacksRefused {
    #[error("`{app}` has the buildpack `{buildpack}` already, in place {index}")]
    Twice {
        app: AppName,
        buildpack: String,
        index: usize,
    },
    #[error("`{app}` has no buildpack `{buildpack}`")]
    None { app: AppName, buildpack: String },
    #[error("`{app}` has no buildpack in place {index}: it has {count}")]
    NoPlace {
        app: AppName,
        index: usize,
        count: usize,
    },
    #[error("`{app}` has {BUILDPACKS_MAX} buildpacks, which is the most")]
    TooMany { app: AppName },
}

impl BuildpacksEdit {
    pub(crate) fn apply(
        self,
        app: &AppName,
        mut list: Vec<String>,
    ) -> Result<Vec<String>, BuildpacksRefused> {
        let app = || app.clone();
        let count = list.len();
        let place = |index: usize| match index.checked_sub(1) {
            Some(at) if at < count => Ok(at),
            _ => Err(BuildpacksRefused::NoPlace {
                app: app(),
                index,
                count,
            }),
        };
        let at = |buildpack: &str| list.iter().position(|one| one == buildpack);
        match self {
            Self::Set { buildpack, index } => {
                let old = at(&buildpack);
                // One more than there are is the end.
                let at = if index == count + 1 {
                    count
                } else {
                    place(index)?
                };
                if let Some(old) = old.filter(|old| *old != at) {
                    return Err(BuildpacksRefused::Twice {
                        app: app(),
                        buildpack,
                        index: old + 1,
                    });
                }
                list.splice(at..count.min(at + 1), [buildpack]);
            }
            Self::Add { buildpack, index } => {
                if let Some(old) = at(&buildpack) {
                    return Err(BuildpacksRefused::Twice {
                        app: app(),
                        buildpack,
                        index: old + 1,
                    });
                }
                let at = match index {
                    Some(index) if index != count + 1 => place(index)?,
                    _ => count,
                };
                list.insert(at, buildpack);
            }
            Self::Remove(buildpack) => match at(&buildpack) {
                Some(at) => _ = list.remove(at),
                None => {
                    return Err(BuildpacksRefused::None {
                        app: app(),
                        buildpack,
                    });
                }
            },
            Self::RemoveAt(index) => _ = list.remove(place(index)?),
            Self::Clear => list.clear(),
        }
        if list.len() > BUILDPACKS_MAX {
            return Err(BuildpacksRefused::TooMany { app: app() });
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_the_operators() {
        let check = |before: &str, edit: BuildpacksEdit, expected: &str| {
            let app = "shop".parse().unwrap();
            let list = before.split_whitespace().map(str::to_owned).collect();
            let after = match edit.clone().apply(&app, list) {
                Ok(list) => list.join(" "),
                Err(refused) => refused.to_string(),
            };
            assert_eq!(after, expected, "{before}: {edit:?}");
        };
        let name = str::to_owned;
        let set = |buildpack, index| BuildpacksEdit::Set {
            buildpack: name(buildpack),
            index,
        };
        let add = |buildpack, index| BuildpacksEdit::Add {
            buildpack: name(buildpack),
            index,
        };
        check("", set("a", 1), "a");
        check("a", set("b", 1), "b");
        check("a b", set("c", 2), "a c");
        check("a b", set("a", 1), "a b");
        check("a", set("b", 2), "a b");
        check(
            "a",
            set("b", 3),
            "`shop` has no buildpack in place 3: it has 1",
        );
        check(
            "a",
            set("b", 0),
            "`shop` has no buildpack in place 0: it has 1",
        );
        check(
            "a b",
            set("b", 1),
            "`shop` has the buildpack `b` already, in place 2",
        );
        check("a", add("b", None), "a b");
        check("a b", add("c", Some(1)), "c a b");
        check("a b", add("c", Some(3)), "a b c");
        check(
            "a b",
            add("c", Some(4)),
            "`shop` has no buildpack in place 4: it has 2",
        );
        check(
            "a",
            add("a", None),
            "`shop` has the buildpack `a` already, in place 1",
        );
        check("a b", BuildpacksEdit::Remove(name("a")), "b");
        check(
            "a b",
            BuildpacksEdit::Remove(name("c")),
            "`shop` has no buildpack `c`",
        );
        check("a b", BuildpacksEdit::RemoveAt(2), "a");
        check(
            "a",
            BuildpacksEdit::RemoveAt(2),
            "`shop` has no buildpack in place 2: it has 1",
        );
        check("a b", BuildpacksEdit::Clear, "");
        let full: Vec<String> = (0..BUILDPACKS_MAX).map(|n| n.to_string()).collect();
        check(
            &full.join(" "),
            add("a", None),
            "`shop` has 20 buildpacks, which is the most",
        );
    }
}
