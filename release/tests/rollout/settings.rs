//! What is set for an app beside its releases, seen from a visitor's side and in the records.

use std::{collections::BTreeMap, time::Duration};

use release::{
    AppName, Checks, DeployError, LedgerError, LimitsSet, LogFilter, ReleaseStatus, Restart,
};

use crate::{
    deploys::{one, server},
    world::{World, get_host, until},
};

const MIB: u64 = 1 << 20;

fn set(world: &World, app: &AppName, name: &str, value: &str, restart: Restart) {
    let changes = BTreeMap::from([(name.parse().unwrap(), Some(value.to_owned()))]);
    world
        .events(|events| world.apps.set_config(app, changes, restart, "ann", events))
        .0
        .unwrap();
}

fn pids(world: &World, app: &AppName) -> Vec<u32> {
    let instances = world.apps.instances(app).unwrap();
    instances.iter().filter_map(|one| one.pid).collect()
}

pub(crate) fn renamed(world: World) {
    let old = world.app("shop");
    world.deploy(&old, &one(&server("one"))).0.unwrap();
    let before = pids(&world, &old);
    let new: AppName = "store".parse().unwrap();
    let rename = |from: &AppName, to: &AppName| {
        let renamed = world.apps.rename(from, to, "ann");
        world.runtime().block_on(renamed)
    };
    world.app("taken");
    let refused = rename(&old, &"taken".parse().unwrap()).unwrap_err();
    assert_eq!(refused.to_string(), "the name `taken` is taken");
    assert_eq!(world.get(&old).0, 200);

    rename(&old, &new).unwrap();
    assert_eq!(world.get(&new), (200, "one".into()));
    assert_eq!(world.get(&old).0, 404);
    assert_eq!(pids(&world, &new), before, "nothing was restarted");
    assert!(world.apps.instances(&old).is_err());
    let log = world.log(&new);
    assert!(
        log.contains("app[api]: App created by user ann\n")
            && log.contains("app[api]: Renamed from shop to store by user ann\n"),
        "{log}"
    );
    world.deploy(&new, &one(&server("two"))).0.unwrap();
    assert_eq!(world.get(&new), (200, "two".into()));

    // The old name is free, and after a kill all is as it was.
    world.app("shop");
    let world = World::at(&world.killed());
    assert_eq!(world.get(&new), (200, "two".into()));
    assert_eq!(world.get(&old).0, 502, "a blank app");
}

pub(crate) fn cloned(world: World) {
    let app = world.app("shop");
    let worker = "sleep 1000";
    set(&world, &app, "COLOUR", "blue", Restart::Now);
    let web = server("$COLOUR $DYNO");
    let processes = [("web", web.as_str()), ("worker", worker)];
    world.deploy(&app, &processes).0.unwrap();
    let quantities = BTreeMap::from([("worker".parse().unwrap(), 1)]);
    world
        .events(|events| world.apps.scale(&app, quantities, "ann", events))
        .0
        .unwrap();
    let copy: AppName = "copy".parse().unwrap();
    let release = world
        .events(|events| world.apps.clone_app(&app, &copy, "bob", events))
        .0
        .unwrap();
    assert_eq!(
        (release.number.get(), release.description.as_str()),
        (1, "Clone of shop v2")
    );
    assert_eq!(world.get(&copy), (200, "blue web.1".into()));
    assert_eq!(world.ps(&copy), ["web.1 v1 up", "worker.1 v1 up"]);
    set(&world, &copy, "COLOUR", "red", Restart::Now);
    assert_eq!(world.get(&app), (200, "blue web.1".into()));
    assert_eq!(world.apps.ledger().app(&copy).unwrap().owner, "bob");
}

