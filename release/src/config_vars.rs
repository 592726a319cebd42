//! Config vars: the part of a release that operators set. Values are secrets: they appear in a process's environment and
//! where somebody asks for them, and nowhere else.

use std::{collections::BTreeMap, fmt, ops::Deref};

use serde::{Deserialize, Serialize};

use crate::ConfigName;

/// All names and values of an app together (Heroku's limit), with control characters as JSON escapes them: so they
/// travel to the process that starts instances.
pub const CONFIG_BYTES_MAX: usize = 32 * 1024;

/// A value whose `Debug` does not show it, and which has no `Display`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfigValue(String);

pub type ConfigVars = BTreeMap<ConfigName, ConfigValue>;
/// `Some` sets, `None` unsets.
pub type ConfigChanges = BTreeMap<ConfigName, Option<String>>;

/// Names the variable, never the value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigRefused {
    #[error("the config vars would take {bytes} bytes, and {CONFIG_BYTES_MAX} is the most")]
    TooLarge { bytes: usize },
    #[error("the value of `{0}` holds a NUL byte, which no environment can carry")]
    Nul(ConfigName),
}

impl ConfigValue {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for ConfigValue {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl Deref for ConfigValue {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ConfigValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// The config after `changes`.
pub(crate) fn changed(
    config: &ConfigVars,
    changes: &ConfigChanges,
) -> Result<ConfigVars, ConfigRefused> {
    let mut next = config.clone();
    for (name, value) in changes {
        match value {
            Some(value) if value.contains('\0') => return Err(ConfigRefused::Nul(name.clone())),
            Some(value) => _ = next.insert(name.clone(), ConfigValue(value.clone())),
            None => _ = next.remove(name),
        }
    }
    let bytes = next
        .iter()
        .map(|(name, value)| name.as_str().len() + escaped_bytes(value))
        .sum();
    if bytes > CONFIG_BYTES_MAX {
        return Err(ConfigRefused::TooLarge { bytes });
    }
    Ok(next)
}

fn escaped_bytes(value: &str) -> usize {
    // The longest form is \u0001.
    let escaped = value.chars().filter(|c| c.is_ascii_control()).count() * 5;
    value.len() + escaped
}

/// `Set A, B config vars`, `Unset C config var`, or both; only what is asked for, and only names.
pub(crate) fn description(changes: &ConfigChanges) -> String {
    let part = |verb: &str, set: bool| {
        let names: Vec<&str> = changes
            .iter()
            .filter(|(_, value)| value.is_some() == set)
            .map(|(name, _)| name.as_str())
            .collect();
        let noun = if names.len() == 1 { "var" } else { "vars" };
        (!names.is_empty()).then(|| format!("{verb} {} config {noun}", names.join(", ")))
    };
    let parts: Vec<String> = [part("Set", true), part("Unset", false)]
        .into_iter()
        .flatten()
        .collect();
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(rows: &[(&str, Option<&str>)]) -> ConfigChanges {
        rows.iter()
            .map(|(name, value)| (name.parse().unwrap(), value.map(str::to_owned)))
            .collect()
    }

    #[test]
    fn changes_set_and_unset() {
        let config = changed(
            &ConfigVars::new(),
            &changes(&[("A", Some("1")), ("B", Some(""))]),
        );
        let config = changed(
            &config.unwrap(),
            &changes(&[("A", None), ("C", Some("3")), ("D", None)]),
        );
        let names: Vec<_> = config
            .unwrap()
            .into_iter()
            .map(|(name, value)| format!("{name}={}", value.as_str()))
            .collect();
        assert_eq!(names, ["B=", "C=3"]);
    }

    #[test]
    fn what_no_environment_can_carry_is_refused_without_showing_it() {
        let refused = |value: String| {
            changed(
                &ConfigVars::new(),
                &BTreeMap::from([("A".parse().unwrap(), Some(value))]),
            )
            .unwrap_err()
        };
        assert_eq!(
            refused("secret\0".into()).to_string(),
            "the value of `A` holds a NUL byte, which no environment can carry"
        );
        assert_eq!(
            refused("\x01".repeat(CONFIG_BYTES_MAX / 6 + 1)),
            ConfigRefused::TooLarge {
                bytes: CONFIG_BYTES_MAX / 6 * 6 + 7
            }
        );
        assert_eq!(
            refused("x".repeat(CONFIG_BYTES_MAX)),
            ConfigRefused::TooLarge {
                bytes: CONFIG_BYTES_MAX + 1
            }
        );
    }

    #[test]
    fn a_description_has_names_only() {
        let check = |rows: &[(&str, Option<&str>)], text: &str| {
            assert_eq!(description(&changes(rows)), text)
        };
        check(&[("A", Some("s3cret"))], "Set A config var");
        check(
            &[("A", Some("x")), ("B", Some("y"))],
            "Set A, B config vars",
        );
        check(
            &[("A", Some("x")), ("B", None), ("C", None)],
            "Set A config var; Unset B, C config vars",
        );
    }

    #[test]
    fn debug_hides_the_value() {
        let text = format!("{:?}", ConfigValue::from("s3cret".to_owned()));
        assert!(!text.contains("s3cret"), "{text}");
    }
}
