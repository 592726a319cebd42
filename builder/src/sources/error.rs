use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use container::{registry::RegistryError, store::StoreError, unpack::UnpackError};

use crate::files::BadFile;

/// Why a buildpack could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("buildpack `{uri}`")]
    Of {
        uri: String,
        source: Box<SourceError>,
    },
    #[error(
        "there is no buildpack `{0}` on this server; a folder, an archive's https:// address, a git repository or an image is written as such"
    )]
    NotInstalled(String),
    #[error("it has neither a buildpack.toml nor bin/detect and bin/compile")]
    NoBuildpack,
    #[error("it is no {what}: {why}")]
    NotA { what: &'static str, why: String },
    #[error("git cannot {action}: {why}")]
    Git { action: &'static str, why: String },
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("its archive {0}")]
    Unpack(#[from] UnpackError),
    #[error(transparent)]
    BadFile(#[from] BadFile),
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl SourceError {
    pub(super) fn of(self, uri: &impl fmt::Display) -> Self {
        Self::Of {
            uri: uri.to_string(),
            source: Box::new(self),
        }
    }

    /// Without our own folders before the paths in them, which mean nothing to whoever has pushed.
    pub(super) fn below(mut self, source: &Path, scratch: &Path) -> Self {
        if let Self::Io { path, .. } = &mut self {
            let shown = [source, scratch]
                .iter()
                .find_map(|dir| path.strip_prefix(dir).ok());
            *path = match shown {
                Some(shown) if shown.as_os_str().is_empty() => PathBuf::from("it"),
                Some(shown) => shown.to_owned(),
                None => return self,
            };
        }
        self
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
