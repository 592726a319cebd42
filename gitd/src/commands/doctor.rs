//! `doctor`: what is enforced on this machine, what is not and why, and whether all is there that should be.

use std::path::Path;

use clap::Args;
use container::limits::Enforcement;
use serde::Serialize;

use super::Env;
use crate::{
    Context,
    disk::{FREE_BYTES_MIN, free_bytes},
    errors::{Failure, chain},
    output,
    quantity::show_bytes,
};

/// Each connection through the router takes two, each push some.
const OPEN_FILES_MIN: u64 = 4096;

/// Say what this machine enforces, what it does not and why, and whether anything is amiss
///
/// The exit status is 1 when something is amiss; a limit that is not enforced here is told, and is no failure.
#[derive(Args)]
pub(super) struct Doctor {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// Works, with less than there could be.
    Weak,
    Amiss,
}

#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    verdict: Verdict,
    seen: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<&'static str>,
}

impl Doctor {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<u8, Failure> {
        let ctx = env.ctx.clone();
        let findings = tokio::task::spawn_blocking(move || examine(&ctx))
            .await
            .map_err(Failure::ours)?;
        if self.json {
            env.print_json(&findings).await?;
        } else {
            env.print(&told(&findings)).await;
        }
        let amiss = findings.iter().any(|f| f.verdict == Verdict::Amiss);
        Ok(u8::from(amiss))
    }
}

fn examine(ctx: &Context) -> Vec<Finding> {
    let can = ctx.builder.spawner.capabilities();
    vec![
        isolation(rustix::process::geteuid().is_root()),
        limit("memory limits", can.memory),
        limit("processor limits", can.cpu),
        limit("process limits", can.processes),
        network(can.network),
        disk(&ctx.settings.data),
        open_files(rustix::process::getrlimit(rustix::process::Resource::Nofile).current),
        ledger(ctx),
        images(ctx),
    ]
}

fn isolation(is_root: bool) -> Finding {
    let seen = if is_root {
        "namespaces of their own; started as root, which they are not"
    } else {
        "namespaces of their own; started as an ordinary user"
    };
    Finding::ok("sandboxes", seen)
}

fn limit(what: &'static str, how: Enforcement) -> Finding {
    let seen = match how {
        Enforcement::CgroupV2 => "enforced by control groups v2",
        Enforcement::CgroupV1 => "enforced by control groups v1",
        Enforcement::Rlimit => "enforced per process, by resource limits",
        Enforcement::Watched => {
            "watched, and what exceeds them is ended; a fast one can exceed them for a moment"
        }
        Enforcement::None => {
            return Finding {
                what,
                verdict: Verdict::Weak,
                seen: "not enforced: the server may not write to any control group".to_owned(),
                advice: Some("Start it as root, or by systemd with Delegate=yes"),
            };
        }
    };
    Finding::ok(what, seen)
}

fn network(how: Enforcement) -> Finding {
    match how {
        Enforcement::None => Finding {
            what: "network",
            verdict: Verdict::Weak,
            seen: "builds and instances share this machine's".to_owned(),
            advice: Some("Let what listens on this machine's loopback ask who calls"),
        },
        _ => Finding::ok("network", "builds and instances have their own"),
    }
}

fn disk(data: &Path) -> Finding {
    let what = "disk";
    match free_bytes(data) {
        Ok(free) => {
            let seen = format!("{} free at {}", show_bytes(free), data.display());
            if free < FREE_BYTES_MIN {
                Finding::amiss(what, seen, "Type: gc --keep 2")
            } else {
                Finding::ok(what, seen)
            }
        }
        Err(error) => Finding::amiss(
            what,
            format!("cannot look at {}: {error}", data.display()),
            "See that the folder is there, and the server's own",
        ),
    }
}

fn open_files(most: Option<u64>) -> Finding {
    let what = "open files";
    match most {
        Some(most) if most < OPEN_FILES_MIN => Finding {
            what,
            verdict: Verdict::Weak,
            seen: format!("at most {most}"),
            advice: Some("Start the server with a higher limit: ulimit -n 65536"),
        },
        Some(most) => Finding::ok(what, format!("at most {most}")),
        None => Finding::ok(what, "no limit"),
    }
}

fn ledger(ctx: &Context) -> Finding {
    let what = "ledger";
    match ctx.apps.ledger().check() {
        Ok(None) => Finding::ok(what, "whole"),
        Ok(Some(damage)) => Finding::amiss(what, damage, "Go back to a backup"),
        Err(error) => Finding::amiss(what, chain(&error), "See that its file is readable"),
    }
}

fn images(ctx: &Context) -> Finding {
    let what = "images";
    match ctx.apps.images_missing() {
        Ok(missing) if missing.is_empty() => {
            Finding::ok(what, "every app's current image is there, with its layers")
        }
        Ok(missing) => {
            let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
            let seen = format!("not whole, of: {}", names.join(", "));
            Finding::amiss(what, seen, "Push these apps again with -o no-cache")
        }
        Err(error) => Finding::amiss(what, chain(&error), "See that the store is readable"),
    }
}

impl Finding {
    fn ok(what: &'static str, seen: impl Into<String>) -> Self {
        Self {
            what,
            verdict: Verdict::Ok,
            seen: seen.into(),
            advice: None,
        }
    }

    fn amiss(what: &'static str, seen: String, advice: &'static str) -> Self {
        Self {
            what,
            verdict: Verdict::Amiss,
            seen,
            advice: Some(advice),
        }
    }

    fn row(&self) -> Vec<String> {
        let mark = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Weak => "-",
            Verdict::Amiss => "!",
        };
        let seen = match self.advice {
            Some(advice) => format!("{}. {advice}", self.seen),
            None => self.seen.clone(),
        };
        vec![mark.to_owned(), self.what.to_owned(), seen]
    }
}

fn told(findings: &[Finding]) -> String {
    let rows: Vec<_> = findings.iter().map(Finding::row).collect();
    output::columns(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_enforced_says_what_to_do() {
        let finding = limit("memory limits", Enforcement::None);
        assert_eq!(finding.verdict, Verdict::Weak);
        assert!(finding.row()[2].contains("Delegate=yes"));
        assert_eq!(open_files(Some(1024)).verdict, Verdict::Weak);
        assert_eq!(open_files(None).verdict, Verdict::Ok);
    }

    #[test]
    fn a_folder_that_is_gone_is_amiss() {
        assert_eq!(disk(Path::new("/nowhere/at/all")).verdict, Verdict::Amiss);
    }
}
