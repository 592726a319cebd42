//! What became of each ref: `report-status` and `report-status-v2` (gitprotocol-pack).

use super::{RefUpdate, pkt_line};

/// Longest reason; git prints it on one line in parentheses.
const REASON_MAX: usize = 200;

/// The answer to one update: `Err` is the reason against it.
pub(crate) type Answer = Result<(), String>;

/// `unpack` is `Err` when the pack was not accepted; then no ref was.
pub(crate) fn encode(unpack: &Answer, answers: &[(&RefUpdate, Answer)]) -> Vec<u8> {
    let mut out = Vec::new();
    let unpack = match unpack {
        Ok(()) => "unpack ok\n".to_owned(),
        Err(reason) => format!("unpack {}\n", one_line(reason)),
    };
    pkt_line::write(unpack.as_bytes(), &mut out);
    for (update, answer) in answers {
        let line = match answer {
            Ok(()) => format!("ok {}\n", update.name),
            Err(reason) => format!("ng {} {}\n", update.name, one_line(reason)),
        };
        pkt_line::write(line.as_bytes(), &mut out);
    }
    out.extend_from_slice(pkt_line::FLUSH);
    out
}

pub(crate) fn one_line(reason: &str) -> String {
    let line = reason
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("failed");
    line.chars()
        .filter(|c| !c.is_control())
        .take(REASON_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_short_printable_line() {
        let update = RefUpdate {
            name: "refs/heads/main".to_owned(),
            old: None,
            new: None,
        };
        let report = encode(
            &Ok(()),
            &[(
                &update,
                Err("\n build failed\x1b[31m\nsee above".to_owned()),
            )],
        );
        assert_eq!(
            report,
            b"000eunpack ok\n0028ng refs/heads/main build failed[31m\n0000".as_slice()
        );
        assert_eq!(one_line(""), "failed");
        assert_eq!(one_line(&"x".repeat(999)).len(), REASON_MAX);
    }
}
