//! `limits`: what instances may use of the machine.

use clap::Args;
use container::limits::Enforcement;
use release::{AppName, LimitsSet, ProcessType};
use serde::Serialize;

use super::Env;
use crate::{
    errors::{Failure, USAGE},
    output,
    quantity::{self, show_bytes},
};

/// Show what an app's instances may use, and how that is kept here
#[derive(Args)]
#[command(after_help = "Example:\n  limits shop")]
pub(super) struct List {
    pub(super) app: AppName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Set what instances may use, of all process types or of one
///
/// Instances that have other limits now are replaced by new ones; when those do not start, nothing changes.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  limits:set shop memory=1G\n  limits:set shop worker cpu=0.5 memory=512M\n  limits:set shop worker cpu=default"
)]
pub(super) struct Set {
    pub(super) app: AppName,
    /// A process type, `cpu=0.5` (of a processor), `memory=512M`; `default` takes a limit back
    #[arg(required = true, value_name = "[TYPE] LIMIT=VALUE")]
    words: Vec<String>,
}

#[derive(Serialize)]
struct Shown {
    process_type: String,
    cpu_milli: Option<u32>,
    memory_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Listed {
    limits: Vec<Shown>,
    cpu_kept_by: String,
    memory_kept_by: String,
}

impl List {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let apps = &env.ctx.apps;
        let set = apps.ledger().limits(&self.app)?;
        let platform = apps.default_limits();
        let known = apps.process_types(&self.app)?;
        let types = known.keys().chain(set.of_type.keys()).map(Some);
        let mut types: Vec<Option<&ProcessType>> = types.collect();
        types.sort();
        types.dedup();
        let limits: Vec<Shown> = types
            .into_iter()
            .chain([None])
            .map(|process_type| {
                let of = set.of(process_type, platform);
                Shown {
                    process_type: process_type.map_or("run".to_owned(), ToString::to_string),
                    cpu_milli: of.cpu_milli,
                    memory_bytes: of.memory_bytes,
                }
            })
            .collect();
        let can = apps.capabilities();
        let listed = Listed {
            limits,
            cpu_kept_by: kept_by(can.cpu).to_owned(),
            memory_kept_by: kept_by(can.memory).to_owned(),
        };
        if self.json {
            return env.print_json(&listed).await;
        }
        let head = ["TYPE", "CPU", "MEMORY"].map(str::to_owned).to_vec();
        let rows = listed.limits.iter().map(row);
        let rows: Vec<_> = [head].into_iter().chain(rows).collect();
        env.print(&output::columns(&rows)).await;
        env.narrate(&format!(
            "Here memory is kept by {}, cpu by {}.",
            listed.memory_kept_by, listed.cpu_kept_by
        ))
        .await;
        Ok(())
    }
}

impl Set {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let (process_type, changes) = parse(&self.words)?;
        let apps = env.ctx.apps.clone();
        let before = apps.ledger().limits(&self.app)?;
        let before = match &process_type {
            Some(name) => before.of_type.get(name).copied().unwrap_or_default(),
            None => before.every,
        };
        let set = changes.on(before);
        let of = process_type
            .as_ref()
            .map_or("all process types", ProcessType::as_str);
        env.narrate(&output::step(&format!(
            "Setting limits of {of} of {}",
            self.app
        )))
        .await;
        if set.cpu_milli.is_some() && apps.capabilities().cpu == Enforcement::None {
            env.narrate(&output::detail(
                "This machine does not let us enforce cpu limits.",
            ))
            .await;
        }
        let by = env.caller.user.clone();
        env.follow(async move |events| {
            apps.set_limits(&self.app, process_type.as_ref(), set, &by, events)
                .await
        })
        .await?;
        env.narrate(&output::result("Done")).await;
        Ok(())
    }
}

/// The outer `None` leaves a limit as it is, the inner takes it back.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    cpu_milli: Option<Option<u32>>,
    memory_bytes: Option<Option<u64>>,
}

impl Changes {
    fn on(&self, before: LimitsSet) -> LimitsSet {
        LimitsSet {
            cpu_milli: self.cpu_milli.unwrap_or(before.cpu_milli),
            memory_bytes: self.memory_bytes.unwrap_or(before.memory_bytes),
        }
    }
}

fn parse(words: &[String]) -> Result<(Option<ProcessType>, Changes), Failure> {
    let usage = |what: String| {
        Failure::new(what)
            .hint("Write: limits:set APP [TYPE] cpu=0.5 memory=512M")
            .status(USAGE)
    };
    let mut process_type = None;
    let mut changes = Changes::default();
    for word in words {
        let wrong = || usage(format!("`{word}` is no limit"));
        match word.split_once('=') {
            None if process_type.is_none() => {
                process_type = Some(word.parse().map_err(|_| wrong())?);
            }
            Some(("cpu", "default")) => changes.cpu_milli = Some(None),
            Some(("memory", "default")) => changes.memory_bytes = Some(None),
            Some(("cpu", value)) => {
                let milli = quantity::cpu_milli(value).ok_or_else(wrong)?;
                changes.cpu_milli = Some(Some(milli));
            }
            Some(("memory", value)) => {
                let bytes = quantity::bytes(value).ok_or_else(wrong)?;
                changes.memory_bytes = Some(Some(bytes));
            }
            _ => return Err(wrong()),
        }
    }
    if changes == Changes::default() {
        return Err(usage("there is no limit to set".to_owned()));
    }
    Ok((process_type, changes))
}

fn row(shown: &Shown) -> Vec<String> {
    let cpu = shown.cpu_milli.map_or("unlimited".to_owned(), |milli| {
        format!("{}", f64::from(milli) / 1000.0)
    });
    let memory = shown
        .memory_bytes
        .map_or("unlimited".to_owned(), show_bytes);
    vec![shown.process_type.clone(), cpu, memory]
}

fn kept_by(how: Enforcement) -> &'static str {
    match how {
        Enforcement::CgroupV2 | Enforcement::CgroupV1 => "control groups",
        Enforcement::Rlimit => "resource limits of each process",
        Enforcement::Watched => "a watch that ends what goes over it",
        Enforcement::None => "nothing, this machine does not let us",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_of_all_types_or_of_one() {
        let check = |line: &str, expected: Option<(Option<&str>, Changes)>| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let seen = parse(&words).ok();
            let expected =
                expected.map(|(name, changes)| (name.map(|name| name.parse().unwrap()), changes));
            assert_eq!(seen, expected, "{line}");
        };
        let changes = |cpu_milli, memory_bytes| Changes {
            cpu_milli,
            memory_bytes,
        };
        check("cpu=0.5", Some((None, changes(Some(Some(500)), None))));
        check(
            "web memory=1M cpu=default",
            Some((Some("web"), changes(Some(None), Some(Some(1 << 20))))),
        );
        for wrong in ["web", "web worker cpu=1", "cpu=x", "disk=1G", "memory="] {
            check(wrong, None);
        }
    }
}
