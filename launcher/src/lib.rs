//! LAUNCH: what runs first in an instance. Makes the environment from the image's layers and becomes the process
//! (buildpack spec, "Launch"; platform spec, "Launcher").
//!
//! [`launch()`] is the story. It reads `<layers>/config/metadata.toml` ([`metadata`]): the buildpacks, whose [`layers`]
//! change the environment in order, and the process types, of which one is chosen with the user's words ([`command`]).
//! [`exec_d`] programs add to the environment, and then the process takes our place.
//!
//! The program is part of every image, and starts before every process: it stands on the kernel alone ([`sys`]), without
//! the standard library and the C library, so that it is a tenth of their size and has nothing of theirs to patch.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod launch;

mod command;
pub mod env;
mod exec_d;
mod layers;
mod metadata;
mod text;

mod sys;

pub use crate::{
    env::Env,
    launch::{Failure, launch},
    sys::{Start, exit, map, write_error},
};
