//! What goes wrong: the reason in the words of the program that failed, and the old release serving.

use release::{AppName, DeployError, Event, ReleaseStatus};

use crate::{
    deploys::server,
    world::{Process, World, until},
};

/// A second deploy that fails, on top of one that serves.
fn fails(world: &World, processes: &[Process<'_>]) -> (AppName, DeployError, Vec<Event>) {
    let app = world.app("shop");
    world.deploy(&app, &[("web", &server("old"))]).0.unwrap();
    let (result, events) = world.deploy(&app, processes);
    let error = result.unwrap_err();
    assert_eq!(world.get(&app), (200, "old".into()));
    let releases = world.apps.ledger().releases(&app, 1).unwrap();
    assert_eq!(
        (releases[0].status, releases[0].reason.clone()),
        (ReleaseStatus::Failed, Some(error.to_string()))
    );
    assert_eq!(
        world
            .apps
            .ledger()
            .current(&app)
            .unwrap()
            .unwrap()
            .number
            .get(),
        1
    );
    world.until_ps(&app, &["web.1 v1 up"]);
    until("nothing is left of it", || world.instance_dirs() == 1);
    assert!(
        world
            .log(&app)
            .contains(&format!("app[api]: Release v2 failed: {error}\n"))
    );
    (app, error, events)
}

pub(crate) fn crash(world: World) {
    let (app, error, _) = fails(
        &world,
        &[("web", "echo one; echo 'no such module' >&2; exit 7")],
    );
    assert_eq!(
        error.to_string(),
        "web.1 exited with status 7 while starting"
    );
    assert_eq!(error.last_lines(), ["one", "no such module"]);
    let log = world.log(&app);
    assert!(
        log.contains("heroku[web.1]: Process exited with status 7\n"),
        "{log}"
    );
    assert!(
        log.contains("heroku[web.1]: State changed from starting to crashed\n"),
        "{log}"
    );
    // The log of what has gone is still there.
    assert!(log.contains("app[web.1]: no such module\n"), "{log}");
    // The same again, and then one that works.
    world
        .deploy(&app, &[("web", "kill -SEGV $$")])
        .0
        .unwrap_err();
    world.deploy(&app, &[("web", &server("new"))]).0.unwrap();
    assert_eq!(world.get(&app), (200, "new".into()));
}

pub(crate) fn never_binds(world: World) {
    let (app, error, _) = fails(&world, &[("web", "echo waiting; exec sleep 1000")]);
    let DeployError::BootTimeout {
        port, listens_on, ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert!((10_000..30_000).contains(port) && listens_on.is_empty());
    assert_eq!(error.last_lines(), ["waiting"]);
    assert!(world.log(&app).contains("heroku[web.1]: Error R10 (Boot timeout) -> Web process failed to bind to $PORT within 8 seconds of launch\n"));
    let elsewhere = format!("export PORT=$((PORT + 20000))\necho $PORT\n{}", server("x"));
    let error = world.deploy(&app, &[("web", &elsewhere)]).0.unwrap_err();
    let other = error.last_lines()[0].clone();
    assert!(
        error
            .to_string()
            .ends_with(&format!("within 8 s; it listens on {other} instead")),
        "{error}"
    );
}

pub(crate) fn out_of_memory(world: World) {
    let hog = "exec python3 -c 'x = bytearray(1 << 30); x[::4096] = bytes(len(x[::4096])); import time; time.sleep(60)'";
    let (app, error, _) = fails(&world, &[("web", hog)]);
    assert_eq!(
        error.to_string(),
        "web.1 went over its memory limit and was killed while starting"
    );
    assert!(
        world
            .log(&app)
            .contains("heroku[web.1]: Error R15 (Memory quota vastly exceeded)\n")
    );
}

pub(crate) fn no_such_command(world: World) {
    let (app, error, _) = fails(&world, &[("web", "exec /no/such/program")]);
    assert_eq!(
        error.to_string(),
        "web.1 exited with status 127 while starting"
    );
    let error = world.deploy(&app, &[("web", "")]).0.unwrap_err();
    assert_eq!(error.to_string(), "cannot start web.1");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "cannot start the sandbox: exec /cnb/process/web");
    assert!(
        world
            .log(&app)
            .contains(&format!("heroku[web.1]: {cause}\n"))
    );
    assert_eq!(world.get(&app), (200, "old".into()));
    until("nothing is left of it", || world.instance_dirs() == 1);
}

pub(crate) fn release_phase(world: World) {
    let processes = [
        ("release", "echo migrating; echo 'no such table'; exit 4"),
        ("web", &*server("new")),
    ];
    let (app, error, events) = fails(&world, &processes);
    assert_eq!(
        error.to_string(),
        "the release command exited with status 4"
    );
    assert_eq!(error.last_lines(), ["migrating", "no such table"]);
    let output: Vec<&Event> = events
        .iter()
        .filter(|event| !matches!(event, Event::Created { .. }))
        .collect();
    let line = |text: &str| Event::ReleasePhaseOutput { line: text.into() };
    let command = "release".to_owned();
    assert_eq!(
        output,
        [
            &Event::ReleasePhaseStarted { command },
            &line("migrating"),
            &line("no such table")
        ],
        "no instance was started"
    );
    let processes = [("release", "echo migrated"), ("web", &*server("new"))];
    world.deploy(&app, &processes).0.unwrap();
    assert_eq!(world.get(&app), (200, "new".into()));
    let log = world.log(&app);
    assert!(
        log.contains("]: migrated\n") && log.contains("app[release."),
        "{log}"
    );
}

pub(crate) fn crash_later(world: World) {
    let app = world.app("shop");
    // Ends on the first request it gets.
    let once = r#"exec python3 -c '
import socket, os
s = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
while True:
    c, _ = s.accept()
    if c.recv(100):
        print("bye", flush=True)
        os._exit(9)
'"#;
    world.deploy(&app, &[("web", once)]).0.unwrap();
    assert_ne!(world.get(&app).0, 200);
    until("it was started again", || {
        world
            .log(&app)
            .matches("State changed from starting to up")
            .count()
            == 2
    });
    let log = world.log(&app);
    assert!(
        log.contains("heroku[web.1]: Process exited with status 9\n"),
        "{log}"
    );
    assert!(
        log.contains("heroku[web.1]: State changed from up to crashed\n"),
        "{log}"
    );
    until("it answers no more", || {
        world.get(&app);
        world.ps(&app) == ["web.1 v1 crashed"]
    });
    assert_eq!(world.get(&app).0, 503);
    until("it is tried again after a while", || {
        world.ps(&app) == ["web.1 v1 up"]
    });
}

pub(crate) fn ignores_sigterm(world: World) {
    let app = world.app("shop");
    let stubborn = format!("trap '' TERM\n{}", server("old"));
    world.deploy(&app, &[("web", &stubborn)]).0.unwrap();
    world.deploy(&app, &[("web", &server("new"))]).0.unwrap();
    world.until_ps(&app, &["web.1 v2 up"]);
    let log = world.log(&app);
    assert!(log.contains("heroku[web.1]: Error R12 (Exit timeout) -> At least one process failed to exit within 2 seconds of SIGTERM\n"), "{log}");
}
