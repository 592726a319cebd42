//! The log of a detached sandbox: what its processes print becomes dated lines in a file that cannot outgrow its bounds.

use std::{
    fs::File,
    io::Write as _,
    mem,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::fs::{CWD, Mode, OFlags, openat, renameat};

use crate::{
    sandbox::Lifetime,
    zygote::{Failed, Step},
};

/// Heroku splits longer lines.
const LINE_BYTES_MAX: usize = 10_000;
const READ_BYTES: usize = 16 * 1024;
/// A line without its newline (a prompt, a progress dot) is written after this long.
const PARTIAL_AFTER: Duration = Duration::from_millis(500);
const OUT_BYTES: usize = 16 * 1024;
/// The most that is read at once, so that signals are noticed under a flood.
const READS_IN_A_ROW: usize = 16;

pub(crate) struct LogPump {
    directory: OwnedFd,
    name: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
    label: String,
    source: Option<OwnedFd>,
    partial: Vec<u8>,
    partial_since: Option<Instant>,
    /// Finished lines, to be written together.
    out: Vec<u8>,
    out_lines: u64,
    /// Lines that could not be written, for example because the disk was full.
    lost: u64,
}

impl LogPump {
    /// The directory is opened now, before the sandbox's world hides it. `None` for a bound sandbox.
    pub(crate) fn open(lifetime: &Lifetime) -> Result<Option<Self>, Failed> {
        let Lifetime::Detached {
            log,
            log_bytes_max,
            label,
            ..
        } = lifetime
        else {
            return Ok(None);
        };
        let step = || format!("open the log {}", log.display());
        let directory = log.parent().unwrap_or(Path::new("/"));
        let directory = openat(
            CWD,
            directory,
            OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .step(step)?;
        let name = PathBuf::from(log.file_name().unwrap_or_default());
        let file = append(&directory, &name).step(step)?;
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        Ok(Some(Self {
            directory,
            name,
            file,
            bytes,
            bytes_max: *log_bytes_max,
            label: label.clone(),
            source: None,
            partial: Vec::new(),
            partial_since: None,
            out: Vec::new(),
            out_lines: 0,
            lost: 0,
        }))
    }

    pub(crate) fn read_from(&mut self, source: OwnedFd) -> Result<(), Failed> {
        rustix::io::ioctl_fionbio(&source, true).step(|| "prepare the log".to_owned())?;
        self.source = Some(source);
        Ok(())
    }

    pub(crate) fn source(&self) -> Option<BorrowedFd<'_>> {
        self.source.as_ref().map(|source| source.as_fd())
    }

    pub(crate) fn flush_after(&self) -> Option<Duration> {
        self.partial_since
            .map(|since| PARTIAL_AFTER.saturating_sub(since.elapsed()))
    }

    /// Takes what there is.
    pub(crate) fn pump(&mut self) {
        let mut buffer = [0; READ_BYTES];
        for _ in 0..READS_IN_A_ROW {
            let Some(source) = &self.source else { break };
            match rustix::io::read(source, &mut buffer) {
                Ok(0) => {
                    self.source = None;
                    break;
                }
                Ok(length) => self.take(&buffer[..length]),
                Err(_) => break,
            }
        }
        if self
            .partial_since
            .is_some_and(|since| since.elapsed() >= PARTIAL_AFTER)
        {
            self.end_line();
            self.write_out();
        }
    }

    /// The last words of a process that has ended.
    pub(crate) fn drain(&mut self) {
        let mut before = None;
        // Bounded: what stands in the pipe when the main process has ended, and no more than a pipe holds.
        for _ in 0..READS_IN_A_ROW {
            self.pump();
            if before == Some(self.bytes) {
                break;
            }
            before = Some(self.bytes);
        }
        if !self.partial.is_empty() {
            self.end_line();
        }
        self.write_out();
    }

    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (mut text, ended) = piece
                .strip_suffix(b"\n")
                .map_or((piece, false), |text| (text, true));
            while self.partial.len() + text.len() > LINE_BYTES_MAX {
                let (head, tail) = text.split_at(LINE_BYTES_MAX - self.partial.len());
                self.partial.extend_from_slice(head);
                self.split_line();
                text = tail;
            }
            self.partial.extend_from_slice(text);
            if ended {
                self.end_line();
            }
        }
        self.write_out();
        if self.partial.is_empty() {
            self.partial_since = None;
        } else {
            self.partial_since.get_or_insert_with(Instant::now);
        }
    }

    /// Not within a character.
    fn split_line(&mut self) {
        let rest = self.partial.split_off(whole_chars(&self.partial));
        self.end_line();
        self.partial = rest;
    }

    fn end_line(&mut self) {
        let text = printable(&self.partial);
        self.partial.clear();
        self.partial_since = None;
        self.add(&text);
    }

    fn add(&mut self, text: &str) {
        _ = writeln!(self.out, "{} {}: {text}", now(), self.label);
        self.out_lines += 1;
        if self.out.len() >= OUT_BYTES {
            self.write_out();
        }
    }

    /// Many lines at once; all or nothing, so that no line is cut where the disk was full.
    fn write_out(&mut self) {
        if self.out.is_empty() {
            return;
        }
        if self.bytes > 0 && self.bytes + self.out.len() as u64 > self.bytes_max {
            self.rotate();
        }
        if self.lost > 0 && self.write(lost_line(self.lost, &self.label).as_bytes()) {
            self.lost = 0;
        }
        let out = mem::take(&mut self.out);
        if !self.write(&out) {
            self.lost += self.out_lines;
        }
        self.out = out;
        self.out.clear();
        self.out_lines = 0;
    }

    fn write(&mut self, lines: &[u8]) -> bool {
        let written = self.file.write_all(lines).is_ok();
        if written {
            self.bytes += lines.len() as u64;
        } else {
            _ = self.file.set_len(self.bytes);
        }
        written
    }

    /// `<name>` becomes `<name>.1`, whose old content goes. Where that is not possible the log begins again: it must not
    /// outgrow its bounds.
    fn rotate(&mut self) {
        let mut old = self.name.clone().into_os_string();
        old.push(".1");
        let renamed = renameat(&self.directory, &self.name, &self.directory, &old);
        let opened = renamed.and_then(|()| append(&self.directory, &self.name));
        match opened {
            Ok(file) => self.file = file,
            Err(_) => _ = self.file.set_len(0),
        }
        self.bytes = 0;
    }
}

