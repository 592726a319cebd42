//! What a deploy says: written once, read by any number of watchers, each from the start and at its own pace.
//!
//! Everything goes to the build's log, and the newest of it stays in memory. A watcher that keeps up reads from memory,
//! one that is slow from the log, so nobody's slowness costs the deploy time or us memory.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// Of one build; of what comes after, the log keeps only the end.
const KEPT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// In memory, per deploy.
const RECENT_BYTES_MAX: usize = 256 * 1024;
/// What a watcher gets at a time.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// A cheap handle.
#[derive(Debug, Clone)]
pub(crate) struct Transcript {
    path: Arc<PathBuf>,
    state: Arc<Mutex<State>>,
    grown: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    file: Option<File>,
    /// Bytes that the log has, from the first on.
    kept: u64,
    kept_max: u64,
    /// Bytes written in all.
    total: u64,
    /// The last of them.
    recent: VecDeque<u8>,
    ended: bool,
}

/// One watcher.
#[derive(Debug)]
pub(crate) struct Reader {
    transcript: Transcript,
    at: u64,
    grown: watch::Receiver<()>,
}

/// Where a watcher finds what comes next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Recent(Vec<u8>),
    /// This many bytes, from the log.
    InLog(usize),
    /// Neither in the log nor in memory.
    Missed,
    NotYet,
    End,
}

