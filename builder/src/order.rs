//! `order.toml`: which groups of buildpacks are tried, first to last.

use std::path::Path;

use serde::Deserialize;

use crate::{
    files::{self, BadFile},
    id::{BuildpackId, Version},
};

/// Each one's bin/detect runs in a process of its own at the same time.
const GROUP_MAX: usize = 64;

#[derive(Debug, Deserialize)]
pub(crate) struct Order {
    #[serde(default)]
    pub(crate) order: Vec<OrderGroup>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct OrderGroup {
    #[serde(default)]
    pub(crate) group: Vec<Candidate>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Candidate {
    pub(crate) id: BuildpackId,
    pub(crate) version: Version,
    #[serde(default)]
    pub(crate) optional: bool,
}

impl Order {
    pub(crate) fn read(path: &Path) -> Result<Self, BadFile> {
        let shown = path.display().to_string();
        let mut order: Self =
            files::toml(path)?.ok_or_else(|| BadFile::new(&shown, "is missing"))?;
        for group in &mut order.order {
            group.without_repetition();
            if group.group.len() > GROUP_MAX {
                let what = format!("a group has more than {GROUP_MAX} buildpacks");
                return Err(BadFile::new(&shown, what));
            }
        }
        Ok(order)
    }

    /// Every buildpack once.
    pub(crate) fn candidates(&self) -> Vec<&Candidate> {
        let mut seen: Vec<&Candidate> = Vec::new();
        for candidate in self.order.iter().flat_map(|group| &group.group) {
            let known = |other: &&Candidate| other.names_same(candidate);
            if !seen.iter().any(known) {
                seen.push(candidate);
            }
        }
        seen
    }
}

impl OrderGroup {
    /// A buildpack that stands in a group already is skipped, whatever its version.
    fn without_repetition(&mut self) {
        let mut ids: Vec<BuildpackId> = Vec::new();
        self.group.retain(|candidate| {
            let new = !ids.contains(&candidate.id);
            ids.push(candidate.id.clone());
            new
        });
    }
}

impl Candidate {
    fn names_same(&self, other: &Self) -> bool {
        self.id == other.id && self.version == other.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Order, BadFile> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("order.toml");
        std::fs::write(&path, text).unwrap();
        Order::read(&path)
    }

    #[test]
    fn groups_keep_their_order_and_lose_repetitions() {
        let order = read(
            "[[order]]\n[[order.group]]\nid='a'\nversion='1'\n[[order.group]]\nid='a'\nversion='2'\n\
             [[order.group]]\nid='b'\nversion='1'\noptional=true\n[[order]]\n[[order.group]]\nid='a'\nversion='1'\n",
        )
        .unwrap();
        let shown: Vec<Vec<String>> = order
            .order
            .iter()
            .map(|group| group.group.iter().map(|c| c.id.to_string()).collect())
            .collect();
        assert_eq!(shown, [vec!["a", "b"], vec!["a"]]);
        assert!(order.order[0].group[1].optional);
        assert_eq!(order.candidates().len(), 2);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = read("[[order]]\n[[order.group]]\nid='a'\n").unwrap_err();
        assert!(error.what.contains("version"), "{error}");
        let many = "[[order.group]]\nid='ID'\nversion='1'\n";
        let many: String = (0..65)
            .map(|n| many.replace("ID", &format!("b{n}")))
            .collect();
        let error = read(&format!("[[order]]\n{many}")).unwrap_err();
        assert!(error.what.contains("more than 64"), "{error}");
    }
}
