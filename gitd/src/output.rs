//! What is printed, and how: markers of the push output, columns, times. Plain text; the same on a terminal and in a pipe.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::Timestamp;
use release::ProcessType;
use unicode_width::UnicodeWidthStr as _;

/// Of a change under way that nobody has read yet; later ones are not told.
pub(crate) const EVENTS_MAX: usize = 64;

/// `----->` a step of a push.
pub(crate) fn step(text: &str) -> String {
    format!("-----> {text}")
}

/// Seven spaces: under the step.
pub(crate) fn detail(text: &str) -> String {
    format!("       {text}")
}

/// `=====>` a result.
pub(crate) fn result(text: &str) -> String {
    format!("=====> {text}")
}

/// ` !     ` what went wrong.
pub(crate) fn error(text: &str) -> String {
    format!(" !     {text}")
}

/// `0.4s`, `12.3s`, `2m 05s`.
pub(crate) fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1}s", time.as_secs_f64())
    } else {
        format!("{}m {:02}s", seconds / 60, seconds % 60)
    }
}

/// Seconds since the epoch as RFC 3339 in UTC.
pub(crate) fn timestamp(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| "?".to_owned(), |at| at.to_string())
}

/// Seconds since the epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs())
}

/// `3m ago`, as Heroku writes it.
pub(crate) fn ago(seconds: u64) -> String {
    let past = now().saturating_sub(seconds);
    match past {
        0..60 => format!("{past}s ago"),
        60..3600 => format!("{}m ago", past / 60),
        3600..86_400 => format!("{}h ago", past / 3600),
        _ => format!("{}d ago", past / 86_400),
    }
}

/// `web=2 worker=1`, which `ps:scale` takes back.
pub(crate) fn formation(formation: &BTreeMap<ProcessType, u32>) -> String {
    let parts: Vec<String> = formation
        .iter()
        .map(|(kind, quantity)| format!("{kind}={quantity}"))
        .collect();
    parts.join(" ")
}

/// `web` of `web.1`.
pub(crate) fn process_type(instance: &str) -> &str {
    instance.rsplit_once('.').map_or(instance, |(kind, _)| kind)
}

/// Rows with columns that are aligned on a terminal, two spaces between them; the last is not padded.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let padding = width - cell.width() + 2;
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', padding));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A value as a shell reads it back.
pub(crate) fn shell_quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_leave_no_trailing_space() {
        let rows = [
            vec!["a:".into(), "1".into()],
            vec!["long:".into(), String::new()],
            vec!["é:".into(), "2".into()],
        ];
        assert_eq!(columns(&rows), "a:     1\nlong:\né:     2\n");
    }

    #[test]
    fn columns_align_by_what_a_terminal_shows() {
        let aligned = |cells: &[&str]| {
            let rows: Vec<_> = (cells.iter())
                .map(|cell| vec![(*cell).to_owned(), "|".to_owned()])
                .collect();
            columns(&rows)
        };
        // Two columns each, two for one sign of several characters, and none for what goes on top of another.
        assert_eq!(
            aligned(&["店を開く", "👩‍🚀 🇩🇪", "e\u{301}te\u{301}", "12345678"]),
            "店を開く  |\n👩‍🚀 🇩🇪     |\ne\u{301}te\u{301}       |\n12345678  |\n"
        );
    }

    #[test]
    fn elapsed_times_read_well() {
        let check = |ms, text| assert_eq!(elapsed(Duration::from_millis(ms)), text);
        check(0, "0.0s");
        check(432, "0.4s");
        check(59_900, "59.9s");
        check(125_000, "2m 05s");
    }

    #[test]
    fn quoting_survives_a_shell() {
        assert_eq!(shell_quoted("it's $HOME"), r"'it'\''s $HOME'");
    }
}
