//! Which lines of an app's log are wanted.

use std::path::Path;

use super::{LogLine, instance_of};
use crate::ReleaseNumber;

/// Lines that pass all of these.
#[derive(Debug, Clone, Default)]
pub struct LogFilter {
    /// `web.1`; `web` takes `web.1`, too.
    pub process: Option<String>,
    pub source: Option<LogSource>,
    /// Only what instances of this release print.
    pub release: Option<ReleaseNumber>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSource {
    /// The app's processes, and what users do to it.
    App,
    /// The platform, without the router.
    Slipway,
    Router,
    /// The platform and the router, as Heroku's users have it.
    Platform,
}

impl LogFilter {
    pub(super) fn takes(&self, line: &LogLine) -> bool {
        let source = self.source.is_none_or(|source| source.wrote(line));
        source
            && self.process.as_ref().is_none_or(|process| {
                let process_type = line.process.rsplit_once('.').map(|(name, _)| name);
                *process == line.process || Some(process.as_str()) == process_type
            })
    }

    pub(super) fn takes_file(&self, path: &Path) -> bool {
        let of = |release| instance_of(path).is_some_and(|(_, of)| of == release);
        self.release.is_none_or(of)
    }
}

impl LogSource {
    fn wrote(self, line: &LogLine) -> bool {
        let of_router = line.process == "router";
        match self {
            Self::App => line.source == "app",
            Self::Slipway => line.source == "heroku" && !of_router,
            Self::Router => of_router,
            Self::Platform => line.source == "heroku",
        }
    }
}
