//! DETECT: which buildpacks take part, and the plan between them.
//!
//! Walks `order.toml` group by group, composite buildpacks spread out; runs each trial group's bin/detect side by side, each
//! once; the first trial that passes and fits is written to `group.toml` and `plan.toml` (buildpack spec, "Phase #1:
//! Detection").

mod program;

use std::{
    collections::HashMap,
    fs,
    io::{self, Write as _},
    path::Path,
    thread,
};

use serde::Serialize;

pub(crate) use self::program::prepare;
use self::program::{Outcome, run};
use crate::{
    api::Api,
    buildpack::{Buildpack, Kind},
    env::{self, Env},
    failure::{self, Doing as _, Ended, Failure, Tried},
    group::Group,
    id::{BuildpackId, Version},
    lifecycle::{analyzed::Analyzed, inputs::Inputs},
    order::{Candidate, Order, OrderGroup, System},
    plan::{self, Misfit, Passed, Plan, Provider, Resolved},
    target::Target,
};

/// How deep composite buildpacks may stand in one another; one that contains itself has no end.
const DEPTH_MAX: usize = 32;
/// Nested orders multiply.
const TRIALS_MAX: usize = 10_000;
/// Programs that run at the same time.
const PARALLEL_MAX: usize = 64;

/// The result is in the files that `inputs` names, and for the creator in its hands.
pub(crate) fn detect(inputs: &Inputs) -> Result<(Group, Plan), Failure> {
    let mut order = Order::read(&inputs.order)?;
    if inputs.api >= Api::of(15) {
        order.add(&System::read(&inputs.system)?);
    }
    let analyzed = Analyzed::read(&inputs.analyzed)?.unwrap_or_default();
    let mut detection = Detection::new(inputs, &order.extensions, analyzed.target().complete());
    // Every buildpack has to be there before the first is run.
    for candidate in order.candidates() {
        detection.open(candidate)?;
    }
    let start = match order.extensions.is_empty() {
        true => vec![],
        false => vec![Element::Extensions],
    };
    match detection.search(&order.order, &start)? {
        Search::Found(resolved) => detection.write(&resolved),
        Search::Nothing { failed } => Err(detection.nothing(failed)),
    }
}

struct Detection<'a> {
    inputs: &'a Inputs,
    extensions: &'a [OrderGroup],
    target: Target,
    env: Env,
    /// In the order of their first appearance.
    opened: Vec<Buildpack>,
    /// Each runs once, however many groups name it.
    outcomes: HashMap<Key, Outcome>,
    trials: usize,
    misfit: Option<Misfit>,
}

type Key = (Kind, BuildpackId, Version);

/// Of a group that is being spread out.
#[derive(Debug, Clone)]
enum Element {
    One(Candidate),
    /// The alternatives of the extensions, which stand before every group.
    Extensions,
}

enum Search {
    Found(Resolved),
    /// Whether a buildpack could not tell.
    Nothing {
        failed: bool,
    },
}

impl<'a> Detection<'a> {
    fn new(inputs: &'a Inputs, extensions: &'a [OrderGroup], target: Target) -> Self {
        Self {
            inputs,
            extensions,
            target,
            env: env::of_phase(inputs.home.as_deref()),
            opened: vec![],
            outcomes: HashMap::new(),
            trials: 0,
            misfit: None,
        }
    }

    /// The groups of `order.toml`, with `start` before each.
    fn search(&mut self, order: &[OrderGroup], start: &[Element]) -> Result<Search, Failure> {
        let mut failed = false;
        for group in order {
            let group = group.group.iter().cloned().map(Element::One);
            let elements: Vec<Element> = start.iter().cloned().chain(group).collect();
            match self.group(&elements, &[], 0)? {
                Search::Nothing { failed: this } => failed |= this,
                found @ Search::Found(_) => return Ok(found),
            }
        }
        Ok(Search::Nothing { failed })
    }

    /// Alternatives in the place of one element, `rest` behind each; without any of them, if that may be.
    fn alternatives(
        &mut self,
        order: &[OrderGroup],
        done: &[Candidate],
        rest: &[Element],
        optional: bool,
        depth: usize,
    ) -> Result<Search, Failure> {
        if depth > DEPTH_MAX {
            return Err(Failure::Refused(format!(
                "composite buildpacks stand more than {DEPTH_MAX} deep in one another; does one contain itself?"
            )));
        }
        let mut failed = false;
        for group in order {
            let group = group.group.iter().cloned();
            let group = group.map(|one| {
                Element::One(Candidate {
                    optional: one.optional || one.extension,
                    ..one
                })
            });
            let elements: Vec<Element> = group.chain(rest.iter().cloned()).collect();
            match self.group(&elements, done, depth)? {
                Search::Nothing { failed: this } => failed |= this,
                found @ Search::Found(_) => return Ok(found),
            }
        }
        if optional {
            return self.group(rest, done, depth);
        }
        Ok(Search::Nothing { failed })
    }

