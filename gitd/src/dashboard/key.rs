//! Bytes of a terminal to keys. A sequence may come in pieces; an escape that nothing follows is the key.

const ESCAPE: u8 = 0x1b;
/// Longer ones are of no key that we know.
const SEQUENCE_MAX: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Tab,
    BackTab,
    Escape,
    Interrupt,
    Char(char),
}

/// What came of a sequence so far.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<u8>);

impl Keys {
    pub(super) fn read(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut keys = Vec::new();
        for &byte in bytes {
            self.take(byte, &mut keys);
        }
        if self.0 == [ESCAPE] {
            self.0.clear();
            keys.push(Key::Escape);
        }
        keys
    }

    fn take(&mut self, byte: u8, keys: &mut Vec<Key>) {
        if self.0.is_empty() {
            match byte {
                ESCAPE => self.0.push(byte),
                _ => keys.extend(plain(byte)),
            }
            return;
        }
        if byte == ESCAPE {
            // The one before was a key of its own.
            self.0.clear();
            keys.push(Key::Escape);
        }
        self.0.push(byte);
        let is_begin = self.0.len() == 2 && matches!(byte, b'[' | b'O');
        let is_end = self.0.len() > 1 && !is_begin && matches!(byte, 0x40..=0x7e);
        if is_end || self.0.len() > SEQUENCE_MAX {
            keys.extend(sequence(&self.0[1..]));
            self.0.clear();
        }
    }
}

fn plain(byte: u8) -> Option<Key> {
    Some(match byte {
        0x03 | 0x04 => Key::Interrupt,
        b'\r' | b'\n' => Key::Enter,
        b'\t' => Key::Tab,
        0x20..=0x7e => Key::Char(char::from(byte)),
        _ => return None,
    })
}

/// Behind the escape: as xterm and the like send them, with and without application mode.
fn sequence(bytes: &[u8]) -> Option<Key> {
    Some(match bytes {
        b"[A" | b"OA" => Key::Up,
        b"[B" | b"OB" => Key::Down,
        b"[C" | b"OC" => Key::Right,
        b"[D" | b"OD" => Key::Left,
        b"[5~" => Key::PageUp,
        b"[6~" => Key::PageDown,
        b"[H" | b"OH" | b"[1~" | b"[7~" => Key::Home,
        b"[F" | b"OF" | b"[4~" | b"[8~" => Key::End,
        b"[Z" => Key::BackTab,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_keys() {
        let check = |bytes: &[u8], expected: &[Key]| {
            assert_eq!(Keys::default().read(bytes), expected, "{bytes:?}");
        };
        check(b"jq", &[Key::Char('j'), Key::Char('q')]);
        check(b"\x1b[A\x1bOB", &[Key::Up, Key::Down]);
        check(
            b"\r\t\x1b[Z\x03",
            &[Key::Enter, Key::Tab, Key::BackTab, Key::Interrupt],
        );
        check(b"\x1b", &[Key::Escape]);
        check(b"\x1b\x1b[5~", &[Key::Escape, Key::PageUp]);
        // Unknown ones are nothing, and do not become letters.
        check(b"\x1b[200~\x1b[1;5Dx", &[Key::Char('x')]);
        check(b"\x1bqj", &[Key::Char('j')]);
        check("ä\u{0}".as_bytes(), &[]);
    }

    #[test]
    fn a_sequence_may_come_in_pieces_and_has_an_end() {
        let mut keys = Keys::default();
        assert_eq!(keys.read(b"\x1b["), []);
        assert_eq!(keys.read(b"B"), [Key::Down]);
        assert_eq!(keys.read(b"\x1b[1;1;1;1;1"), []);
        assert_eq!(keys.read(b";1;1;1;1;1;1;1j").last(), Some(&Key::Char('j')));
    }
}
