//! The whole line, as its users see it: the real `slipway` binary, real `git`, `ssh` and `curl`, real apps.
//!
//! [`transcript`] plays the shell sessions in `transcripts/*.txt` and compares what they print; what needs a clock, a load
//! or a `kill -9` is Rust, a few lines a test, on [`server::Server`]. Nothing in here knows how Slipway works inside:
//! only the command line, the `ready` line, git, SSH and HTTP.

mod gate;
mod http;
mod leaks;
mod load;
mod processes;
mod registry;
mod server;
mod shell;
mod transcript;
mod typist;
mod world;

mod access;
mod authors;
mod backups;
mod clones;
mod commands;
mod cut;
mod dashboard;
mod debugging;
mod detached;
mod failed_deploys;
mod killed;
mod languages;
mod ordinary_user;
mod plan;
mod pushes;
mod queue;
mod rebuild;
mod restarts;
mod sessions;
mod stacks;
mod terminals;
mod without_git;
mod zero_downtime;
