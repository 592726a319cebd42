//! Names that cannot stand beside each other: in a folder, or on a file system that does not tell `a` from `A`, where
//! some clone of this will live.

use std::collections::BTreeMap;

/// The names of a repository, by how they look without their case.
pub(super) struct Names(BTreeMap<String, String>);

impl Names {
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().map(folded).collect())
    }

    pub(super) fn add(&mut self, name: String) {
        self.0.extend([folded(name)]);
    }

    /// Why a ref cannot be made under this name. That it is there already is another matter.
    pub(super) fn problem(&self, name: &str) -> Option<String> {
        let (name, as_written) = folded(name.to_owned());
        if let Some(twin) = self.0.get(&name) {
            return (*twin != as_written).then(|| format!("differs from `{twin}` only by case"));
        }
        let mut folders = name.match_indices('/').map(|(at, _)| &name[..at]);
        let above = folders.find_map(|folder| self.0.get(folder));
        above
            .or_else(|| self.within(&name))
            .map(|other| format!("cannot be there beside `{other}`"))
    }

    /// A name for which this one would have to be a folder.
    fn within(&self, name: &str) -> Option<&String> {
        let folder = format!("{name}/");
        let (first, other) = self.0.range(folder.clone()..).next()?;
        first.starts_with(&folder).then_some(other)
    }
}

fn folded(name: String) -> (String, String) {
    (name.to_lowercase(), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_and_folders() {
        let check = |name: &str, others: &[&str], part: Option<&str>| {
            let names = Names::new(others.iter().map(|&other| other.to_owned()));
            match (names.problem(name), part) {
                (None, None) => {}
                (Some(problem), Some(part)) => assert!(problem.contains(part), "{name}: {problem}"),
                (problem, _) => panic!("{name}: {problem:?}"),
            }
        };
        let main = "refs/heads/main";
        check(main, &[], None);
        check(main, &[main, "refs/heads/main2", "refs/tags/main"], None);
        check("refs/heads/mai", &[main], None);
        check("refs/heads/a", &["refs/heads/a-b", "refs/heads/a0/b"], None);
        check("refs/heads/Main", &[main], Some("only by case"));
        check("refs/heads/É", &["refs/heads/é"], Some("only by case"));
        check(
            "refs/heads/main/x",
            &[main],
            Some("beside `refs/heads/main`"),
        );
        check(
            "refs/heads/a",
            &[main, "refs/heads/a-b", "refs/heads/a/b/c"],
            Some("beside"),
        );
        check("refs/heads/A/x", &["refs/heads/a"], Some("beside"));
    }
}
