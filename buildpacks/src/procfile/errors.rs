//! What can be wrong with a Procfile, and the words for it.

use super::parse::ParseError;
use crate::error::{IoError, chain, into_libcnb_error};

#[derive(Debug)]
pub(crate) enum ProcfileError {
    Read(IoError),
    Parse(ParseError),
}

into_libcnb_error!(ProcfileError);

impl From<ParseError> for ProcfileError {
    fn from(error: ParseError) -> ProcfileError {
        ProcfileError::Parse(error)
    }
}

pub(super) fn explain(error: &ProcfileError) -> (String, String) {
    match error {
        ProcfileError::Read(error) => (
            "The Procfile cannot be read".to_owned(),
            format!("{}.", chain(error)),
        ),
        ProcfileError::Parse(error) => (
            format!("The Procfile is not valid: {error}"),
            "Each line must be `type: command`, with a type of letters, digits, `-` and `_`:\n\n    \
             web: node server.js\n    worker: node worker.js"
                .to_owned(),
        ),
    }
}
