//! `ssh git@host` at a terminal: what runs, live, until somebody types `q`.
//!
//! A turn of the loop takes one thing that has happened: keys ([`key`]), another size, news of the world ([`snapshot`], at
//! most once a second), or a log line ([`feed`]). [`state`] decides what that means, [`draw`] makes the picture, and
//! [`screen`] sends what differs from the last one. Whatever is done here is done by the commands, with their checks.

mod deed;
mod draw;
mod feed;
mod key;
mod looks;
mod meter;
mod screen;
mod snapshot;
mod state;
mod table;

use std::{future::pending, io, sync::Arc, time::Duration};

use ratatui_core::{buffer::Buffer, layout::Rect};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until, timeout},
};

use self::{
    deed::{Deed, Done},
    draw::draw,
    feed::Feed,
    key::Keys,
    looks::Looks,
    meter::Meter,
    screen::{ENTER, LEAVE},
    snapshot::{Snapshot, Wanted, take},
    state::{Asked, State, Tab},
};
use crate::{Caller, ClientTerminal, Context, Io};

/// Between two looks at the world.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two pictures.
const FRAME: Duration = Duration::from_millis(100);
/// For a client that does not take the last bytes.
const LEAVE_MAX: Duration = Duration::from_secs(2);
const INPUT_BYTES: usize = 1024;
const DUMB: &str = "dumb";

/// The client's terminal, if it can show pictures.
pub(crate) fn fitting(io: &Io) -> Option<&ClientTerminal> {
    io.terminal
        .as_ref()
        .filter(|terminal| terminal.name != DUMB)
}

/// Until the user leaves, the client goes, or the server stops. The terminal is as it was then.
pub(crate) async fn run(ctx: &Arc<Context>, caller: &Caller, io: &mut Io) -> io::Result<()> {
    let Some(terminal) = fitting(io) else {
        return Ok(());
    };
    let _raw = terminal.raw();
    let size = terminal.size.clone();
    let looks = Looks::of(&terminal.env);
    let mut dashboard = Dashboard {
        ctx: Arc::clone(ctx),
        caller: caller.clone(),
        looks,
        state: State::default(),
        snapshot: Snapshot::default(),
        looking: None,
        meter: Some(Meter::default()),
        feed: None,
        deed: None,
        shown: Buffer::empty(Rect::ZERO),
    };
    io.stdout.write_all(ENTER.as_bytes()).await?;
    let gone = &mut io.gone;
    let ended = tokio::select! {
        ended = dashboard.live(&mut io.stdin, &mut io.stdout, size) => ended,
        () = gone => Ok(()),
    };
    // Also when the server stops: the client still listens, mostly.
    let left = timeout(LEAVE_MAX, io.stdout.write_all(LEAVE.as_bytes())).await;
    left.unwrap_or(Ok(())).and(ended)
}

struct Dashboard {
    ctx: Arc<Context>,
    caller: Caller,
    looks: Looks,
    state: State,
    snapshot: Snapshot,
    looking: Option<JoinHandle<(Snapshot, Meter)>>,
    /// Away while somebody looks.
    meter: Option<Meter>,
    feed: Option<Feed>,
    deed: Option<Deed>,
    /// What the terminal shows.
    shown: Buffer,
}

/// What may happen.
enum News {
    Input(usize),
    Resized,
    World(Snapshot, Meter),
    Log,
    Done(Done),
    TimeToLook,
    TimeToDraw,
}

type Size = tokio::sync::watch::Receiver<container::WindowSize>;

