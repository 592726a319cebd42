//! Everything that a person reads at `git push` is printed here, in Heroku's look: `----->` for a step, seven spaces for
//! detail, ` !     ` for what is wrong. The builder passes it on as it is.

use std::{
    io::{self, Write},
    time::Duration,
};

const INDENT: &str = "       ";
const ALARM: &str = " !     ";

/// `-----> text`
pub(crate) fn step(text: &str) {
    line("-----> ", text);
}

/// A line under the step.
pub(crate) fn detail(text: &str) {
    for text in text.lines() {
        line(INDENT, text);
    }
}

/// Something to know that does not stop the build.
pub(crate) fn warning(text: &str) {
    for text in text.lines() {
        line(ALARM, text);
    }
}

/// What stopped the build: a title, then what was found and what to type.
pub(crate) fn error(title: &str, body: &str) {
    line("", "");
    line(ALARM, title);
    line(ALARM, "");
    warning(body);
}

/// The closing line of a step that took a while.
pub(crate) fn done(elapsed: Duration) {
    detail(&format!("Done in {:.1}s", elapsed.as_secs_f64()));
}

/// Another program's output: bytes without their newline, any encoding.
pub(crate) fn child_line(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    let indent = if bytes.is_empty() { "" } else { INDENT };
    // The reader may have gone; the build then ends by the builder's hand, not by ours.
    let _ = out
        .write_all(indent.as_bytes())
        .and_then(|()| out.write_all(bytes))
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
}

fn line(prefix: &str, text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{}", format!("{prefix}{text}").trim_end()).and_then(|()| out.flush());
}
