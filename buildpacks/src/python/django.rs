//! Django's static files, collected by Heroku's rules.

use std::env;

use super::{app::App, errors::PythonError, packages::Packages};
use crate::{command, print};

/// What came of `manage.py collectstatic`.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Collected,
    /// The app does not use `django.contrib.staticfiles`.
    NotUsed,
    /// It does, but does not say where to collect them.
    NoRoot,
    Failed,
}

pub(super) fn collect_static(app: &App, packages: Option<&Packages>) -> Result<(), PythonError> {
    let Some(packages) = packages.filter(|packages| packages.has("django")) else {
        return Ok(());
    };
    if !app.dir.join("manage.py").is_file() {
        return Ok(());
    }
    print::step("Collecting Django's static files");
    if env::var("DISABLE_COLLECTSTATIC").is_ok_and(|value| value != "0") {
        print::detail("Skipped: DISABLE_COLLECTSTATIC is set");
        return Ok(());
    }
    let mut command = packages.python(app);
    command.args(["manage.py", "collectstatic", "--noinput"]);
    let result = command::capture(&mut command).map_err(PythonError::CollectStatic)?;
    match judge(result.status.success(), &result.output) {
        Outcome::Collected => print::detail(result.output.trim()),
        Outcome::NotUsed => {
            print::detail("Skipped: `django.contrib.staticfiles` is not in INSTALLED_APPS")
        }
        Outcome::NoRoot => print::detail("Skipped: STATIC_ROOT is not set"),
        Outcome::Failed => {
            print::detail(result.output.trim());
            let error = command::failed(&command, result.status);
            return Err(PythonError::CollectStatic(error));
        }
    }
    Ok(())
}

fn judge(is_success: bool, output: &str) -> Outcome {
    match is_success {
        true => Outcome::Collected,
        false if output.contains("Unknown command: 'collectstatic'") => Outcome::NotUsed,
        false if output.contains("without having set the STATIC_ROOT") => Outcome::NoRoot,
        false => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_without_static_files_is_no_failure() {
        for (is_success, output, expected) in [
            (true, "1 static file copied", Outcome::Collected),
            (
                false,
                "Unknown command: 'collectstatic'\nType 'manage.py help'",
                Outcome::NotUsed,
            ),
            (
                false,
                "django.core.exceptions.ImproperlyConfigured: You're using the staticfiles app \
                 without having set the STATIC_ROOT setting to a filesystem path.",
                Outcome::NoRoot,
            ),
            (false, "KeyError: 'SECRET_KEY'", Outcome::Failed),
        ] {
            assert_eq!(judge(is_success, output), expected, "{output}");
        }
    }
}
