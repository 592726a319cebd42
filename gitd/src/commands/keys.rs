//! `keys`: the SSH public keys that may push and administer.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use release::Key;
use russh::keys::{HashAlg, PublicKey};
use serde::Serialize;
use tokio::io::AsyncReadExt;

use super::Env;
use crate::{
    errors::{Failure, USAGE},
    output::{self, timestamp},
};

/// One key with a long comment fits; a whole file of something else does not.
const KEY_BYTES_MAX: u64 = 16 * 1024;

/// List the keys
#[derive(Args)]
pub(super) struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Add the public key that comes on stdin: keys:add NAME < ~/.ssh/id_ed25519.pub
#[derive(Args)]
pub(super) struct Add {
    /// Whose key it is; the key's own comment when absent
    name: Option<String>,
}

/// Remove a key
#[derive(Args)]
pub(super) struct Remove {
    /// Its name or its SHA256:... fingerprint
    key: String,
}

#[derive(Serialize)]
struct Shown {
    name: String,
    fingerprint: String,
    added_at: String,
}

impl List {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let keys = env.ctx.apps.ledger().keys()?.into_iter().map(|key| Shown {
            name: key.name,
            fingerprint: key.fingerprint,
            added_at: timestamp(key.added_at),
        });
        let shown: Vec<Shown> = keys.collect();
        if self.json {
            return env.print_json(&shown).await;
        }
        let rows: Vec<_> = shown
            .into_iter()
            .map(|key| vec![key.name, key.fingerprint, key.added_at])
            .collect();
        env.print(&output::columns(&rows)).await;
        Ok(())
    }
}

impl Add {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let mut text = String::new();
        let stdin = &mut env.io.stdin;
        stdin
            .take(KEY_BYTES_MAX)
            .read_to_string(&mut text)
            .await
            .map_err(|_| Failure::new("what came on stdin is no public key").status(USAGE))?;
        let key = parse_public_key(&text, self.name.as_deref())?;
        let (name, fingerprint) = (key.name.clone(), key.fingerprint.clone());
        if !env.ctx.apps.ledger().add_key(&key)? {
            return Err(Failure::new(format!(
                "the key {fingerprint} is there already"
            )));
        }
        env.ctx.reload_keys()?;
        env.narrate(&format!("Added the key of `{name}`.")).await;
        env.print(&format!("{fingerprint}\n")).await;
        Ok(())
    }
}

impl Remove {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let ledger = env.ctx.apps.ledger();
        let keys = ledger.keys()?;
        let stays = keys
            .iter()
            .any(|key| key.name != self.key && key.fingerprint != self.key);
        if !keys.is_empty() && !stays {
            return Err(
                Failure::new("this is the last key; without it nobody could log in")
                    .hint("Add another one first: keys:add NAME < key.pub"),
            );
        }
        let removed = ledger.remove_key(&self.key)?;
        if removed.is_empty() {
            return Err(Failure::new(format!("there is no key `{}`", self.key)).hint("Type: keys"));
        }
        env.ctx.reload_keys()?;
        for fingerprint in removed {
            env.narrate(&format!("Removed {fingerprint}.")).await;
        }
        Ok(())
    }
}

/// One line of OpenSSH's public key format (sshd(8), AUTHORIZED_KEYS, without options). `name` overrides the comment.
pub fn parse_public_key(text: &str, name: Option<&str>) -> Result<Key, Failure> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let [line] = lines[..] else {
        return Err(Failure::new(format!(
            "one public key is wanted, and {} lines came",
            lines.len()
        ))
        .hint("Type: keys:add NAME < ~/.ssh/id_ed25519.pub")
        .status(USAGE));
    };
    if line.contains("PRIVATE KEY") {
        return Err(Failure::new(
            "this is a private key; keep it to yourself and send the .pub file",
        )
        .status(USAGE));
    }
    let public = PublicKey::from_openssh(line).map_err(|error| {
        Failure::new(format!("this is no OpenSSH public key: {error}"))
            .hint("Type: keys:add NAME < ~/.ssh/id_ed25519.pub")
            .status(USAGE)
    })?;
    let comment = public.comment().to_string();
    let name = name
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .unwrap_or(comment.trim());
    if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
        return Err(
            Failure::new("the key needs a name of 1 to 64 printable characters")
                .hint("Type: keys:add NAME < key.pub")
                .status(USAGE),
        );
    }
    Ok(Key {
        fingerprint: public.fingerprint(HashAlg::Sha256).to_string(),
        name: name.to_owned(),
        public: line.to_owned(),
        added_at: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_secs()),
    })
}