    /// Spreads the elements out, left to right, behind those that are `done`; a group without composites is tried.
    fn group(
        &mut self,
        elements: &[Element],
        done: &[Candidate],
        depth: usize,
    ) -> Result<Search, Failure> {
        let mut done = done.to_vec();
        for (at, element) in elements.iter().enumerate() {
            let rest = &elements[at + 1..];
            let Element::One(candidate) = element else {
                let extensions = self.extensions;
                return self.alternatives(extensions, &done, rest, true, depth + 1);
            };
            let is_same = |other: &Candidate| {
                other.id == candidate.id && other.extension == candidate.extension
            };
            if done.iter().any(is_same) {
                continue;
            }
            let buildpack = self.open(candidate)?;
            if !buildpack.order.is_empty() {
                let order = buildpack.order.clone();
                return self.alternatives(&order, &done, rest, candidate.optional, depth + 1);
            }
            if self.suits(candidate)? {
                done.push(candidate.clone());
            }
        }
        self.trials += 1;
        if self.trials > TRIALS_MAX {
            let what = format!("the order stands for more than {TRIALS_MAX} groups of buildpacks");
            return Err(Failure::Refused(what));
        }
        self.run(&done)?;
        Ok(self.judge(&done))
    }

    /// Once from the disk.
    fn open(&mut self, candidate: &Candidate) -> Result<&Buildpack, Failure> {
        let is_it = |buildpack: &Buildpack| key_of(buildpack) == key(candidate);
        if let Some(at) = self.opened.iter().position(is_it) {
            return Ok(&self.opened[at]);
        }
        let kind = candidate.kind();
        let folder = match kind {
            Kind::Buildpack => &self.inputs.buildpacks,
            Kind::Extension => &self.inputs.extensions,
        };
        let buildpack = Buildpack::open(kind, folder, &candidate.id, &candidate.version)?;
        self.opened.push(buildpack);
        Ok(&self.opened[self.opened.len() - 1])
    }

    /// Whether it belongs to the group at all. One that must, and is made for another target, is taken as failed.
    fn suits(&mut self, candidate: &Candidate) -> Result<bool, Failure> {
        let (inputs, target) = (self.inputs, self.target.clone());
        let buildpack = self.open(candidate)?;
        let targets = &buildpack.targets;
        let is_made_for_it =
            targets.is_empty() || targets.iter().any(|wanted| target.suits(wanted));
        let is_for_env = buildpack.is_for(&inputs.exec_env);
        if inputs.api >= Api::of(12) && !is_made_for_it && !candidate.optional {
            let why = format!("is not made for {} {}", target.os, target.arch);
            self.outcomes
                .insert(key(candidate), Outcome::unusable(why, vec![]));
            return Ok(true);
        }
        if inputs.api >= Api::of(15) && !is_for_env {
            inputs.log.debug(format_args!(
                "{} is not for {}",
                candidate.id, inputs.exec_env
            ));
            return Ok(false);
        }
        Ok(true)
    }

    fn run(&mut self, group: &[Candidate]) -> Result<(), Failure> {
        let new = group
            .iter()
            .filter(|one| !self.outcomes.contains_key(&key(one)));
        let new: Vec<&Candidate> = new.collect();
        for some in new.chunks(PARALLEL_MAX) {
            let outcomes: Vec<Outcome> = thread::scope(|scope| {
                let runs: Vec<_> = some
                    .iter()
                    .filter_map(|one| {
                        self.opened
                            .iter()
                            .find(|buildpack| key_of(buildpack) == key(one))
                    })
                    .map(|buildpack| {
                        scope.spawn(|| run(self.inputs, &self.env, &self.target, buildpack))
                    })
                    .collect();
                let joined = runs.into_iter().map(|run| run.join());
                joined
                    .map(|outcome| {
                        outcome.unwrap_or_else(|_| Outcome::unusable("a thread panicked", vec![]))
                    })
                    .collect()
            });
            self.outcomes
                .extend(some.iter().map(|one| key(one)).zip(outcomes));
        }
        Ok(())
    }

