//! ROUTE: host to app to healthy instance, without a dropped request.
//!
//! A request's way: [`server`] starts one single-threaded runtime per core, each with its own `listener`; `connection`
//! serves what it accepts, behind `guard`, which lets only unambiguous HTTP/1.1 framing through; [`table`] finds the
//! route of the `host`; `forward` sends the request to an endpoint that `balance` chose, over a connection from the
//! `pool`; `failure` answers what cannot be served, and [`log`] writes the line. The table is read without a lock;
//! connections that are open never notice a change.

pub mod server;

mod connection;
mod guard;
mod listener;
mod vitals;
mod worker;

mod chunked;
mod framing;
mod head;

mod host;
pub mod table;

mod balance;
mod endpoint;

mod body;
mod failure;
mod forward;
mod headers;
mod pool;
mod random;
mod tunnel;

pub mod log;

pub use log::{AppLine, LogSender};
pub use server::{Config, Router, Timeouts};
pub use table::{Backend, Endpoint, NoBackend, Route, Table};
