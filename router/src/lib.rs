//! ROUTE: host to app to healthy instance, without a dropped request.
//!
//! A request's way: [`server`] accepts it on one of several single-threaded runtimes, [`table`] finds the route of its
//! host and claims an endpoint, `forward` sends it there over a pooled connection, [`log`] writes the line. The table is
//! swapped as a whole and read without a lock; connections that are open never notice.

mod failure;
mod forward;
mod headers;
pub mod log;
mod pool;
pub mod server;
pub mod table;

pub use log::{AppLine, LogSender};
pub use server::{Config, Router, Timeouts};
pub use table::{Backend, Endpoint, NoBackend, Route, Table};
