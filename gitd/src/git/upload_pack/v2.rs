//! Protocol 2: commands, each answered by itself (gitprotocol-v2).

use gix_hash::ObjectId;

use super::{
    Session, UploadError,
    advert::{Advert, HEAD},
    boundary::Boundary,
    fetch::Fetch,
    request::{Request, shown},
    wire::{Band, PackStream},
};
use crate::git::pkt_line::{self, Packet};

/// Lines of one request. A clone names every ref once; what a client has comes in rounds.
const LINES_MAX: usize = 200_000;
const REQUEST_BYTES_MAX: usize = 16 << 20;
const PREFIXES_MAX: usize = 10_000;

/// One request at a time, until the client has had enough.
pub(super) fn serve(session: &mut Session) -> Result<(), UploadError> {
    session.wire.write(&capabilities())?;
    while let Some(command) = read_command(session)? {
        match command.name.as_str() {
            "ls-refs" => ls_refs(session, &command.args)?,
            "fetch" => fetch(session, &command.args)?,
            other => {
                return Err(UploadError::Protocol(format!(
                    "there is no command `{}`",
                    shown(other)
                )));
            }
        }
    }
    Ok(())
}

fn capabilities() -> Vec<u8> {
    let agent = concat!("agent=slipway/", env!("CARGO_PKG_VERSION"));
    let mut out = Vec::new();
    for line in [
        "version 2",
        agent,
        "ls-refs=unborn",
        "fetch=shallow wait-for-done filter",
        "server-option",
        "object-format=sha1",
    ] {
        pkt_line::write(format!("{line}\n").as_bytes(), &mut out);
    }
    out.extend_from_slice(pkt_line::FLUSH);
    out
}

struct Command {
    name: String,
    args: Vec<String>,
}

/// `None`: no more commands.
fn read_command(session: &mut Session) -> Result<Option<Command>, UploadError> {
    let mut name = None;
    let mut args = Vec::new();
    let mut in_args = false;
    let mut bytes = 0;
    for lines in 0.. {
        let Some(packet) = session.wire.read()? else {
            return Ok(None);
        };
        let line = match packet {
            Packet::Flush if lines == 0 => return Ok(None),
            Packet::Flush => break,
            Packet::Delimiter if !in_args => {
                in_args = true;
                continue;
            }
            Packet::Line(line) => line,
            Packet::Delimiter => {
                return Err(UploadError::Protocol("the request is malformed".to_owned()));
            }
        };
        bytes += line.len();
        if lines >= LINES_MAX || bytes > REQUEST_BYTES_MAX {
            return Err(UploadError::TooLong);
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        if in_args {
            args.push(line);
        } else if let Some(command) = line.strip_prefix("command=") {
            name = Some(command.to_owned());
        } else if let Some(format) = line.strip_prefix("object-format=")
            && format != "sha1"
        {
            return Err(UploadError::ObjectFormat(shown(format)));
        }
    }
    match name {
        Some(name) => Ok(Some(Command { name, args })),
        None => Err(UploadError::Protocol(
            "the request names no command".to_owned(),
        )),
    }
}

#[derive(Default)]
struct LsRefs {
    symrefs: bool,
    peel: bool,
    unborn: bool,
    prefixes: Vec<String>,
}

fn ls_refs(session: &mut Session, args: &[String]) -> Result<(), UploadError> {
    let mut asked = LsRefs::default();
    for arg in args {
        match arg.as_str() {
            "symrefs" => asked.symrefs = true,
            "peel" => asked.peel = true,
            "unborn" => asked.unborn = true,
            other => match other.strip_prefix("ref-prefix ") {
                Some(prefix) => asked.prefixes.push(prefix.to_owned()),
                None => return Err(unknown(other)),
            },
        }
    }
    // As git: so many prefixes that the answer is everything.
    if asked.prefixes.len() > PREFIXES_MAX {
        asked.prefixes.clear();
    }
    let (refs, packs) = session.open()?;
    let advert = Advert::new(refs, &mut session.graph(&packs)?)?;
    session.shown.extend(advert.tips());
    session.wire.write(&asked.answer(&advert))
}

impl LsRefs {
    fn answer(&self, advert: &Advert) -> Vec<u8> {
        let mut out = Vec::new();
        let mut line = |text: String| pkt_line::write(format!("{text}\n").as_bytes(), &mut out);
        if self.matches(HEAD) {
            let target = match self.symrefs {
                true => format!(" symref-target:{}", advert.head),
                false => String::new(),
            };
            match advert.head_id() {
                Some(id) => line(format!("{id} {HEAD}{target}")),
                None if self.unborn => line(format!("unborn {HEAD}{target}")),
                None => {}
            }
        }
        for found in advert.refs.iter().filter(|found| self.matches(&found.name)) {
            let peeled = match found.peeled.filter(|_| self.peel) {
                Some(id) => format!(" peeled:{id}"),
                None => String::new(),
            };
            line(format!("{} {}{peeled}", found.id, found.name));
        }
        out.extend_from_slice(pkt_line::FLUSH);
        out
    }

    fn matches(&self, name: &str) -> bool {
        self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }
}

fn fetch(session: &mut Session, args: &[String]) -> Result<(), UploadError> {
    let mut request = Request::default();
    for arg in args {
        if !request.line(arg)? {
            return Err(unknown(arg));
        }
    }
    request.check()?;
    let (refs, packs) = session.open()?;
    let mut graph = session.graph(&packs)?;
    let advert = Advert::new(refs, &mut graph)?;
    let haves = std::mem::take(&mut request.haves);
    let mut fetch = Fetch::new(&packs, graph, &advert, request);
    fetch.check_wants(&session.shown, &session.wire.gone)?;
    let acknowledged: Vec<ObjectId> = haves.iter().copied().filter(|id| fetch.have(*id)).collect();
    if fetch.request.wants.is_empty() && !fetch.request.wait_for_done {
        return Ok(());
    }
    let mut out = Vec::new();
    if !haves.is_empty() && !fetch.request.done {
        let ready = !fetch.request.wait_for_done && fetch.is_enough()?;
        acknowledgments(&acknowledged, ready, &mut out);
        if !ready {
            out.extend_from_slice(pkt_line::FLUSH);
            return session.wire.write(&out);
        }
        out.extend_from_slice(pkt_line::DELIMITER);
    }
    if let Some(boundary) = fetch.deepen()? {
        shallow_info(&boundary, &mut out);
    }
    pkt_line::write(b"packfile\n", &mut out);
    session.wire.write(&out)?;
    let progress = !fetch.request.options.no_progress;
    fetch.send(PackStream::new(&mut session.wire, Band::Large, progress))
}

fn acknowledgments(common: &[ObjectId], ready: bool, out: &mut Vec<u8>) {
    pkt_line::write(b"acknowledgments\n", out);
    if common.is_empty() {
        pkt_line::write(b"NAK\n", out);
    }
    for id in common {
        pkt_line::write(format!("ACK {id}\n").as_bytes(), out);
    }
    if ready {
        pkt_line::write(b"ready\n", out);
    }
}

fn shallow_info(boundary: &Boundary, out: &mut Vec<u8>) {
    pkt_line::write(b"shallow-info\n", out);
    boundary.write(out);
    out.extend_from_slice(pkt_line::DELIMITER);
}

fn unknown(argument: &str) -> UploadError {
    UploadError::Protocol(format!("there is no argument `{}`", shown(argument)))
}
