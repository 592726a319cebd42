//! Whose keys administer: the files named, the user's own, or one made for the occasion.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use release::{Key, Ledger};

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
            ledger.add_key(&admin_key(line, file)?)?;
        }
    }
    Ok(made)
}

/// Named after the key's comment, or else the file.
fn admin_key(line: &str, file: &Path) -> Result<Key, Box<dyn Error>> {
    let fallback = file
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned());
    let parsed = gitd::commands::parse_public_key(line, None)
        .or_else(|_| gitd::commands::parse_public_key(line, fallback.as_deref()));
    parsed.map_err(|failure| format!("{}:\n{failure}", file.display()).into())
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
