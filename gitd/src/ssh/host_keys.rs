//! The server's own keys: made once, then stable, because clients remember them.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use russh::keys::{Algorithm, PrivateKey, key::safe_rng, ssh_key::LineEnding};

const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_FOLDER: u32 = 0o700;

/// No RSA: signing with it in pure Rust leaks time (RUSTSEC-2023-0071). No ECDSA: auditors distrust its curves, and every
/// client of the last ten years has Ed25519.
const KEYS: [(&str, Algorithm); 1] = [("ed25519", Algorithm::Ed25519)];

#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    #[error("the host key `{}` cannot be read", .path.display())]
    Read {
        path: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the host key `{}` cannot be made", .path.display())]
    Create {
        path: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

pub(super) fn load_or_create(folder: &Path) -> Result<Vec<PrivateKey>, HostKeyError> {
    KEYS.iter()
        .map(|(name, algorithm)| {
            let path = folder.join(name);
            match fs::read(&path) {
                Ok(text) => PrivateKey::from_openssh(text).map_err(|source| HostKeyError::Read {
                    path,
                    source: source.into(),
                }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    create(&path, algorithm).map_err(|source| HostKeyError::Create { path, source })
                }
                Err(source) => Err(HostKeyError::Read {
                    path,
                    source: source.into(),
                }),
            }
        })
        .collect()
}

/// Makes a user's key pair, `path` and `path.pub`, with `comment` as its name.
pub fn make_user_key(path: &Path, comment: &str) -> Result<(), HostKeyError> {
    let made = create(path, &Algorithm::Ed25519).and_then(|key| {
        let public = key.public_key().to_openssh()?;
        Ok(fs::write(
            path.with_extension("pub"),
            format!("{public} {comment}\n"),
        )?)
    });
    made.map_err(|source| HostKeyError::Create {
        path: path.to_owned(),
        source,
    })
}

fn create(
    path: &Path,
    algorithm: &Algorithm,
) -> Result<PrivateKey, Box<dyn std::error::Error + Send + Sync>> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE_FOLDER)
            .create(folder)?;
    }
    let key = PrivateKey::random(&mut safe_rng(), algorithm.clone())?;
    // Written beside and renamed: half a key would stop every later start.
    let unfinished = path.with_extension("new");
    _ = fs::remove_file(&unfinished);
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(PRIVATE_FILE)
        .open(&unfinished)?;
    file.write_all(key.to_openssh(LineEnding::LF)?.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_made_once_and_kept_private() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let folder = dir.path().join("host_keys");
        let made = load_or_create(&folder).expect("made");
        let loaded = load_or_create(&folder).expect("loaded");
        let public = |keys: &[PrivateKey]| {
            keys.iter()
                .map(|key| key.public_key().clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(public(&made), public(&loaded));
        for (name, _) in KEYS {
            let mode = fs::metadata(folder.join(name))
                .expect("there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, PRIVATE_FILE);
        }
        assert_eq!(fs::read_dir(&folder).expect("lists").count(), KEYS.len());
    }

    #[test]
    fn a_broken_key_is_an_error_not_a_new_identity() {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::write(dir.path().join("ed25519"), "no key").expect("writes");
        assert!(matches!(
            load_or_create(dir.path()),
            Err(HostKeyError::Read { .. })
        ));
    }
}
