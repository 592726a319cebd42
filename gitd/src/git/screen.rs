//! What may reach the pusher's terminal: text, tabs, newlines and, if allowed, colours.
//!
//! Build output is not ours, and a terminal obeys escape sequences (CVE-2024-52005). git 2.55 and later mask them in
//! the client; older clients pass everything on.

/// Longest colour sequence (`ESC [ 38 ; 2 ; 255 ; 255 ; 255 m` and the like) that is kept.
const SGR_MAX: usize = 32;
const ESC: u8 = 0x1b;

/// Filters a stream of bytes that may break anywhere, also inside a sequence.
#[derive(Debug)]
pub(crate) struct Screen {
    colours: bool,
    state: State,
    sequence: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Text,
    /// After a carriage return: the next byte says whether it ended a line or starts it over.
    Return,
    Escape,
    /// ESC [ ... up to a final byte.
    Control,
    /// ESC ] ... and its kin: up to BEL or ESC.
    Str,
    /// 0xC2, which begins the UTF-8 form of the C1 control characters.
    C2,
}

impl Screen {
    pub(crate) fn new(colours: bool) -> Self {
        Self {
            colours,
            state: State::Text,
            sequence: Vec::new(),
        }
    }

    /// Appends what may be seen to `line`, which holds what has not been sent yet. A carriage return without a newline
    /// starts the line over, as a terminal would: progress bars become their last state.
    pub(crate) fn push(&mut self, bytes: &[u8], line: &mut Vec<u8>) {
        for &byte in bytes {
            self.byte(byte, line);
        }
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        match self.state {
            State::Text => self.text(byte, out),
            State::Return => {
                self.state = State::Text;
                if byte != b'\n' && byte != b'\r' {
                    let kept = out.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
                    out.truncate(kept);
                }
                self.text(byte, out);
            }
            State::Escape => self.escape(byte, out),
            State::Control => self.control(byte, out),
            State::Str => match byte {
                0x07 => self.state = State::Text,
                ESC => self.state = State::Escape,
                _ => {}
            },
            State::C2 => {
                self.state = State::Text;
                match byte {
                    0xa0..=0xbf => out.extend_from_slice(&[0xc2, byte]),
                    0x80..=0x9f => {}
                    // Not UTF-8: the first byte alone means nothing.
                    _ => self.text(byte, out),
                }
            }
        }
    }

    fn text(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            b'\r' => self.state = State::Return,
            ESC => self.state = State::Escape,
            0xc2 => self.state = State::C2,
            b'\n' | b'\t' | 0x20..=0x7e | 0x80.. => out.push(byte),
            _ => {}
        }
    }

    fn escape(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            b'[' => {
                self.sequence.clear();
                self.state = State::Control;
            }
            b']' | b'P' | b'X' | b'^' | b'_' => self.state = State::Str,
            // Intermediate bytes: the sequence goes on.
            0x20..=0x2f => {}
            b'\n' => {
                self.state = State::Text;
                out.push(byte);
            }
            _ => self.state = State::Text,
        }
    }

    fn control(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            b'm' => {
                self.state = State::Text;
                if self.colours && self.sequence.len() <= SGR_MAX {
                    out.extend_from_slice(b"\x1b[");
                    out.extend_from_slice(&self.sequence);
                    out.push(b'm');
                }
            }
            b'0'..=b'9' | b';' | b':' if self.sequence.len() <= SGR_MAX => self.sequence.push(byte),
            // Too long or with other parameters: no colour. The `m` that ends it must not pass as one.
            0x20..=0x3f => self.sequence.resize(SGR_MAX + 1, 0),
            b'\n' => {
                self.state = State::Text;
                out.push(byte);
            }
            _ => self.state = State::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(colours: bool, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Screen::new(colours).push(text, &mut out);
        out
    }

    #[test]
    fn text_and_colours_pass_the_rest_does_not() {
        let check = |text: &str, plain: &str, coloured: &str| {
            assert_eq!(shown(false, text.as_bytes()), plain.as_bytes(), "{text:?}");
            assert_eq!(
                shown(true, text.as_bytes()),
                coloured.as_bytes(),
                "{text:?}"
            );
        };
        check("plain\ttext ü\n", "plain\ttext ü\n", "plain\ttext ü\n");
        check("\x1b[1;31mred\x1b[0m", "red", "\x1b[1;31mred\x1b[0m");
        check("\x1b[2J\x1b[Hgone", "gone", "gone");
        check("\x1b]0;title\x07x\x1b]52;c;aGk=\x1b\\y", "xy", "xy");
        check("\x1b[?25lx\x1b[>1my", "xy", "xy");
        check("\x1bcx\x07\x08\x7f\x00y", "xy", "xy");
        check("\u{9b}31mx \u{a0}y", "31mx \u{a0}y", "31mx \u{a0}y");
        assert_eq!(
            shown(true, b"\xc2\x00\x80\xc2\x1b[m\x9bx"),
            b"\x80\x1b[m\x9bx"
        );
        check("10%\r50%\r100%\r\nnext", "100%\nnext", "100%\nnext");
    }

    proptest! {
        #[test]
        fn no_control_character_but_colours_is_ever_sent(text: Vec<u8>, cut in 0usize..64) {
            let mut whole = Vec::new();
            let mut screen = Screen::new(false);
            let cut = cut.min(text.len());
            screen.push(&text[..cut], &mut whole);
            screen.push(&text[cut..], &mut whole);
            prop_assert_eq!(&whole, &shown(false, &text));
            prop_assert!(whole.iter().all(|&b| b == b'\n' || b == b'\t' || (b >= 0x20 && b != 0x7f)));
            prop_assert!(!whole.windows(2).any(|w| w[0] == 0xc2 && (0x80..0xa0).contains(&w[1])));
        }
    }
}
