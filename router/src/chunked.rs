//! Finds the end of a chunked body without decoding it (RFC 9112 section 7.1), strictly: no bare line feed, no sign,
//! no space, sizes that fit.

use crate::head::{LINE_BYTES_MAX, Refused};

/// 64 bits; what does not fit in 16 digits is an attack.
const SIZE_DIGITS_MAX: u8 = 16;
const TRAILER_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Size {
        digits: u8,
    },
    Extension {
        bytes: usize,
    },
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    /// At the start of a trailer line, or of the empty line that ends the body.
    TrailerStart,
    Trailer,
    TrailerLineFeed,
    EndLineFeed,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chunked {
    place: Place,
    /// Of the chunk at hand: what the size line said so far, then what is left of it.
    left: u64,
    trailer_bytes: usize,
}

/// How far a piece of the body reaches.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All of it belongs to the body, and more will.
    All,
    /// The body ends after so many bytes.
    Ends(usize),
}

impl Chunked {
    pub(crate) fn new() -> Self {
        Self {
            place: Place::Size { digits: 0 },
            left: 0,
            trailer_bytes: 0,
        }
    }

    pub(crate) fn reach(&mut self, bytes: &[u8]) -> Result<Reach, Refused> {
        let mut at = 0;
        while at < bytes.len() {
            if self.place == Place::Data {
                let rest = bytes.len() - at;
                let step = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                self.left -= step as u64;
                at += step;
                if self.left == 0 {
                    self.place = Place::DataReturn;
                }
                continue;
            }
            at += 1;
            if self.step(bytes[at - 1])? {
                return Ok(Reach::Ends(at));
            }
        }
        Ok(Reach::All)
    }

    /// Takes one byte that is not data; true when it was the last of the body.
    fn step(&mut self, byte: u8) -> Result<bool, Refused> {
        self.place = match (self.place, byte) {
            (Place::Size { digits }, _) if byte.is_ascii_hexdigit() && digits < SIZE_DIGITS_MAX => {
                let digit = (byte as char).to_digit(16).unwrap_or(0);
                self.left = self.left << 4 | u64::from(digit);
                Place::Size { digits: digits + 1 }
            }
            (Place::Size { digits: 1.. }, b'\r') => Place::SizeLineFeed,
            (Place::Size { digits: 1.. }, b';') => Place::Extension { bytes: 0 },
            (Place::Extension { .. }, b'\r') => Place::SizeLineFeed,
            (Place::Extension { bytes }, b'\t' | b' '..=b'~' | 0x80..)
                if bytes < LINE_BYTES_MAX =>
            {
                Place::Extension { bytes: bytes + 1 }
            }
            (Place::SizeLineFeed, b'\n') if self.left == 0 => Place::TrailerStart,
            (Place::SizeLineFeed, b'\n') => Place::Data,
            (Place::DataReturn, b'\r') => Place::DataLineFeed,
            (Place::DataLineFeed, b'\n') => Place::Size { digits: 0 },
            (Place::TrailerStart, b'\r') => Place::EndLineFeed,
            (Place::TrailerStart, b'!'..=b'~') => self.trailer()?,
            (Place::Trailer, b'\r') => Place::TrailerLineFeed,
            (Place::Trailer, b'\t' | b' '..=b'~' | 0x80..) => self.trailer()?,
            (Place::TrailerLineFeed, b'\n') => Place::TrailerStart,
            (Place::EndLineFeed, b'\n') => return Ok(true),
            _ => return Err(Refused),
        };
        Ok(false)
    }

    fn trailer(&mut self) -> Result<Place, Refused> {
        self.trailer_bytes += 1;
        (self.trailer_bytes <= TRAILER_BYTES_MAX)
            .then_some(Place::Trailer)
            .ok_or(Refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: Result<Reach, Refused>) {
        let bytes = body.as_bytes();
        assert_eq!(Chunked::new().reach(bytes), expected, "{body:?}");
        // Byte by byte it must come to the same end.
        let mut chunked = Chunked::new();
        let mut seen = Ok(Reach::All);
        for (at, byte) in bytes.iter().enumerate() {
            seen = match chunked.reach(&[*byte]) {
                Ok(Reach::All) => continue,
                Ok(Reach::Ends(_)) => Ok(Reach::Ends(at + 1)),
                Err(refused) => Err(refused),
            };
            break;
        }
        assert_eq!(seen, expected, "{body:?} byte by byte");
    }

    #[test]
    fn bodies() {
        check("0\r\n\r\n", Ok(Reach::Ends(5)));
        check("5\r\nhello\r\n0\r\n\r\nGET /", Ok(Reach::Ends(15)));
        check("A;x=\"y\"\r\n0123456789\r\n0\r\n\r\n", Ok(Reach::Ends(26)));
        check("0\r\nX-Sum: 1\r\n\r\nrest", Ok(Reach::Ends(15)));
        check("5\r\nhel", Ok(Reach::All));
        for refused in [
            "\r\n",
            "5\nhello",
            "5 \r\nhello",
            " 5\r\nhello",
            "+5\r\nhello",
            "-1\r\n",
            "0x5\r\nhello",
            "g\r\n",
            "11112222333344445\r\n",
            "5\r\nhello0\r\n",
            "5\r\nhelloX\r\n",
            "5\r\nhello\n",
            "0\r\n\n",
            "0\r\n fold\r\n",
            "0\r\nX: a\nb\r\n",
            "0;a\nb\r\n",
            "5;\0\r\nhello",
            ";x\r\n",
        ] {
            check(refused, Err(Refused));
        }
        check(
            &format!("5;{}", "x".repeat(LINE_BYTES_MAX + 1)),
            Err(Refused),
        );
        check(
            &format!("0\r\n{}", "x".repeat(TRAILER_BYTES_MAX + 1)),
            Err(Refused),
        );
    }
}
