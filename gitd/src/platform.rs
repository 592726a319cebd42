//! What stands behind the door: who may come in, what a pushed repository leads to, what a command does.

use std::{net::SocketAddr, pin::Pin};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    client_terminal::ClientTerminal,
    git::{Landing, Limits, Repo},
    gone::Gone,
    request::RepoPath,
};

/// Who asks: known by a verified signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Name of the key's owner; `by` in the records.
    pub user: String,
    /// `SHA256:…` as OpenSSH prints it.
    pub fingerprint: String,
    pub remote: SocketAddr,
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

    /// Whose key this is, by its `SHA256:…` fingerprint. From memory: it is asked for each key that anyone offers, and
    /// again every few seconds for the keys of open connections.
    fn user(&self, fingerprint: &str) -> Option<String>;

    /// The repository to push into, and where the push lands. `Err` is what the client reads as `fatal: remote error`.
    fn open(
        &self,
        caller: &Caller,
        path: &RepoPath,
        gone: &Gone,
    ) -> impl Future<Output = Result<(Repo, Self::Landing), String>> + Send;

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
