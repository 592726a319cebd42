//! Did you mean: for the name of an app (only of those that the caller may know of), or of a command.

use release::AppName;

use super::Env;
use crate::errors::Failure;

/// How far apart two names may be, and how much of the shorter one has to be right.
const EDITS_MAX: usize = 2;
const LETTERS_PER_EDIT: usize = 3;

/// The failure of a command for `app`, with the name that was probably meant.
pub(super) fn explained(env: &Env<'_>, app: &AppName, failure: Failure) -> Failure {
    let apps = env.ctx.visible_apps(env.caller).unwrap_or_default();
    match nearest(app.as_str(), apps.iter().map(|known| known.name.as_str())) {
        Some(name) if name != app.as_str() => failure.hint(&format!("Did you mean `{name}`?")),
        _ => failure,
    }
}

/// The same one, when there is it.
pub(super) fn nearest<'a>(name: &str, others: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let is_near = |edits: usize, other: &str| {
        edits <= EDITS_MAX && edits * LETTERS_PER_EDIT <= name.len().min(other.len())
    };
    others
        .filter(|other| name.len().abs_diff(other.len()) <= EDITS_MAX)
        .map(|other| (strsim::damerau_levenshtein(name, other), other))
        .filter(|(edits, other)| is_near(*edits, other))
        .min()
        .map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_near_and_another_word_is_not() {
        let check = |name: &str, expected: Option<&str>| {
            let others = ["shop", "shop-staging", "a", "blog"];
            assert_eq!(nearest(name, others.into_iter()), expected, "{name}");
        };
        check("shop", Some("shop"));
        check("shpo", Some("shop"));
        check("shops", Some("shop"));
        check("shop-stageing", Some("shop-staging"));
        check("b", None);
        check("ship-it", None);
        check("bl", None);
    }
}
