//! What stands behind the door: who may come in, what a pushed repository leads to, what a command does.

use std::{collections::BTreeMap, net::SocketAddr, pin::Pin};

use release::Holder;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    client_terminal::ClientTerminal,
    git::{Landing, Limits, Repo},
    gone::Gone,
    request::RepoPath,
};

/// What a client has proved to hold, by a verified signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// `SHA256:…` as OpenSSH prints it.
    Key(String),
    Certificate(Certificate),
}

/// An OpenSSH certificate, signed by the authority that it names. Whether that means anything is not yet known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// `SHA256:…` of the certified key.
    pub fingerprint: String,
    /// `SHA256:…` of the authority's key.
    pub authority: String,
    /// And not for a host.
    pub for_user: bool,
    /// 0: none.
    pub serial: u64,
    pub id: String,
    pub principals: Vec<String>,
    /// Seconds since the Unix epoch: from, and up to and not with.
    pub valid_after: u64,
    pub valid_before: u64,
    pub critical_options: BTreeMap<String, String>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// `by` in the records.
    pub user: String,
    /// `SHA256:…` of the key.
    pub fingerprint: String,
    pub remote: SocketAddr,
    /// Whose rights they have.
    pub holder: Holder,
    /// May do everything.
    pub admin: bool,
}

/// The channel's streams. Each write waits until the client has room for it.
pub struct Io {
    pub stdin: Box<dyn AsyncRead + Send + Unpin>,
    pub stdout: Box<dyn AsyncWrite + Send + Unpin>,
    pub stderr: Box<dyn AsyncWrite + Send + Unpin>,
    /// When the client has one: both outputs go to it.
    pub terminal: Option<ClientTerminal>,
    /// Completes when the client has closed the channel or the connection, or typed Ctrl-C.
    pub gone: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    pub code: u8,
    /// The number of the signal that ended the process whose status this is.
    pub signal: Option<i32>,
}

impl From<u8> for Status {
    fn from(code: u8) -> Self {
        Self { code, signal: None }
    }
}

/// The server's view of everything behind it.
pub trait Platform: Send + Sync + 'static {
    type Landing: Landing + 'static;

    /// Who that is. From memory: it is asked for each key that anyone offers, for each request, and every few seconds
    /// for open connections, which end when the answer is another.
    fn caller(&self, proof: &Proof, remote: SocketAddr) -> Option<Caller>;

    /// Whether a key that is nobody's may still be certified.
    fn takes_certificates(&self) -> bool;

    /// The repository to push into, and where the push lands. `Err` is what the client reads as `fatal: remote error`.
    fn open(
        &self,
        caller: &Caller,
        path: &RepoPath,
        gone: &Gone,
    ) -> impl Future<Output = Result<(Repo, Self::Landing), String>> + Send;

    /// For the audit log: what a push did to a ref, or why it came to nothing.
    fn pushed(&self, caller: &Caller, path: &RepoPath, what: &str, result: Result<(), &str>);

    /// The repository to fetch from. Never makes anything. `Err` is what the client reads as `fatal: remote error`.
    fn open_to_read(
        &self,
        caller: &Caller,
        path: &RepoPath,
    ) -> impl Future<Output = Result<Repo, String>> + Send;

    /// What one push may bring and cost.
    fn limits(&self) -> &Limits;

    /// Runs an operator's command and returns its exit status. No words: the dashboard at a terminal, else a greeting and
    /// help.
    fn run(
        &self,
        caller: &Caller,
        words: Vec<String>,
        io: Io,
    ) -> impl Future<Output = Status> + Send;
}