pub(crate) fn clone_fails(world: World) {
    let app = world.app("shop");
    let script = format!("[ \"$SLIPWAY_APP\" = shop ] || exit 3\n{}", server("one"));
    world.deploy(&app, &one(&script)).0.unwrap();
    let copy: AppName = "copy".parse().unwrap();
    let (result, _) = world.events(|events| world.apps.clone_app(&app, &copy, "ann", events));
    let error = result.unwrap_err();
    assert!(matches!(error, DeployError::Crashed { .. }), "{error}");
    assert!(world.apps.ledger().app(&copy).is_err());
    assert_eq!(world.get(&copy).0, 404);
}

pub(crate) fn locked(world: World) {
    let app = world.app("shop");
    world.deploy(&app, &one(&server("one"))).0.unwrap();
    let ledger = world.apps.ledger();
    ledger.lock_app(&app, "bob", Some("the sale")).unwrap();
    let (result, _) = world.deploy(&app, &one(&server("two")));
    let error = result.unwrap_err().to_string();
    assert_eq!(error, "`shop` is locked by bob: the sale");
    let (result, _) = world.events(|events| world.apps.rollback(&app, None, "ann", events));
    assert!(matches!(result, Err(DeployError::Locked { .. })));
    assert_eq!(ledger.releases(&app, 10).unwrap().len(), 1);
    // Instances are not releases.
    let restart = world.events(|events| world.apps.restart(&app, None, "ann", events));
    restart.0.unwrap();
    ledger.unlock_app(&app).unwrap();
    world.deploy(&app, &one(&server("two"))).0.unwrap();
    assert_eq!(world.get(&app), (200, "two".into()));
}

pub(crate) fn quiet_config(world: World) {
    let app = world.app("shop");
    // What is not set stays as it is written.
    world.deploy(&app, &one(&server("$COLOUR"))).0.unwrap();
    let before = pids(&world, &app);
    set(&world, &app, "COLOUR", "blue", Restart::Later);
    set(&world, &app, "SIZE", "big", Restart::Later);
    assert_eq!(world.ps(&app), ["web.1 v1 up"]);
    assert_eq!(world.get(&app), (200, "$COLOUR".into()));
    let current = world.apps.ledger().current(&app).unwrap().unwrap();
    assert_eq!((current.number.get(), current.config.len()), (3, 2));

    // The same after a kill: what runs does.
    let world = World::at(&world.killed());
    assert_eq!(pids(&world, &app), before);
    assert_eq!(world.get(&app), (200, "$COLOUR".into()));

    // What starts from now on has it.
    let quantities = BTreeMap::from([("web".parse().unwrap(), 2)]);
    world
        .events(|events| world.apps.scale(&app, quantities, "ann", events))
        .0
        .unwrap();
    assert_eq!(world.ps(&app), ["web.1 v1 up", "web.2 v3 up"]);
    world
        .events(|events| world.apps.restart(&app, None, "ann", events))
        .0
        .unwrap();
    world.until_ps(&app, &["web.1 v3 up", "web.2 v3 up"]);
    assert_eq!(world.get(&app), (200, "blue".into()));
}

