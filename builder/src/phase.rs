//! The phases. They meet only through the spec's files: group.toml, plan.toml, the layers' TOML files and
//! config/metadata.toml. Detect and build are the same whoever asks for them; the others have two forms, because our own
//! builds keep layers unpacked in the content store and the specification's end in images ([`crate::lifecycle`]).

pub(crate) mod analyze;
pub(crate) mod build;
pub(crate) mod debug;
pub(crate) mod detect;
pub(crate) mod export;
pub(crate) mod restore;
