//! The client's two streams for code that blocks, and the stream of a pack within them.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    runtime::Handle,
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use super::UploadError;
use crate::{
    git::pkt_line::{self, Packet, PktError},
    gone::Gone,
};

/// A client that says nothing may be looking through its own objects; one that takes nothing is stuck. Both end.
const SILENCE_MAX: Duration = Duration::from_secs(10 * 60);
/// As git's uploadpack.keepAlive, for the NATs on the way.
const KEEPALIVE: Duration = Duration::from_secs(5);
const KEEPALIVE_PACKET: &[u8] = b"0005\x01";
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// Looking at the clock for every object would be seen.
const OBJECTS_PER_LOOK: usize = 256;
const DATA: u8 = 1;
const TEXT: u8 = 2;
const FATAL: u8 = 3;

pub(super) struct Wire {
    pub(super) runtime: Handle,
    pub(super) input: Box<dyn AsyncRead + Send + Unpin>,
    pub(super) output: Box<dyn AsyncWrite + Send + Unpin>,
    pub(super) gone: Gone,
    /// What is written belongs to a pack.
    pub(super) in_pack: bool,
}

impl Wire {
    /// `None`: the client has said all it had to say.
    pub(super) fn read(&mut self) -> Result<Option<Packet>, UploadError> {
        let Self {
            runtime,
            input,
            gone,
            ..
        } = self;
        let read = runtime.block_on(async {
            tokio::select! {
                () = gone.wait() => Err(UploadError::Gone),
                read = timeout(SILENCE_MAX, pkt_line::read_packet(input)) => {
                    read.map_err(|_| UploadError::Silent)
                }
            }
        })?;
        match read {
            Ok(packet) => Ok(Some(packet)),
            Err(PktError::End) => Ok(None),
            Err(PktError::Read(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(UploadError::Protocol(error.to_string())),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        let Self {
            runtime,
            output,
            gone,
            ..
        } = self;
        runtime.block_on(async {
            tokio::select! {
                () = gone.wait() => Err(UploadError::Gone),
                written = timeout(SILENCE_MAX, async {
                    output.write_all(bytes).await?;
                    output.flush().await
                }) => Ok(written.map_err(|_| UploadError::Silent)??),
            }
        })
    }

    pub(super) fn line(&mut self, text: &str) -> Result<(), UploadError> {
        let mut out = Vec::new();
        pkt_line::write(format!("{text}\n").as_bytes(), &mut out);
        self.write(&out)
    }
}

/// How the pack's bytes travel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Band {
    #[default]
    None,
    /// Packets of at most 1000 bytes, of the first clients that had side-bands.
    Small,
    Large,
}

impl Band {
    /// Bytes of a pack in one packet.
    fn room(self) -> usize {
        const SMALL_MAX: usize = 1000;
        match self {
            Self::Small => SMALL_MAX - 5,
            Self::None | Self::Large => pkt_line::PAYLOAD_MAX - 1,
        }
    }
}

/// The pack's stream. Before the pack itself it tells how far the search for objects is.
pub(super) struct PackStream<'a> {
    wire: &'a mut Wire,
    band: Band,
    progress: bool,
    buffer: Vec<u8>,
    sent_at: Instant,
}

impl<'a> PackStream<'a> {
    pub(super) fn new(wire: &'a mut Wire, band: Band, progress: bool) -> Self {
        wire.in_pack = true;
        Self {
            wire,
            band,
            progress: progress && band != Band::None,
            buffer: Vec::with_capacity(band.room()),
            sent_at: Instant::now(),
        }
    }

    /// A turn among those who want the same.
    pub(super) fn wait_for<'s>(
        &mut self,
        turns: &'s Semaphore,
    ) -> Result<SemaphorePermit<'s>, UploadError> {
        loop {
            let gone = self.wire.gone.clone();
            let turn = self.wire.runtime.block_on(async {
                tokio::select! {
                    () = gone.wait() => Err(UploadError::Gone),
                    turn = timeout(KEEPALIVE, turns.acquire()) => Ok(turn),
                }
            })?;
            match turn {
                Ok(turn) => return turn.map_err(|_| UploadError::Gone),
                Err(_) if self.band != Band::None => self.send(KEEPALIVE_PACKET)?,
                Err(_) => {}
            }
        }
    }

    /// Called for every object that is found.
    pub(super) fn tick(&mut self, found: usize) -> Result<(), UploadError> {
        if !found.is_multiple_of(OBJECTS_PER_LOOK) {
            return Ok(());
        }
        if self.wire.gone.is_set() {
            return Err(UploadError::Gone);
        }
        if self.progress && self.sent_at.elapsed() >= PROGRESS_EVERY {
            return self.text(&format!("Enumerating objects: {found}\r"));
        }
        if self.band != Band::None && self.sent_at.elapsed() >= KEEPALIVE {
            return self.send(KEEPALIVE_PACKET);
        }
        Ok(())
    }

    /// Shown to the user, unless that is unwanted.
    pub(super) fn text(&mut self, text: &str) -> Result<(), UploadError> {
        if !self.progress {
            return Ok(());
        }
        self.packet(TEXT, text.as_bytes())
    }

    /// After the pack.
    pub(super) fn finish(mut self) -> Result<(), UploadError> {
        self.flush()?;
        if self.band != Band::None {
            self.send(pkt_line::FLUSH)?;
        }
        self.wire.in_pack = false;
        Ok(())
    }

    /// Instead of the rest of the pack.
    pub(super) fn fail(mut self, reason: &str) -> Result<(), UploadError> {
        match self.band {
            Band::None => Ok(()),
            _ => self.packet(FATAL, format!("{reason}\n").as_bytes()),
        }
    }

    fn packet(&mut self, band: u8, payload: &[u8]) -> Result<(), UploadError> {
        let mut packet = Vec::with_capacity(payload.len() + 5);
        pkt_line::write_band(band, payload, &mut packet);
        self.send(&packet)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        self.sent_at = Instant::now();
        self.wire.write(bytes)
    }
}

impl Write for PackStream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.band.room() - self.buffer.len();
        let taken = bytes.len().min(room);
        self.buffer.extend_from_slice(&bytes[..taken]);
        if taken == room {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.buffer);
        let sent = match self.band {
            Band::None => self.send(&buffer),
            _ => self.packet(DATA, &buffer),
        };
        self.buffer = buffer;
        self.buffer.clear();
        sent.map_err(io::Error::other)
    }
}
