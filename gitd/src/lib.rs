//! PUSH: the SSH git server.
pub mod git;
pub mod gone;
pub mod request;
mod words;
