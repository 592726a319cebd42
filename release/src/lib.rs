//! RELEASE and ROLLOUT: apps, config and numbered releases in the [`ledger`].

pub mod config_vars;
pub mod ledger;
pub mod name;

pub use config_vars::{ConfigChanges, ConfigValue, ConfigVars};
pub use ledger::{App, Build, BuildStatus, Key, Ledger, LedgerError, Release, ReleaseStatus};
pub use name::{AppName, ConfigName, NotAName, ProcessType, ReleaseNumber};
