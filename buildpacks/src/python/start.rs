//! How the app is started, when there is no Procfile.

use std::{fs, path::Path};

use libcnb::data::{
    launch::{Process, ProcessBuilder},
    process_type,
};

use super::{app::App, packages::Packages};
use crate::print;

/// Where an app object is looked for: file, and the module that it is.
const MODULES: [(&str, &str); 9] = [
    ("main.py", "main"),
    ("app.py", "app"),
    ("wsgi.py", "wsgi"),
    ("asgi.py", "asgi"),
    ("application.py", "application"),
    ("server.py", "server"),
    ("app/main.py", "app.main"),
    ("app/__init__.py", "app"),
    ("src/main.py", "src.main"),
];

/// Run as they are when no framework is found.
const SCRIPTS: [&str; 3] = ["main.py", "app.py", "server.py"];

/// What the decision rests on.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Facts {
    /// The module of Django's WSGI application, when this is a Django project.
    django_wsgi: Option<String>,
    has_manage_py: bool,
    /// `module:object`
    fastapi: Option<String>,
    flask: Option<String>,
    has_gunicorn: bool,
    has_uvicorn: bool,
    script: Option<&'static str>,
}

/// A command for a shell, and what is to be said about it.
#[derive(Debug, PartialEq, Eq)]
struct Start {
    command: String,
    warning: Option<&'static str>,
}

/// The web process, or none when nothing says what to start.
pub(super) fn web(app: &App, packages: Option<&Packages>) -> Option<Process> {
    print::step("Finding the start command");
    let Some(start) = choose(&facts(&app.dir, packages)) else {
        print::warning(
            "Nothing says what to start: no Procfile, no Django, FastAPI or Flask app, no main.py.\n\
             Nothing will serve HTTP. A Procfile says it best:\n\n    \
             web: gunicorn --bind 0.0.0.0:$PORT app:app",
        );
        return None;
    };
    print::detail(&format!("web -> {}", start.command));
    if let Some(warning) = start.warning {
        print::warning(warning);
    }
    // `exec`, so that the signal to stop reaches the app and not a shell.
    let web = ProcessBuilder::new(process_type!("web"), ["bash", "-c"])
        .arg(format!("exec {}", start.command))
        .default(true)
        .build();
    Some(web)
}

fn choose(facts: &Facts) -> Option<Start> {
    let start = |command: String, warning| Some(Start { command, warning });
    let development_server = Some(
        "This server is made for development. Add `gunicorn` to the app's packages to have it used.",
    );
    match facts {
        Facts {
            django_wsgi: Some(module),
            has_gunicorn: true,
            ..
        } => start(format!("gunicorn --bind 0.0.0.0:$PORT {module}"), None),
        Facts {
            has_manage_py: true,
            ..
        } => start(
            "python manage.py runserver --noreload 0.0.0.0:$PORT".to_owned(),
            development_server,
        ),
        Facts {
            fastapi: Some(object),
            has_uvicorn: true,
            ..
        } => start(
            format!("uvicorn {object} --host 0.0.0.0 --port $PORT"),
            None,
        ),
        Facts {
            flask: Some(object),
            has_gunicorn: true,
            ..
        } => start(format!("gunicorn --bind 0.0.0.0:$PORT '{object}'"), None),
        Facts {
            flask: Some(object),
            ..
        } => start(
            format!("flask --app '{object}' run --host 0.0.0.0 --port $PORT"),
            development_server,
        ),
        Facts {
            script: Some(script),
            fastapi,
            ..
        } => start(
            format!("python {script}"),
            fastapi.as_ref().map(
                |_| "FastAPI needs a server: add `uvicorn` to the app's packages to have it used.",
            ),
        ),
        _ => None,
    }
}

fn facts(app: &Path, packages: Option<&Packages>) -> Facts {
    let has = |module: &str| packages.is_some_and(|packages| packages.has(module));
    let has_program = |name: &str| packages.is_some_and(|packages| packages.has_program(name));
    let has_manage_py = has("django") && app.join("manage.py").is_file();
    Facts {
        django_wsgi: has_manage_py.then(|| django_wsgi(app)).flatten(),
        has_manage_py,
        fastapi: has("fastapi")
            .then(|| find_object(app, "FastAPI"))
            .flatten(),
        flask: has("flask").then(|| find_object(app, "Flask")).flatten(),
        has_gunicorn: has_program("gunicorn"),
        has_uvicorn: has_program("uvicorn"),
        script: SCRIPTS.into_iter().find(|name| app.join(name).is_file()),
    }
}