    fn judge(&mut self, group: &[Candidate]) -> Search {
        let mut passed = Vec::new();
        let (mut fits, mut failed) = (true, false);
        for one in group {
            let Some(outcome) = self.outcomes.get(&key(one)) else {
                continue;
            };
            if outcome.exit == Ended::Status(0) {
                passed.push(Passed {
                    provider: Provider {
                        id: one.id.clone(),
                        version: one.version.clone(),
                        extension: one.extension,
                    },
                    optional: one.optional,
                    plan: outcome.plan.clone(),
                });
            } else {
                fits &= one.optional;
                failed |= outcome.exit.is_failure();
            }
        }
        if !fits {
            return Search::Nothing { failed };
        }
        match plan::resolve(&passed) {
            Ok(resolved) => Search::Found(resolved),
            Err(why) => {
                self.misfit = why.or(self.misfit.take());
                Search::Nothing { failed: false }
            }
        }
    }

    fn write(&self, resolved: &Resolved) -> Result<(Group, Plan), Failure> {
        let members = |extension: bool| {
            let providers = resolved
                .members
                .iter()
                .filter(move |provider| provider.extension == extension);
            let opened = providers.filter_map(move |provider| {
                let wanted = |buildpack: &&Buildpack| {
                    let info = &buildpack.info;
                    (buildpack.kind == Kind::Extension) == extension
                        && info.id == provider.id
                        && info.version == provider.version
                };
                self.opened.iter().find(wanted)
            });
            opened.map(Buildpack::member).collect()
        };
        let group = Group {
            group: members(false),
            extensions: members(true),
        };
        let width = group
            .group
            .iter()
            .map(|member| member.id.as_str().len())
            .max()
            .unwrap_or(0);
        for member in &group.group {
            self.inputs.log.info(format_args!(
                "{:width$} {}",
                member.id.as_str(),
                member.version
            ));
        }
        self.debug_outputs();
        failure::note_tried(self.tried());
        write_toml(&self.inputs.group, &group)?;
        write_toml(&self.inputs.plan, &resolved.plan)?;
        Ok((group, resolved.plan.clone()))
    }

    fn debug_outputs(&self) {
        for buildpack in &self.opened {
            if let Some(outcome) = self.outcomes.get(&key_of(buildpack)) {
                let (id, exit) = (&buildpack.info.id, outcome.exit);
                self.inputs
                    .log
                    .debug(format_args!("======== {id}: {exit} ========"));
                self.inputs
                    .log
                    .debug(String::from_utf8_lossy(&outcome.output));
            }
        }
    }

    /// Shows what the buildpacks that failed have said, and accounts for all of them.
    fn nothing(&self, failed: bool) -> Failure {
        for (buildpack, outcome) in self.ran() {
            if outcome.exit != Ended::Status(0) {
                let log = self.inputs.log;
                let (_, id, version) = key_of(buildpack);
                log.info(format_args!(
                    "======== {id}@{version}: {} ========",
                    outcome.exit
                ));
                // Nothing is lost if nobody reads it.
                _ = io::stdout().write_all(&outcome.output);
                if let Some(why) = &outcome.why {
                    log.info(why);
                }
            }
        }
        let tried = self.tried();
        if failed {
            Failure::DetectFailed { tried }
        } else {
            Failure::NothingDetected { tried }
        }
    }

    fn tried(&self) -> Vec<Tried> {
        let tried = self.ran().map(|(buildpack, outcome)| {
            let (_, id, version) = key_of(buildpack);
            let misfit = self.misfit.as_ref().filter(|misfit| misfit.id == id);
            let misfit = misfit.map(|misfit| misfit.why.clone());
            Tried {
                misfit: misfit.or(outcome.why.clone()),
                id,
                version,
                exit: outcome.exit,
                wants: buildpack.detects.clone(),
            }
        });
        tried.collect()
    }

    /// In the order of their first appearance.
    fn ran(&self) -> impl Iterator<Item = (&Buildpack, &Outcome)> {
        let opened = self.opened.iter();
        opened.filter_map(|buildpack| Some((buildpack, self.outcomes.get(&key_of(buildpack))?)))
    }
}

fn key(one: &Candidate) -> Key {
    (one.kind(), one.id.clone(), one.version.clone())
}

fn key_of(buildpack: &Buildpack) -> Key {
    let info = &buildpack.info;
    (buildpack.kind, info.id.clone(), info.version.clone())
}

pub(crate) fn write_toml(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).failing("make", dir)?;
    }
    toml::to_string(value)
        .map_err(io::Error::other)
        .and_then(|text| fs::write(path, text))
        .failing("write", path)
}
