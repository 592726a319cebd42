//! PUSH: the SSH git server, its admin commands, and the deploy that follows a push.
//!
//! A connection comes in through [`ssh`]: keys only, everything bounded. Its exec string becomes one [`Request`]; the
//! session answers it: a push flows through [`git`] to a `landing`, which queues a `deploy` and watches it; anything else is
//! one of the [`commands`]. What the session sees of all that is the [`Platform`]; the [`Context`] is it.

mod client_terminal;
mod run_line;
mod session;
mod unpack_turns;
mod words;

mod access;
mod app_files;
mod app_refs;
mod context;
mod dashboard;
mod disk;
mod dotenv;
mod errors;
mod expiry;
mod failed_builds;
mod output;
mod quantity;

mod landing;
mod push_options;
mod queue;

mod deploy;
mod plan;
mod story;
mod transcript;

pub mod backup;
pub mod commands;
pub mod git;
pub mod gone;
pub mod network;
pub mod platform;
pub mod request;
pub mod ssh;

pub use client_terminal::ClientTerminal;
pub use context::{Context, Settings};
pub use errors::{Failure, chain};
pub use gone::Gone;
pub use platform::{Caller, Certificate, Io, Platform, Proof, Status};
pub use quantity::bytes;
pub use request::{RepoPath, Request};
pub use ssh::Server;
