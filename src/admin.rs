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
    let mut keys = Vec::new();
    for file in files {
        keys.extend(read(file)?);
    }
    if files.is_empty() {
        let home = std::env::home_dir();
        keys.extend(
            home.into_iter()
                .flat_map(|home| own_keys(&home.join(".ssh"))),
        );
    }
    let made = (files.is_empty() && keys.is_empty())
        .then(|| make_key(data))
        .transpose()?;
    if let Some(made) = &made {
        keys.extend(read(&made.with_extension("pub"))?);
    }
    for (user, key) in &keys {
        ledger.add_admin_key(user, key)?;
    }
    Ok(made)
}

/// Of the user who starts the server. Not all that is there opens something: certificates have the same ending.
fn own_keys(folder: &Path) -> Vec<(UserName, Key)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "pub"))
        .collect();
    files.sort();
    let read = |file: &PathBuf| {
        let passed_over = |error| eprintln!("       Passed over: {error}");
        read(file).map_err(passed_over).unwrap_or_default()
    };
    files.iter().flat_map(read).collect()
}

/// One key a line.
fn read(file: &Path) -> Result<Vec<(UserName, Key)>, Box<dyn Error>> {
    let text = fs::read_to_string(file)
        .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| admin_key(line, file))
        .collect()
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

/// Made once; later starts find it.
fn make_key(data: &Path) -> Result<PathBuf, gitd::ssh::HostKeyError> {
    let file = data.join(MADE);
    if !file.exists() {
        gitd::ssh::make_user_key(&file, "admin")?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI";

    #[test]
    fn what_opens_nothing_does_not_keep_the_server_from_starting() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = format!("{ED25519}{} ada@desk", "A".repeat(43));
        for (name, text) in [
            ("id_ed25519.pub", key.as_str()),
            (
                "id_ed25519-cert.pub",
                "ssh-ed25519-cert-v01@openssh.com AAAA ada",
            ),
            ("letter.pub", "Dear Sir,"),
            ("id_ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----"),
        ] {
            fs::write(folder.path().join(name), text).expect("written");
        }
        fs::create_dir(folder.path().join("folder.pub")).expect("made");
        let keys = own_keys(folder.path());
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].0.as_str(), "ada@desk");
        assert!(read(&folder.path().join("letter.pub")).is_err());
    }
}
