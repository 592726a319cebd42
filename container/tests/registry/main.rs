//! The registry client against the CNCF registry, with skopeo as the second opinion, and against servers that lie.

#![expect(
    clippy::unwrap_used,
    reason = "clippy sees only the test functions as tests, not what they share"
)]

mod hostile;
mod liar;
mod real;
mod referrers;
mod server;
mod stack;
mod uploads;
