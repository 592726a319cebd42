//! What instances, the router and the platform say about an app: bounded files, read as one log.
//!
//! ```text
//! logs/<app id>/<serial>.v3.log      of one instance, which is of release 3, written by its init
//! logs/<app id>/router.log           request lines
//! logs/<app id>/platform.log         builds, releases, config changes, and what became of instances
//! logs/<app id>/runs.log             one-off processes
//! logs/<app id>/releases/3.log       what the release phase of release 3 printed, without times
//! ```
//! Each of the first four has at most one older part, `<name>.1`.

mod filter;
mod follow;
mod release_output;
mod tail;

pub use filter::{LogFilter, LogSource};
pub(crate) use release_output::ReleaseOutput;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;

use crate::{ReleaseNumber, error::StartError, plan::Serial};

/// Of one instance, both parts together.
pub(crate) const INSTANCE_BYTES_MAX: u64 = 2 << 20;
/// Of router.log and platform.log, each, both parts together.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Instances that have ended whose logs stay, so that a crash can still be read after some deploys.
const ENDED_KEPT: usize = 10;
/// As instances' lines are cut.
const LINE_BYTES_MAX: usize = 10_000;
/// `2026-01-02T03:04:05.678901+00:00`
const TIME_BYTES: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogLine {
    /// RFC 3339 with six digits and +00:00.
    pub at: String,
    /// `app` or `heroku`
    pub source: String,
    /// `web.1`, `router`, `api`
    pub process: String,
    pub text: String,
}

/// The files that we write ourselves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum File {
    Router,
    Platform,
    Runs,
}

#[derive(Debug, Clone)]
pub(crate) struct Logs {
    dir: PathBuf,
    /// Writers take turns, so that no two move a full file aside.
    turn: Arc<Mutex<()>>,
}

impl Logs {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            turn: Arc::default(),
        }
    }

    /// Where the instance's init is to write.
    pub(crate) fn instance_file(
        &self,
        app: i64,
        serial: Serial,
        release: ReleaseNumber,
    ) -> Result<PathBuf, StartError> {
        let dir = self.of_app(app);
        fs::create_dir_all(&dir).map_err(|source| StartError::Io {
            doing: "make",
            path: dir.clone(),
            source,
        })?;
        Ok(dir.join(instance_name(serial, release)))
    }

    /// `app[api]: Release v3 created by user ann`
    pub(crate) fn api(&self, app: i64, text: &str) {
        self.append(
            app,
            File::Platform,
            &line(Timestamp::now(), "app", "api", text),
        );
    }

    /// `heroku[web.1]: State changed from starting to up`
    pub(crate) fn state(&self, app: i64, process: &str, text: &str) {
        self.append(
            app,
            File::Platform,
            &line(Timestamp::now(), "heroku", process, text),
        );
    }

    /// Output that the platform reads itself: of a release phase.
    pub(crate) fn output(&self, app: i64, process: &str, text: &str) {
        self.append(
            app,
            File::Platform,
            &line(Timestamp::now(), "app", process, text),
        );
    }

    /// `heroku[run.1234]: Process exited with status 0`
    pub(crate) fn run_state(&self, app: i64, process: &str, text: &str) {
        let line = line(Timestamp::now(), "heroku", process, text);
        self.append(app, File::Runs, &line);
    }

    /// `app[run.1234]: what it prints`
    pub(crate) fn run_output(&self, app: i64, process: &str, text: &str) {
        let line = line(Timestamp::now(), "app", process, text);
        self.append(app, File::Runs, &line);
    }

    /// Whole lines. A log that cannot be written must not stop what it tells of.
    pub(crate) fn append(&self, app: i64, file: File, lines: &str) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = self.of_app(app);
        if let Err(error) = append(&dir, file, lines.as_bytes()) {
            tracing::warn!(%error, dir = %dir.display(), "cannot write an app's log");
        }
    }

    /// Removes the logs of instances that ended long ago. `live` are those that have not ended.
    pub(crate) fn prune(&self, app: i64, live: &BTreeSet<Serial>) {
        let dir = self.of_app(app);
        let files = fs::read_dir(&dir).into_iter().flatten().flatten();
        let mut ended: BTreeMap<Serial, Vec<PathBuf>> = BTreeMap::new();
        for file in files.map(|file| file.path()) {
            if let Some((serial, _)) =
                instance_of(&file).filter(|(serial, _)| !live.contains(serial))
            {
                ended.entry(serial).or_default().push(file);
            }
        }
        for file in ended.into_values().rev().skip(ENDED_KEPT).flatten() {
            _ = fs::remove_file(file);
        }
    }

    pub(crate) fn remove(&self, app: i64) {
        _ = fs::remove_dir_all(self.of_app(app));
    }

    /// Of apps that were destroyed when the platform was killed.
    pub(crate) fn remove_all_but(&self, apps: &BTreeSet<i64>) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let app = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            if app.is_some_and(|app| !apps.contains(&app)) {
                _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    fn of_app(&self, app: i64) -> PathBuf {
        self.dir.join(app.to_string())
    }
}

