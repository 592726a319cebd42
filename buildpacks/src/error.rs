//! What every buildpack's errors share: file errors that say what was done to which path, and the words for failures of
//! the buildpack interface itself, which are nobody's app's fault.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
};

use crate::print;

/// A file operation that did not work.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} `{path}`")]
pub(crate) struct IoError {
    pub(crate) action: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

pub(crate) trait IoContext<T> {
    /// Names the operation (`read`, `write`, ...) and the path in the error.
    fn at(self, action: &'static str, path: &Path) -> Result<T, IoError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, IoError> {
        self.map_err(|source| IoError {
            action,
            path: path.to_owned(),
            source,
        })
    }
}

/// Lets `?` pass a buildpack's own error through libcnb's.
macro_rules! into_libcnb_error {
    ($error:ty) => {
        impl From<$error> for libcnb::Error<$error> {
            fn from(error: $error) -> Self {
                libcnb::Error::BuildpackError(error)
            }
        }
    };
}
pub(crate) use into_libcnb_error;

/// The error and its causes on one line, each once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

/// Prints what stopped a build: the buildpack's own errors by `explain` (title, body), the interface's here.
pub(crate) fn report<E: std::fmt::Debug>(
    error: libcnb::Error<E>,
    explain: impl FnOnce(&E) -> (String, String),
) {
    let (title, body) = match error {
        libcnb::Error::BuildpackError(error) => explain(&error),
        other => (
            "The buildpack could not do its part".to_owned(),
            format!("{}.\nThis is not the app's fault.", chain(&other)),
        ),
    };
    print::error(&title, &body);
}
