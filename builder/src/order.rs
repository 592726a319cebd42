//! `order.toml`: which groups of buildpacks are tried, first to last; and `system.toml`: which belong to every group.

use std::path::Path;

use serde::Deserialize;

use crate::{
    buildpack::Kind,
    failure::Failure,
    files,
    id::{BuildpackId, Version},
};

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Order {
    #[serde(default)]
    pub(crate) order: Vec<OrderGroup>,
    #[serde(default, rename = "order-extensions")]
    pub(crate) extensions: Vec<OrderGroup>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct OrderGroup {
    #[serde(default)]
    pub(crate) group: Vec<Candidate>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub(crate) struct Candidate {
    pub(crate) id: BuildpackId,
    pub(crate) version: Version,
    #[serde(default)]
    pub(crate) optional: bool,
    #[serde(skip)]
    pub(crate) extension: bool,
}

/// `system.toml`, since Platform API 0.15.
#[derive(Debug, Default, Deserialize)]
struct SystemToml {
    #[serde(default)]
    system: System,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct System {
    #[serde(default)]
    pre: SystemBuildpacks,
    #[serde(default)]
    post: SystemBuildpacks,
}

#[derive(Debug, Default, Deserialize)]
struct SystemBuildpacks {
    #[serde(default)]
    buildpacks: Vec<Candidate>,
}

impl Order {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let mut order: Self = files::wanted(path)?;
        for extension in order
            .extensions
            .iter_mut()
            .flat_map(|group| &mut group.group)
        {
            extension.extension = true;
            // Always: an image can be built without.
            extension.optional = true;
        }
        Ok(order)
    }

    /// Around every group, unless it names them already.
    pub(crate) fn add(&mut self, system: &System) {
        for group in &mut self.order {
            let new = |of: &SystemBuildpacks| -> Vec<Candidate> {
                let named = |one: &&Candidate| !group.group.iter().any(|other| other.id == one.id);
                let new = of.buildpacks.iter().filter(named).cloned();
                new.map(|one| Candidate {
                    optional: false,
                    ..one
                })
                .collect()
            };
            let (pre, post) = (new(&system.pre), new(&system.post));
            group.group = [pre, std::mem::take(&mut group.group), post].concat();
        }
    }

    pub(crate) fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        let groups = self.order.iter().chain(&self.extensions);
        groups.flat_map(|group| &group.group)
    }
}

impl System {
    /// Nothing when there is no such file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let file: Option<SystemToml> = files::toml(path)?;
        Ok(file.unwrap_or_default().system)
    }
}

impl Candidate {
    pub(crate) fn kind(&self) -> Kind {
        if self.extension {
            Kind::Extension
        } else {
            Kind::Buildpack
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(order: &Order) -> Vec<String> {
        let names = |group: &OrderGroup| {
            let names = group.group.iter().map(|one| one.id.to_string());
            names.collect::<Vec<_>>().join(" ")
        };
        order
            .order
            .iter()
            .chain(&order.extensions)
            .map(names)
            .collect()
    }

    fn read(text: &str) -> Result<Order, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("order.toml");
        std::fs::write(&path, text).unwrap();
        Order::read(&path)
    }

    const TWO: &str = "order=[{group=[{id='a',version='1'},{id='b',version='1',optional=true}]},{group=[{id='c',version='1'}]}]\n\
                       [[order-extensions]]\n[[order-extensions.group]]\nid='e'\nversion='1'";

    #[test]
    fn extensions_are_optional() {
        let order = read(TWO).unwrap();
        assert_eq!(shown(&order), ["a b", "c", "e"]);
        let optional: Vec<bool> = order.candidates().map(|one| one.optional).collect();
        assert_eq!(optional, [false, true, false, true]);
        assert!(order.extensions[0].group[0].extension);
    }

    #[test]
    fn system_buildpacks_surround_the_groups_that_lack_them() {
        let mut order = read(TWO).unwrap();
        let system: SystemToml = toml::from_str(
            "[[system.pre.buildpacks]]\nid='c'\nversion='2'\noptional=true\n[[system.post.buildpacks]]\nid='z'\nversion='1'",
        )
        .unwrap();
        order.add(&system.system);
        assert_eq!(shown(&order), ["c a b z", "c z", "e"]);
        assert!(!order.order[0].group[0].optional);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let failure = read("[[order]]\n[[order.group]]\nid='a'\n").unwrap_err();
        assert!(
            failure
                .to_string()
                .contains("line 2: missing field `version`"),
            "{failure}"
        );
        let failure = Order::read(Path::new("/none/order.toml")).unwrap_err();
        assert_eq!(failure.to_string(), "/none/order.toml: is missing");
    }
}
