//! `git receive-pack`: the server's side of a push (gitprotocol-pack, "Pushing data to a server").
//!
//! The order is what makes the ref tell the truth: pack into quarantine, checks, objects into the repository, deploy,
//! and only then the ref. A push that fails anywhere leaves the refs as they were, so it can be repeated.

use std::{collections::HashSet, io, sync::Arc, time::Duration};

use gix_object::Kind;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::Semaphore,
    time::timeout,
};

use super::{
    Limits, RefError, RefUpdate, Repo, Sideband,
    ingest::{Incoming, IngestError, ingest},
    pkt_line::{self, PktError},
    ref_conflict::Names,
    refs::is_platforms,
    report::{self, Answer, Landed},
    sideband,
    update::{UpdateError, Updates},
};
use crate::gone::Gone;

const CAPABILITIES: &str = "report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta push-options \
    object-format=sha1 agent=slipway/";
const NO_REFS: &str = "capabilities^{}";
/// What file systems take, of a whole name and of what stands between two slashes, `.lock` included.
const REF_NAME_MAX: usize = 1024;
const REF_PART_MAX: usize = 250;
const NULL_ID: &str = "0000000000000000000000000000000000000000";
/// What a client may still send after its pack was refused: it reads the reason only when it has sent all.
const DRAIN_BYTES_MAX: u64 = 1 << 30;
const DRAIN_SILENCE_MAX: Duration = Duration::from_secs(2);
/// A client that does not read its report does not get it.
const REPORT_MAX: Duration = Duration::from_secs(30);
/// A client that has gone may have closed only its own direction.
const LAST_REPORT_MAX: Duration = Duration::from_secs(1);
/// Refs that are told one by one that they were only stored.
const HINTS_MAX: usize = 5;
const ATOMIC: &str = "atomic push failed: another ref was rejected";

/// What is to become of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The ref moves; nothing runs. The hint, if any, is shown to the pusher.
    Store { hint: Option<String> },
    /// The ref moves when the commit is live.
    Deploy,
    /// The reason, in one line.
    Refuse(String),
}

/// Where pushed refs land: the platform behind one repository.
pub trait Landing: Send + Sync {
    /// The push options, understood.
    type Options: Send + Sync;

    /// `Err` refuses the push before its pack is looked at: the reason, in one line.
    fn options(&self, given: &[String]) -> Result<Self::Options, String>;

    /// Of whom a pack has one while it is unpacked.
    fn unpack_turns(&self) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(1))
    }

    fn decide(&self, update: &RefUpdate, options: &Self::Options) -> Decision;

    /// Makes the commit of the first update live and then moves the refs, all of them or none. `Err` is the reason
    /// against it, in one line; the refs stay where they are.
    fn deploy(
        &self,
        updates: Vec<RefUpdate>,
        options: &Self::Options,
        out: &Sideband,
    ) -> impl Future<Output = Result<Landed, String>> + Send;
}

