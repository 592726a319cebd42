//! The server from outside: stock `git`, stock `ssh`, and hostile bytes.

mod common;
mod hostile;
mod pack;
mod push;
mod ssh;
