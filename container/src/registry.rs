//! A client of image registries (OCI distribution-spec 1.1): [`pull`] and [`push`], manifests and blobs, verified both
//! ways, tried again when the network stumbles, and taken up where they broke off.
//!
//! A [`Reference`] says which image; [`Credentials`] come from the usual docker configuration; [`auth`] answers a
//! registry's challenge; [`http`] sends a request until it is answered; [`error`] says what a registry did.
//!
//! Ours, and on the HTTP client that the workspace has already, rather than the crate `oci-client`: builds are blocking
//! code, that one is asynchronous on a second HTTP stack, knows no credential helpers, reads whole blobs into memory when
//! it pushes, and does not take up a broken transfer.

mod auth;
mod challenge;
mod credentials;
mod download;
mod error;
mod helper;
mod http;
mod pace;
mod parallel;
mod pull;
mod push;
mod reach;
mod reference;
mod referrers;
mod upload;

pub use credentials::Credentials;
pub use error::RegistryError;
pub use http::Client;
pub use parallel::each;
pub use pull::RemoteImage;
pub use push::{Content, Sent};
pub use reach::Reach;
pub use reference::{NotAReference, Reference, Repository};