impl Dashboard {
    async fn live(
        &mut self,
        stdin: &mut (impl tokio::io::AsyncRead + Unpin),
        stdout: &mut (impl tokio::io::AsyncWrite + Unpin),
        mut size: Size,
    ) -> io::Result<()> {
        let mut keys = Keys::default();
        let mut input = [0; INPUT_BYTES];
        let mut look_at = Instant::now();
        let mut draw_at = Some(Instant::now());
        let mut drawn_at = Instant::now();
        loop {
            let news = tokio::select! {
                length = stdin.read(&mut input) => News::Input(length?),
                Ok(()) = size.changed() => News::Resized,
                (snapshot, meter) = finished(&mut self.looking) => News::World(snapshot, meter),
                () = feed::news(&mut self.feed) => News::Log,
                done = deed::ended(&mut self.deed) => News::Done(done),
                () = sleep_until(look_at), if self.looking.is_none() => News::TimeToLook,
                () = until(draw_at) => News::TimeToDraw,
            };
            match news {
                // The end of input.
                News::Input(0) => return Ok(()),
                News::Input(length) => {
                    for key in keys.read(&input[..length]) {
                        let was = self.wanted();
                        match self.state.press(key, &self.snapshot.names()) {
                            Asked::Nothing => {}
                            Asked::Leave => return Ok(()),
                            Asked::Restart(app) => self.restart(&app),
                        }
                        if self.wanted() != was {
                            look_at = Instant::now();
                        }
                    }
                    self.turn_feed();
                }
                News::World(snapshot, meter) => {
                    self.meter = Some(meter);
                    self.snapshot = snapshot;
                    self.state.settle(&self.snapshot.names());
                    self.turn_feed();
                }
                News::Done(done) => {
                    self.deed = None;
                    self.state.tell(done.words);
                    look_at = Instant::now();
                }
                News::TimeToLook => {
                    look_at = Instant::now() + LOOK_EVERY;
                    self.look();
                    continue;
                }
                News::TimeToDraw => {
                    draw_at = None;
                    drawn_at = Instant::now();
                    let now = *size.borrow_and_update();
                    self.show(Rect::new(0, 0, now.columns, now.rows), stdout)
                        .await?;
                    continue;
                }
                News::Resized | News::Log => {}
            }
            draw_at = draw_at.or(Some(drawn_at + FRAME));
        }
    }

    /// Sends what has changed, which is often nothing.
    async fn show(
        &mut self,
        area: Rect,
        stdout: &mut (impl tokio::io::AsyncWrite + Unpin),
    ) -> io::Result<()> {
        let mut next = Buffer::empty(area);
        let feed = self.feed.as_ref();
        let most = draw(&self.state, &self.snapshot, feed, &self.looks, &mut next);
        self.state.limit_scroll(most);
        let bytes = screen::changes(&self.shown, &next);
        self.shown = next;
        if !bytes.is_empty() {
            stdout.write_all(bytes.as_bytes()).await?;
            stdout.flush().await?;
        }
        Ok(())
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            app: self.state.chosen().cloned(),
            tab: self.state.tab,
        }
    }

    fn look(&mut self) {
        let Some(mut meter) = self.meter.take() else {
            return;
        };
        let (ctx, caller, wanted) = (Arc::clone(&self.ctx), self.caller.clone(), self.wanted());
        self.looking = Some(spawn_blocking(move || {
            let snapshot = take(&ctx, &caller, &wanted, &mut meter);
            (snapshot, meter)
        }));
    }

    /// The chosen app's log is read while it is looked at.
    fn turn_feed(&mut self) {
        let wanted = self.state.chosen().filter(|_| self.state.tab == Tab::Logs);
        if self.feed.as_ref().map(Feed::app) != wanted {
            self.feed = wanted.map(|app| Feed::open(&self.ctx, app.clone()));
        }
    }

    fn restart(&mut self, app: &release::AppName) {
        if self.deed.is_some() {
            return self
                .state
                .tell("One thing at a time: the last one is under way.".to_owned());
        }
        self.state.tell(format!("Restarting {app} ..."));
        self.deed = Some(deed::command(
            &self.ctx,
            &self.caller,
            vec!["ps:restart".to_owned(), app.to_string()],
        ));
    }
}

async fn finished(looking: &mut Option<JoinHandle<(Snapshot, Meter)>>) -> (Snapshot, Meter) {
    let Some(handle) = looking else {
        return pending().await;
    };
    let taken = handle.await;
    *looking = None;
    // A bug in there is told once by the panic; the picture goes on with nothing.
    taken.unwrap_or_default()
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
