//! Taking a deploy back, and why.

use std::sync::{Arc, OnceLock, atomic::AtomicBool};

use release::BuildStatus;

use crate::Gone;

/// Why a deploy was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// Everybody who pushed it has closed the connection.
    Left,
    By(String),
    Superseded {
        build: u64,
        by: String,
    },
    /// The app goes.
    Destroyed(String),
    Stopping,
}

/// Set once; the first reason stays.
#[derive(Debug, Default)]
pub(crate) struct Cancel {
    set: Gone,
    why: OnceLock<Why>,
}

impl Cancel {
    pub(crate) fn set(&self, why: Why) {
        _ = self.why.set(why);
        self.set.set();
    }

    pub(crate) fn why(&self) -> Option<&Why> {
        self.why.get()
    }

    pub(crate) async fn wait(&self) {
        self.set.wait().await;
    }

    /// For code that polls.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        self.set.flag()
    }
}

impl Why {
    pub(crate) fn status(&self) -> BuildStatus {
        match self {
            Self::Superseded { .. } => BuildStatus::Superseded,
            _ => BuildStatus::Cancelled,
        }
    }

    /// In one line, for the pusher and the record.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Left => "the pusher closed the connection".to_owned(),
            Self::By(user) => format!("cancelled by {user}"),
            Self::Superseded { build, by } => {
                format!("superseded by build {build}, pushed by {by}")
            }
            Self::Destroyed(by) => format!("the app was destroyed by {by}"),
            Self::Stopping => "the server stops; push again when it is back".to_owned(),
        }
    }
}
