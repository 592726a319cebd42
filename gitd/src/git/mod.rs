//! git, spoken by the server itself: no git program, no hooks, no repository configuration that could run anything.
//!
//! A push flows through these files: [`receive_pack`] advertises the refs and reads the [`update`]s; [`ingest`] takes
//! the [`pack`] into a [`quarantine`], looking at every object in it ([`fsck`], [`tree`], [`gitmodules`]); the
//! quarantine becomes part of the [`repo`]; the platform deploys; the [`refs`] move; the [`report`] goes back, after
//! whatever was said on the [`sideband`] meanwhile.
//!
//! When a repository has many small packs, the push is followed by their [`consolidate`].
//!
//! A fetch is [`upload_pack()`]: it walks the [`graph`] of commits in the [`packs`], and the [`pack_writer`] copies what the
//! client needs.

pub mod receive_pack;
mod upload_pack;

mod ancestry;
mod base_cache;
mod consolidate;
mod export;
mod fsck;
mod gitmodules;
mod graph;
mod ingest;
mod limits;
mod pack;
mod pack_writer;
mod packs;
mod pkt_line;
mod quarantine;
mod ref_conflict;
mod refs;
mod repo;
mod report;
mod screen;
mod shallow;
mod sideband;
mod tree;
mod tree_count;
mod update;
mod watch;

pub use export::{ExportError, ExportSummary};
pub use fsck::FsckError;
pub use limits::Limits;
pub(crate) use pkt_line::write as write_pkt_line;
pub use receive_pack::{Decision, Landing, ReceiveError, Received, receive_pack};
pub use refs::RefError;
pub(crate) use refs::{BUILDS, RELEASES};
pub use repo::{CommitInfo, Repo, RepoError};
pub use report::Landed;
pub(crate) use screen::Screen;
pub use sideband::Sideband;
pub use tree::TreeError;
pub use update::RefUpdate;
pub use upload_pack::{UploadError, Version, upload_pack};

/// The only object format: what the advertisement says.
const HASH: gix_hash::Kind = gix_hash::Kind::Sha1;
