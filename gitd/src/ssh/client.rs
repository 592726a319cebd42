//! One client: proves its key, opens channels, and asks for one thing on each. Everything else is refused.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use container::WindowSize;
use russh::{
    Channel, ChannelId, ChannelOpenFailure, ChannelWriteHalf, Pty, Sig,
    keys::{Algorithm, Certificate, HashAlg, PublicKey},
    server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::{
    Shared, certificate, channel,
    connection::Ending,
    inflow::{Inbox, Windows},
};
use crate::{
    client_terminal::{self, ClientTerminal, RawMode},
    gone::Gone,
    platform::{Caller, Platform, Proof},
    request::{Request, RequestError},
};

/// As OpenSSH's MaxSessions.
pub(super) const CHANNELS_MAX: usize = 10;
/// The only name there is; keys tell people apart.
const USER: &str = "git";
/// RFC 4254 6.10 does not say whether a status and a signal exclude each other. OpenSSH and paramiko know only statuses,
/// others only pay attention to both, and this one takes the second for an attack.
const ASYNCSSH: &[u8] = b"SSH-2.0-AsyncSSH";
const GIT_PROTOCOL: &str = "GIT_PROTOCOL";
const GIT_PROTOCOL_MAX: usize = 256;
/// What clients may say of their terminal, beside LC_*.
const TERMINAL_ENV: &[&str] = &["LANG", "COLORTERM", "NO_COLOR"];
const TERMINAL_ENV_MAX: usize = 16;
const TERMINAL_VALUE_MAX: usize = 128;

pub(super) struct Client<P> {
    shared: Shared<P>,
    remote: SocketAddr,
    /// A key was refused.
    failed: Arc<AtomicBool>,
    /// Set by a verified signature, and by nothing else.
    known: Option<Known>,
    authenticated: Option<oneshot::Sender<Known>>,
    channels_free: Arc<Semaphore>,
    channels: HashMap<ChannelId, State>,
    windows: Windows,
    ending: watch::Receiver<Option<Ending>>,
}

/// What was proved, and who that was.
#[derive(Debug, Clone)]
pub(super) struct Known {
    proof: Proof,
    caller: Caller,
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
    inbox: Inbox,
    write: ChannelWriteHalf<Msg>,
    permit: OwnedSemaphorePermit,
    git_protocol: Option<String>,
    env: Vec<(String, String)>,
    terminal: Option<(String, WindowSize)>,
}

impl<P: Platform> Client<P> {
    pub(super) fn new(
        shared: Shared<P>,
        remote: SocketAddr,
        failed: Arc<AtomicBool>,
        authenticated: oneshot::Sender<Known>,
        channels_free: Arc<Semaphore>,
        ending: watch::Receiver<Option<Ending>>,
    ) -> Self {
        Self {
            shared,
            remote,
            failed,
            known: None,
            authenticated: Some(authenticated),
            channels_free,
            channels: HashMap::new(),
            windows: Windows::default(),
            ending,
        }
    }

    /// The same answer for a wrong name and a wrong key.
    fn known(&self, user: &str, proof: Proof) -> Option<Known> {
        let known = (user == USER).then(|| self.shared.platform.caller(&proof, self.remote));
        let caller = known.flatten()?;
        Some(Known { proof, caller })
    }

    fn let_in(&mut self, known: Option<Known>) -> Auth {
        self.known = known;
        match self.known {
            Some(_) => Auth::Accept,
            None => self.refuse(),
        }
    }

    fn refuse(&self) -> Auth {
        self.failed.store(true, Ordering::Relaxed);
        Auth::reject()
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
        // Rights may have changed since the connection was made.
        let known = self.known.as_ref();
        let caller = known.and_then(|known| known.again(&*self.shared.platform));
        let (open, caller) = match (self.channels.remove(&id), caller) {
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
            inbox: open.inbox,
            write: open.write,
            permit: open.permit,
            git_protocol: open.git_protocol,
            terminal,
            takes_one_result: session.remote_sshid().starts_with(ASYNCSSH),
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

impl Known {
    /// Who that is by now; `None` also when it has become somebody else.
    pub(super) fn again(&self, platform: &impl Platform) -> Option<Caller> {
        let caller = platform.caller(&self.proof, self.caller.remote)?;
        (caller.holder == self.caller.holder).then_some(caller)
    }
}

fn of_key(key: &PublicKey) -> Proof {
    Proof::Key(key.fingerprint(HashAlg::Sha256).to_string())
}

/// RSA with SHA-1 is not taken (OpenSSH 8.8 and later neither).
fn is_strong(algorithm: &Algorithm) -> bool {
    !matches!(algorithm, Algorithm::Rsa { hash: None })
}

/// For the audit line: never the values of `config:set`.
fn named(request: &Result<Request, RequestError>) -> String {
    match request {
        Ok(Request::ReceivePack(path)) => format!("receive-pack {}", path.0.escape_debug()),
        Ok(Request::UploadPack(path) | Request::UploadArchive(path)) => {
            format!("upload-pack {}", path.0.escape_debug())
        }
        Ok(Request::Lfs) => "lfs".to_owned(),
        Ok(Request::Command(words)) => match words.first() {
            Some(word) => format!("command {}", word.escape_debug()),
            None => "no command".to_owned(),
        },
        Err(error) => format!("refused: {error}"),
    }
}

impl<P: Platform> Handler for Client<P> {
    type Error = russh::Error;

    /// Only saves the client a signature. Identity comes from the two below. A certificate is offered here as its bare
    /// key, so nothing can be said of it yet.
    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, russh::Error> {
        let welcome = is_strong(offer.algorithm)
            && (self.shared.platform.takes_certificates()
                || self.known(user, of_key(offer.public_key)).is_some());
        Ok(match welcome {
            true => Auth::Accept,
            false => self.refuse(),
        })
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        let known = self
            .known(user, of_key(key.public_key))
            .filter(|_| is_strong(key.algorithm));
        Ok(self.let_in(known))
    }

    /// The algorithm was looked at when it was offered.
    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, russh::Error> {
        let known = self
            .known(user, Proof::Certificate(certificate::facts(certificate)))
            .filter(|_| is_strong(&certificate.signature().algorithm()));
        Ok(self.let_in(known))
    }

    async fn auth_succeeded(&mut self, _: &mut Session) -> Result<(), russh::Error> {
        if let (Some(authenticated), Some(known)) = (self.authenticated.take(), self.known.clone())
        {
            _ = authenticated.send(known);
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
        // Of those that we closed first we hear no more.
        self.windows.forget_closed();
        let windows = &self.windows;
        self.channels.retain(|id, _| windows.is_open(*id));
        let id = channel.id();
        let (read, write) = channel.split();
        let open = Open {
            inbox: Inbox::open(read, self.windows.open(id)),
            write,
            permit,
            git_protocol: None,
            env: Vec::new(),
            terminal: None,
        };
        self.channels.insert(id, State::Open(Box::new(open)));
        reply.accept().await;
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<(), russh::Error> {
        self.windows.close(id);
        if let Some(State::Running(running)) = self.channels.remove(&id) {
            running.gone.set();
        }
        Ok(())
    }

    fn adjust_window(&mut self, id: ChannelId, current: u32) -> u32 {
        self.windows.next(id, current)
    }

    /// It is in the channel's inbox already.
    async fn data(
        &mut self,
        id: ChannelId,
        data: &[u8],
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.windows.probed(id, data.len()).await;
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
