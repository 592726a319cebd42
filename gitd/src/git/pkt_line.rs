//! The framing of the git protocol: four hex digits of length, then the payload (gitprotocol-common).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest pkt-line, with its four digits.
pub(crate) const LINE_MAX: usize = 65_520;
const PREFIX: usize = 4;
pub(crate) const PAYLOAD_MAX: usize = LINE_MAX - PREFIX;
pub(crate) const FLUSH: &[u8] = b"0000";
/// Between the parts of a message of protocol 2 (gitprotocol-v2).
pub(crate) const DELIMITER: &[u8] = b"0001";

/// What protocol 2 is made of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// Without its trailing newline.
    Line(Vec<u8>),
    Flush,
    Delimiter,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PktError {
    #[error("`{}` is not the length of a pkt-line", .0.escape_ascii())]
    Length([u8; PREFIX]),
    #[error("the stream ended before a pkt-line")]
    End,
    #[error("the stream broke inside a pkt-line")]
    Read(#[from] io::Error),
}

/// Reads one packet, and never past it: a pack may follow.
pub(crate) async fn read_packet(input: &mut (impl AsyncRead + Unpin)) -> Result<Packet, PktError> {
    let mut prefix = [0; PREFIX];
    if input.read(&mut prefix[..1]).await? == 0 {
        return Err(PktError::End);
    }
    input.read_exact(&mut prefix[1..]).await?;
    let length = match length(&prefix) {
        Some(0) => return Ok(Packet::Flush),
        Some(1) => return Ok(Packet::Delimiter),
        Some(length @ PREFIX..=LINE_MAX) => length - PREFIX,
        _ => return Err(PktError::Length(prefix)),
    };
    let mut payload = vec![0; length];
    input.read_exact(&mut payload).await?;
    if payload.last() == Some(&b'\n') {
        payload.pop();
    }
    Ok(Packet::Line(payload))
}

/// Reads one line; `None` is a flush. Delimiters belong to protocol 2, which pushes do not speak.
pub(crate) async fn read(
    input: &mut (impl AsyncRead + Unpin),
) -> Result<Option<Vec<u8>>, PktError> {
    match read_packet(input).await? {
        Packet::Line(line) => Ok(Some(line)),
        Packet::Flush => Ok(None),
        Packet::Delimiter => Err(PktError::Length(*b"0001")),
    }
}

/// The four digits; the prefix counts.
fn length(prefix: &[u8; PREFIX]) -> Option<usize> {
    let digits = prefix.iter().all(u8::is_ascii_hexdigit);
    std::str::from_utf8(prefix)
        .ok()
        .filter(|_| digits)
        .and_then(|text| usize::from_str_radix(text, 16).ok())
}

/// Appends the payload as lines; more than one when it is too long for a single line.
pub(crate) fn write(payload: &[u8], out: &mut Vec<u8>) {
    for chunk in payload.chunks(PAYLOAD_MAX) {
        prefix(chunk.len(), out);
        out.extend_from_slice(chunk);
    }
}

/// Appends the payload on a side-band channel, in as many lines as it takes.
pub(crate) fn write_band(band: u8, payload: &[u8], out: &mut Vec<u8>) {
    for chunk in payload.chunks(PAYLOAD_MAX - 1) {
        prefix(chunk.len() + 1, out);
        out.push(band);
        out.extend_from_slice(chunk);
    }
}

fn prefix(length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{:04x}", length + PREFIX).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parse(mut input: &[u8]) -> Result<Option<Vec<u8>>, PktError> {
        read(&mut input).await
    }

    #[tokio::test]
    async fn lines_and_flushes() {
        assert_eq!(parse(b"0000").await.expect("flush"), None);
        assert_eq!(parse(b"0004").await.expect("empty"), Some(vec![]));
        assert_eq!(parse(b"0006a\n").await.expect("line"), Some(b"a".to_vec()));
        assert_eq!(
            parse(b"000Aabcdef").await.expect("upper case"),
            Some(b"abcdef".to_vec())
        );
    }

    #[tokio::test]
    async fn bad_lengths_are_refused_before_anything_is_allocated() {
        for bad in [
            "0001", "0002", "0003", "fff1", "ffff", "+00a", "-001", "zzzz", " 00a",
        ] {
            assert!(
                matches!(parse(bad.as_bytes()).await, Err(PktError::Length(_))),
                "{bad}"
            );
        }
        assert!(matches!(parse(b"0010short").await, Err(PktError::Read(_))));
        assert!(matches!(parse(b"00").await, Err(PktError::Read(_))));
        assert!(matches!(parse(b"").await, Err(PktError::End)));
    }

    #[test]
    fn a_long_payload_takes_several_lines() {
        let mut out = Vec::new();
        write_band(2, &vec![b'x'; PAYLOAD_MAX], &mut out);
        assert_eq!(&out[..5], b"fff0\x02");
        assert_eq!(&out[LINE_MAX..], b"0006\x02x");
    }
}
