//! What the targets call. The git server is reached as a client reaches it, by a stream of bytes: nothing has to be opened
//! for the sake of fuzzing, and every finding is one that a client could have made.
//!
//! The files of gitd are compiled as part of this crate, without the rest of gitd: a target builds in a minute.

#[expect(dead_code, unused_imports, reason = "the server uses more of it")]
#[path = "../../gitd/src/git/mod.rs"]
mod git;
#[expect(dead_code, reason = "the server uses more of it")]
#[path = "../../gitd/src/gone.rs"]
mod gone;
#[expect(dead_code, reason = "the server uses more of it")]
#[path = "../../gitd/src/quantity.rs"]
mod quantity;
#[path = "../../gitd/src/request.rs"]
mod request;
#[path = "../../gitd/src/run_line.rs"]
mod run_line;
#[path = "../../gitd/src/words.rs"]
mod words;

mod pack;
mod server;

pub use pack::{objects, pack};
pub use server::{commands, fetch};

/// Whatever the line is, the words of what was understood can be said again.
pub fn exec_line(line: &[u8]) {
    _ = request::Request::parse(line);
}
