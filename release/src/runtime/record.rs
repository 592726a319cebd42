//! What is on disk of an instance.

use std::{fs, net::SocketAddr, path::Path};

use serde::{Deserialize, Serialize};

use super::io_error;
use crate::{ReleaseNumber, error::StartError, formation::Slot, plan::Serial};

const FILE: &str = "instance.json";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) app: i64,
    pub(crate) release: ReleaseNumber,
    pub(crate) slot: Slot,
    pub(crate) serial: Serial,
    /// Only of those that take requests.
    pub(crate) port: Option<u16>,
    /// Seconds since the Unix epoch.
    pub(crate) started_at: u64,
    /// `None`: it was about to be started.
    pub(crate) process: Option<ProcessId>,
    /// Where it has answered.
    pub(crate) address: Option<SocketAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub(crate) pid: u32,
    /// Clock ticks after boot: tells a reused pid apart.
    pub(crate) start_time: u64,
}

impl Record {
    /// Whole or not at all. Not synced: no process outlives a power cut either.
    pub(super) fn write(&self, dir: &Path) -> Result<(), StartError> {
        let made = dir.join("instance.json.new");
        let fixed = dir.join(FILE);
        serde_json::to_vec(self)
            .map_err(Into::into)
            .and_then(|json| fs::write(&made, json))
            .and_then(|()| fs::rename(&made, &fixed))
            .map_err(io_error("write", &fixed))
    }

    pub(super) fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(dir.join(FILE)).ok()?).ok()
    }
}
