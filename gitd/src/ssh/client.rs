//! One client: proves its key, opens channels, and asks for one thing on each. Everything else is refused.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use container::WindowSize;
use russh::{
    Channel, ChannelId, ChannelOpenFailure, Pty, Sig,
    keys::{Algorithm, HashAlg, PublicKey},
    server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::{Shared, channel, connection::Ending};
use crate::{
    client_terminal::{self, ClientTerminal, RawMode},
    gone::Gone,
    platform::{Caller, Platform},
    request::{Request, RequestError},
};

/// As OpenSSH's MaxSessions.
pub(super) const CHANNELS_MAX: usize = 10;
/// The only name there is; keys tell people apart.
const USER: &str = "git";
const GIT_PROTOCOL: &str = "GIT_PROTOCOL";
const GIT_PROTOCOL_MAX: usize = 256;
/// What clients may say of their terminal, beside LC_*.
const TERMINAL_ENV: &[&str] = &["LANG", "COLORTERM", "NO_COLOR"];
const TERMINAL_ENV_MAX: usize = 16;
const TERMINAL_VALUE_MAX: usize = 128;

pub(super) struct Client<P> {
    shared: Shared<P>,
    remote: SocketAddr,
    /// Set by a verified signature, and by nothing else.
    caller: Option<Caller>,
    authenticated: Option<oneshot::Sender<Caller>>,
    channels_free: Arc<Semaphore>,
    channels: HashMap<ChannelId, State>,
    ending: watch::Receiver<Option<Ending>>,
}

enum State {
    /// Open; nothing was asked for yet.
    Open(Box<Open>),
    /// Its request runs.
    Running(Running),
}

struct Running {
    gone: Gone,
    size: Option<watch::Sender<WindowSize>>,
}

struct Open {
    channel: Channel<Msg>,
    permit: OwnedSemaphorePermit,
    git_protocol: Option<String>,
    env: Vec<(String, String)>,
    terminal: Option<(String, WindowSize)>,
}

impl<P: Platform> Client<P> {
    pub(super) fn new(
        shared: Shared<P>,
        remote: SocketAddr,
        authenticated: oneshot::Sender<Caller>,
        channels_free: Arc<Semaphore>,
        ending: watch::Receiver<Option<Ending>>,
    ) -> Self {
        Self {
            shared,
            remote,
            caller: None,
            authenticated: Some(authenticated),
            channels_free,
            channels: HashMap::new(),
            ending,
        }
    }

    /// The same answer for a wrong name and a wrong key. RSA with SHA-1 is not taken (OpenSSH 8.8 and later neither).
    fn caller_of(&self, user: &str, key: &PublicKey, algorithm: &Algorithm) -> Option<Caller> {
        if user != USER || matches!(algorithm, Algorithm::Rsa { hash: None }) {
            return None;
        }
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let user = self.shared.platform.user(&fingerprint)?;
        Some(Caller {
            user,
            fingerprint,
            remote: self.remote,
        })
    }

    fn open_channel(&mut self, id: ChannelId) -> Option<&mut Open> {
        match self.channels.get_mut(&id) {
            Some(State::Open(open)) => Some(open),
            _ => None,
        }
    }

    /// One request per channel (RFC 4254 6.5).
    fn start(
        &mut self,
        id: ChannelId,
        request: Result<Request, RequestError>,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let (open, caller) = match (self.channels.remove(&id), self.caller.clone()) {
            (Some(State::Open(open)), Some(caller)) => (*open, caller),
            (running, _) => {
                self.channels.extend(running.map(|running| (id, running)));
                return session.channel_failure(id);
            }
        };
        session.channel_success(id)?;
        tracing::info!(user = caller.user, fingerprint = caller.fingerprint, remote = %caller.remote, "{}", named(&request));
        let gone = Gone::default();
        let (size, terminal) = open
            .terminal
            .map(|(name, size)| describe(name, size, open.env))
            .unzip();
        let running = Running {
            gone: gone.clone(),
            size,
        };
        self.channels.insert(id, State::Running(running));
        tokio::spawn(channel::run(channel::Job {
            shared: self.shared.clone(),
            caller,
            request,
            channel: open.channel,
            permit: open.permit,
            git_protocol: open.git_protocol,
            terminal,
            gone,
            ending: self.ending.clone(),
            handle: session.handle(),
        }));
        Ok(())
    }
}

fn describe(
    name: String,
    size: WindowSize,
    env: Vec<(String, String)>,
) -> (watch::Sender<WindowSize>, ClientTerminal) {
    let (sizes, size) = watch::channel(size);
    let terminal = ClientTerminal {
        name,
        env,
        size,
        raw: RawMode::default(),
    };
    (sizes, terminal)
}

fn is_of_terminal(name: &str, value: &str) -> bool {
    let locale = name
        .strip_prefix("LC_")
        .is_some_and(|rest| rest.len() < 32 && rest.chars().all(|c| c.is_ascii_uppercase()));
    (locale || TERMINAL_ENV.contains(&name))
        && value.len() <= TERMINAL_VALUE_MAX
        && value.chars().all(|c| c.is_ascii_graphic())
}

/// For the audit line: never the values of `config:set`.
fn named(request: &Result<Request, RequestError>) -> String {
    match request {
        Ok(Request::ReceivePack(path)) => format!("receive-pack {}", path.0.escape_debug()),
        Ok(Request::UploadPack(path) | Request::UploadArchive(path)) => {
            format!("upload-pack {}", path.0.escape_debug())
        }
        Ok(Request::Command(words)) => match words.first() {
            Some(word) => format!("command {}", word.escape_debug()),
            None => "no command".to_owned(),
        },
        Err(error) => format!("refused: {error}"),
    }
}

impl<P: Platform> Handler for Client<P> {
    type Error = russh::Error;

    /// Only saves the client a signature. Identity comes from `auth_publickey`.
    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, russh::Error> {
        Ok(
            match self.caller_of(user, offer.public_key, offer.algorithm) {
                Some(_) => Auth::Accept,
                None => Auth::reject(),
            },
        )
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        self.caller = self.caller_of(user, key.public_key, key.algorithm);
        Ok(match &self.caller {
            Some(_) => Auth::Accept,
            None => Auth::reject(),
        })
    }

    async fn auth_succeeded(&mut self, _: &mut Session) -> Result<(), russh::Error> {
        if let (Some(authenticated), Some(caller)) =
            (self.authenticated.take(), self.caller.clone())
        {
            _ = authenticated.send(caller);
        }
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        let Ok(permit) = Arc::clone(&self.channels_free).try_acquire_owned() else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        let open = Open {
            channel,
            permit,
            git_protocol: None,
            env: Vec::new(),
            terminal: None,
        };
        self.channels
            .insert(open.channel.id(), State::Open(Box::new(open)));
        reply.accept().await;
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<(), russh::Error> {
        if let Some(State::Running(running)) = self.channels.remove(&id) {
            running.gone.set();
        }
        Ok(())
    }

    /// Known names only: git's protocol, and how to write to the client's terminal.
    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        match self.open_channel(id) {
            Some(open) if name == GIT_PROTOCOL && value.len() <= GIT_PROTOCOL_MAX => {
                open.git_protocol = Some(value.to_owned());
                session.channel_success(id)
            }
            Some(open) if is_of_terminal(name, value) && open.env.len() < TERMINAL_ENV_MAX => {
                open.env.push((name.to_owned(), value.to_owned()));
                session.channel_success(id)
            }
            _ => session.channel_failure(id),
        }
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        match self.open_channel(id) {
            Some(open) => {
                let size = client_terminal::size(columns, rows);
                open.terminal = Some((client_terminal::name(term), size));
                session.channel_success(id)
            }
            None => session.channel_failure(id),
        }
    }

    async fn window_change_request(
        &mut self,
        id: ChannelId,
        columns: u32,
        rows: u32,
        _width: u32,
        _height: u32,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        let size = client_terminal::size(columns, rows);
        match self.channels.get_mut(&id) {
            Some(State::Open(open)) => {
                open.terminal.iter_mut().for_each(|(_, now)| *now = size);
            }
            // Only the newest counts: a request that is slow to look misses those between.
            Some(State::Running(running)) => {
                running.size.iter().for_each(|sizes| _ = sizes.send(size));
            }
            None => {}
        }
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        line: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.start(id, Request::parse(line), session)
    }

    async fn shell_request(
        &mut self,
        id: ChannelId,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.start(id, Ok(Request::Command(Vec::new())), session)
    }

    async fn signal(
        &mut self,
        id: ChannelId,
        signal: Sig,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        if let (Some(State::Running(running)), Sig::INT | Sig::TERM | Sig::HUP | Sig::QUIT) =
            (self.channels.get(&id), signal)
        {
            running.gone.set();
        }
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }
}
