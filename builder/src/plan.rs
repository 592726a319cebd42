//! The build plan: who provides what others require, and which of the passing buildpacks therefore take part
//! (buildpack spec, "Phase #1: Detection").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Table;

use crate::{
    buildpack::Kind,
    files::BadFile,
    id::{BuildpackId, Version},
};

/// `or` sections multiply: this many combinations are tried, then none is taken to fit.
const TRIALS_MAX: usize = 10_000;

/// What bin/detect wrote: its first section, then the alternatives.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct DetectPlan {
    #[serde(default)]
    provides: Vec<Provide>,
    #[serde(default)]
    requires: Vec<Require>,
    #[serde(default)]
    or: Vec<Section>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Section {
    #[serde(default)]
    provides: Vec<Provide>,
    #[serde(default)]
    requires: Vec<Require>,
}

#[derive(Debug, Clone, Deserialize)]
struct Provide {
    name: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Require {
    pub(crate) name: String,
    /// An error: it belongs into the metadata since Buildpack API 0.3.
    #[serde(default, skip_serializing)]
    version: Option<toml::Value>,
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub(crate) metadata: Table,
}

/// `plan.toml`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    #[serde(default)]
    pub(crate) entries: Vec<PlanEntry>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlanEntry {
    #[serde(default)]
    pub(crate) providers: Vec<Provider>,
    #[serde(default)]
    pub(crate) requires: Vec<Require>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Provider {
    pub(crate) id: BuildpackId,
    pub(crate) version: Version,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) extension: bool,
}

/// What a buildpack reads as its plan: one entry per require.
#[derive(Debug, Serialize)]
pub(crate) struct BuildpackPlan<'a> {
    entries: Vec<&'a Require>,
}

/// A buildpack of a group whose bin/detect passed.
#[derive(Debug, Clone)]
pub(crate) struct Passed {
    pub(crate) provider: Provider,
    pub(crate) optional: bool,
    pub(crate) plan: DetectPlan,
}

/// The buildpacks of a group that take part, and their plan.
#[derive(Debug, PartialEq)]
pub(crate) struct Resolved {
    pub(crate) members: Vec<Provider>,
    pub(crate) plan: Plan,
}

/// Why no combination fits, from the last one tried.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    pub(crate) id: BuildpackId,
    pub(crate) why: String,
}

impl DetectPlan {
    pub(crate) fn check(&self, file: &str) -> Result<(), BadFile> {
        let requires = self.sections().flat_map(|section| section.requires);
        match requires
            .into_iter()
            .find(|require| require.version.is_some())
        {
            None => Ok(()),
            Some(require) => Err(BadFile::new(
                file,
                format!(
                    "`version` of the requirement `{}` belongs into its metadata",
                    require.name
                ),
            )),
        }
    }

    pub(crate) fn requires_something(&self) -> bool {
        self.sections().any(|section| !section.requires.is_empty())
    }

    fn sections(&self) -> impl DoubleEndedIterator<Item = Section> {
        let main = Section {
            provides: self.provides.clone(),
            requires: self.requires.clone(),
        };
        std::iter::once(main).chain(self.or.iter().cloned())
    }
}

/// The first combination of alternatives in which every requirement is provided and every provision is required.
pub(crate) fn resolve(passed: &[Passed]) -> Result<Resolved, Option<Misfit>> {
    let options: Vec<Vec<Section>> = passed
        .iter()
        .map(|passed| passed.plan.sections().collect())
        .collect();
    let mut choice = vec![0; passed.len()];
    let mut misfit = None;
    for _ in 0..TRIALS_MAX {
        let trial = passed
            .iter()
            .zip(&options)
            .zip(&choice)
            .map(|((passed, sections), chosen)| Trial {
                provider: &passed.provider,
                // A buildpack that still has an alternative is not left out: the alternative is tried first.
                optional: passed.optional && *chosen + 1 == sections.len(),
                section: &sections[*chosen],
            })
            .collect();
        match fit(trial) {
            Ok(resolved) => return Ok(resolved),
            Err(why) => misfit = why,
        }
        if !advance(&mut choice, &options) {
            break;
        }
    }
    Err(misfit)
}

/// The next combination: the last buildpack's alternatives change fastest.
fn advance(choice: &mut [usize], options: &[Vec<Section>]) -> bool {
    for (chosen, sections) in choice.iter_mut().zip(options).rev() {
        *chosen += 1;
        if *chosen < sections.len() {
            return true;
        }
        *chosen = 0;
    }
    false
}

