//! A public key as it comes on stdin or in a file.

use std::ops::RangeInclusive;

use release::UserName;
use russh::keys::{HashAlg, PublicKey, ssh_key::public::KeyData};

use super::Env;
use crate::errors::{Failure, USAGE};

/// One key with a long comment fits; a whole file of something else does not.
const KEY_BYTES_MAX: u64 = 16 * 1024;
/// A user's, or an authority's.
const HINT: &str =
    "One line of a .pub file is wanted on stdin, as in: keys:add NAME < ~/.ssh/id_ed25519.pub";
/// Shorter ones can be broken, longer ones are not verified.
const RSA_BITS: RangeInclusive<u32> = 2048..=8192;

/// One line of OpenSSH's public key format (sshd(8), AUTHORIZED_KEYS, without options).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKeyLine {
    /// `SHA256:…` as OpenSSH prints it.
    pub fingerprint: String,
    pub comment: String,
    pub line: String,
}

pub(super) async fn read(env: &mut Env<'_>) -> Result<PublicKeyLine, Failure> {
    let text = env.input(KEY_BYTES_MAX).await?;
    PublicKeyLine::parse(&text)
}

impl PublicKeyLine {
    pub fn parse(text: &str) -> Result<Self, Failure> {
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
            .hint(HINT)
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
                .hint(HINT)
                .status(USAGE)
        })?;
        if let Some(weakness) = weakness(public.key_data()) {
            return Err(Failure::new(format!("{weakness} opens nothing here"))
                .hint("Make another: ssh-keygen -t ed25519")
                .status(USAGE));
        }
        Ok(Self {
            fingerprint: public.fingerprint(HashAlg::Sha256).to_string(),
            comment: public.comment().to_string().trim().to_owned(),
            line: line.to_owned(),
        })
    }

    /// `name`, or else its comment.
    pub fn named(&self, name: Option<&str>) -> Result<UserName, Failure> {
        let name = name.unwrap_or(&self.comment);
        name.parse().map_err(|_| {
            Failure::new("the key needs a name of 1 to 64 printable characters, the first of them no `@` or `-`")
                .hint("Type: keys:add NAME < key.pub")
                .status(USAGE)
        })
    }
}

/// Why nobody could log in with it.
fn weakness(key: &KeyData) -> Option<String> {
    match key {
        KeyData::Rsa(key) if !RSA_BITS.contains(&key.key_size()) => Some(format!(
            "an RSA key of {} bits (not {} to {})",
            key.key_size(),
            RSA_BITS.start(),
            RSA_BITS.end()
        )),
        KeyData::Dsa(_) => Some("a DSA key".to_owned()),
        _ => None,
    }
}
