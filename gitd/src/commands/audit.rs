//! `audit`: what was changed, by whom, from where, and how it ended; and which words of a command are written there.

use clap::Args;
use release::{AppName, AuditRecord, ConfigName};
use serde::Serialize;

use super::Env;
use crate::{
    errors::Failure,
    output::{self, timestamp},
};

const RECORDS_DEFAULT: usize = 50;
/// An answer stays bounded.
const RECORDS_MAX: usize = 10_000;
/// Of one command line.
const CHARS_MAX: usize = 400;

/// Topics whose words are no secrets. Of others only the command is written, and the names of config vars.
const PLAIN: &[&str] = &[
    "access",
    "apps",
    "builds",
    "ca",
    "checks",
    "create",
    "domains",
    "gc",
    "keys",
    "limits",
    "lock",
    "maintenance",
    "ps",
    "restart",
    "releases",
    "rename",
    "rollback",
    "scale",
    "start",
    "stop",
    "ssh-keys",
    "teams",
    "users",
];

/// Show what was changed, by whom, from where; the newest last
#[derive(Args)]
#[command(after_help = "Examples:\n  audit -n 20\n  audit shop --json")]
pub(super) struct Audit {
    /// Of one app; all when absent
    pub(super) app: Option<AppName>,
    /// Number of records, at most 10000
    #[arg(short = 'n', long, default_value_t = RECORDS_DEFAULT)]
    num: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Shown {
    id: i64,
    at: String,
    user: String,
    key: String,
    from: String,
    app: Option<String>,
    what: String,
    /// `None`: under way, or cut off.
    result: Option<String>,
}

impl Audit {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let count = self.num.min(RECORDS_MAX);
        let mut records = env.ctx.apps.ledger().audit(self.app.as_ref(), count)?;
        records.reverse();
        let shown: Vec<Shown> = records.into_iter().map(Shown::new).collect();
        if self.json {
            return env.print_json(&shown).await;
        }
        let rows: Vec<_> = shown.into_iter().map(Shown::row).collect();
        env.print(&output::columns(&rows)).await;
        Ok(())
    }
}

impl Shown {
    fn new(record: AuditRecord) -> Self {
        Self {
            id: record.id,
            at: timestamp(record.at),
            user: record.user,
            key: record.key,
            from: record.from,
            app: record.app,
            what: record.what,
            result: record.result,
        }
    }

    fn row(self) -> Vec<String> {
        let result = self.result.unwrap_or_else(|| "unfinished".to_owned());
        let app = self.app.unwrap_or_else(|| "-".to_owned());
        vec![
            self.at, self.user, self.key, self.from, app, self.what, result,
        ]
    }
}

/// The command line for the audit log: never a value of config.
pub(super) fn told(words: &[String]) -> String {
    let verb = words.first().map_or("", String::as_str);
    let topic = verb.split(':').next().unwrap_or(verb);
    let rest = words.iter().skip(1).filter_map(|word| match topic {
        "config" => Some(word.split_once('=')?.0).filter(|name| name.parse::<ConfigName>().is_ok()),
        _ if PLAIN.contains(&topic) => Some(word.as_str()),
        _ => None,
    });
    let line: Vec<&str> = [verb].into_iter().chain(rest).collect();
    let line = line.join(" ");
    line.chars()
        .filter(|c| !c.is_control())
        .take(CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_told() {
        let check = |line: &str, expected: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(told(&words), expected);
        };
        check("config:set shop A=hunter2 B_1=x=y", "config:set A B_1");
        check("config:set shop hunter2 9=8", "config:set");
        check("run shop psql postgres://u:hunter2@h", "run");
        check("unheard:of --token hunter2", "unheard:of");
        check("ps:scale shop web=2", "ps:scale shop web=2");
        check("users:add bob\u{1b}[2J --admin", "users:add bob[2J --admin");
        assert_eq!(
            told(&["apps:create".into(), "x".repeat(9999)]).len(),
            CHARS_MAX
        );
    }
}
