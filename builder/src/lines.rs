//! A build's output: cut into lines as it comes, bounded, and its end remembered for the reason of a failure.

use std::collections::VecDeque;

/// A longer line is passed on in pieces.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Of one phase. What a build prints beyond is dropped, and that is said.
const OUTPUT_BYTES_MAX: usize = 32 * 1024 * 1024;
const LAST_LINES_MAX: usize = 20;
const LAST_LINE_CHARS_MAX: usize = 500;

#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
    seen_bytes: usize,
    last: VecDeque<String>,
}

impl Lines {
    pub(crate) fn push(&mut self, bytes: &[u8], line: &mut dyn FnMut(&[u8])) {
        let room = OUTPUT_BYTES_MAX.saturating_sub(self.seen_bytes);
        if room == 0 {
            return;
        }
        self.seen_bytes += bytes.len();
        for piece in bytes[..bytes.len().min(room)].split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.partial.len() >= LINE_BYTES_MAX {
                self.flush(line);
            }
        }
        if self.is_cut() {
            self.flush(line);
            line(
                format!(
                    "... output beyond {} MiB is not shown",
                    OUTPUT_BYTES_MAX >> 20
                )
                .as_bytes(),
            );
        }
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.seen_bytes >= OUTPUT_BYTES_MAX
    }

    /// Passes on what has no newline yet.
    pub(crate) fn flush(&mut self, line: &mut dyn FnMut(&[u8])) {
        if self.partial.is_empty() {
            return;
        }
        let mut text = std::mem::take(&mut self.partial);
        if text.last() == Some(&b'\n') {
            text.pop();
        }
        if text.last() == Some(&b'\r') {
            text.pop();
        }
        self.remember(&text);
        line(&text);
    }

    fn remember(&mut self, line: &[u8]) {
        let text = plain(&String::from_utf8_lossy(line));
        if text.trim().is_empty() {
            return;
        }
        if self.last.len() == LAST_LINES_MAX {
            self.last.pop_front();
        }
        self.last.push_back(text);
    }

    pub(crate) fn into_last(self) -> Vec<String> {
        self.last.into()
    }
}

/// Without colours and other control sequences (ECMA-48: `ESC [`, then up to a letter).
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char == '\u{1b}' {
            _ = chars.by_ref().find(|char| char.is_ascii_alphabetic());
        } else if !char.is_control() && plain.chars().count() < LAST_LINE_CHARS_MAX {
            plain.push(char);
        }
    }
    plain.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> (Vec<String>, Lines) {
        let mut shown = Vec::new();
        let mut lines = Lines::default();
        let mut sink = |line: &[u8]| shown.push(String::from_utf8_lossy(line).into_owned());
        for chunk in chunks {
            lines.push(chunk, &mut sink);
        }
        lines.flush(&mut sink);
        (shown, lines)
    }

    #[test]
    fn lines_are_whole_wherever_the_chunks_end() {
        let (shown, lines) = lines(&[b"a\nb", b"c\r\n\n", b"\x1b[31mred\x1b[0m"]);
        assert_eq!(shown, ["a", "bc", "", "\u{1b}[31mred\u{1b}[0m"]);
        assert_eq!(lines.into_last(), ["a", "bc", "red"]);
    }

    #[test]
    fn a_flood_is_cut() {
        let chunk = vec![b'x'; 1024 * 1024];
        let (shown, lines) = lines(&vec![&chunk[..]; 40]);
        let bytes: usize = shown.iter().map(String::len).sum();
        assert!(bytes < OUTPUT_BYTES_MAX + 100, "{bytes}");
        assert!(shown.iter().all(|line| line.len() <= 1024 * 1024));
        let notes = shown.iter().filter(|line| line.starts_with("... output"));
        assert_eq!(notes.count(), 1);
        assert!(
            lines
                .last
                .iter()
                .all(|line| line.len() <= LAST_LINE_CHARS_MAX)
        );
    }
}
