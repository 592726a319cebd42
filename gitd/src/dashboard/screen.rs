//! A picture on a terminal: what differs from the one before, as control sequences of ECMA-48 that every terminal of the
//! last forty years knows.

use std::fmt::Write as _;

use ratatui_core::{
    buffer::{Buffer, Cell},
    layout::Position,
    style::{Color, Modifier},
};

/// The other screen, empty, without a cursor.
pub(super) const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[0m\x1b[2J";
/// The screen as it was, with a cursor.
pub(super) const LEAVE: &str = "\x1b[0m\x1b[?25h\x1b[?1049l";
const CLEAR: &str = "\x1b[0m\x1b[2J";

/// From one picture to the next. Empty when they are the same.
pub(super) fn changes(shown: &Buffer, next: &Buffer) -> String {
    if shown.area == next.area {
        return written(shown, next);
    }
    // Another window: nobody knows what has become of the old picture.
    CLEAR.to_owned() + &written(&Buffer::empty(next.area), next)
}

fn written(shown: &Buffer, next: &Buffer) -> String {
    let mut text = String::new();
    // Where the cursor stands, and how it writes, if that is known.
    let mut at: Option<Position> = None;
    let mut style = None;
    for (x, y, cell) in shown.diff(next) {
        if at != Some(Position { x, y }) {
            // Writing to a String cannot fail.
            _ = write!(text, "\x1b[{};{}H", y + 1, x + 1);
        }
        let this = (cell.fg, cell.modifier);
        if style != Some(this) {
            text.push_str(&rendition(cell));
            style = Some(this);
        }
        text.push_str(cell.symbol());
        // How far other signs move the cursor, terminals do not agree.
        at = cell.symbol().is_ascii().then_some(Position { x: x + 1, y });
    }
    text
}

fn rendition(cell: &Cell) -> String {
    let mut codes = "\x1b[0".to_owned();
    for (modifier, code) in [
        (Modifier::BOLD, ";1"),
        (Modifier::DIM, ";2"),
        (Modifier::REVERSED, ";7"),
    ] {
        if cell.modifier.contains(modifier) {
            codes.push_str(code);
        }
    }
    codes.push_str(match cell.fg {
        Color::Red => ";31",
        Color::Green => ";32",
        Color::Yellow => ";33",
        Color::Cyan => ";36",
        _ => "",
    });
    codes.push('m');
    codes
}

#[cfg(test)]
mod tests {
    use ratatui_core::{layout::Rect, style::Style};

    use super::*;

    fn picture(width: u16, lines: &[(&str, Style)]) -> Buffer {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, lines.len() as u16));
        for (y, (text, style)) in lines.iter().enumerate() {
            buffer.set_stringn(0, y as u16, text, usize::from(width), *style);
        }
        buffer
    }

    #[test]
    fn only_what_differs_is_sent() {
        let plain = Style::new();
        let one = picture(8, &[("shop up", plain), ("blog", plain)]);
        assert_eq!(changes(&one, &one), "");
        let two = picture(8, &[("shop up", plain), ("blah", plain)]);
        assert_eq!(changes(&one, &two), "\x1b[2;3H\x1b[0mah");
        let red = picture(8, &[("shop up", plain), ("blah", plain.fg(Color::Red))]);
        assert_eq!(changes(&two, &red), "\x1b[2;1H\x1b[0;31mblah");
        let wider = picture(9, &[("x", plain.add_modifier(Modifier::BOLD))]);
        assert_eq!(changes(&red, &wider), "\x1b[0m\x1b[2J\x1b[1;1H\x1b[0;1mx");
    }

    #[test]
    fn behind_a_wide_sign_the_place_is_said_again() {
        let plain = Style::new();
        let (one, two) = (picture(6, &[("", plain)]), picture(6, &[("界a", plain)]));
        assert_eq!(changes(&one, &two), "\x1b[1;1H\x1b[0m界\x1b[1;3Ha");
    }
}
