//! The end of an app's log: the last lines of each file, merged by their times. Files are read from behind, and no more
//! of them than is wanted.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use super::{LogFilter, LogLine, Logs, instance_name};
use crate::{ReleaseNumber, plan::Serial};

const BLOCK_BYTES: u64 = 64 * 1024;

impl Logs {
    /// The last `lines` lines that pass, oldest first.
    pub(crate) fn tail(&self, app: i64, lines: usize, filter: &LogFilter) -> Vec<LogLine> {
        let files = fs::read_dir(self.of_app(app))
            .into_iter()
            .flatten()
            .flatten();
        let mut merged: Vec<LogLine> = Vec::new();
        for file in files.filter(|file| filter.takes_file(&file.path())) {
            // One that has just been removed has nothing to say.
            let of_file = last_lines(&file.path(), lines, |line| {
                LogLine::parse(line).filter(|line| filter.takes(line))
            });
            merged.extend(of_file.unwrap_or_default());
            // Not more than two files' worth at a time.
            keep_last(&mut merged, lines);
        }
        merged
    }

    /// What an instance said last, without times.
    pub(crate) fn last_words(
        &self,
        app: i64,
        serial: Serial,
        release: ReleaseNumber,
        lines: usize,
    ) -> Vec<String> {
        let file = self.of_app(app).join(instance_name(serial, release));
        let text = |line: &[u8]| LogLine::parse(line).map(|line| line.text);
        last_lines(&file, lines, text).unwrap_or_default()
    }
}

/// Times of one form sort as text. The sort is stable: lines of one file keep their order.
fn keep_last(lines: &mut Vec<LogLine>, most: usize) {
    lines.sort_by(|a, b| a.at.cmp(&b.at));
    let surplus = lines.len().saturating_sub(most);
    lines.drain(..surplus);
}

/// The last `most` lines of which `take` makes something, oldest first. A line without an end is still being written.
fn last_lines<T>(
    file: &Path,
    most: usize,
    take: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<Vec<T>> {
    let mut file = File::open(file)?;
    let mut from = file.seek(SeekFrom::End(0))?;
    let mut taken = Vec::new();
    // The beginning of a line whose end lies in the block behind; at first, what has no end.
    let mut open = Vec::new();
    let mut whole = false;
    while from > 0 && taken.len() < most {
        let length = from.min(BLOCK_BYTES);
        from -= length;
        file.seek(SeekFrom::Start(from))?;
        let mut block = Vec::new();
        (&file).take(length).read_to_end(&mut block)?;
        block.append(&mut open);
        let mut rest = block.as_slice();
        while let Some(at) = rest.iter().rposition(|byte| *byte == b'\n') {
            if whole && taken.len() < most {
                taken.extend(take(&rest[at + 1..]));
            }
            whole = true;
            rest = &rest[..at];
        }
        open = rest.to_vec();
    }
    if from == 0 && whole && taken.len() < most {
        taken.extend(take(&open));
    }
    taken.reverse();
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::logs::{self, LogSource, line};

    #[test]
    fn last_lines_of_a_file_of_any_size() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        let check = |content: &[u8], most: usize, expected: &[&str]| {
            fs::write(&file, content).unwrap();
            let lines = last_lines(&file, most, |line| {
                Some(String::from_utf8_lossy(line).into_owned())
            })
            .unwrap();
            assert_eq!(lines, expected);
        };
        check(b"", 3, &[]);
        check(b"unfinished", 3, &[]);
        check(b"a\n", 3, &["a"]);
        check(b"a\nb\nc\nd\n", 2, &["c", "d"]);
        check(b"a\nb\nunfinished", 2, &["a", "b"]);
        check(b"\n\n", 3, &["", ""]);
        for length in [65_534, 65_535, 65_536, 65_537, 200_000] {
            let long = "x".repeat(length);
            check(format!("a\n{long}\nb\n").as_bytes(), 3, &["a", &long, "b"]);
            check(format!("{long}\nb\n").as_bytes(), 1, &["b"]);
        }
    }

    #[test]
    fn files_are_merged_by_time_and_filtered() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::new(dir.path().to_owned());
        let at = |second| Timestamp::from_second(second).unwrap();
        let web = |second, text: &str| line(at(second), "app", "web.1", text);
        let release: ReleaseNumber = "v2".parse().unwrap();
        let file = |serial| logs.instance_file(1, serial, release).unwrap();
        fs::write(file(5), web(3, "c") + &web(3, "d") + &web(9, "f")).unwrap();
        fs::write(file(5).with_extension("log.1"), web(1, "a")).unwrap();
        logs.append(1, logs::File::Router, &line(at(2), "heroku", "router", "b"));
        logs.append(1, logs::File::Platform, &line(at(4), "app", "api", "e"));
        let check = |lines, filter: LogFilter, expected: &str| {
            let text: String = logs
                .tail(1, lines, &filter)
                .into_iter()
                .map(|line| line.text)
                .collect();
            assert_eq!(text, expected, "{filter:?}");
        };
        let all = LogFilter::default;
        let process = |process: &str| LogFilter {
            process: Some(process.to_owned()),
            ..all()
        };
        let source = |source| LogFilter {
            source: Some(source),
            ..all()
        };
        let release = |number: &str| LogFilter {
            release: Some(number.parse().unwrap()),
            ..all()
        };
        check(100, all(), "abcdef");
        check(3, all(), "def");
        check(0, all(), "");
        check(100, process("web"), "acdf");
        check(100, process("web.1"), "acdf");
        check(100, process("web.2"), "");
        check(100, source(LogSource::App), "acdef");
        check(100, source(LogSource::Platform), "b");
        check(100, source(LogSource::Slipway), "");
        check(100, source(LogSource::Router), "b");
        check(100, release("v2"), "acdf");
        check(100, release("v3"), "");
        let number = "v2".parse().unwrap();
        assert_eq!(logs.last_words(1, 5, number, 2), ["d", "f"]);
        assert!(logs.tail(2, 10, &all()).is_empty());
    }
}
