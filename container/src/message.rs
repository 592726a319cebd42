//! What slipway and its spawner say to each other: one JSON text per packet of a SOCK_SEQPACKET socket, file
//! descriptors beside it (SCM_RIGHTS).

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Sandbox, attendant::Entry, limits::Capabilities};

/// Far above a sandbox with sixty layers and a large environment, below the kernel's default socket buffer.
const BYTES_MAX: usize = 128 * 1024;
const FDS_MAX: usize = 4;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Probe,
    /// With the three standard streams, the handover of a terminal, or none.
    Spawn(Box<Sandbox>),
    /// With the pidfd of the sandbox's init, and then as above.
    Enter {
        /// Of the init.
        pid: u32,
        entry: Box<Entry>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Capabilities(Capabilities),
    /// With the pidfd and the pipe that brings the exit record of a bound sandbox or an entered process.
    Spawned {
        pid: u32,
        start_time: u64,
    },
    Failed {
        step: String,
        errno: i32,
    },
}

pub(crate) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let text = serde_json::to_vec(message)?;
    if text.len() <= BYTES_MAX {
        return Ok(text);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{} bytes, and {BYTES_MAX} are the most", text.len()),
    ))
}

pub(crate) fn send(socket: BorrowedFd<'_>, text: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    rustix::io::retry_on_intr(|| {
        sendmsg(
            socket,
            &[IoSlice::new(text)],
            &mut control,
            SendFlags::NOSIGNAL,
        )
    })?;
    Ok(())
}

/// `None` at the end: the other side is gone.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut text = vec![0; BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut text)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let fds = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    Ok(Some((
        serde_json::from_slice(&text[..received.bytes])?,
        fds,
    )))
}