/// A push as it ended, for the audit line.
#[derive(Debug, Default)]
pub struct Received {
    pub updates: Vec<(RefUpdate, Result<(), String>)>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    #[error("the refs cannot be read")]
    Refs(#[from] RefError),
    #[error("the client does not speak the push protocol: {0}")]
    Protocol(String),
    #[error("the client left without a word")]
    Left,
    #[error("the client has gone")]
    Gone,
    #[error("the connection broke")]
    Connection(#[from] io::Error),
}

/// Serves one push. `Ok` also when every ref was refused: the client has the reasons.
pub async fn receive_pack<R, W>(
    repo: &Repo,
    landing: &impl Landing,
    limits: &Limits,
    mut input: R,
    mut output: W,
    gone: &Gone,
) -> Result<Received, ReceiveError>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    output.write_all(&advertisement(repo)?).await?;
    output.flush().await?;
    let (updates, options) = match read_updates(&mut input).await {
        Ok(read) => read,
        // Of its own will, after a look at what we can: it says why itself.
        Err(ReadError::Pkt(PktError::End)) => return Err(ReceiveError::Left),
        // After the advertisement there is no ERR; the words go where git shows the other side's noise.
        Err(error) => return Err(ReceiveError::Protocol(error.to_string())),
    };
    if updates.list.is_empty() {
        return Ok(Received::default());
    }
    // `quiet` also says that the other end is no terminal: the log goes on, the colours do not.
    let colours = !updates.capabilities.quiet;
    let (out, sender) = if updates.capabilities.side_band {
        let (out, sender) = Sideband::start(output, colours);
        (out, Output::Band(sender))
    } else {
        (Sideband::silent(), Output::Plain(output))
    };
    let options = match updates.excess {
        Some(excess) => Err(excess.to_string()),
        None => landing.options(&options),
    };
    let (unpack, answers) = match options {
        Ok(options) => {
            let push = Push {
                repo,
                landing,
                limits,
                gone,
                updates: &updates,
                options,
                out: &out,
            };
            push.run(input).await
        }
        Err(reason) => {
            drain(input).await;
            (Ok(()), refuse_all(&updates, &reason))
        }
    };
    let v2 = updates.capabilities.report_status_v2;
    let report = match updates.capabilities.report_status || v2 {
        true => report::encode(&unpack, &answers, v2),
        false => Vec::new(),
    };
    let max = if gone.is_set() {
        LAST_REPORT_MAX
    } else {
        REPORT_MAX
    };
    timeout(max, sender.finish(&report))
        .await
        .map_err(|_| ReceiveError::Gone)??;
    let answers = answers
        .into_iter()
        .map(|(update, answer)| (update.clone(), moved(answer)));
    Ok(Received {
        updates: answers.collect(),
    })
}

/// What the records say.
fn moved(answer: Answer) -> Result<(), String> {
    match answer? {
        Landed::Moved => Ok(()),
        Landed::Instead { reason, .. } => Err(reason),
    }
}

/// Refs, capabilities and shallow boundaries. Protocol 2 has no push: it is answered like protocol 0.
fn advertisement(repo: &Repo) -> Result<Vec<u8>, RefError> {
    let capabilities = format!("{CAPABILITIES}{}", env!("CARGO_PKG_VERSION"));
    let mut out = Vec::new();
    let mut refs = repo.refs()?;
    refs.retain(|(name, _)| !is_platforms(name));
    for (at, (name, id)) in refs.iter().enumerate() {
        let line = match at {
            0 => format!("{id} {name}\0{capabilities}\n"),
            _ => format!("{id} {name}\n"),
        };
        pkt_line::write(line.as_bytes(), &mut out);
    }
    if refs.is_empty() {
        pkt_line::write(
            format!("{NULL_ID} {NO_REFS}\0{capabilities}\n").as_bytes(),
            &mut out,
        );
    }
    for id in repo.shallow().map_err(RefError::Read)? {
        pkt_line::write(format!("shallow {id}\n").as_bytes(), &mut out);
    }
    out.extend_from_slice(pkt_line::FLUSH);
    Ok(out)
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Pkt(#[from] PktError),
    #[error(transparent)]
    Update(#[from] UpdateError),
}

async fn read_updates(
    input: &mut (impl AsyncRead + Unpin),
) -> Result<(Updates, Vec<String>), ReadError> {
    let mut updates = Updates::default();
    while let Some(line) = pkt_line::read(input).await? {
        updates.line(&line)?;
    }
    let mut options = Vec::new();
    if updates.capabilities.push_options {
        while let Some(line) = pkt_line::read(input).await? {
            updates.option(&line, &mut options);
        }
    }
    Ok((updates, options))
}

enum Output<W> {
    Band(sideband::Sender<W>),
    Plain(W),
}

impl<W: AsyncWrite + Unpin> Output<W> {
    async fn finish(self, report: &[u8]) -> io::Result<()> {
        match self {
            Self::Band(sender) => {
                sender.finish(report).await?;
            }
            Self::Plain(mut output) => {
                output.write_all(report).await?;
                output.flush().await?;
            }
        }
        Ok(())
    }
}

struct Push<'a, L: Landing> {
    repo: &'a Repo,
    landing: &'a L,
    limits: &'a Limits,
    gone: &'a Gone,
    updates: &'a Updates,
    options: L::Options,
    out: &'a Sideband,
}

type Answers<'a> = Vec<(&'a RefUpdate, Answer)>;

impl<'a, L: Landing> Push<'a, L> {
    async fn run<R>(&self, input: R) -> (Result<(), String>, Answers<'a>)
    where
        R: AsyncRead + Unpin + Send + 'static,
    {
        let incoming = match self.unpack(input).await {
            Ok(incoming) => incoming,
            Err(error) => {
                let reason = error.to_string();
                let all = self
                    .updates
                    .list
                    .iter()
                    .map(|update| (update, Err("unpacker error".to_owned())));
                return (Err(reason), all.collect());
            }
        };
        let decided = self.decide(incoming.as_ref());
        if let Some(incoming) = incoming
            && let Err(error) = self.accept(incoming)
        {
            tracing::error!(repo = %self.repo.path().display(), %error, "objects cannot be stored");
            let reason = "the server cannot store the objects";
            return (Err(reason.to_owned()), refuse_all(self.updates, reason));
        }
        let answers = match self.updates.capabilities.atomic {
            true => self.land_together(decided).await,
            false => self.land_each(decided).await,
        };
        (Ok(()), answers)
    }

    async fn unpack<R>(&self, input: R) -> Result<Option<Incoming>, IngestError>
    where
        R: AsyncRead + Unpin + Send + 'static,
    {
        if !self.updates.need_pack() {
            return Ok(None);
        }
        let tips = self
            .updates
            .list
            .iter()
            .filter_map(|update| update.new)
            .collect();
        let shallow = self.updates.shallow.clone();
        let _turn = tokio::select! {
            turn = self.landing.unpack_turns().acquire_owned() => turn.ok(),
            () = self.gone.wait() => None,
        };
        // What comes in is checked against what is here; thin packs take their bases from it.
        let _packs = self.repo.packs_in_use().map_err(IngestError::Quarantine)?;
        let (result, input) = ingest(self.repo, input, tips, shallow, self.limits, self.gone).await;
        if let (Err(error), Some(input)) = (&result, input) {
            // Clients that still send do not read the report.
            self.out.line(&format!(" !     {error}"));
            drain(input).await;
        }
        result.map(Some)
    }

    /// Objects first: no ref ever names what is not there.
    fn accept(&self, incoming: Incoming) -> io::Result<()> {
        self.repo.add_shallow(incoming.boundaries())?;
        incoming.release()
    }

    fn decide(&self, incoming: Option<&Incoming>) -> Vec<(&'a RefUpdate, Decision)> {
        let mut deploys = false;
        let mut names = self.names_that_stay();
        let decide = |update: &'a RefUpdate| {
            let tip = update
                .new
                .map(|id| incoming.and_then(|incoming| incoming.tips.get(&id).copied()));
            let is_new = update.old.is_none() && update.new.is_some();
            let conflict = || names.problem(&update.name).filter(|_| is_new);
            let problem = update_problem(update, tip).or_else(conflict);
            let mut decision = match problem {
                Some(problem) => Decision::Refuse(problem),
                None => self.landing.decide(update, &self.options),
            };
            if is_new && !matches!(decision, Decision::Refuse(_)) {
                names.add(update.name.clone());
            }
            if decision == Decision::Deploy && std::mem::replace(&mut deploys, true) {
                decision =
                    Decision::Refuse("one deploy per push; push this branch by itself".to_owned());
            }
            (update, decision)
        };
        self.updates.list.iter().map(decide).collect()
    }

