//! A command that runs beside the picture: the same as on a line of its own, so with the same checks, and what it said last.

use std::{future::pending, pin::Pin, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, DuplexStream, duplex, empty, sink},
    task::JoinHandle,
};

use crate::{Caller, Context, Io, commands};

/// Of what it says; it waits when nobody reads it.
const WORDS_BYTES: usize = 16 * 1024;

const MARKERS: [char; 5] = [' ', '-', '=', '>', '!'];

pub(super) type Deed = JoinHandle<Done>;

pub(super) struct Done {
    /// One line.
    pub(super) words: String,
}

pub(super) fn command(ctx: &Arc<Context>, caller: &Caller, words: Vec<String>) -> Deed {
    let (ours, theirs) = duplex(WORDS_BYTES);
    let running = running(Arc::clone(ctx), caller.clone(), words, theirs);
    tokio::spawn(async move {
        let (said, ()) = tokio::join!(last_line(ours), running);
        Done { words: said }
    })
}

pub(super) async fn ended(deed: &mut Option<Deed>) -> Done {
    match deed {
        Some(deed) => deed.await.unwrap_or_else(|_| Done {
            words: "It ended without a word.".to_owned(),
        }),
        None => pending().await,
    }
}

/// Boxed: a command may be the dashboard, and that may run a command.
fn running(
    ctx: Arc<Context>,
    caller: Caller,
    words: Vec<String>,
    stderr: DuplexStream,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let io = Io {
            stdin: Box::new(empty()),
            stdout: Box::new(sink()),
            stderr: Box::new(stderr),
            terminal: None,
            gone: Box::pin(pending()),
        };
        commands::run(&ctx, &caller, &words, io).await;
    })
}

async fn last_line(mut said: DuplexStream) -> String {
    let mut text = Vec::new();
    // It ends with the command.
    _ = said.read_to_end(&mut text).await;
    let text = String::from_utf8_lossy(&text);
    // Without its marker.
    let mut lines = text.lines().map(|line| line.trim_start_matches(MARKERS));
    lines
        .rfind(|line| !line.is_empty())
        .unwrap_or_default()
        .to_owned()
}
