//! The server from outside: stock `git`, stock `ssh`, and hostile bytes.

mod clients;
mod common;
mod consolidate;
mod fetch;
mod flow;
mod hostile;
mod odd_lines;
mod pack;
mod platform;
mod push;
mod ref_names;
mod ssh;
mod stock;
mod strangers;
mod turns;
