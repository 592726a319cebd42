//! Protocols 0 and 1: the refs at once, then one request with its negotiation (gitprotocol-pack).

use gix_hash::ObjectId;

use super::{
    Session, UploadError,
    advert::{Advert, HEAD},
    fetch::Fetch,
    request::{Request, shown},
    wire::{Band, PackStream},
};
use crate::git::pkt_line::{self, Packet};

const CAPABILITIES: &str = "multi_ack thin-pack side-band side-band-64k ofs-delta shallow deepen-since deepen-not \
    deepen-relative no-progress include-tag multi_ack_detailed allow-tip-sha1-in-want allow-reachable-sha1-in-want \
    no-done filter object-format=sha1 agent=slipway/";
const NO_REFS: &str = "capabilities^{}";
const NULL_ID: &str = "0000000000000000000000000000000000000000";

/// How the client wants to hear of what both have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Acks {
    #[default]
    Single,
    Multi,
    Detailed,
}

#[derive(Default)]
struct Manner {
    acks: Acks,
    no_done: bool,
    band: Band,
}

pub(super) fn serve(session: &mut Session) -> Result<(), UploadError> {
    let (refs, packs) = session.open()?;
    let mut graph = session.graph(&packs)?;
    let advert = Advert::new(refs, &mut graph)?;
    let shallow = session.shallow()?;
    session.wire.write(&advertisement(&advert, &shallow))?;
    let Some((request, manner)) = read_request(session)? else {
        return Ok(());
    };
    let deepens = request.deepen.is_some();
    let mut fetch = Fetch::new(&packs, graph, &advert, request);
    fetch.check_wants(&session.shown, &session.wire.gone)?;
    let boundary = fetch.deepen()?;
    if let Some(boundary) = boundary.filter(|_| deepens) {
        let mut out = Vec::new();
        boundary.write(&mut out);
        out.extend_from_slice(pkt_line::FLUSH);
        session.wire.write(&out)?;
    }
    negotiate(session, &mut fetch, &manner)?;
    let progress = !fetch.request.options.no_progress;
    fetch.send(PackStream::new(&mut session.wire, manner.band, progress))
}

fn advertisement(advert: &Advert, shallow: &[ObjectId]) -> Vec<u8> {
    let mut lines = Vec::new();
    let mut symref = String::new();
    if let Some(id) = advert.head_id() {
        lines.push(format!("{id} {HEAD}"));
        symref = format!(" symref={HEAD}:{}", advert.head);
    }
    for found in &advert.refs {
        lines.push(format!("{} {}", found.id, found.name));
        if let Some(peeled) = found.peeled {
            lines.push(format!("{peeled} {}^{{}}", found.name));
        }
    }
    if lines.is_empty() {
        lines.push(format!("{NULL_ID} {NO_REFS}"));
    }
    let version = env!("CARGO_PKG_VERSION");
    lines[0] += &format!("\0{CAPABILITIES}{version}{symref}");
    lines.extend(shallow.iter().map(|id| format!("shallow {id}")));
    let mut out = Vec::new();
    for line in lines {
        pkt_line::write(format!("{line}\n").as_bytes(), &mut out);
    }
    out.extend_from_slice(pkt_line::FLUSH);
    out
}

/// `None`: the client wants nothing.
fn read_request(session: &mut Session) -> Result<Option<(Request, Manner)>, UploadError> {
    let mut request = Request::default();
    let mut manner = Manner::default();
    let mut relative = false;
    loop {
        let line = match session.wire.read()? {
            None => return Ok(None),
            Some(Packet::Flush) => break,
            Some(Packet::Line(line)) => String::from_utf8_lossy(&line).into_owned(),
            Some(Packet::Delimiter) => {
                return Err(UploadError::Protocol(
                    "protocol 0 has no delimiters".to_owned(),
                ));
            }
        };
        // Capabilities follow the first want.
        let (line, words) = match (request.wants.is_empty(), line.match_indices(' ').nth(1)) {
            (true, Some((at, _))) if line.starts_with("want ") => line.split_at(at),
            _ => (line.as_str(), ""),
        };
        if !request.line(line)? {
            return Err(UploadError::Protocol(format!(
                "`{}` is not expected here",
                shown(line)
            )));
        }
        for word in words.split_ascii_whitespace() {
            relative |= word == "deepen-relative";
            manner.word(word, &mut request)?;
        }
    }
    if request.wants.is_empty() {
        return Ok(None);
    }
    if let Some(deepen) = &mut request.deepen {
        deepen.relative = relative;
    }
    request.check()?;
    Ok(Some((request, manner)))
}

impl Manner {
    fn word(&mut self, word: &str, request: &mut Request) -> Result<(), UploadError> {
        match word {
            "multi_ack" if self.acks == Acks::Single => self.acks = Acks::Multi,
            "multi_ack_detailed" => self.acks = Acks::Detailed,
            "no-done" => self.no_done = true,
            "side-band" if self.band == Band::None => self.band = Band::Small,
            "side-band-64k" => self.band = Band::Large,
            _ => {
                request.options.word(word);
                if let Some(format) = word.strip_prefix("object-format=")
                    && format != "sha1"
                {
                    return Err(UploadError::ObjectFormat(shown(format)));
                }
            }
        }
        Ok(())
    }
}

/// Hears what the client has, in rounds that end with a flush, until it says that it is done.
fn negotiate(
    session: &mut Session,
    fetch: &mut Fetch<'_>,
    manner: &Manner,
) -> Result<(), UploadError> {
    let detailed = manner.acks == Acks::Detailed;
    let mut last = None;
    let mut round = Round::default();
    let mut ready = false;
    loop {
        let line = match session.wire.read()? {
            None => return Err(UploadError::Gone),
            Some(Packet::Line(line)) => String::from_utf8_lossy(&line).into_owned(),
            Some(_) => {
                if let Some(last) = last
                    && detailed
                    && round
                        == (Round {
                            common: true,
                            other: false,
                        })
                    && fetch.is_enough()?
                {
                    ready = true;
                    session.wire.line(&format!("ACK {last} ready"))?;
                }
                if !fetch.has_common() || manner.acks != Acks::Single {
                    session.wire.line("NAK")?;
                }
                if let Some(last) = last
                    && manner.no_done
                    && ready
                {
                    return session.wire.line(&format!("ACK {last}"));
                }
                round = Round::default();
                continue;
            }
        };
        if line == "done" {
            return match last {
                Some(last) if manner.acks != Acks::Single => {
                    session.wire.line(&format!("ACK {last}"))
                }
                Some(_) => Ok(()),
                None => session.wire.line("NAK"),
            };
        }
        let id = line
            .strip_prefix("have ")
            .and_then(super::request::parse_id);
        let Some(id) = id else {
            return Err(UploadError::Protocol(format!(
                "`{}` is not expected here",
                shown(&line)
            )));
        };
        let first = !fetch.has_common();
        let here = fetch.have(id);
        round.common |= here;
        round.other |= !here;
        let answer = match (here, manner.acks) {
            (true, Acks::Detailed) => Some("common"),
            (true, Acks::Multi) => Some("continue"),
            (true, Acks::Single) => first.then_some(""),
            (false, Acks::Single) => None,
            (false, acks) => match fetch.is_enough()? {
                true if acks == Acks::Detailed => {
                    ready = true;
                    Some("ready")
                }
                true => Some("continue"),
                false => None,
            },
        };
        if here {
            last = Some(id);
        }
        if let Some(answer) = answer {
            session.wire.line(format!("ACK {id} {answer}").trim_end())?;
        }
    }
}

/// What was heard since the last flush.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Round {
    common: bool,
    other: bool,
}
