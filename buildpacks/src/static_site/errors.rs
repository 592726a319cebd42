//! What can be wrong with a static site, and the words for it.

use crate::error::{IoError, chain, into_libcnb_error};

#[derive(Debug)]
pub(crate) enum StaticError {
    Io(IoError),
    Json(serde_json::Error),
    RootOutside(String),
    NoRoot(String),
    NoFiles(String),
    Missing { key: &'static str, file: String },
}

into_libcnb_error!(StaticError);

impl From<IoError> for StaticError {
    fn from(error: IoError) -> StaticError {
        StaticError::Io(error)
    }
}

pub(super) fn explain(error: &StaticError) -> (String, String) {
    match error {
        StaticError::Io(error) => (
            "The site's files cannot be read".to_owned(),
            format!("{}.", chain(error)),
        ),
        StaticError::Json(error) => (
            "static.json is not valid".to_owned(),
            format!(
                "{error}.\n\nAn example: {{ \"root\": \"public\", \"clean_urls\": true, \"error_page\": \"404.html\" }}"
            ),
        ),
        StaticError::RootOutside(root) => (
            "The site's root is not inside the app".to_owned(),
            format!("`root` is `{root}`: it must be a folder of the app, such as `public`."),
        ),
        StaticError::NoRoot(root) => (
            "The site's root does not exist".to_owned(),
            format!("There is no folder `{root}` in the app. Is it built, and ignored by git?"),
        ),
        StaticError::NoFiles(root) => (
            "There is nothing to serve".to_owned(),
            format!("`{root}` holds no file. Files whose name begins with a dot are never served."),
        ),
        StaticError::Missing { key, file } => (
            format!("static.json: `{key}` names a file that is not there"),
            format!("There is no `{file}` below the site's root."),
        ),
    }
}