pub(crate) fn stopped(world: World) {
    let app = world.app("shop");
    let worker = "sleep 1000";
    let web = server("one");
    let processes = [("web", web.as_str()), ("worker", worker)];
    world.deploy(&app, &processes).0.unwrap();
    let scale = |name: &str, quantity| {
        let quantities = BTreeMap::from([(name.parse().unwrap(), quantity)]);
        let (result, _) = world.events(|events| world.apps.scale(&app, quantities, "ann", events));
        result.unwrap();
    };
    scale("web", 2);
    scale("worker", 1);
    let stop = |which: Option<&str>| {
        world
            .runtime()
            .block_on(world.apps.stop(&app, which, "ann"))
    };
    stop(Some("web.2")).unwrap();
    world.until_ps(&app, &["web.1 v1 up", "worker.1 v1 up"]);
    assert_eq!(
        stop(Some("clock")).unwrap_err().to_string(),
        "`shop` runs no `clock`"
    );
    stop(None).unwrap();
    assert_eq!(world.get(&app).0, 503);
    world.until_ps(&app, &[]);
    let formation = world.apps.ledger().formation(&app).unwrap();
    assert_eq!(formation.into_values().collect::<Vec<_>>(), [2, 1]);
    // A deploy does not start it, and a crash of the platform does not either.
    world.deploy(&app, &processes).0.unwrap();
    assert!(world.ps(&app).is_empty());
    let world = World::at(&world.killed());
    assert!(world.ps(&app).is_empty());
    let start = |which: Option<&str>| {
        world
            .events(|events| world.apps.start_stopped(&app, which, "ann", events))
            .0
            .unwrap();
    };
    start(Some("worker"));
    assert_eq!(world.ps(&app), ["worker.1 v2 up"]);
    start(None);
    assert_eq!(
        world.ps(&app),
        ["web.1 v2 up", "web.2 v2 up", "worker.1 v2 up"]
    );
    world
        .runtime()
        .block_on(world.apps.stop(&app, Some("web"), "ann"))
        .unwrap();
    world.until_ps(&app, &["worker.1 v2 up"]);
    world
        .events(|events| world.apps.restart(&app, Some("web.1"), "ann", events))
        .0
        .unwrap();
    assert_eq!(world.ps(&app), ["web.1 v2 up", "worker.1 v2 up"]);
    assert_eq!(world.get(&app), (200, "one".into()));
}

pub(crate) fn domains(world: World) {
    let (app, other) = (world.app("shop"), world.app("other"));
    world.deploy(&app, &one(&server("one"))).0.unwrap();
    let add = |app: &AppName, domain: &str| {
        let domain = domain.parse().unwrap();
        let added = world.apps.add_domain(app, &domain, "ann");
        world.runtime().block_on(added)
    };
    let get = |host: &str| get_host(world.router(), host).unwrap().0;
    assert_eq!(get("www.example.com"), 404);
    add(&app, "www.example.com").unwrap();
    add(&app, "*.example.org").unwrap();
    assert_eq!(get("www.example.com"), 200);
    assert_eq!(get("any.example.org"), 200);
    assert_eq!(get("example.org"), 404);
    let taken = add(&other, "www.example.com").unwrap_err();
    assert!(matches!(
        taken,
        DeployError::Ledger(LedgerError::DomainTaken(_))
    ));
    for own in ["other.test", "new.test"] {
        let refused = add(&app, own).unwrap_err();
        assert!(
            matches!(refused, DeployError::PlatformDomain { .. }),
            "{own}"
        );
    }
    // One of the wildcard's hosts may be another app's.
    add(&other, "mine.example.org").unwrap();
    assert_eq!(get("mine.example.org"), 502);
    let remove = |domain: &str| {
        let domain = domain.parse().unwrap();
        let removed = world.apps.remove_domain(&app, &domain, "ann");
        world.runtime().block_on(removed)
    };
    remove("*.example.org").unwrap();
    assert_eq!(get("any.example.org"), 404);
    let refused = remove("mine.example.org").unwrap_err();
    assert!(matches!(refused, DeployError::NoDomain { .. }));
    world
        .runtime()
        .block_on(world.apps.rename(&app, &"store".parse().unwrap(), "ann"))
        .unwrap();
    assert_eq!(get("www.example.com"), 200);
    let world = World::at(&world.killed());
    let get = |host: &str| get_host(world.router(), host).unwrap().0;
    assert_eq!(get("www.example.com"), 200);
    world
        .runtime()
        .block_on(world.apps.destroy(&"store".parse().unwrap(), "ann"))
        .unwrap();
    assert_eq!(get("www.example.com"), 404);
}