impl LogLine {
    fn parse(line: &[u8]) -> Option<Self> {
        let line = String::from_utf8_lossy(line);
        let (at, rest) = line.split_at_checked(TIME_BYTES)?;
        let (label, text) = rest.strip_prefix(' ')?.split_once(": ")?;
        let (source, process) = label.strip_suffix(']')?.split_once('[')?;
        at.ends_with("+00:00").then(|| Self {
            at: at.to_owned(),
            source: source.to_owned(),
            process: process.to_owned(),
            text: text.to_owned(),
        })
    }
}

/// With its line feed. Control characters could make one line look like two.
pub(crate) fn line(at: Timestamp, source: &str, process: &str, text: &str) -> String {
    let at = at.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00");
    let mut line = format!("{at} {source}[{process}]: ");
    let from = line.len();
    line.extend(text.chars().map(|c| {
        if c.is_control() && c != '\t' && c != '\x1b' {
            ' '
        } else {
            c
        }
    }));
    let end = line.floor_char_boundary(from + LINE_BYTES_MAX);
    line.truncate(end);
    line.push('\n');
    line
}

fn append(dir: &Path, file: File, lines: &[u8]) -> std::io::Result<()> {
    let path = dir.join(file.name());
    let open = || fs::OpenOptions::new().append(true).create(true).open(&path);
    let mut opened = match open() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            fs::create_dir_all(dir)?;
            open()?
        }
        result => result?,
    };
    if opened.metadata()?.len() + lines.len() as u64 > FILE_BYTES_MAX / 2 {
        fs::rename(&path, dir.join(format!("{}.1", file.name())))?;
        opened = open()?;
    }
    opened.write_all(lines)
}

impl File {
    fn name(self) -> &'static str {
        match self {
            Self::Router => "router.log",
            Self::Platform => "platform.log",
            Self::Runs => "runs.log",
        }
    }
}

fn instance_name(serial: Serial, release: ReleaseNumber) -> String {
    format!("{serial}.{release}.log")
}

/// Of `12.v3.log` and `12.v3.log.1`.
fn instance_of(path: &Path) -> Option<(Serial, ReleaseNumber)> {
    let name = path.file_name()?.to_str()?;
    let (serial, release) = name.split_once(".log")?.0.split_once('.')?;
    Some((serial.parse().ok()?, release.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_line_is_read_back_as_it_is_written() {
        let written = line(at(1), "app", "web.1", "a: b [c]\nd\x07");
        assert_eq!(
            written,
            "1970-01-01T00:00:01.000000+00:00 app[web.1]: a: b [c] d \n"
        );
        let read = LogLine::parse(written.trim_end_matches('\n').as_bytes()).unwrap();
        assert_eq!(
            (
                read.source.as_str(),
                read.process.as_str(),
                read.text.as_str()
            ),
            ("app", "web.1", "a: b [c] d ")
        );
        let long = line(at(1), "app", "api", &"é".repeat(10_000));
        assert!(long.len() < 10_100 && long.ends_with("é\n"));
        for wrong in [
            "",
            "x",
            "1970-01-01T00:00:01.000000+00:00",
            "1970-01-01T00:00:01.000000+00:00 app: x",
            "ééééééééééééééééééé app[a]: x",
        ] {
            assert!(LogLine::parse(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::new(dir.path().to_owned());
        let big = line(at(1), "app", "api", &"x".repeat(9_000));
        for _ in 0..1000 {
            logs.append(7, File::Router, &big);
        }
        let size = || -> u64 {
            fs::read_dir(dir.path().join("7"))
                .unwrap()
                .map(|file| file.unwrap().metadata().unwrap().len())
                .sum()
        };
        assert!(
            size() <= FILE_BYTES_MAX && size() > FILE_BYTES_MAX / 2,
            "{}",
            size()
        );
        for serial in 0..30 {
            let release = "v2".parse().unwrap();
            fs::write(logs.instance_file(7, serial, release).unwrap(), "").unwrap();
        }
        logs.prune(7, &BTreeSet::from([0, 3]));
        let kept: BTreeSet<Serial> = fs::read_dir(dir.path().join("7"))
            .unwrap()
            .filter_map(|file| instance_of(&file.unwrap().path()))
            .map(|(serial, _)| serial)
            .collect();
        assert_eq!(kept, [0, 3].into_iter().chain(20..30).collect());
        logs.remove_all_but(&BTreeSet::from([8]));
        assert!(!dir.path().join("7").exists());
    }
}
