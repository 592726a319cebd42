//! `backup`: the whole platform to the client's stdout.

use std::io::{self, Write};

use clap::Args;
use release::IMAGES_KEPT;
use tokio::{io::AsyncWriteExt as _, sync::mpsc, task::spawn_blocking};

use super::Env;
use crate::{
    backup::{self, BackupError, Progress},
    chain,
    errors::{Failure, USAGE},
    output,
    quantity::show_bytes,
};

/// What has been read and not yet sent.
const PIECES_MAX: usize = 8;

/// Write a backup of the whole platform to stdout
///
/// Apps, releases, config vars, keys, host keys, git history, logs and images, as they are now, while everything goes on.
/// It holds secrets: keep it as you keep those. `slipway restore FILE --data DIR` makes a platform of it.
#[derive(Args)]
#[command(after_help = "Example:\n  ssh git@host backup > slipway-backup.tar.gz")]
pub(super) struct Backup {
    /// Images of each app that can be rolled back to; with 0 each app has to be built again
    #[arg(long, value_name = "N", default_value_t = IMAGES_KEPT)]
    keep: usize,
}

enum Piece {
    Bytes(Vec<u8>),
    Told(Progress),
}

impl Backup {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        if env.io.terminal.is_some() {
            let failure = Failure::new("a backup is no text for a terminal").status(USAGE);
            return Err(failure.hint("Without -t: ssh git@host backup > FILE"));
        }
        let (send, mut pieces) = mpsc::channel(PIECES_MAX);
        let data = env.ctx.settings.data.clone();
        let made = spawn_blocking(move || {
            let out = ToClient(send.clone());
            backup::backup(&data, self.keep, out, &mut |progress| {
                // A client that is gone is noticed where bytes are sent.
                _ = send.blocking_send(Piece::Told(progress));
            })
        });
        while let Some(piece) = pieces.recv().await {
            match piece {
                Piece::Told(progress) => env.narrate(&output::detail(&progress.to_string())).await,
                Piece::Bytes(bytes) => {
                    if env.io.stdout.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
            }
        }
        drop(pieces);
        Ok(made.await.map_err(Failure::ours)??)
    }
}

struct ToClient(mpsc::Sender<Piece>);

impl Write for ToClient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Piece::Bytes(bytes.to_vec()));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        Self::new(chain(&error))
    }
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Taken {
                apps,
                images,
                layers,
            } => {
                write!(f, "{apps} apps, {images} images of {layers} layers")
            }
            Self::Missing(image) => write!(f, "Image {image} is missing, and left out"),
            Self::Layers { done, of, bytes } => {
                write!(f, "{done} of {of} layers, {}", show_bytes(*bytes))
            }
            Self::Written { bytes } => write!(f, "{} written", show_bytes(*bytes)),
        }
    }
}
