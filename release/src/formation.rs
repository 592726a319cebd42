//! How many instances of which process type: the formation, and the slots that it makes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::{ProcessType, ledger::default_quantity};

/// Most instances of one process type on one machine.
pub const QUANTITY_MAX: u32 = 100;

pub type Formation = BTreeMap<ProcessType, u32>;

/// A place for one instance: `web.1`, `web.2`, `worker.1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Slot {
    pub(crate) process_type: ProcessType,
    /// From 1.
    pub(crate) index: u32,
}

/// The slots of these process types under a formation.
pub(crate) fn slots<'a>(
    types: impl IntoIterator<Item = &'a ProcessType>,
    formation: &Formation,
) -> BTreeSet<Slot> {
    let of_type = |process_type: &'a ProcessType| {
        let quantity = formation.get(process_type).copied();
        let quantity = quantity.unwrap_or_else(|| default_quantity(process_type));
        (1..=quantity.min(QUANTITY_MAX)).map(|index| Slot {
            process_type: process_type.clone(),
            index,
        })
    };
    types.into_iter().flat_map(of_type).collect()
}

impl Slot {
    pub(crate) fn is_web(&self) -> bool {
        self.process_type.is_web()
    }

    /// Named by nothing in particular, by `web`, or by `web.1`.
    pub(crate) fn is_among(&self, which: Option<&str>) -> bool {
        which.is_none_or(|which| self.is_called(which))
    }

    fn is_called(&self, which: &str) -> bool {
        self.process_type.as_str() == which || self.to_string() == which
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.process_type, self.index)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no slot")]
pub(crate) struct NotASlot(String);

impl FromStr for Slot {
    type Err = NotASlot;

    fn from_str(text: &str) -> Result<Self, NotASlot> {
        let slot = text.rsplit_once('.').and_then(|(process_type, index)| {
            Some(Self {
                process_type: process_type.parse().ok()?,
                index: index.parse().ok().filter(|index| *index > 0)?,
            })
        });
        slot.ok_or_else(|| NotASlot(text.to_owned()))
    }
}

impl From<Slot> for String {
    fn from(slot: Slot) -> Self {
        slot.to_string()
    }
}

impl TryFrom<String> for Slot {
    type Error = NotASlot;

    fn try_from(text: String) -> Result<Self, NotASlot> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_follow_the_formation_and_its_defaults() {
        let check = |types: &[&str], formation: &[(&str, u32)], expected: &[&str]| {
            let types: Vec<ProcessType> = types.iter().map(|name| name.parse().unwrap()).collect();
            let formation = formation
                .iter()
                .map(|(name, quantity)| (name.parse().unwrap(), *quantity))
                .collect();
            let names: Vec<_> = slots(&types, &formation)
                .iter()
                .map(Slot::to_string)
                .collect();
            assert_eq!(names, expected);
        };
        check(&["web", "worker"], &[], &["web.1"]);
        check(
            &["web", "worker"],
            &[("web", 2), ("worker", 1)],
            &["web.1", "web.2", "worker.1"],
        );
        check(&["web"], &[("web", 0), ("gone", 2)], &[]);
        check(&[], &[("web", 1)], &[]);
    }

    #[test]
    fn a_slot_is_read_back_as_it_is_written() {
        for (text, right) in [
            ("web.1", true),
            ("a-b_c.12", true),
            ("web", false),
            ("web.0", false),
            ("web.-1", false),
            (".1", false),
            ("web.1.2", false),
        ] {
            let slot = text.parse::<Slot>();
            assert_eq!(
                slot.as_ref().map(Slot::to_string).ok().as_deref(),
                right.then_some(text)
            );
        }
    }
}
