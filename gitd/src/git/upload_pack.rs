//! `git upload-pack`: the server's side of a clone or fetch, in protocols 0, 1 and 2.
//!
//! [`v0`] and [`v2`] read what the client asks for into one [`request`]; [`fetch`] answers it: [`boundary`] says where a
//! shallow history ends, [`select`] which objects are needed, and the pack goes out as it is written.
//!
//! One blocking thread serves one client: what it does is reading packs, and waiting for the client.

mod advert;
mod boundary;
mod fetch;
mod filter;
mod request;
mod select;
mod turns;
mod v0;
mod v2;
mod wire;

use std::{collections::HashSet, io};

use gix_hash::ObjectId;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime::Handle,
    task,
};

use super::{
    RefError, Repo,
    graph::Graph,
    pack_writer::WriteError,
    packs::{PackError, Packs},
    pkt_line,
};
use crate::gone::Gone;
use advert::Refs;
use turns::Turns;
use wire::Wire;

static TURNS: Turns = Turns::new();

/// Called for each object found; an error ends the search.
type Tick<'t> = dyn FnMut(usize) -> Result<(), UploadError> + 't;

/// What the client's `GIT_PROTOCOL` asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Version {
    #[default]
    V0,
    V1,
    V2,
}

#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error("upload-pack: not our ref {0}")]
    NotOurs(ObjectId),
    #[error("upload-pack: {0}")]
    Protocol(String),
    #[error("upload-pack: there is no ref `{0}`")]
    NoRef(String),
    #[error("upload-pack: no commits selected for shallow requests")]
    NothingSelected,
    #[error(
        "upload-pack: the filter `{0}` is not supported; there are blob:none, blob:limit=<size> and tree:<depth>"
    )]
    Filter(String),
    #[error("upload-pack: object format `{0}` is not supported, only sha1")]
    ObjectFormat(String),
    #[error("upload-pack: more than {0} of one kind of line in a request")]
    TooMany(usize),
    #[error("upload-pack: the request is too long")]
    TooLong,
    #[error("the client has gone")]
    Gone,
    #[error("the client was silent for too long")]
    Silent,
    #[error("the connection broke")]
    Connection(#[from] io::Error),
    #[error(transparent)]
    Refs(#[from] RefError),
    #[error("objects cannot be read")]
    Objects(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the fetch ended in a panic")]
    Panic,
}

impl UploadError {
    /// Something is wrong with the repository, not with the request or the connection.
    fn is_ours(&self) -> bool {
        matches!(self, Self::Refs(_) | Self::Objects(_) | Self::Panic)
    }

    /// For the client; the causes, if they are ours, are for our log. `None`: there is nobody to tell.
    fn told(&self) -> Option<String> {
        match self {
            Self::Gone | Self::Silent | Self::Connection(_) => None,
            _ if self.is_ours() => Some("upload-pack: the repository cannot be read".to_owned()),
            _ => Some(self.to_string()),
        }
    }
}

impl From<PackError> for UploadError {
    fn from(error: PackError) -> Self {
        Self::Objects(error.into())
    }
}

impl From<WriteError> for UploadError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Io(error) => match error.downcast::<Self>() {
                Ok(upload) => upload,
                Err(error) => Self::Connection(error),
            },
            other => Self::Objects(other.into()),
        }
    }
}

/// Serves one clone or fetch of a user. The client has been told of an error that is its own.
pub async fn upload_pack(
    repo: &Repo,
    user: &str,
    version: Version,
    input: Box<dyn AsyncRead + Send + Unpin>,
    output: Box<dyn AsyncWrite + Send + Unpin>,
    gone: &Gone,
) -> Result<(), UploadError> {
    let wire = Wire {
        runtime: Handle::current(),
        input,
        output,
        gone: gone.clone(),
        in_pack: false,
    };
    let _turn = tokio::select! {
        turn = TURNS.take(user) => turn,
        () = gone.wait() => return Err(UploadError::Gone),
    };
    let mut session = Session {
        repo: repo.clone(),
        wire,
        shown: HashSet::new(),
    };
    let served = task::spawn_blocking(move || session.serve(version)).await;
    served.unwrap_or(Err(UploadError::Panic))
}

struct Session {
    repo: Repo,
    wire: Wire,
    /// Tips that the client was told of. They may be had, whatever becomes of their refs meanwhile.
    shown: HashSet<ObjectId>,
}

impl Session {
    fn serve(&mut self, version: Version) -> Result<(), UploadError> {
        let served = match version {
            Version::V0 => v0::serve(self),
            Version::V1 => self.wire.line("version 1").and_then(|()| v0::serve(self)),
            Version::V2 => v2::serve(self),
        };
        // Within a pack, its own stream has said it.
        if let Err(error) = &served
            && let Some(words) = error.told()
            && !self.wire.in_pack
        {
            // The client may be gone all the same.
            _ = self.wire.line(&format!("ERR {words}"));
        }
        served
    }

    /// The refs first: what they name is in the packs before.
    fn open(&self) -> Result<(Refs, Packs), UploadError> {
        let refs = Refs::read(&self.repo)?;
        Ok((refs, Packs::open(&self.repo)?))
    }

    /// The history, cut where nobody ever pushed more.
    fn graph<'a>(&self, packs: &'a Packs) -> Result<Graph<'a>, UploadError> {
        Ok(Graph::new(packs.reader(), self.shallow()?))
    }

    fn shallow(&self) -> Result<Vec<ObjectId>, UploadError> {
        Ok(self.repo.shallow().map_err(RefError::Read)?)
    }
}

impl boundary::Boundary {
    fn write(&self, out: &mut Vec<u8>) {
        for id in &self.shallow {
            pkt_line::write(format!("shallow {id}").as_bytes(), out);
        }
        for id in &self.unshallow {
            pkt_line::write(format!("unshallow {id}").as_bytes(), out);
        }
    }
}

impl Version {
    /// The highest version that both sides know.
    pub(crate) fn asked_for(protocol: Option<&str>) -> Self {
        let versions = protocol.unwrap_or_default().split(':');
        let known = versions.filter_map(|part| match part.strip_prefix("version=")? {
            "1" => Some((1, Self::V1)),
            "2" => Some((2, Self::V2)),
            _ => None,
        });
        known
            .max_by_key(|(number, _)| *number)
            .map_or(Self::V0, |(_, version)| version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_that_both_know() {
        let check = |asked, version| assert_eq!(Version::asked_for(asked), version, "{asked:?}");
        check(None, Version::V0);
        check(Some(""), Version::V0);
        check(Some("version=0"), Version::V0);
        check(Some("version=1"), Version::V1);
        check(Some("version=2"), Version::V2);
        check(Some("version=3:version=1"), Version::V1);
        check(Some("version=1:x=y:version=2"), Version::V2);
    }
}
