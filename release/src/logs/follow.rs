//! New lines as they come. Files are looked at in a short interval, only while somebody follows; a file is known by its
//! inode, so that moving a full one aside neither loses nor repeats a line.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    watch,
};

use super::{LogFilter, LogLine, Logs, line};

const INTERVAL: Duration = Duration::from_millis(100);
/// Lines that wait for a slow reader.
const LINES_MAX: usize = 1024;
/// Read of one file at a time; more waits for the next turn.
const READ_BYTES_MAX: u64 = 1 << 20;

impl Logs {
    /// From now on. Ends when the receiver is dropped, or with the app.
    pub(crate) fn follow(
        &self,
        app: i64,
        filter: LogFilter,
        mut app_here: watch::Receiver<()>,
    ) -> mpsc::Receiver<LogLine> {
        let (sender, receiver) = mpsc::channel(LINES_MAX);
        let mut follower = Follower::new(self.of_app(app), filter);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = sender.closed() => return,
                    _ = app_here.changed() => return,
                    () = tokio::time::sleep(INTERVAL) => {}
                }
                let read = tokio::task::spawn_blocking(move || {
                    let lines = follower.read_new();
                    (follower, lines)
                });
                let Ok((after, lines)) = read.await else {
                    return;
                };
                follower = after;
                follower.hand_out(&sender, lines);
            }
        });
        receiver
    }
}

/// Its inode, and its name without what tells an older part apart: a new file may get the inode of one just removed.
type FileId = (u64, OsString);

struct Follower {
    dir: PathBuf,
    filter: LogFilter,
    /// Up to where each file has been read.
    offsets: HashMap<FileId, u64>,
    skipped: usize,
}

impl Follower {
    /// What is there now is not new.
    fn new(dir: PathBuf, filter: LogFilter) -> Self {
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        let ends = entries.filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some((id(&entry.path(), &metadata), metadata.len()))
        });
        Self {
            offsets: ends.collect(),
            dir,
            filter,
            skipped: 0,
        }
    }

    fn read_new(&mut self) -> Vec<LogLine> {
        let mut lines = Vec::new();
        let mut seen = HashMap::new();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if !metadata.is_file() || !self.filter.takes_file(&path) {
                continue;
            }
            let id = id(&path, &metadata);
            let from = self.offsets.get(&id).copied().unwrap_or(0);
            let mut to = from;
            if metadata.len() > from
                && let Ok(text) = read_lines(&path, metadata.ino(), from)
            {
                to += text.len() as u64;
                let parsed = text.split(|byte| *byte == b'\n').filter_map(LogLine::parse);
                lines.extend(parsed.filter(|line| self.filter.takes(line)));
            }
            seen.insert(id, to);
        }
        self.offsets = seen;
        lines.sort_by(|a, b| a.at.cmp(&b.at));
        lines
    }

    fn hand_out(&mut self, sender: &mpsc::Sender<LogLine>, lines: Vec<LogLine>) {
        for line in lines {
            if self.skipped > 0 && sender.try_send(skipped_line(self.skipped)).is_ok() {
                self.skipped = 0;
            }
            if let Err(TrySendError::Full(_)) = sender.try_send(line) {
                self.skipped += 1;
            }
        }
    }
}

fn id(path: &Path, metadata: &fs::Metadata) -> FileId {
    let path = match path.extension() {
        Some(part) if part == "1" => path.with_extension(""),
        _ => path.to_owned(),
    };
    (
        metadata.ino(),
        path.file_name().unwrap_or_default().to_owned(),
    )
}

/// Whole lines from `from` on.
fn read_lines(path: &Path, inode: u64, from: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    if file.metadata()?.ino() != inode {
        // Moved aside since the listing: it is found under its new name next time.
        return Ok(Vec::new());
    }
    file.seek(SeekFrom::Start(from))?;
    let mut text = Vec::new();
    file.take(READ_BYTES_MAX).read_to_end(&mut text)?;
    let whole = text.iter().rposition(|byte| *byte == b'\n');
    text.truncate(whole.map_or(0, |at| at + 1));
    Ok(text)
}

fn skipped_line(count: usize) -> LogLine {
    let text = format!("… {count} lines skipped");
    let written = line(Timestamp::now(), "heroku", "logplex", &text);
    LogLine::parse(written.trim_end_matches('\n').as_bytes()).unwrap_or_else(|| LogLine {
        at: String::new(),
        source: "heroku".to_owned(),
        process: "logplex".to_owned(),
        text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs;

    async fn texts(lines: &mut mpsc::Receiver<LogLine>, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.len() < count {
            let line = tokio::time::timeout(Duration::from_secs(20), lines.recv()).await;
            texts.push(line.unwrap().unwrap().text);
        }
        texts
    }

    #[tokio::test]
    async fn new_lines_come_once_and_in_order_across_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::new(dir.path().to_owned());
        logs.api(1, "before");
        let (_app, here) = watch::channel(());
        let mut lines = logs.follow(1, LogFilter::default(), here);
        logs.api(1, "first");
        assert_eq!(texts(&mut lines, 1).await, ["first"]);
        let file = dir.path().join("1/platform.log");
        fs::rename(&file, dir.path().join("1/platform.log.1")).unwrap();
        logs.api(1, "second");
        logs.state(1, "web.1", "third");
        assert_eq!(texts(&mut lines, 2).await, ["second", "third"]);
    }

    #[tokio::test]
    async fn a_follower_ends_with_the_app() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::new(dir.path().to_owned());
        let (app, here) = watch::channel(());
        let mut lines = logs.follow(1, LogFilter::default(), here);
        app.send_replace(());
        let end = tokio::time::timeout(Duration::from_secs(20), lines.recv()).await;
        assert!(end.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_what_it_missed() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::new(dir.path().to_owned());
        let (_app, here) = watch::channel(());
        let mut lines = logs.follow(1, LogFilter::default(), here);
        let many: String = (0..LINES_MAX + 10)
            .map(|n| line(Timestamp::now(), "app", "api", &n.to_string()))
            .collect();
        logs.append(1, logs::File::Platform, &many);
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while lines.len() < LINES_MAX {
            assert!(std::time::Instant::now() < deadline);
            tokio::task::yield_now().await;
        }
        texts(&mut lines, LINES_MAX).await;
        logs.api(1, "after");
        assert_eq!(texts(&mut lines, 2).await, ["… 10 lines skipped", "after"]);
    }
}
