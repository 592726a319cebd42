//! Whose keys administer: the files named, the user's own, or one made for the occasion.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use gitd::commands::PublicKeyLine;
use release::{Authority, Holder, Key, Ledger, UserName};

const MADE: &str = "admin_ed25519";

/// Adds the keys to the ledger. Returns the private key's file when one had to be made.
pub(crate) fn add_keys(
    ledger: &Ledger,
    files: &[PathBuf],
    data: &Path,
) -> Result<Option<PathBuf>, Box<dyn Error>> {
    let own = if files.is_empty() { own_keys() } else { vec![] };
    let made = (files.is_empty() && own.is_empty())
        .then(|| make_key(data))
        .transpose()?;
    let public = made.as_ref().map(|key| key.with_extension("pub"));
    for file in files.iter().chain(&own).chain(&public) {
        let text = fs::read_to_string(file)
            .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let (user, key) = admin_key(line, file)?;
            ledger.add_admin_key(&user, &key)?;
        }
    }
    Ok(made)
}

/// Trusts the authorities whose public keys the files hold, one in each.
pub(crate) fn add_authorities(ledger: &Ledger, files: &[PathBuf]) -> Result<(), Box<dyn Error>> {
    for file in files {
        let text = fs::read_to_string(file)
            .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        let (line, name) = named(&text, file)?;
        ledger.add_authority(&Authority {
            name: name.to_string(),
            fingerprint: line.fingerprint,
            public: line.line,
            added_at: now(),
        })?;
    }
    Ok(())
}

fn admin_key(line: &str, file: &Path) -> Result<(UserName, Key), Box<dyn Error>> {
    let (line, user) = named(line, file)?;
    let key = Key {
        fingerprint: line.fingerprint,
        name: user.to_string(),
        holder: Holder::User(user.to_string()),
        public: line.line,
        added_at: now(),
        expires_at: None,
    };
    Ok((user, key))
}

/// Named after the key's comment, or else the file.
fn named(text: &str, file: &Path) -> Result<(PublicKeyLine, UserName), Box<dyn Error>> {
    let fallback = file
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned());
    let read = || {
        let line = PublicKeyLine::parse(text)?;
        let name = line
            .named(None)
            .or_else(|_| line.named(fallback.as_deref()))?;
        Ok((line, name))
    };
    read().map_err(|failure: gitd::Failure| format!("{}:\n{failure}", file.display()).into())
}

/// Seconds since the Unix epoch.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs())
}

fn own_keys() -> Vec<PathBuf> {
    let Some(home) = std::env::home_dir() else {
        return vec![];
    };
    let entries = fs::read_dir(home.join(".ssh"))
        .into_iter()
        .flatten()
        .flatten();
    let mut keys: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "pub"))
        .collect();
    keys.sort();
    keys
}

/// Made once; later starts find it.
fn make_key(data: &Path) -> Result<PathBuf, gitd::ssh::HostKeyError> {
    let file = data.join(MADE);
    if !file.exists() {
        gitd::ssh::make_user_key(&file, "admin")?;
    }
    Ok(file)
}
