//! Why a deploy did not go live, in the pusher's words.

use builder::{BuildError, sources::NotASource};
use container::store::StoreError;
use release::{BuildStatus, DeployError, LedgerError, ReleaseNumber};

use super::{cancel::Why, under_way::Outcome};
use crate::{
    access::Denied,
    errors::{chain, one_line},
    git::{ExportError, RefError},
    story::Story,
};

#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Deploy(#[from] DeployError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Buildpack(#[from] NotASource),
    /// The caller may no longer push to the app.
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Ref(#[from] RefError),
    /// Another deploy or a rollback came before.
    #[error("another release went live while this waited")]
    NotLive,
    #[error("{release} is live, but the branch has not moved")]
    Unmoved {
        release: ReleaseNumber,
        source: RefError,
    },
    #[error("cancelled")]
    Cancelled,
    #[error("the build ended without a result")]
    Lost,
}

impl Failure {
    fn is_cancelled(&self) -> bool {
        matches!(
            self,
            Self::Cancelled
                | Self::Export(ExportError::Stopped)
                | Self::Build(BuildError::Cancelled)
                | Self::Deploy(DeployError::Cancelled)
        )
    }

    /// `why`: it was taken back, perhaps.
    pub(super) fn outcome(&self, why: Option<&Why>) -> Outcome {
        if let (true, Some(why)) = (self.is_cancelled(), why) {
            return Outcome {
                status: why.status(),
                release: None,
                reason: Some(why.reason()),
            };
        }
        let (status, release) = match self {
            Self::Unmoved { release, .. } => (BuildStatus::Succeeded, Some(*release)),
            _ => (BuildStatus::Failed, None),
        };
        let reason = match self {
            Self::Build(error) => one_line(&error.reason()),
            Self::Ref(error) => one_line(&error.reason()),
            other => one_line(&other.to_string()),
        };
        Outcome {
            status,
            release,
            reason: Some(reason),
        }
    }

    /// What the failing program said last, then what we say.
    pub(super) fn explain(&self, why: Option<&Why>, story: &Story) {
        if let (true, Some(why)) = (self.is_cancelled(), why) {
            story.error(&sentence(&why.reason()));
            return;
        }
        if let Self::Deploy(error) = self {
            for line in error.last_lines() {
                story.detail(line);
            }
        }
        story.error(&chain(self));
        match self {
            Self::Deploy(_) => {
                story.error("The release before it, if there is one, is still serving.")
            }
            Self::Unmoved { .. } => story.error("The next start of the server moves it."),
            Self::Ref(_) | Self::Denied(_) | Self::NotLive => story.error("Nothing has changed."),
            _ => story.error("Nothing has changed; push again when it is mended."),
        }
    }
}

fn sentence(reason: &str) -> String {
    let mut chars = reason.chars();
    let first = chars.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(chars).collect()
}