#[derive(Debug, Clone)]
struct Trial<'a> {
    provider: &'a Provider,
    optional: bool,
    section: &'a Section,
}

/// Leaves out optional buildpacks that do not fit until all do.
fn fit(mut trial: Vec<Trial<'_>>) -> Result<Resolved, Option<Misfit>> {
    loop {
        // Extensions alone build nothing.
        if trial.iter().all(|one| one.provider.extension) {
            return Err(None);
        }
        let needs = Needs::of(&trial);
        let misfits = needs.misfits();
        if misfits.is_empty() {
            return Ok(Resolved {
                members: trial.iter().map(|one| one.provider.clone()).collect(),
                plan: needs.into_plan(),
            });
        }
        if let Some((at, why)) = misfits.iter().find(|(at, _)| !trial[*at].optional) {
            return Err(Some(Misfit {
                id: trial[*at].provider.id.clone(),
                why: why.clone(),
            }));
        }
        let mut at = 0..;
        trial.retain(|_| {
            let at = at.next();
            !misfits.iter().any(|(out, _)| Some(*out) == at)
        });
    }
}

/// Per name: who provides it, who requires it, and what is left over.
#[derive(Default)]
struct Needs<'a>(BTreeMap<&'a str, Need<'a>>);

#[derive(Default)]
struct Need<'a> {
    providers: Vec<&'a Provider>,
    requires: Vec<&'a Require>,
    /// Providers that nobody behind them requires yet.
    unclaimed: Vec<(usize, &'a Provider)>,
    /// Buildpacks that require it before anybody provides it.
    early: Vec<usize>,
}

impl<'a> Needs<'a> {
    fn of(trial: &[Trial<'a>]) -> Self {
        let mut needs = Self::default();
        for (at, one) in trial.iter().enumerate() {
            for provide in &one.section.provides {
                let need = needs.0.entry(&provide.name).or_default();
                need.unclaimed.push((at, one.provider));
            }
            for require in &one.section.requires {
                let need = needs.0.entry(&require.name).or_default();
                let claimed = need.unclaimed.drain(..).map(|(_, provider)| provider);
                need.providers.extend(claimed);
                if need.providers.is_empty() {
                    need.early.push(at);
                } else {
                    need.requires.push(require);
                }
            }
        }
        needs
    }

    fn misfits(&self) -> Vec<(usize, String)> {
        let mut misfits = Vec::new();
        for (name, need) in &self.0 {
            let early = need.early.iter();
            misfits
                .extend(early.map(|at| (*at, format!("requires `{name}`, which none provides"))));
            let unclaimed = need.unclaimed.iter();
            misfits.extend(
                unclaimed.map(|(at, _)| (*at, format!("provides `{name}`, which none requires"))),
            );
        }
        misfits
    }

    fn into_plan(self) -> Plan {
        let entries = self.0.into_values().map(|need| PlanEntry {
            providers: need.providers.into_iter().cloned().collect(),
            requires: need.requires.into_iter().cloned().collect(),
        });
        Plan {
            entries: entries.collect(),
        }
    }
}

impl Plan {
    /// What `provider` is asked to provide.
    pub(crate) fn of(&self, kind: Kind, provider: &BuildpackId) -> BuildpackPlan<'_> {
        let mine = self
            .entries
            .iter()
            .filter(|entry| entry.names(kind, provider));
        BuildpackPlan {
            entries: mine.flat_map(|entry| &entry.requires).collect(),
        }
    }

    /// After `provider` has built: later providers are asked only for what it lists as unmet.
    pub(crate) fn settle(&mut self, kind: Kind, provider: &BuildpackId, unmet: &[String]) {
        self.entries.retain(|entry| {
            let is_unmet = |require: &Require| unmet.contains(&require.name);
            !entry.names(kind, provider) || entry.requires.iter().any(is_unmet)
        });
    }
}

impl PlanEntry {
    fn names(&self, kind: Kind, provider: &BuildpackId) -> bool {
        let is_extension = kind == Kind::Extension;
        self.providers
            .iter()
            .any(|one| one.id == *provider && one.extension == is_extension)
    }
}

