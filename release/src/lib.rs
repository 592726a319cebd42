//! RELEASE and ROLLOUT: what an app is, which image and config it runs, and that it runs.
//!
//! [`Apps`] is the door: every change of the world is one of its methods. A `change` makes a [`Release`] in the
//! [`ledger`], runs its release phase (`one_off`) and hands it to the app's task, the `rollout`. That compares what is
//! wanted with what is seen, takes the steps of the pure `plan` on the `runtime` of this machine, and points the routes
//! of the router at the instances whose `health` is good. What they say is in the `logs`.

mod apps;
mod change;
mod data_lock;
mod detached_run;
mod entered;
mod one_off;
mod retention;
mod runs;
mod wanted;

mod event;
mod rollout;

mod backoff;
mod plan;

mod health;
mod launch;
mod processes;
mod runtime;

mod logs;

pub mod ledger;

pub mod buildpacks;
pub mod checks;
pub mod config_vars;
pub mod domain;
pub mod error;
pub mod formation;
pub mod limits;
pub mod name;
mod role;
mod who;

pub use apps::{Apps, Candidate, Config, InstanceStatus};
pub use buildpacks::{BUILDPACKS_MAX, BuildpacksEdit, BuildpacksRefused};
pub use change::Restart;
pub use checks::Checks;
pub use config_vars::{ConfigChanges, ConfigValue, ConfigVars};
pub use domain::{Domain, NotADomain};
pub use entered::{Around, Entered};
pub use error::{DeployError, ImageError, StartError};
pub use event::Event;
pub use ledger::{App, Build, BuildStatus, Ledger, LedgerError, Lock, Release, ReleaseStatus};
pub use ledger::{
    AuditEntry, AuditRecord, Authority, Grant, Holder, Key, Outcome, Revocation, Team, User,
};
pub use limits::{AppLimits, LimitsSet};
pub use logs::{LogFilter, LogLine, LogSource};
pub use name::{AppName, ConfigName, NotAName, ProcessType, ReleaseNumber};
pub use retention::IMAGES_KEPT;
pub use role::Role;
pub use runs::RunOptions;
pub use runtime::usage::Usage;
pub use who::{Grantee, TeamName, UserName};