fn lost_line(lost: u64, label: &str) -> String {
    format!(
        "{} {label}: {lost} lines were lost: the log could not be written\n",
        now()
    )
}

/// How many bytes of `text` are whole characters, or broken beyond repair: at its end one may have been cut.
fn whole_chars(text: &[u8]) -> usize {
    const CHAR_BYTES_MAX: usize = 4;
    let cut = text.len().saturating_sub(CHAR_BYTES_MAX - 1);
    let start = (cut..text.len()).rev().find(|at| text[*at] & 0xc0 != 0x80);
    let Some(start) = start.filter(|start| *start > 0) else {
        return text.len();
    };
    match str::from_utf8(&text[start..]) {
        // `None`: more bytes could make it whole.
        Err(error) if error.error_len().is_none() => start,
        _ => text.len(),
    }
}

fn append(directory: &OwnedFd, name: &Path) -> rustix::io::Result<File> {
    let flags =
        OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat(directory, name, flags, Mode::from_raw_mode(0o640)).map(File::from)
}

/// Text without control characters, but with tabs and the colours of a terminal (SGR sequences).
fn printable(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end_matches('\r');
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\t') {
        text.push_str(&rest[..at]);
        let tail = &rest[at..];
        let colour = tail.strip_prefix("\x1b[").and_then(|t| {
            let end = t.find(|c: char| !c.is_ascii_digit() && c != ';')?;
            t[end..].starts_with('m').then_some(end + 3)
        });
        let skip = colour.unwrap_or_else(|| tail.chars().next().map_or(1, char::len_utf8));
        if colour.is_some() {
            text.push_str(&tail[..skip]);
        }
        rest = &tail[skip..];
    }
    text.push_str(rest);
    text
}

/// `2026-01-02T03:04:05.678901+00:00`
fn now() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = i64::try_from(now.as_secs()).unwrap_or(0);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}+00:00",
        now.subsec_micros()
    )
}

/// Days since 1970-01-01 to a date of the Gregorian calendar. By hand, because an init should stay as small as it is.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years are counted from March 1 of year 0, so that the leap day ends a year; an era is 400 years.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pump(dir: &Path) -> LogPump {
        let lifetime = Lifetime::Detached {
            log: dir.join("log"),
            log_bytes_max: 1 << 20,
            label: "app[web.1]".to_owned(),
            exit_record: dir.join("exit.json"),
        };
        LogPump::open(&lifetime).unwrap().unwrap()
    }

    #[test]
    fn lines_that_could_not_be_written_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut pump = pump(dir.path());
        pump.take(b"one\n");
        let file = std::mem::replace(&mut pump.file, File::open(dir.path().join("log")).unwrap());
        pump.take(b"two\nthree\n");
        pump.file = file;
        pump.take(b"four\n");
        let text = std::fs::read_to_string(dir.path().join("log")).unwrap();
        let texts: Vec<&str> = text
            .lines()
            .map(|line| line.split_once("]: ").unwrap().1)
            .collect();
        let lost = "2 lines were lost: the log could not be written";
        assert_eq!(texts, ["one", lost, "four"]);
    }

    #[test]
    fn a_log_that_cannot_be_rotated_begins_again() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("log.1/full")).unwrap();
        let mut pump = pump(dir.path());
        pump.bytes_max = 100;
        for _ in 0..10 {
            pump.take(b"forty bytes of text, to fill it up, now\n");
        }
        assert!(std::fs::metadata(dir.path().join("log")).unwrap().len() <= 100);
    }

    #[test]
    fn a_long_line_is_not_split_within_a_character() {
        let check = |text: &[u8], whole| assert_eq!(whole_chars(text), whole, "{text:?}");
        check(b"abc", 3);
        check("aé".as_bytes(), 3);
        check(&"aé".as_bytes()[..2], 1);
        check(&"a\u{1f6a2}".as_bytes()[..4], 1);
        check("a\u{1f6a2}".as_bytes(), 5);
        // What is no text stays together: nothing would be won.
        check(b"a\xff", 2);
        check(b"a\x80\x80\x80\x80", 5);
        check(b"\xc3", 1);
        check(b"", 0);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let check = |days, date| assert_eq!(civil(days), date);
        check(0, (1970, 1, 1));
        check(-1, (1969, 12, 31));
        check(11_016, (2000, 2, 29));
        check(19_782, (2024, 2, 29));
        check(20_781, (2026, 11, 24));
        check(47_540, (2100, 2, 28));
        check(47_541, (2100, 3, 1));
    }

    #[test]
    fn a_line_keeps_colours_and_loses_what_moves_the_cursor() {
        let check = |line: &[u8], text: &str| assert_eq!(printable(line), text);
        check(b"plain\tline\r", "plain\tline");
        check(b"\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m");
        check(b"a\x1b[2Jb\x1b]0;title\x07c\0", "a[2Jb]0;titlec");
        check(b"\xff\xfe", "\u{fffd}\u{fffd}");
        check("\u{85}x".as_bytes(), "x");
    }
}
