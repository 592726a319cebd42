//! Real apps of every kind: the first push answers at the moment it returns, and so does a changed line.

use crate::server::Server;

/// `file` holds the words that `/` answers with.
fn goes_live_and_changes(fixture: &str, file: &str, words: &str) {
    let server = Server::start();
    server.app("shop", fixture);

    server.push("shop").ok();
    let first = server.get("shop", "/");
    assert_eq!(first.status, 200, "{}", first.body);
    assert!(first.body.contains(words), "{}", first.body);

    server.change("shop", file, words, "Changed words");
    server.push("shop").ok();
    let second = server.get("shop", "/");
    assert!(second.body.contains("Changed words"), "{}", second.body);
}

#[test]
fn node_with_express() {
    goes_live_and_changes("node-express", "server.js", "Hello from Express");
}

#[test]
fn node_with_a_build_script() {
    goes_live_and_changes(
        "node-build-script",
        "src/server.ts",
        "Hello from TypeScript",
    );
}

#[test]
fn python_with_flask() {
    goes_live_and_changes("python-flask", "app.py", "Hello from Flask");
}

#[test]
fn python_with_fastapi_and_uv() {
    goes_live_and_changes("python-fastapi-uv", "main.py", "Hello from FastAPI");
}

#[test]
fn python_with_django() {
    goes_live_and_changes("python-django", "site_config/urls.py", "Hello from Django");
}

#[test]
fn a_static_site() {
    goes_live_and_changes("static-site", "index.html", "Hello from static files");
}

#[test]
fn a_procfile() {
    goes_live_and_changes(
        "procfile-web-worker-release",
        "server.py",
        "Hello from a Procfile",
    );
}

#[test]
fn a_plain_executable() {
    goes_live_and_changes("plain-executable", "web", "Hello from a plain executable");
}

#[test]
fn django_serves_its_static_files() {
    let server = Server::start();
    server.app("shop", "python-django");
    server.push("shop").ok();
    let page = server.get("shop", "/").body;
    let link = page
        .split('"')
        .find(|part| part.contains("static/site."))
        .expect("the page links its style");
    let style = server.get("shop", &format!("/{}", link.trim_start_matches('/')));
    assert_eq!(
        (style.status, style.body.as_str()),
        (200, "h1 { font-family: sans-serif; }\n")
    );
}

#[test]
fn a_static_site_has_clean_urls_and_its_own_404() {
    let server = Server::start();
    server.app("shop", "static-site");
    server.push("shop").ok();
    assert!(
        server
            .get("shop", "/about")
            .body
            .contains("About this site")
    );
    let missing = server.get("shop", "/missing");
    assert_eq!(missing.status, 404);
    assert!(missing.body.contains("Nothing here"), "{}", missing.body);
    assert_eq!(server.get("shop", "/.git/config").status, 404);
}