/// The `wsgi.py` beside the settings that manage.py names, or in any folder of the app.
fn django_wsgi(app: &Path) -> Option<String> {
    let manage = fs::read_to_string(app.join("manage.py")).ok()?;
    let module = |package: &str| {
        let path = app.join(package.replace('.', "/")).join("wsgi.py");
        path.is_file().then(|| format!("{package}.wsgi"))
    };
    if let Some(found) = settings_module(&manage)
        .and_then(|settings| settings.split(".settings").next())
        .and_then(module)
    {
        return Some(found);
    }
    let mut folders: Vec<String> = fs::read_dir(app)
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.contains('.'))
        .collect();
    folders.sort();
    folders.iter().find_map(|folder| module(folder))
}

/// The second argument in `setdefault("DJANGO_SETTINGS_MODULE", "site.settings")`.
fn settings_module(manage: &str) -> Option<&str> {
    let after = manage.split("DJANGO_SETTINGS_MODULE").nth(1)?;
    let is_name = |text: &&str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.')
    };
    after.split(['"', '\'']).find(is_name)
}

/// `module:object` of the first app object of this class, or of a factory for one.
fn find_object(app: &Path, class: &str) -> Option<String> {
    MODULES.iter().find_map(|(file, module)| {
        let text = fs::read_to_string(app.join(file)).ok()?;
        let object = object_in(&text, class)?;
        Some(format!("{module}:{object}"))
    })
}

fn object_in(text: &str, class: &str) -> Option<String> {
    let assigned = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        let name = name.split(':').next()?.trim_end();
        let (callee, _) = value.split_once('(')?;
        // `flask.Flask(...)` is as good.
        let called = callee.trim().rsplit('.').next() == Some(class);
        (called && is_identifier(name)).then(|| name.to_owned())
    });
    assigned.or_else(|| {
        let has_factory =
            text.contains(class) && text.lines().any(|line| line.starts_with("def create_app("));
        has_factory.then(|| "create_app()".to_owned())
    })
}

/// At the start of its line, so that it is not an object inside a function.
fn is_identifier(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_objects_are_found_by_their_class() {
        for (text, expected) in [
            ("app = Flask(__name__)", Some("app")),
            ("app: Flask = Flask(__name__)", Some("app")),
            (
                "api=flask.Flask(__name__, static_folder='a.b')",
                Some("api"),
            ),
            (
                "from flask import Flask\n\nserver = Flask (\n",
                Some("server"),
            ),
            ("    app = Flask(__name__)", None),
            ("app = FlaskForm()", None),
            ("# app = Flask()", None),
            ("x.app = Flask()", None),
            (
                "from flask import Flask\ndef create_app():\n    app = Flask()",
                Some("create_app()"),
            ),
            ("def create_app(): pass", None),
        ] {
            assert_eq!(object_in(text, "Flask").as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn settings_are_named_by_manage_py() {
        let text = "os.environ.setdefault(\"DJANGO_SETTINGS_MODULE\", 'shop.settings.prod')";
        assert_eq!(settings_module(text), Some("shop.settings.prod"));
        assert_eq!(settings_module("print(1)"), None);
    }

    #[track_caller]
    fn check(facts: Facts, expected: Option<&str>, is_warned: bool) {
        let start = choose(&facts);
        assert_eq!(start.as_ref().map(|start| start.command.as_str()), expected);
        assert_eq!(
            start.is_some_and(|start| start.warning.is_some()),
            is_warned
        );
    }

    #[test]
    fn each_framework_has_its_server() {
        let name = |text: &str| Some(text.to_owned());
        let facts = Facts {
            script: Some("app.py"),
            ..Facts::default()
        };
        check(facts.clone(), Some("python app.py"), false);
        check(Facts::default(), None, false);
        let django = Facts {
            has_manage_py: true,
            django_wsgi: name("shop.wsgi"),
            ..facts.clone()
        };
        let runserver = "python manage.py runserver --noreload 0.0.0.0:$PORT";
        check(django.clone(), Some(runserver), true);
        let with_gunicorn = Facts {
            has_gunicorn: true,
            ..django
        };
        check(
            with_gunicorn,
            Some("gunicorn --bind 0.0.0.0:$PORT shop.wsgi"),
            false,
        );
        let flask = Facts {
            flask: name("app:app"),
            ..facts.clone()
        };
        let development = "flask --app 'app:app' run --host 0.0.0.0 --port $PORT";
        check(flask.clone(), Some(development), true);
        let with_gunicorn = Facts {
            has_gunicorn: true,
            ..flask
        };
        check(
            with_gunicorn,
            Some("gunicorn --bind 0.0.0.0:$PORT 'app:app'"),
            false,
        );
        let fastapi = Facts {
            fastapi: name("main:app"),
            ..facts
        };
        check(fastapi.clone(), Some("python app.py"), true);
        let with_uvicorn = Facts {
            has_uvicorn: true,
            ..fastapi
        };
        check(
            with_uvicorn,
            Some("uvicorn main:app --host 0.0.0.0 --port $PORT"),
            false,
        );
    }
}
