//! The five phases, in order. They meet only through the spec's files: group.toml, plan.toml, the layers' TOML files and
//! config/metadata.toml.

pub(crate) mod analyze;
pub(crate) mod build;
pub(crate) mod detect;
pub(crate) mod export;
pub(crate) mod restore;
