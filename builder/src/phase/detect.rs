//! DETECT, inside the sandbox: which buildpacks take part, and the plan between them.
//!
//! Reads `order.toml`; runs each group's bin/detect side by side; the first group that passes and fits is written to
//! `group.toml` and `plan.toml` (buildpack spec, "Phase #1: Detection").

use std::{
    collections::HashMap,
    fs,
    io::{self, Read as _, Write as _},
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
};

use serde::Serialize;

use crate::{
    buildpack::Buildpack,
    dirs::{Dirs, buildpack_env},
    env::Env,
    failure::{Ended, Failure, Tried},
    files::{BadFile, Untrusted},
    group::Group,
    id::{BuildpackId, Version},
    order::{Candidate, Order, OrderGroup},
    plan::{self, DetectPlan, Misfit, Passed, Provider, Resolved},
};

/// Of one bin/detect; what it prints beyond is dropped.
const OUTPUT_BYTES_MAX: u64 = 256 * 1024;
/// "This buildpack does not apply" (buildpack spec, "Detection").
const NOT_FOR_ME: Ended = Ended::Status(100);

/// Body of `/cnb/lifecycle/detector`.
pub(crate) fn main() -> ExitCode {
    let dirs = Dirs::of_sandbox();
    match detect(&dirs, &Env::current()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&dirs.layers),
    }
}

fn detect(dirs: &Dirs, env: &Env) -> Result<(), Failure> {
    let order = Order::read(&dirs.order)?;
    let mut detection = Detection::open(dirs, env, &order)?;
    let mut misfit = None;
    for group in &order.order {
        detection.run(group)?;
        let Some(passed) = detection.passed(group) else {
            continue;
        };
        match plan::resolve(&passed) {
            Ok(resolved) => return detection.write(resolved),
            Err(why) => misfit = why.or(misfit),
        }
    }
    Err(detection.nothing(misfit))
}

struct Detection<'a> {
    dirs: &'a Dirs,
    env: &'a Env,
    /// In the order of their first appearance.
    buildpacks: Vec<Buildpack>,
    /// Each runs once, however many groups name it.
    results: HashMap<(BuildpackId, Version), Outcome>,
}

struct Outcome {
    exit: Ended,
    output: Vec<u8>,
    plan: DetectPlan,
}

impl<'a> Detection<'a> {
    /// Every buildpack of the order has to be there before the first is run.
    fn open(dirs: &'a Dirs, env: &'a Env, order: &Order) -> Result<Self, BadFile> {
        let open = |one: &Candidate| Buildpack::open(&dirs.buildpacks, &one.id, &one.version);
        Ok(Self {
            dirs,
            env,
            buildpacks: order
                .candidates()
                .into_iter()
                .map(open)
                .collect::<Result<_, _>>()?,
            results: HashMap::new(),
        })
    }

    fn run(&mut self, group: &OrderGroup) -> Result<(), Failure> {
        let new = group
            .group
            .iter()
            .filter(|one| !self.results.contains_key(&key(one)));
        let new: Vec<&Candidate> = new.collect();
        let outcomes: Vec<Result<Outcome, Failure>> = thread::scope(|scope| {
            let runs: Vec<_> = new
                .iter()
                .filter_map(|one| self.buildpack(one))
                .map(|buildpack| scope.spawn(|| run_one(self.dirs, self.env, buildpack)))
                .collect();
            let joined = runs.into_iter().map(|run| run.join());
            joined
                .map(|outcome| outcome.unwrap_or_else(|_| Err(panicked())))
                .collect()
        });
        for (one, outcome) in new.into_iter().zip(outcomes) {
            self.results.insert(key(one), outcome?);
        }
        Ok(())
    }

    fn buildpack(&self, one: &Candidate) -> Option<&Buildpack> {
        let wanted =
            |other: &&Buildpack| other.info.id == one.id && other.info.version == one.version;
        self.buildpacks.iter().find(wanted)
    }

    /// The buildpacks of a group that passed; `None` when one that must did not.
    fn passed(&self, group: &OrderGroup) -> Option<Vec<Passed>> {
        let mut passed = Vec::new();
        for one in &group.group {
            let outcome = self.results.get(&key(one))?;
            if outcome.exit == Ended::Status(0) {
                passed.push(Passed {
                    provider: Provider {
                        id: one.id.clone(),
                        version: one.version.clone(),
                    },
                    optional: one.optional,
                    plan: outcome.plan.clone(),
                });
            } else if !one.optional {
                return None;
            }
        }
        Some(passed)
    }

