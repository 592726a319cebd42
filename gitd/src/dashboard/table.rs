//! Lines of columns, on a buffer.

use ratatui_core::{buffer::Buffer, layout::Rect, style::Style};
use unicode_width::UnicodeWidthStr as _;

use super::looks::Looks;

const GAP: u16 = 2;

#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Of what remains when it is [`REST`].
    pub(super) width: u16,
    pub(super) is_number: bool,
}

pub(super) const REST: u16 = u16::MAX;

pub(super) struct Cell {
    pub(super) text: String,
    pub(super) style: Style,
}

pub(super) const fn words(title: &'static str, width: u16) -> Column {
    Column {
        title,
        width,
        is_number: false,
    }
}

pub(super) const fn number(title: &'static str, width: u16) -> Column {
    Column {
        title,
        width,
        is_number: true,
    }
}

pub(super) fn cell(text: impl Into<String>, style: Style) -> Cell {
    Cell {
        text: text.into(),
        style,
    }
}

/// Titles, and below them the rows that fit. An empty table says so with `nothing`.
pub(super) fn table(
    buffer: &mut Buffer,
    area: Rect,
    columns: &[Column],
    rows: impl ExactSizeIterator<Item = Vec<Cell>>,
    nothing: &str,
    looks: &Looks,
) {
    if rows.len() == 0 {
        let line = Rect { height: 1, ..area };
        return line_of(
            buffer,
            line,
            &[REST_COLUMN],
            &[cell(nothing, looks.faint())],
        );
    }
    let titles: Vec<Cell> = (columns.iter())
        .map(|column| cell(column.title, looks.faint()))
        .collect();
    let lines = area.rows();
    let rows = std::iter::once(titles).chain(rows);
    for (line, cells) in lines.zip(rows) {
        line_of(buffer, line, columns, &cells);
    }
}

const REST_COLUMN: Column = words("", REST);

pub(super) fn line_of(buffer: &mut Buffer, line: Rect, columns: &[Column], cells: &[Cell]) {
    let (mut x, end) = (line.x, line.right());
    for (column, cell) in columns.iter().zip(cells) {
        let width = column.width.min(end.saturating_sub(x));
        if width == 0 {
            return;
        }
        let text = plain(&cell.text);
        let length = u16::try_from(text.width()).unwrap_or(u16::MAX);
        let at = match column.is_number {
            true => x + width.saturating_sub(length),
            false => x,
        };
        buffer.set_stringn(at, line.y, text, usize::from(width), cell.style);
        x = x.saturating_add(width).saturating_add(GAP);
    }
}

/// What others print, as one line without what would move the cursor or colour the rest.
pub(super) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                // A control sequence ends with a letter or the like (ECMA-48 5.4).
                while chars.next_if(|char| !('@'..='~').contains(char)).is_some() {}
                chars.next();
            }
            '\t' => shown.push(' '),
            char if char.is_control() => {}
            char => shown.push(char),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_print_stays_in_its_line() {
        let check = |text: &str, expected| assert_eq!(plain(text), expected, "{text:?}");
        check("\u{1b}[1;31mred\u{1b}[0m\tx", "red x");
        check("a\rb\u{8}\u{1b}c\u{9b}2J", "abc2J");
        check("cut \u{1b}[38;5", "cut ");
        check("größe ✓", "größe ✓");
    }

    #[test]
    fn columns_are_aligned_and_cut() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 16, 1));
        let columns = [words("", 4), number("", 5), words("", REST)];
        let cells = ["abcdef", "12", "xyz and more"].map(|text| cell(text, Style::new()));
        let line = buffer.area;
        line_of(&mut buffer, line, &columns, &cells);
        let shown: String = buffer.content().iter().map(|cell| cell.symbol()).collect();
        assert_eq!(shown, "abcd     12  xyz");
    }

    /// A wide character fills two places of the buffer, the second of which is empty; half of one is not shown.
    #[test]
    fn wide_characters_take_their_room() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 20, 1));
        let columns = [words("", 5), number("", 6), words("", REST)];
        let cells = ["店を開く", "二", "e\u{301}👩‍🚀|"].map(|text| cell(text, Style::new()));
        let line = buffer.area;
        line_of(&mut buffer, line, &columns, &cells);
        let places: Vec<&str> = buffer.content().iter().map(|cell| cell.symbol()).collect();
        assert_eq!(places[..5], ["店", " ", "を", " ", " "]);
        assert_eq!(places[7..13], [" ", " ", " ", " ", "二", " "]);
        assert_eq!(places[15..19], ["e\u{301}", "👩‍🚀", " ", "|"]);
    }
}
