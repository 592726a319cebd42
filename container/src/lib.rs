//! What builder and release both stand on: OCI images and isolated processes.
//!
//! Images: a directory becomes the bytes of a [`layer`], named by its [`Digest`]; the [`store`] keeps unpacked layers
//! and [`image`] configurations; [`layout`] writes them out as a standard OCI layout. Processes: a [`Sandbox`] says
//! what to run and what it may see; the [`Spawner`] starts it; a small init inside supervises it under its [`limits`].
//! Another process can enter it later ([`Entry`]), and any of them can have a [`Terminal`].
//! A [`Stack`] joins both: the base on which builds and instances run.

pub mod archive;
mod attendant;
mod cgroup;
mod command;
pub mod decompress;
pub mod digest;
mod exit_record;
pub mod image;
mod init;
pub mod layer;
mod layer_blob;
pub mod layout;
pub mod limits;
mod log_pump;
pub mod manifest;
mod memory_watch;
mod message;
mod mounts;
pub mod network;
mod program;
pub mod read_ahead;
pub mod registry;
pub mod sandbox;
mod seccomp;
mod signals;
pub mod spawner;
pub mod stack;
pub mod store;
pub mod terminal;
pub mod unpack;
mod zygote;

pub use attendant::Entry;
pub use digest::Digest;
pub use image::{Image, ImageConfig};
pub use limits::Limits;
pub use sandbox::{Bind, Mount, Sandbox};
pub use spawner::{Exit, Process, Spawner, Stdio};
pub use stack::Stack;
pub use store::Store;
pub use terminal::{Terminal, WindowSize};