pub(crate) fn maintenance(world: World) {
    let app = world.app("shop");
    world.deploy(&app, &one(&server("one"))).0.unwrap();
    let before = pids(&world, &app);
    let set = |world: &World, text: Option<&str>| {
        let set = world.apps.set_maintenance(&app, text, "ann");
        world.runtime().block_on(set).unwrap();
    };
    set(&world, Some(""));
    assert_eq!(world.get(&app).0, 503);
    set(&world, Some("Back at nine"));
    let (status, page) = world.get(&app);
    assert_eq!(status, 503);
    assert!(page.contains("Back at nine"), "{page}");
    // A deploy goes on, behind the page; so does everything after a kill.
    world.deploy(&app, &one(&server("two"))).0.unwrap();
    assert_eq!(world.get(&app).0, 503);
    assert_ne!(pids(&world, &app), before);
    let world = World::at(&world.killed());
    assert_eq!(world.get(&app).0, 503);
    set(&world, None);
    assert_eq!(world.get(&app), (200, "two".into()));
}

fn set_limits(
    world: &World,
    app: &AppName,
    process_type: Option<&str>,
    memory: Option<u64>,
) -> Result<(), DeployError> {
    let process_type = process_type.map(|name| name.parse().unwrap());
    let set = LimitsSet {
        memory_bytes: memory,
        cpu_milli: None,
    };
    let of = process_type.as_ref();
    world
        .events(|events| world.apps.set_limits(app, of, set, "ann", events))
        .0
}

pub(crate) fn limits(world: World) {
    let app = world.app("shop");
    let web = server("one");
    let processes = [("web", web.as_str()), ("worker", "sleep 1000")];
    world.deploy(&app, &processes).0.unwrap();
    let quantities = BTreeMap::from([("worker".parse().unwrap(), 1)]);
    world
        .events(|events| world.apps.scale(&app, quantities, "ann", events))
        .0
        .unwrap();
    let before = pids(&world, &app);
    set_limits(&world, &app, Some("web"), Some(128 * MIB)).unwrap();
    world.until_ps(&app, &["web.1 v1 up", "worker.1 v1 up"]);
    let after = pids(&world, &app);
    assert_ne!(after[0], before[0], "web.1 is another");
    assert_eq!(after[1], before[1], "worker.1 has the limits it had");
    // The same once more changes nothing.
    set_limits(&world, &app, Some("web"), Some(128 * MIB)).unwrap();
    assert_eq!(pids(&world, &app), after);
    let kept = world.apps.ledger().limits(&app).unwrap();
    assert_eq!(
        kept.of(Some(&"web".parse().unwrap()), world.apps.default_limits())
            .memory_bytes,
        Some(128 * MIB)
    );
    assert!(matches!(
        set_limits(&world, &app, Some("clock"), Some(128 * MIB)),
        Err(DeployError::NoProcessType { .. })
    ));
    assert!(matches!(
        set_limits(&world, &app, None, Some(MIB)),
        Err(DeployError::Limit(_))
    ));
}

pub(crate) fn limits_too_low(world: World) {
    let app = world.app("shop");
    let hog = format!(
        "python3 -c 'x = bytearray(60 << 20); print(len(x))'\n[ $? = 0 ] || exit 9\n{}",
        server("one")
    );
    world.deploy(&app, &one(&hog)).0.unwrap();
    let before = pids(&world, &app);
    let error = set_limits(&world, &app, None, Some(32 * MIB)).unwrap_err();
    assert!(matches!(error, DeployError::Crashed { .. }), "{error}");
    assert_eq!(pids(&world, &app), before);
    assert_eq!(world.get(&app), (200, "one".into()));
    let kept = world.apps.ledger().limits(&app).unwrap();
    assert_eq!(kept.every, LimitsSet::default());
}

