//! What became of each ref: `report-status` and `report-status-v2` (gitprotocol-pack).

use gix_hash::ObjectId;

use super::{HASH, RefUpdate, pkt_line};

/// Longest reason; git prints it on one line in parentheses.
const REASON_MAX: usize = 200;

/// What has become of an update that was not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Landed {
    /// The ref is where the pusher wants it.
    Moved,
    /// Not yet: this ref has been made instead, and names the commit meanwhile. Clients that understand it show it so
    /// (`option refname`, as for pushes to a review system); to others it is a refusal with the reason.
    Instead { git_ref: String, reason: String },
}

/// The answer to one update: `Err` is the reason against it.
pub(crate) type Answer = Result<Landed, String>;

/// `unpack` is `Err` when the pack was not accepted; then no ref was. `v2`: the client knows options.
pub(crate) fn encode(
    unpack: &Result<(), String>,
    answers: &[(&RefUpdate, Answer)],
    v2: bool,
) -> Vec<u8> {
    let mut out = Vec::new();
    let unpack = match unpack {
        Ok(()) => "unpack ok\n".to_owned(),
        Err(reason) => format!("unpack {}\n", one_line(reason)),
    };
    pkt_line::write(unpack.as_bytes(), &mut out);
    for (update, answer) in answers {
        for line in lines(update, answer, v2) {
            pkt_line::write(format!("{line}\n").as_bytes(), &mut out);
        }
    }
    out.extend_from_slice(pkt_line::FLUSH);
    out
}

fn lines(update: &RefUpdate, answer: &Answer, v2: bool) -> Vec<String> {
    let name = &update.name;
    let refused = |reason: &str| vec![format!("ng {name} {}", one_line(reason))];
    match (answer, update.new) {
        (Ok(Landed::Instead { git_ref, .. }), Some(new)) if v2 => vec![
            format!("ok {name}"),
            format!("option refname {git_ref}"),
            format!("option old-oid {}", ObjectId::null(HASH)),
            format!("option new-oid {new}"),
        ],
        (Ok(Landed::Instead { reason, .. }), _) | (Err(reason), _) => refused(reason),
        (Ok(Landed::Moved), _) => vec![format!("ok {name}")],
    }
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
            true,
        );
        assert_eq!(
            report,
            b"000eunpack ok\n0028ng refs/heads/main build failed[31m\n0000".as_slice()
        );
        assert_eq!(one_line(""), "failed");
        assert_eq!(one_line(&"x".repeat(999)).len(), REASON_MAX);
    }
    #[test]
    fn a_ref_made_instead_is_shown_to_those_who_understand() {
        let update = RefUpdate {
            name: "refs/heads/main".to_owned(),
            old: None,
            new: Some(ObjectId::from_bytes_or_panic(&[0x11; 20])),
        };
        let landed = Landed::Instead {
            git_ref: "refs/builds/7".to_owned(),
            reason: "not live yet".to_owned(),
        };
        let answers = [(&update, Ok(landed))];
        let report = |v2| String::from_utf8(encode(&Ok(()), &answers, v2)).expect("text");
        let ones = "1".repeat(40);
        assert_eq!(
            report(true),
            format!(
                "000eunpack ok\n0017ok refs/heads/main\n0021option refname refs/builds/7\n\
                 003coption old-oid {}\n003coption new-oid {ones}\n0000",
                "0".repeat(40)
            )
        );
        assert_eq!(
            report(false),
            "000eunpack ok\n0024ng refs/heads/main not live yet\n0000"
        );
    }
}