impl BuildpackPlan<'_> {
    pub(crate) fn asks_for(&self, name: &str) -> bool {
        self.entries.iter().any(|require| require.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> BuildpackId {
        BuildpackId::try_from(name.to_owned()).unwrap()
    }

    /// `a? +x -y | -z`: buildpack `a`, optional, provides x and requires y, or else requires z.
    fn passed(text: &str) -> Passed {
        let (name, sections) = text.split_once(' ').unwrap_or((text, ""));
        let mut sections = sections.split('|').map(|text| {
            let names = |mark| -> Vec<String> {
                let words = text.split_whitespace();
                words
                    .filter_map(|word| word.strip_prefix(mark))
                    .map(str::to_owned)
                    .collect()
            };
            let requires = names('-').into_iter().map(|name| Require {
                name,
                version: None,
                metadata: Table::new(),
            });
            Section {
                provides: names('+')
                    .into_iter()
                    .map(|name| Provide { name })
                    .collect(),
                requires: requires.collect(),
            }
        });
        let main = sections.next().unwrap();
        Passed {
            provider: Provider {
                id: id(name.trim_end_matches('?')),
                version: Version::try_from("1".to_owned()).unwrap(),
                extension: false,
            },
            optional: name.ends_with('?'),
            plan: DetectPlan {
                provides: main.provides,
                requires: main.requires,
                or: sections.collect(),
            },
        }
    }

    /// `a b: x=a` or the reason.
    fn check(group: &[&str], expected: &str) {
        let passed: Vec<Passed> = group.iter().map(|text| passed(text)).collect();
        let shown = match resolve(&passed) {
            Ok(resolved) => {
                let members: Vec<&str> = resolved.members.iter().map(|m| m.id.as_str()).collect();
                let entries = resolved.plan.entries.iter().map(|entry| {
                    let providers: Vec<&str> =
                        entry.providers.iter().map(|p| p.id.as_str()).collect();
                    format!(" {}={}", entry.requires[0].name, providers.join(","))
                });
                format!("{}:{}", members.join(" "), entries.collect::<String>())
            }
            Err(Some(misfit)) => format!("{} {}", misfit.id, misfit.why),
            Err(None) => "nobody".to_owned(),
        };
        assert_eq!(shown, expected, "{group:?}");
    }

    #[test]
    fn combinations_are_tried_until_one_fits() {
        check(&["a"], "a:");
        check(&["a +x", "b -x"], "a b: x=a");
        check(&["a +x -x"], "a: x=a");
        check(&["a -x", "b +x"], "a requires `x`, which none provides");
        check(&["a +x"], "a provides `x`, which none requires");
        check(&["a +x", "b +x", "c -x"], "a b c: x=a,b");
        check(
            &["a +x", "b -x", "c +x"],
            "c provides `x`, which none requires",
        );
        check(&["a +x", "b -x", "c? +x"], "a b: x=a");
        check(&["a +x", "b -x", "c +x", "d -x"], "a b c d: x=a,c");
        check(&["a? -x", "b"], "b:");
        check(&["a? -x"], "nobody");
        // Leaving one out makes another unfit.
        check(&["a? +x -q", "b? -x", "c"], "c:");
        check(&["a? +x -q", "b -x"], "b requires `x`, which none provides");
        check(&["a -x | +y", "b -y"], "a b: y=a");
        check(&["a? +x | -q", "b"], "b:");
        check(&["a +x | +y", "b -z | -y"], "a b: y=a");
        check(&["a +z +a", "b -a -z"], "a b: a=a z=a");
    }

    #[test]
    fn alternatives_without_end_are_given_up() {
        let many = format!("a -x{}", " | -x".repeat(200));
        let group: Vec<Passed> = (0..8)
            .map(|n| passed(&many.replacen('a', &format!("a{n}"), 1)))
            .collect();
        assert!(resolve(&group).is_err());
    }

    #[test]
    fn what_is_unmet_is_asked_of_the_next_provider() {
        let group: Vec<Passed> = ["a +x +y", "b +x +y", "c -x -y"].map(passed).to_vec();
        let mut plan = resolve(&group).unwrap().plan;
        plan.settle(Kind::Buildpack, &id("a"), &["y".to_owned()]);
        let of_b = plan.of(Kind::Buildpack, &id("b"));
        assert!(of_b.asks_for("y") && !of_b.asks_for("x"));
        assert!(!plan.of(Kind::Buildpack, &id("c")).asks_for("y"));
    }

    #[test]
    fn a_version_outside_the_metadata_is_an_error() {
        let plan: DetectPlan =
            toml::from_str("[[or]]\n[[or.requires]]\nname='node'\nversion='1'").unwrap();
        let error = plan.check("plan.toml").unwrap_err();
        assert!(error.what.contains("`node`"), "{error}");
    }
}