/// A web server that answers its first questions for `/healthz` with `status`, and tells how many there were.
fn picky(status: u16, bad_answers: u32) -> String {
    let program = format!(
        r#"
import http.server, os
seen = 0
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global seen
        seen += self.path == "/healthz"
        bad = self.path == "/healthz" and seen <= {bad_answers}
        body = b"%d" % seen
        self.send_response({status} if bad else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#
    );
    format!("exec python3 -c '{program}'")
}

pub(crate) fn checks(world: World) {
    let app = world.app("shop");
    let checks = Checks {
        path: Some("/healthz".into()),
        interval: Some(Duration::from_millis(100)),
        boot: Some(Duration::from_secs(30)),
        timeout: None,
    };
    let set = |checks| {
        let set = world.apps.set_checks(&app, checks, "ann");
        world.runtime().block_on(set)
    };
    set(checks.clone()).unwrap();
    world.deploy(&app, &one(&picky(503, 2))).0.unwrap();
    assert_eq!(world.get(&app), (200, "3".into()), "asked three times");
    // The status that was seen is in the reason, and what served goes on.
    set(Checks {
        boot: Some(Duration::from_secs(2)),
        ..checks.clone()
    })
    .unwrap();
    let error = world
        .deploy(&app, &one(&picky(500, u32::MAX)))
        .0
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "web.1 was not healthy within 2 s: GET /healthz answered 500"
    );
    assert_eq!(world.get(&app), (200, "3".into()));
    let log = world.log(&app);
    let line = "Error R10 (Boot timeout) -> Web process failed its health check, GET /healthz answered 500, within 2";
    assert!(log.contains(line), "{log}");
    // A redirect is healthy.
    set(checks).unwrap();
    world.deploy(&app, &one(&picky(302, u32::MAX))).0.unwrap();
    let refused = set(Checks {
        path: Some("no".into()),
        ..Checks::default()
    });
    assert!(matches!(refused, Err(DeployError::Check(_))));
}

pub(crate) fn retried(world: World) {
    let app = world.app("shop");
    // Fails until somebody listens on the port.
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let release = format!("echo migrating; exec 3<>/dev/tcp/127.0.0.1/{port} && echo done");
    let web = server("one");
    let processes = [("web", web.as_str()), ("release", release.as_str())];
    let retry = || {
        world
            .events(|events| world.apps.retry(&app, "ann", events))
            .0
    };
    assert!(matches!(retry(), Err(DeployError::NothingFailed(_))));
    world.deploy(&app, &processes).0.unwrap_err();
    retry().unwrap_err();
    let _listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let release = retry().unwrap();
    assert_eq!(release.description, "Deploy 1a2b3c4d (retry of v2)");
    assert_eq!(release.status, ReleaseStatus::Succeeded);
    assert_eq!(world.get(&app), (200, "one".into()));
    assert!(matches!(retry(), Err(DeployError::NothingFailed(_))));
    let output = |number: u64| {
        let record = world.apps.ledger().app(&app).unwrap();
        let number = release::ReleaseNumber::new(number).unwrap();
        let output = world.apps.release_output(&record, number).unwrap();
        String::from_utf8(output).unwrap()
    };
    assert!(output(1).starts_with("migrating\n"), "{}", output(1));
    assert_eq!(output(3), "migrating\ndone\n");
}

pub(crate) fn log_of_release(world: World) {
    let app = world.app("shop");
    for said in ["first", "second"] {
        let script = format!("echo {said}\n{}", server("one"));
        world.deploy(&app, &one(&script)).0.unwrap();
    }
    let of = |number: u64| -> Vec<String> {
        let filter = LogFilter {
            release: release::ReleaseNumber::new(number),
            ..LogFilter::default()
        };
        let lines = world.apps.log_tail(&app, 100, &filter).unwrap();
        lines.into_iter().map(|line| line.text).collect()
    };
    until("the first says so", || of(1).contains(&"first".to_owned()));
    until("the second says so", || {
        of(2).contains(&"second".to_owned())
    });
    assert!(!of(1).contains(&"second".to_owned()) && !of(2).contains(&"first".to_owned()));
}