    fn write(&self, resolved: Resolved) -> Result<(), Failure> {
        let members = resolved.members.iter().filter_map(|provider| {
            let wanted = |buildpack: &&Buildpack| {
                buildpack.info.id == provider.id && buildpack.info.version == provider.version
            };
            self.buildpacks.iter().find(wanted).map(Buildpack::member)
        });
        let group = Group {
            group: members.collect(),
        };
        write_toml(&self.dirs.layers.join("group.toml"), &group)?;
        write_toml(&self.dirs.layers.join("plan.toml"), &resolved.plan)
    }

    /// Shows what the buildpacks that failed have said, and accounts for all of them.
    fn nothing(&self, misfit: Option<Misfit>) -> Failure {
        let mut failed = false;
        let mut tried = Vec::new();
        for buildpack in &self.buildpacks {
            let key = (buildpack.info.id.clone(), buildpack.info.version.clone());
            let Some(outcome) = self.results.get(&key) else {
                continue;
            };
            if !matches!(outcome.exit, Ended::Status(0) | NOT_FOR_ME) {
                failed = true;
            }
            if outcome.exit != Ended::Status(0) {
                // The sandbox's output: nothing is lost if nobody reads it.
                _ = io::stdout().write_all(&outcome.output);
            }
            let misfit = misfit.as_ref().filter(|misfit| misfit.id == key.0);
            tried.push(Tried {
                misfit: misfit.map(|misfit| misfit.why.clone()),
                id: key.0,
                version: key.1,
                exit: outcome.exit,
                wants: buildpack.detects.clone(),
            });
        }
        if failed {
            Failure::DetectFailed { tried }
        } else {
            Failure::NothingDetected { tried }
        }
    }
}

fn key(one: &Candidate) -> (BuildpackId, Version) {
    (one.id.clone(), one.version.clone())
}

fn panicked() -> Failure {
    Failure::io("run bin/detect")(io::Error::other("a thread panicked"))
}

fn run_one(dirs: &Dirs, env: &Env, buildpack: &Buildpack) -> Result<Outcome, Failure> {
    let program = buildpack.dir.join("bin/detect");
    let doing = || Failure::io(format!("run {}", program.display()));
    let scratch = std::env::temp_dir().join(format!("detect-{}", buildpack.info.id.dir_name()));
    fs::create_dir_all(&scratch).map_err(doing())?;
    let plan = scratch.join("plan.toml");
    fs::write(&plan, "").map_err(doing())?;
    let env = env_of(dirs, env, buildpack, &plan).map_err(doing())?;
    let (mut reader, writer) = io::pipe().map_err(doing())?;
    let mut command = Command::new(&program);
    command
        .args([&dirs.platform, &plan])
        .current_dir(&dirs.app)
        .env_clear()
        .envs(env.vars())
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(doing())?)
        .stderr(writer);
    let mut child = command.spawn().map_err(doing())?;
    // It holds the writing ends; the output would never end.
    drop(command);
    let mut output = Vec::new();
    (&mut reader)
        .take(OUTPUT_BYTES_MAX)
        .read_to_end(&mut output)
        .and_then(|_| io::copy(&mut reader, &mut io::sink()))
        .map_err(doing())?;
    let exit = Ended::from(child.wait().map_err(doing())?);
    let plan = if exit == Ended::Status(0) {
        read_plan(&scratch, buildpack)?
    } else {
        DetectPlan::default()
    };
    Ok(Outcome { exit, output, plan })
}

fn env_of(dirs: &Dirs, env: &Env, buildpack: &Buildpack, plan: &Path) -> io::Result<Env> {
    let mut env = env.clone();
    if !buildpack.info.clear_env {
        env.add_platform(&dirs.env())?;
    }
    buildpack_env(&mut env, dirs, &buildpack.dir);
    env.set("CNB_BUILD_PLAN_PATH", plan);
    Ok(env)
}

/// Named in errors after the buildpack, because the path means nothing to anybody.
fn read_plan(scratch: &Path, buildpack: &Buildpack) -> Result<DetectPlan, BadFile> {
    let shown = format!("build plan of {}", buildpack.info.id);
    let named = |bad: BadFile| BadFile {
        file: shown.clone(),
        ..bad
    };
    let plan: DetectPlan = Untrusted::open(scratch, "")
        .and_then(|scratch| scratch.toml("plan.toml"))
        .map_err(named)?
        .unwrap_or_default();
    plan.check(&shown)?;
    Ok(plan)
}

pub(super) fn write_toml(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let doing = Failure::io(format!("write {}", path.display()));
    toml::to_string(value)
        .map_err(io::Error::other)
        .and_then(|text| fs::write(path, text))
        .map_err(doing)
}
