//! Where one HTTP/1.1 request ends and the next begins, on the bytes of a connection.

use crate::{
    chunked::{Chunked, Reach},
    head::{self, Follows, HEAD_BYTES_MAX, Refused},
};

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Head,
    Body(u64),
    Chunks(Chunked),
    /// After the head of an upgrade: nothing is read until the answer is known.
    Undecided,
    /// A tunnel, or HTTP/2.
    Raw,
}

/// How many of the bytes may pass, and whether a head was completed on the way.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Passage {
    pub(crate) bytes: usize,
    pub(crate) head_ended: bool,
}

impl Framing {
    /// Passes at most one request: none of its head before all of it is there and good, then its body as it comes.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Result<Passage, Refused> {
        let mut passage = Passage::default();
        if *self == Framing::Head {
            let Some(length) = head_length(bytes)? else {
                return Ok(passage);
            };
            let skipped = empty_lines(bytes);
            *self = match head::judge(&bytes[skipped..length])? {
                Follows::Length(0) => Framing::Head,
                Follows::Length(length) => Framing::Body(length),
                Follows::Chunked => Framing::Chunks(Chunked::new()),
                Follows::Upgrade => Framing::Undecided,
            };
            passage.bytes = length;
            passage.head_ended = true;
            if *self == Framing::Head {
                return Ok(passage);
            }
        }
        passage.bytes += self.pass_body(&bytes[passage.bytes..])?;
        Ok(passage)
    }

    fn pass_body(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        match self {
            Framing::Head | Framing::Undecided => Ok(0),
            Framing::Raw => Ok(bytes.len()),
            Framing::Body(left) => {
                let passed =
                    usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= passed as u64;
                if *left == 0 {
                    *self = Framing::Head;
                }
                Ok(passed)
            }
            Framing::Chunks(chunked) => match chunked.reach(bytes)? {
                Reach::All => Ok(bytes.len()),
                Reach::Ends(length) => {
                    *self = Framing::Head;
                    Ok(length)
                }
            },
        }
    }
}

/// Bytes up to and with the empty line, once it is there.
fn head_length(bytes: &[u8]) -> Result<Option<usize>, Refused> {
    let start = empty_lines(bytes);
    let end = bytes[start..]
        .windows(4)
        .position(|four| four == b"\r\n\r\n");
    match end {
        Some(end) if start + end + 4 <= HEAD_BYTES_MAX => Ok(Some(start + end + 4)),
        None if bytes.len() < HEAD_BYTES_MAX => Ok(None),
        _ => Err(Refused),
    }
}

/// Old clients send an empty line after a body; one is let by (RFC 9112 section 2.2).
fn empty_lines(bytes: &[u8]) -> usize {
    if bytes.starts_with(b"\r\n") { 2 } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `input` in pieces of `step` bytes and returns what passed, request by request.
    fn requests(input: &[u8], step: usize) -> Result<Vec<Vec<u8>>, Refused> {
        let (mut framing, mut held) = (Framing::Head, Vec::new());
        let mut requests: Vec<Vec<u8>> = Vec::new();
        for piece in input.chunks(step) {
            held.extend_from_slice(piece);
            loop {
                let passage = framing.pass(&held)?;
                if passage.head_ended {
                    requests.push(Vec::new());
                }
                let Some(request) = requests.last_mut() else {
                    break;
                };
                request.extend(held.drain(..passage.bytes));
                if passage == Passage::default() {
                    break;
                }
            }
        }
        Ok(requests)
    }

    #[test]
    fn pipelined_requests_are_told_apart_however_they_arrive() {
        let three: [&[u8]; 3] = [
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ];
        let input = three.concat();
        for step in [1, 2, 3, 7, 64, input.len()] {
            assert_eq!(
                requests(&input, step).as_deref(),
                Ok(&three.map(<[u8]>::to_vec)[..]),
                "step {step}"
            );
        }
    }

    #[test]
    fn a_head_without_end_is_refused_at_its_limit() {
        let mut framing = Framing::Head;
        assert!(framing.pass(&[b'a'; HEAD_BYTES_MAX - 1]).is_ok());
        assert_eq!(framing.pass(&[b'a'; HEAD_BYTES_MAX]), Err(Refused));
    }

    #[test]
    fn nothing_follows_an_upgrade_before_its_answer() {
        let head = b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        let mut framing = Framing::Head;
        let passage = framing.pass(&[&head[..], b"early"].concat());
        assert_eq!(passage.map(|p| p.bytes), Ok(head.len()));
        assert_eq!(framing, Framing::Undecided);
    }

    /// Pieces of requests in any order: mostly nonsense, at times two requests, often almost one.
    fn requests_of_sorts() -> impl Strategy<Value = Vec<u8>> {
        let piece = proptest::sample::select(vec![
            "POST / HTTP/1.1\r\n",
            "Host: a\r\n",
            "Content-Length: 3\r\n",
            "Transfer-Encoding: chunked\r\n",
            "\r\n",
            "\n",
            "abc",
            "3\r\n",
            "0\r\n\r\n",
            "0\r\n",
        ]);
        proptest::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        /// How the bytes are cut into reads, which a sender controls, changes nothing.
        #[test]
        fn the_cut_does_not_matter(input in requests_of_sorts(), step in 1_usize..9) {
            let whole = requests(&input, input.len().max(1));
            let cut = requests(&input, step);
            prop_assert_eq!(whole, cut);
        }
    }
}