    /// The names that this push leaves. When they cannot be read, moving a ref will say so.
    fn names_that_stay(&self) -> Names {
        let updates = self.updates.list.iter();
        let deletions = updates.filter(|update| update.new.is_none());
        let deleted: HashSet<&str> = deletions.map(|update| update.name.as_str()).collect();
        let refs = self.repo.refs().unwrap_or_default();
        let names = refs.into_iter().map(|(name, _)| name);
        Names::new(names.filter(|name| !deleted.contains(name.as_str())))
    }

    async fn land_each(&self, decided: Vec<(&'a RefUpdate, Decision)>) -> Answers<'a> {
        let mut answers = Vec::with_capacity(decided.len());
        let mut hints = Vec::new();
        for (update, decision) in decided {
            let answer = match decision {
                Decision::Refuse(reason) => Err(reason),
                Decision::Store { hint } => {
                    let stored = self.repo.set_ref(&update.name, update.new, update.old);
                    hints.extend(hint.filter(|_| stored.is_ok()));
                    stored
                        .map(|()| Landed::Moved)
                        .map_err(|error| error.reason())
                }
                Decision::Deploy => {
                    let updates = vec![update.clone()];
                    self.landing.deploy(updates, &self.options, self.out).await
                }
            };
            answers.push((update, answer));
        }
        self.tell(&hints);
        answers
    }

    async fn land_together(&self, decided: Vec<(&'a RefUpdate, Decision)>) -> Answers<'a> {
        if decided
            .iter()
            .any(|(_, decision)| matches!(decision, Decision::Refuse(_)))
        {
            let answer = |(update, decision)| match decision {
                Decision::Refuse(reason) => (update, Err(reason)),
                _ => (update, Err(ATOMIC.to_owned())),
            };
            return decided.into_iter().map(answer).collect();
        }
        let deploy = decided
            .iter()
            .position(|(_, decision)| *decision == Decision::Deploy);
        let mut updates: Vec<&RefUpdate> = decided.iter().map(|(update, _)| *update).collect();
        let result = match deploy {
            Some(at) => {
                updates.swap(0, at);
                let updates = updates.into_iter().cloned().collect();
                self.landing.deploy(updates, &self.options, self.out).await
            }
            None => self
                .repo
                .move_refs(&updates)
                .map(|()| Landed::Moved)
                .map_err(|error| error.reason()),
        };
        if result.is_ok() {
            let hints = decided.iter().filter_map(|(_, decision)| match decision {
                Decision::Store { hint } => hint.clone(),
                _ => None,
            });
            self.tell(&hints.collect::<Vec<_>>());
        }
        let answer = |(at, (update, _)): (usize, (&'a RefUpdate, Decision))| match &result {
            Err(_) if deploy.is_some_and(|deploy| deploy != at) => (update, Err(ATOMIC.to_owned())),
            result => (update, result.clone()),
        };
        decided.into_iter().enumerate().map(answer).collect()
    }

    fn tell(&self, hints: &[String]) {
        let (told, others) = hints.split_at(hints.len().min(HINTS_MAX));
        told.iter().for_each(|hint| self.out.line(hint));
        if !others.is_empty() {
            let others = others.len();
            self.out
                .line(&format!("{others} more refs are stored and not deployed."));
        }
    }
}

fn refuse_all<'a>(updates: &'a Updates, reason: &str) -> Answers<'a> {
    let refuse = |update| (update, Err(reason.to_owned()));
    updates.list.iter().map(refuse).collect()
}

/// Rules of every repository. `tip`: for updates that set the ref, what the new object is, if it is anywhere.
fn update_problem(update: &RefUpdate, tip: Option<Option<Kind>>) -> Option<String> {
    let branch = update.name.strip_prefix("refs/heads/");
    let hex = |name: &str| {
        name.len() == NULL_ID.len() && name.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    if !update.name.starts_with("refs/")
        || gix_validate::reference::branch_name(update.name.as_str().into()).is_err()
    {
        return Some("invalid ref name".to_owned());
    }
    if update.name.len() > REF_NAME_MAX
        || update.name.split('/').any(|part| part.len() > REF_PART_MAX)
    {
        return Some(format!(
            "a ref name has at most {REF_NAME_MAX} bytes, and {REF_PART_MAX} between two slashes"
        ));
    }
    if is_platforms(&update.name) {
        return Some("releases and builds are made by deploys and cannot be pushed".to_owned());
    }
    if branch.is_some_and(hex) {
        return Some("a branch must not look like a commit id".to_owned());
    }
    if branch.is_some_and(|branch| branch.starts_with('-')) {
        return Some("a branch must not start with a dash".to_owned());
    }
    match tip {
        Some(None) => Some("missing necessary objects".to_owned()),
        Some(Some(kind)) if branch.is_some() && kind != Kind::Commit => {
            Some("a branch must name a commit".to_owned())
        }
        _ => None,
    }
}

/// Some clients close when they have sent all, others wait: a short silence is an end as well.
async fn drain(input: impl AsyncRead + Unpin) {
    let mut rest = input.take(DRAIN_BYTES_MAX);
    let mut buffer = vec![0; 64 << 10];
    while let Ok(Ok(1..)) = timeout(DRAIN_SILENCE_MAX, rest.read(&mut buffer)).await {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_every_repository() {
        let check = |name: &str, tip, part: Option<&str>| {
            let update = RefUpdate {
                name: name.to_owned(),
                old: None,
                new: None,
            };
            match (update_problem(&update, tip), part) {
                (None, None) => {}
                (Some(problem), Some(part)) => assert!(problem.contains(part), "{name}: {problem}"),
                (problem, _) => panic!("{name}: {problem:?}"),
            }
        };
        check("refs/heads/main", Some(Some(Kind::Commit)), None);
        check("refs/heads/feature/x-1", Some(Some(Kind::Commit)), None);
        check("refs/tags/v1", Some(Some(Kind::Tag)), None);
        check("refs/heads/main", None, None);
        check("refs/heads/main", Some(None), Some("missing"));
        check(
            &format!("refs/heads/{}", "x".repeat(REF_PART_MAX)),
            None,
            None,
        );
        check(
            &format!("refs/heads/{}", "x".repeat(REF_PART_MAX + 1)),
            None,
            Some("250"),
        );
        check(
            &format!("refs{}", "/x".repeat(REF_NAME_MAX / 2)),
            None,
            Some("1024"),
        );
        check("refs/heads/main", Some(Some(Kind::Tree)), Some("commit"));
        check(
            "refs/heads/1111111111111111111111111111111111111111",
            None,
            Some("commit id"),
        );
        check("refs/heads/-x", None, Some("dash"));
        check("refs/builds/7", None, Some("cannot be pushed"));
        check("refs/releases/v1", None, Some("cannot be pushed"));
        for bad in [
            "HEAD",
            "main",
            "config",
            "refs/../config",
            "refs/heads/a..b",
            "refs/heads/a.lock",
            "refs/heads/a b",
        ] {
            check(bad, None, Some("invalid"));
        }
        for bad in [
            "refs/heads/",
            "refs/heads/.x",
            "refs/heads/x~1",
            "refs/heads/HEAD",
            "refs/heads/a\x7f",
        ] {
            check(bad, None, Some("invalid"));
        }
    }
}
