//! Why a change did not come to be. Facts only: the edge that prints them chooses the words, and whose fault it is.

use std::{io, path::PathBuf, time::Duration};

use container::{Exit, spawner::SpawnError, store::StoreError};

use crate::{
    AppName, Domain, LedgerError, ProcessType, ReleaseNumber, buildpacks::BuildpacksRefused,
    checks::CheckRefused, config_vars::ConfigRefused, limits::LimitRefused,
};

/// The previous release is still serving.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("`{0}` has not been deployed yet")]
    NotDeployed(AppName),
    #[error("the release command {}", how(exit))]
    ReleasePhase {
        exit: Exit,
        /// What it printed last, oldest first.
        last_lines: Vec<String>,
    },
    #[error("the release command was still running after {} s", after.as_secs())]
    ReleasePhaseTimeout {
        after: Duration,
        last_lines: Vec<String>,
    },
    #[error("{instance} {} while starting", how(exit))]
    Crashed {
        /// `web.1`
        instance: String,
        exit: Exit,
        /// The end of its log, oldest first.
        last_lines: Vec<String>,
    },
    #[error("{instance} did not bind to $PORT ({port}) within {} s{}", after.as_secs(), elsewhere(listens_on))]
    BootTimeout {
        instance: String,
        port: u16,
        after: Duration,
        /// Ports that it listens on instead.
        listens_on: Vec<u16>,
        last_lines: Vec<String>,
    },
    #[error("{instance} was not healthy within {} s: {answer}", after.as_secs())]
    Unhealthy {
        instance: String,
        /// What was asked, and what came: `GET /healthz answered 500`.
        answer: String,
        after: Duration,
        last_lines: Vec<String>,
    },
    #[error("cannot start {instance}")]
    Start {
        instance: String,
        #[source]
        source: StartError,
    },
    #[error("cannot look at what runs already")]
    Adopt(#[source] StartError),
    #[error("cannot use the image of release {release}")]
    Image {
        release: ReleaseNumber,
        #[source]
        source: ImageError,
    },
    #[error("`{app}` has no process type `{process_type}`")]
    NoProcessType {
        app: AppName,
        process_type: ProcessType,
        /// Those it has.
        known: Vec<ProcessType>,
    },
    #[error(
        "{quantity} instances of `{process_type}` are too many: {} is the most",
        crate::formation::QUANTITY_MAX
    )]
    TooMany {
        process_type: ProcessType,
        quantity: u32,
    },
    #[error("`{app}` runs no `{which}`")]
    NoInstance { app: AppName, which: String },
    #[error("`{app}` is locked by {by}{}", because(reason.as_deref()))]
    Locked {
        app: AppName,
        by: String,
        reason: Option<String>,
    },
    #[error("the newest release of `{0}` has not failed, so there is nothing to try again")]
    NothingFailed(AppName),
    #[error("`{domain}` is on the platform's own domain, where every app has its host")]
    PlatformDomain { domain: Domain },
    #[error("`{app}` has no domain `{domain}`")]
    NoDomain { app: AppName, domain: Domain },
    #[error("`{app}` has {} domains already", crate::apps::DOMAINS_MAX)]
    TooManyDomains { app: AppName },
    #[error(transparent)]
    Limit(#[from] LimitRefused),
    #[error(transparent)]
    Check(#[from] CheckRefused),
    #[error(transparent)]
    Buildpacks(#[from] BuildpacksRefused),
    #[error("cannot roll back to {release}: {why}")]
    RollbackRefused {
        release: ReleaseNumber,
        why: &'static str,
    },
    #[error("`{0}` has no earlier release to roll back to")]
    NothingBefore(AppName),
    #[error(transparent)]
    Config(#[from] ConfigRefused),
    #[error("{0} one-off processes of `{1}` run already")]
    TooManyRuns(usize, AppName),
    #[error("cancelled")]
    Cancelled,
    #[error("`{0}` is being destroyed")]
    Destroyed(AppName),
    #[error("cannot tidy the content store")]
    Tidy(#[from] StoreError),
    #[error("another slipway is running on {}", .0.display())]
    DataInUse(PathBuf),
    #[error("slipway is shutting down")]
    ShuttingDown,
    #[error("cannot {doing} {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Why an instance could not even be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot connect to its output")]
    Output(#[source] io::Error),
    #[error("a layer of its image is not in the store")]
    NoLayer,
    #[error("no port between {} and {} is free", .0.start(), .0.end())]
    NoPort(std::ops::RangeInclusive<u16>),
    #[error("cannot {doing} {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("its label `{label}` cannot be read")]
    Label {
        label: &'static str,
        #[source]
        source: serde_json::Error,
    },
}

impl DeployError {
    /// What the failing program said last, oldest first.
    pub fn last_lines(&self) -> &[String] {
        match self {
            Self::ReleasePhase { last_lines, .. }
            | Self::ReleasePhaseTimeout { last_lines, .. }
            | Self::Crashed { last_lines, .. }
            | Self::BootTimeout { last_lines, .. }
            | Self::Unhealthy { last_lines, .. } => last_lines,
            _ => &[],
        }
    }
}

/// `exited with status 1`
pub(crate) fn how(exit: &Exit) -> String {
    match (exit.out_of_memory, exit.code, exit.signal) {
        (true, ..) => "went over its memory limit and was killed".to_owned(),
        (_, Some(code), _) => format!("exited with status {code}"),
        (_, None, Some(signal)) => format!("was killed by signal {signal}"),
        (_, None, None) => "ended".to_owned(),
    }
}

fn because(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(": {reason}"))
}

fn elsewhere(ports: &[u16]) -> String {
    if ports.is_empty() {
        return String::new();
    }
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    format!("; it listens on {} instead", ports.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_says_what_was_seen() {
        let exit = |code, signal, out_of_memory| Exit {
            code,
            signal,
            out_of_memory,
            ended_at: 0,
        };
        let crashed = |exit| {
            let (instance, last_lines) = ("web.1".to_owned(), vec![]);
            DeployError::Crashed {
                instance,
                exit,
                last_lines,
            }
            .to_string()
        };
        assert_eq!(
            crashed(exit(Some(1), None, false)),
            "web.1 exited with status 1 while starting"
        );
        assert_eq!(
            crashed(exit(None, Some(11), false)),
            "web.1 was killed by signal 11 while starting"
        );
        assert_eq!(
            crashed(exit(None, Some(9), true)),
            "web.1 went over its memory limit and was killed while starting"
        );
        let timeout = |listens_on| DeployError::BootTimeout {
            instance: "web.1".to_owned(),
            port: 21_234,
            after: Duration::from_secs(60),
            listens_on,
            last_lines: vec![],
        };
        assert_eq!(
            timeout(vec![]).to_string(),
            "web.1 did not bind to $PORT (21234) within 60 s"
        );
        assert_eq!(
            timeout(vec![3000, 9229]).to_string(),
            "web.1 did not bind to $PORT (21234) within 60 s; it listens on 3000, 9229 instead"
        );
    }
}