impl Transcript {
    pub(crate) fn begin(log: PathBuf) -> Self {
        let made = log
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| File::create(&log));
        if let Err(error) = &made {
            // A deploy does not fail for its log.
            tracing::error!(log = %log.display(), %error, "cannot keep the build's log");
        }
        Self {
            path: Arc::new(log),
            state: Arc::new(Mutex::new(State::new(made.ok(), KEPT_BYTES_MAX))),
            grown: watch::Sender::new(()),
        }
    }

    /// Never waits for a watcher and never fails.
    pub(crate) fn write(&self, bytes: &[u8]) {
        self.state().write(bytes);
        self.grown.send_replace(());
    }

    pub(crate) fn end(&self) {
        self.state().end();
        self.grown.send_replace(());
    }

    pub(crate) fn read(&self) -> Reader {
        Reader {
            transcript: self.clone(),
            at: 0,
            grown: self.grown.subscribe(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(file: Option<File>, kept_max: u64) -> Self {
        Self {
            file,
            kept: 0,
            kept_max,
            total: 0,
            recent: VecDeque::new(),
            ended: false,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let whole = self.kept == self.total;
        let fits = self.kept + bytes.len() as u64 <= self.kept_max;
        // A full disk costs the log, not the deploy.
        if whole && fits && self.append(bytes) {
            self.kept += bytes.len() as u64;
        }
        self.total += bytes.len() as u64;
        let newest = bytes.len().saturating_sub(RECENT_BYTES_MAX);
        self.recent.extend(&bytes[newest..]);
        let too_many = self.recent.len().saturating_sub(RECENT_BYTES_MAX);
        self.recent.drain(..too_many);
    }

    /// A log that was cut gets its end back: it says how the deploy ended.
    fn end(&mut self) {
        self.ended = true;
        if self.kept < self.total {
            let recent_from = self.recent_from();
            let missed = recent_from.saturating_sub(self.kept);
            let from = usize::try_from(self.kept.saturating_sub(recent_from)).unwrap_or(0);
            let rest: Vec<u8> = self.recent.range(from..).copied().collect();
            let gap = if missed > 0 { gap(missed) } else { Vec::new() };
            self.append(&[gap, rest].concat());
        }
        self.file = None;
    }

    fn append(&mut self, bytes: &[u8]) -> bool {
        self.file
            .as_mut()
            .is_some_and(|file| file.write_all(bytes).is_ok())
    }

    fn recent_from(&self) -> u64 {
        self.total - self.recent.len() as u64
    }

    fn next(&self, at: u64) -> Next {
        let recent_from = self.recent_from();
        if at == self.total {
            return if self.ended { Next::End } else { Next::NotYet };
        }
        if at >= recent_from {
            let from = usize::try_from(at - recent_from).unwrap_or(0);
            let to = self.recent.len().min(from + PIECE_BYTES_MAX);
            return Next::Recent(self.recent.range(from..to).copied().collect());
        }
        match self.kept.saturating_sub(at) {
            0 => Next::Missed,
            left => Next::InLog(
                usize::try_from(left).map_or(PIECE_BYTES_MAX, |left| left.min(PIECE_BYTES_MAX)),
            ),
        }
    }
}

impl Reader {
    /// What comes next, from the start on; `None` when the deploy has ended and all was read.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            self.grown.borrow_and_update();
            let next = self.transcript.state().next(self.at);
            match next {
                Next::End => return None,
                // The sender is as alive as the transcript that is read.
                Next::NotYet => _ = self.grown.changed().await,
                Next::Recent(bytes) => return Some(self.past(bytes)),
                Next::InLog(length) => match self.read_log(length).await {
                    Ok(bytes) if !bytes.is_empty() => return Some(self.past(bytes)),
                    _ => return Some(self.skip()),
                },
                Next::Missed => return Some(self.skip()),
            }
        }
    }

    fn past(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        self.at += bytes.len() as u64;
        bytes
    }

    /// On to what is in memory.
    fn skip(&mut self) -> Vec<u8> {
        let from = self.transcript.state().recent_from();
        let missed = from.saturating_sub(self.at);
        self.at = self.at.max(from);
        gap(missed)
    }

    async fn read_log(&self, length: usize) -> io::Result<Vec<u8>> {
        let (path, at) = (Arc::clone(&self.transcript.path), self.at);
        let read = move || {
            let mut piece = vec![0; length];
            let read = File::open(&*path)?.read_at(&mut piece, at)?;
            piece.truncate(read);
            Ok(piece)
        };
        tokio::task::spawn_blocking(read).await?
    }
}

fn gap(bytes: u64) -> Vec<u8> {
    format!("\n... {bytes} bytes of output are not kept\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript(dir: &tempfile::TempDir, kept_max: u64) -> Transcript {
        let transcript = Transcript::begin(dir.path().join("builds/1.log"));
        transcript.state().kept_max = kept_max;
        transcript
    }

    async fn all(mut reader: Reader) -> Vec<u8> {
        let mut seen = Vec::new();
        while let Some(piece) = reader.next().await {
            assert!(piece.len() <= PIECE_BYTES_MAX);
            seen.extend(piece);
        }
        seen
    }

    #[tokio::test]
    async fn every_watcher_reads_all_of_it_early_and_late() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let transcript = transcript(&dir, u64::MAX);
        let early = tokio::spawn(all(transcript.read()));
        let mut slow = transcript.read();
        transcript.write(b"first\n");
        assert_eq!(slow.next().await.expect("more"), b"first\n");
        let line = [[b'x'; 99].as_slice(), b"\n"].concat();
        let mut expected = b"first\n".to_vec();
        for _ in 0..20_000 {
            transcript.write(&line);
            expected.extend(&line);
            tokio::task::consume_budget().await;
        }
        let late = transcript.read();
        transcript.end();
        assert!(early.await.expect("reads") == expected);
        assert!(all(late).await == expected);
        assert!(
            all(slow).await == expected[6..],
            "read behind what is in memory"
        );
        assert!(fs::read(dir.path().join("builds/1.log")).expect("log") == expected);
        assert_eq!(
            transcript.read().next().await.expect("more").len(),
            PIECE_BYTES_MAX
        );
    }

    #[tokio::test]
    async fn beyond_its_limit_the_log_keeps_the_end_and_watchers_are_told() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let transcript = transcript(&dir, 1000);
        let behind = transcript.read();
        for n in 0..100_000 {
            transcript.write(format!("{n:09}\n").as_bytes());
        }
        assert_eq!(transcript.state().recent.len(), RECENT_BYTES_MAX);
        transcript.write(b"how it ended\n");
        transcript.end();
        for seen in [
            all(behind).await,
            fs::read(dir.path().join("builds/1.log")).expect("log"),
        ] {
            let seen = String::from_utf8(seen).expect("text");
            assert!(seen.starts_with("000000000\n000000001\n"));
            let missed = 1_000_013 - 1000 - RECENT_BYTES_MAX;
            assert!(seen.contains(&format!("\n... {missed} bytes of output are not kept\n")));
            assert!(seen.ends_with("000099999\nhow it ended\n"));
            assert!(seen.len() < RECENT_BYTES_MAX + 1100);
        }
    }

    #[tokio::test]
    async fn without_a_log_those_who_keep_up_miss_nothing() {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::write(dir.path().join("builds"), "in the way").expect("writes");
        let transcript = transcript(&dir, u64::MAX);
        transcript.write(b"one\n");
        let mut reader = transcript.read();
        assert_eq!(reader.next().await.expect("more"), b"one\n");
        transcript.write(&vec![b'x'; RECENT_BYTES_MAX]);
        transcript.end();
        let rest = String::from_utf8(all(reader).await).expect("text");
        assert_eq!(rest.trim_end_matches('x').len(), 0);
        let late = String::from_utf8(all(transcript.read()).await).expect("text");
        assert!(
            late.starts_with("\n... 4 bytes of output are not kept\n"),
            "{}",
            &late[..50]
        );
    }
}
