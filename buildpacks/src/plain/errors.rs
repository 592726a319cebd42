//! What can be wrong with an app that is only an executable, and the words for it.

use super::find::NoChoice;
use crate::error::{IoError, chain, into_libcnb_error};

#[derive(Debug)]
pub(crate) enum PlainError {
    Read(IoError),
    Choice(NoChoice),
}

into_libcnb_error!(PlainError);

pub(super) fn explain(error: &PlainError) -> (String, String) {
    match error {
        PlainError::Read(error) => (
            "The app's files cannot be read".to_owned(),
            format!("{}.", chain(error)),
        ),
        PlainError::Choice(NoChoice::None) => (
            "There is no executable to start".to_owned(),
            "Neither the root nor bin/ holds a program or script with its executable bit set."
                .to_owned(),
        ),
        PlainError::Choice(NoChoice::Several(names)) => (
            "Several executables could be the app".to_owned(),
            format!(
                "Found: {}.\nSay which one serves with a Procfile, or call it `web`:\n\n    echo 'web: ./{}' > Procfile",
                names
                    .iter()
                    .map(|name| format!("`{name}`"))
                    .collect::<Vec<_>>()
                    .join(", "),
                names.first().map_or("", String::as_str),
            ),
        ),
    }
}
