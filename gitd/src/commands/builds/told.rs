//! What a build printed: as it is for people, and for programs a JSON object per line.

use release::Build;
use serde::Serialize;
use tokio::io::AsyncWriteExt as _;

use super::{Env, Shown};
use crate::{errors::Failure, git::Screen};

/// Of one line for a program; a longer one is told in several.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// To the client's stdout. What builds print is not ours, and a terminal obeys it.
pub(super) struct Told {
    screen: Screen,
    json: bool,
    /// What has come of the line that has not ended, for JSON.
    line: Vec<u8>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Object<'a> {
    Line(&'a str),
    Build(Shown<'a>),
}

impl Told {
    pub(super) fn new(env: &Env<'_>, json: bool) -> Self {
        Self {
            screen: Screen::new(env.io.terminal.is_some() && !json),
            json,
            line: Vec::new(),
        }
    }

    /// `false`: the client has gone.
    pub(super) async fn piece(&mut self, env: &mut Env<'_>, piece: &[u8]) -> bool {
        let text = match self.json {
            true => self.objects(piece),
            false => {
                let mut seen = Vec::with_capacity(piece.len());
                self.screen.push(piece, &mut seen);
                seen
            }
        };
        env.io.stdout.write_all(&text).await.is_ok()
    }

    /// The last line may have no end. A program hears how the build went, too.
    pub(super) async fn end(self, env: &mut Env<'_>, build: Option<&Build>) -> Result<(), Failure> {
        if self.json {
            let mut text = Vec::new();
            if !self.line.is_empty() {
                text = object(&self.line);
            }
            if let Some(build) = build {
                let build = Object::Build(Shown::new(build));
                serde_json::to_writer(&mut text, &build).map_err(Failure::ours)?;
                text.push(b'\n');
            }
            _ = env.io.stdout.write_all(&text).await;
        }
        _ = env.io.stdout.flush().await;
        Ok(())
    }

    fn objects(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut objects = Vec::new();
        for part in piece.split_inclusive(|&byte| byte == b'\n') {
            self.screen.push(part, &mut self.line);
            if self.line.len() > LINE_BYTES_MAX || self.line.last() == Some(&b'\n') {
                objects.extend(object(&self.line));
                self.line.clear();
            }
        }
        objects
    }
}

fn object(line: &[u8]) -> Vec<u8> {
    let line = String::from_utf8_lossy(line);
    // A text: there is nothing in it that could fail.
    let mut text =
        serde_json::to_vec(&Object::Line(line.trim_end_matches('\n'))).unwrap_or_default();
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_objects_wherever_pieces_end() {
        let mut told = Told {
            screen: Screen::new(false),
            json: true,
            line: Vec::new(),
        };
        let pieces: [&[u8]; 4] = [b"one\ntw", "o \"ü".as_bytes(), b"\"\r\n\x1b[31mred", b"\n"];
        let seen: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| told.objects(piece))
            .collect();
        let expected = "{\"line\":\"one\"}\n{\"line\":\"two \\\"ü\\\"\"}\n{\"line\":\"red\"}\n";
        assert_eq!(String::from_utf8(seen).as_deref(), Ok(expected));
        let long = told.objects(&[b'x'; 3 * LINE_BYTES_MAX]);
        assert!(long.len() > 3 * LINE_BYTES_MAX && told.line.is_empty());
    }
}
