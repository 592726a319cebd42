//! The router on real sockets: what clients and endpoints see of each other, and what they never see.

mod world;

mod drain;
mod failures;
mod http2;
mod limits;
mod relay;
mod retry;
mod smuggling;
mod stop;
mod upgrade;
