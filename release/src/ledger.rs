//! The ledger: apps, config, releases, builds and keys, in SQLite (WAL, migrations by `user_version`). Append-only where
//! it counts. The running world is derived from it, never the other way round.

use std::{collections::BTreeMap, path::Path};

use container::Digest;

use crate::{AppName, ConfigName, ProcessType, ReleaseNumber};

#[derive(Debug)]
pub struct Ledger {}

#[derive(Debug, thiserror::Error)]
#[error("to be replaced by variants: no such app, name taken, no such release, database")]
pub struct LedgerError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Never reused: names paths on disk (`repos/<id>.git`, `logs/<id>`), so that a name never does.
    pub id: i64,
    pub name: AppName,
    pub created_at: u64,
    pub current: Option<ReleaseNumber>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum ReleaseStatus {
    /// Created, not serving yet. Found at a start: interrupted, becomes `Failed`.
    Pending,
    Succeeded,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    pub number: ReleaseNumber,
    pub status: ReleaseStatus,
    /// `None`: config was set before anything was deployed.
    pub image: Option<Digest>,
    pub config: BTreeMap<ConfigName, String>,
    pub description: String,
    pub by: String,
    pub created_at: u64,
    pub commit: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum BuildStatus {
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Counts up per app from 1.
    pub number: u64,
    pub status: BuildStatus,
    pub commit: String,
    pub by: String,
    pub started_at: u64,
    pub ended_at: Option<u64>,
    pub release: Option<ReleaseNumber>,
    /// One line, when it failed.
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// `SHA256:…` as OpenSSH prints it.
    pub fingerprint: String,
    /// The user it belongs to, for `by`.
    pub name: String,
    /// One line as in authorized_keys.
    pub public: String,
    pub added_at: u64,
}

impl Ledger {
    pub fn open(_file: &Path) -> Result<Self, LedgerError> {
        todo!()
    }
    pub fn apps(&self) -> Result<Vec<App>, LedgerError> {
        todo!()
    }
    pub fn app(&self, _name: &AppName) -> Result<App, LedgerError> {
        todo!()
    }
    /// Newest first.
    pub fn releases(&self, _app: &AppName, _limit: usize) -> Result<Vec<Release>, LedgerError> {
        todo!()
    }
    pub fn current(&self, _app: &AppName) -> Result<Option<Release>, LedgerError> {
        todo!()
    }
    /// The config that the next release starts from.
    pub fn config(&self, _app: &AppName) -> Result<BTreeMap<ConfigName, String>, LedgerError> {
        todo!()
    }
    pub fn formation(&self, _app: &AppName) -> Result<BTreeMap<ProcessType, u32>, LedgerError> {
        todo!()
    }
    /// Starts a build record; its log is the caller's file, named after the number.
    pub fn build_started(
        &self,
        _app: &AppName,
        _commit: &str,
        _by: &str,
    ) -> Result<Build, LedgerError> {
        todo!()
    }
    pub fn build_ended(
        &self,
        _app: &AppName,
        _number: u64,
        _status: BuildStatus,
        _release: Option<ReleaseNumber>,
        _reason: Option<&str>,
    ) -> Result<(), LedgerError> {
        todo!()
    }
    /// Newest first.
    pub fn builds(&self, _app: &AppName, _limit: usize) -> Result<Vec<Build>, LedgerError> {
        todo!()
    }
    pub fn keys(&self) -> Result<Vec<Key>, LedgerError> {
        todo!()
    }
    /// `false`: it is there already.
    pub fn add_key(&self, _key: &Key) -> Result<bool, LedgerError> {
        todo!()
    }
    /// By name or fingerprint; the fingerprints removed.
    pub fn remove_key(&self, _which: &str) -> Result<Vec<String>, LedgerError> {
        todo!()
    }
    /// Live releases whose ref has not been confirmed moved: (app, ref name, commit). For the start after a crash.
    pub fn unsettled_refs(&self) -> Result<Vec<(App, String, String)>, LedgerError> {
        todo!()
    }
    /// The ref of the app's current release has been moved.
    pub fn ref_settled(&self, _app: &AppName) -> Result<(), LedgerError> {
        todo!()
    }
}
