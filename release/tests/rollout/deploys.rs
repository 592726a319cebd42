//! What goes well.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use container::Stdio;
use release::{
    AppName, DeployError, Event, LogFilter, LogSource, ReleaseStatus, Restart, RunOptions,
};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::world::{Process, World, get, until};

/// Answers with its second argument; keeps connections.
pub(crate) const SERVER: &str = r#"
exec python3 -c '
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = os.path.expandvars(sys.argv[1]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer.request_queue_size = 128
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
' "#;

pub(crate) fn server(text: &str) -> String {
    format!("{} '{text}'", SERVER.trim_end())
}

pub(crate) fn one(script: &str) -> [Process<'_>; 1] {
    [("web", script)]
}

pub(crate) fn live(world: World) {
    let app = world.app("shop");
    assert_eq!(world.get(&app).0, 502, "nothing deployed yet");
    let (release, events) = world.deploy(
        &app,
        &one(&server(
            "one $DYNO $SLIPWAY_APP $SLIPWAY_RELEASE $SOURCE_VERSION",
        )),
    );
    let commit = "1a2b3c4d".repeat(5);
    assert_eq!(
        world.get(&app),
        (200, format!("one web.1 shop v1 {commit}"))
    );
    let release = release.unwrap();
    assert_eq!(
        (release.number.get(), release.status),
        (1, ReleaseStatus::Succeeded)
    );
    let told: Vec<String> = events
        .iter()
        .map(|event| match event {
            Event::Created { release } => format!("created {release}"),
            Event::Starting { instance } => format!("starting {instance}"),
            Event::Up { instance, .. } => format!("up {instance}"),
            Event::Switched { release } => format!("switched {release}"),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        ["created v1", "starting web.1", "up web.1", "switched v1"]
    );
    assert_eq!(world.ps(&app), ["web.1 v1 up"]);
    let log = world.log(&app);
    for line in [
        "app[api]: App created by user ann",
        "app[api]: Deploy 1a2b3c4d by user ann",
        "app[api]: Release v1 created by user ann",
        "heroku[web.1]: Starting process with command `web`",
        "heroku[web.1]: State changed from starting to up",
    ] {
        assert!(
            log.contains(&format!("{line}\n")),
            "{line} is missing in {log}"
        );
    }
    let refs = world.apps.ledger().unsettled_refs().unwrap();
    assert_eq!(refs.len(), 1);
}

pub(crate) fn replaced(world: World) {
    let app = world.app("shop");
    world.deploy(&app, &one(&server("one"))).0.unwrap();
    world.deploy(&app, &one(&server("two"))).0.unwrap();
    assert_eq!(world.get(&app), (200, "two".into()));
    world.until_ps(&app, &["web.1 v2 up"]);
    until("the old one's directory has gone", || {
        world.instance_dirs() == 1
    });
    assert!(
        world
            .log(&app)
            .contains("heroku[web.1]: Stopping all processes with SIGTERM\n")
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
        2
    );
}

pub(crate) fn under_load(world: World) {
    let app = world.app("shop");
    world.deploy(&app, &one(&server("0"))).0.unwrap();
    let (stop, requests) = (AtomicBool::new(false), AtomicUsize::new(0));
    let router = world.router();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let answer = get(router, &app);
                        assert!(matches!(answer, Ok((200, _))), "{answer:?}");
                        requests.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for n in 1..=20 {
            let (result, _) = world.deploy(&app, &one(&server(&n.to_string())));
            result.unwrap();
            assert_eq!(world.get(&app), (200, n.to_string()));
        }
        stop.store(true, Ordering::Relaxed);
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
    });
    assert!(requests.load(Ordering::Relaxed) > 100);
    until("the old ones have gone", || world.instance_dirs() == 1);
}

pub(crate) fn config_and_rollback(world: World) {
    let app = world.app("shop");
    let set = |changes: &[(&str, Option<&str>)]| {
        let changes: BTreeMap<_, _> = changes
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.map(str::to_owned)))
            .collect();
        world
            .events(|events| {
                world
                    .apps
                    .set_config(&app, changes, Restart::Now, "ann", events)
            })
            .0
    };
    let roll_back = |to: Option<&str>| {
        let to = to.map(|to| to.parse().unwrap());
        world
            .events(|events| world.apps.rollback(&app, to, "ann", events))
            .0
    };
    let refused = |to: Option<&str>| roll_back(to).unwrap_err().to_string();
    assert_eq!(
        refused(None),
        "`shop` has no earlier release to roll back to"
    );
    // Before anything is deployed config is a release, too.
    let release = set(&[("COLOUR", Some("s3cret-blue")), ("SIZE", Some("1"))]).unwrap();
    assert_eq!(
        (release.number.get(), release.description.as_str()),
        (1, "Set COLOUR, SIZE config vars")
    );
    assert_eq!(world.get(&app).0, 502);
    world
        .deploy(&app, &one(&server("one $COLOUR $SIZE")))
        .0
        .unwrap();
    assert_eq!(world.get(&app), (200, "one s3cret-blue 1".into()));
    let release = set(&[("COLOUR", Some("s3cret-red")), ("SIZE", None)]).unwrap();
    assert_eq!(release.number.get(), 3);
    assert_eq!(world.get(&app), (200, "one s3cret-red $SIZE".into()));
    let release = set(&[("COLOUR", Some("s3cret-red")), ("NONE", None)]).unwrap();
    assert_eq!(release.number.get(), 3, "no change, no release");
    world.deploy(&app, &one("exit 7")).0.unwrap_err();
    let release = roll_back(None).unwrap();
    assert_eq!(
        (release.number.get(), release.description.as_str()),
        (5, "Rollback to v2")
    );
    assert_eq!(world.get(&app), (200, "one s3cret-blue 1".into()));
    assert_eq!(
        refused(Some("v5")),
        "cannot roll back to v5: it is the current release"
    );
    assert_eq!(refused(Some("v4")), "cannot roll back to v4: it failed");
    assert_eq!(
        refused(Some("v1")),
        "cannot roll back to v1: it has no image, only config"
    );
    assert_eq!(refused(Some("v9")), "`shop` has no release v9");
    let log = world.log(&app);
    assert!(
        log.contains("app[api]: Set COLOUR, SIZE config vars by user ann\n")
            && log.contains("app[api]: Rollback to v2 by user ann\n"),
        "{log}"
    );
    assert!(!log.contains("s3cret"), "{log}");
}

pub(crate) fn formation(world: World) {
    let app = world.app("shop");
    let worker = "trap 'echo bye; exit 0' TERM; echo working; while :; do sleep 0.05; done";
    let scale = |quantities: &[(&str, u32)]| {
        let quantities = quantities
            .iter()
            .map(|(name, n)| (name.parse().unwrap(), *n))
            .collect();
        world
            .events(|events| world.apps.scale(&app, quantities, "ann", events))
            .0
    };
    assert!(matches!(
        scale(&[("web", 1)]),
        Err(DeployError::NotDeployed(_))
    ));
    world
        .deploy(&app, &[("web", &server("one $DYNO")), ("worker", worker)])
        .0
        .unwrap();
    assert_eq!(world.ps(&app), ["web.1 v1 up"]);
    scale(&[("web", 2), ("worker", 1)]).unwrap();
    assert_eq!(
        world.ps(&app),
        ["web.1 v1 up", "web.2 v1 up", "worker.1 v1 up"]
    );
    until("both answer", || world.get(&app).1 == "one web.2");
    until("both answer", || world.get(&app).1 == "one web.1");
    let ports = || -> Vec<u64> {
        world
            .apps
            .instances(&app)
            .unwrap()
            .iter()
            .map(|instance| instance.since)
            .collect()
    };
    assert_eq!(ports().len(), 3);
    // A deploy keeps the scale.
    world
        .deploy(&app, &[("web", &server("two $DYNO")), ("worker", worker)])
        .0
        .unwrap();
    world.until_ps(&app, &["web.1 v2 up", "web.2 v2 up", "worker.1 v2 up"]);
    let restart =
        |which: Option<&str>| world.events(|events| world.apps.restart(&app, which, "ann", events));
    let (result, events) = restart(Some("web.2"));
    result.unwrap();
    let started = events
        .iter()
        .filter(|event| matches!(event, Event::Starting { .. }))
        .count();
    assert_eq!(started, 1);
    restart(None).0.unwrap();
    world.until_ps(&app, &["web.1 v2 up", "web.2 v2 up", "worker.1 v2 up"]);
    assert_eq!(
        restart(Some("clock")).0.unwrap_err().to_string(),
        "`shop` runs no `clock`"
    );
    scale(&[("web", 0), ("worker", 0)]).unwrap();
    assert_eq!(world.get(&app).0, 503);
    world.until_ps(&app, &[]);
    until("all has gone", || world.instance_dirs() == 0);
    assert!(world.log(&app).contains("app[worker.1]: bye\n"));
    assert_eq!(
        scale(&[("clock", 1)]).unwrap_err().to_string(),
        "`shop` has no process type `clock`"
    );
    assert!(matches!(
        scale(&[("web", 101)]),
        Err(DeployError::TooMany { .. })
    ));
    scale(&[("web", 1)]).unwrap();
    assert_eq!(world.get(&app), (200, "two web.1".into()));
}

pub(crate) fn without_web(world: World) {
    let app = world.app("shop");
    world.deploy(&app, &[("worker", "sleep 1000")]).0.unwrap();
    assert_eq!(world.get(&app).0, 503);
    assert!(world.ps(&app).is_empty());
}

pub(crate) fn one_off(world: World) {
    let app = world.app("shop");
    let run = |command: &[&str]| {
        let (reader, stdout) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let stdio = Stdio::Fds {
            stdin: File::open("/dev/null").unwrap().into(),
            stderr: stdout.try_clone().unwrap(),
            stdout,
        };
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        let (name, process) = world.runtime().block_on(world.apps.run(
            &app,
            command,
            RunOptions::default(),
            stdio,
        ))?;
        assert!(name.starts_with("run."), "{name}");
        let mut text = String::new();
        File::from(reader).read_to_string(&mut text).unwrap();
        Ok::<_, DeployError>((
            process.wait().unwrap().code.unwrap(),
            text.trim().to_owned(),
        ))
    };
    assert!(matches!(run(&["true"]), Err(DeployError::NotDeployed(_))));
    let set = BTreeMap::from([("A".parse().unwrap(), Some("x y".to_owned()))]);
    world
        .events(|events| {
            world
                .apps
                .set_config(&app, set, Restart::Now, "ann", events)
        })
        .0
        .unwrap();
    world.deploy(&app, &one(&server("one"))).0.unwrap();
    assert_eq!(
        run(&["echo \"$A\" | tr x z; exit 3"]).unwrap(),
        (3, "z y".into())
    );
    assert_eq!(
        run(&["printf", "%s|", "a b", "$A"]).unwrap(),
        (0, "a b|$A|".into())
    );
    until("its layer has gone", || {
        std::fs::read_dir(world.dir.join("store/tmp"))
            .unwrap()
            .count()
            == 0
    });
}

pub(crate) fn cancelled(world: World) {
    let app = world.app("shop");
    world.deploy(&app, &one(&server("one"))).0.unwrap();
    let candidate = release::Candidate {
        image: world.image(&one("sleep 1000")),
        description: "Deploy".into(),
        build: None,
        commit: None,
        git_ref: None,
    };
    world.runtime().block_on(async {
        let (events, mut told) = tokio::sync::mpsc::channel(100);
        let deploy = world.apps.deploy(&app, candidate, "ann", events);
        tokio::select! {
            result = deploy => panic!("{result:?}"),
            () = async { while !matches!(told.recv().await, Some(Event::Starting { .. })) {} } => {}
        }
    });
    until("it has failed", || {
        let newest = world.apps.ledger().releases(&app, 1).unwrap().remove(0);
        newest.status == ReleaseStatus::Failed && newest.reason.as_deref() == Some("cancelled")
    });
    world.until_ps(&app, &["web.1 v1 up"]);
    assert_eq!(world.get(&app), (200, "one".into()));
}

/// Whenever it is taken back, the answer is what has become of it.
pub(crate) fn cancelled_late(world: World) {
    let app = world.app("shop");
    world.deploy(&app, &one(&server("one"))).0.unwrap();
    for (n, told) in ["Created", "Starting", "Up", "Switched"].iter().enumerate() {
        let candidate = release::Candidate {
            image: world.image(&one(&server(told))),
            description: "Deploy".into(),
            build: None,
            commit: None,
            git_ref: None,
        };
        let before = world.apps.ledger().app(&app).unwrap().current;
        let result = world.runtime().block_on(async {
            let (events, mut seen) = tokio::sync::mpsc::channel(100);
            let cancelled = async {
                while let Some(event) = seen.recv().await {
                    if format!("{event:?}").starts_with(told) {
                        return;
                    }
                }
            };
            let apps = &world.apps;
            apps.deploy_until(&app, candidate, "ann", events, cancelled)
                .await
        });
        let now = world.apps.ledger().app(&app).unwrap().current;
        match result {
            Ok(release) => assert_eq!(Some(release.number), now, "{told}"),
            Err(error) => {
                assert_eq!(error.to_string(), "cancelled", "{told}");
                assert_eq!(now, before, "{told}");
                assert!(n < 3, "too late");
            }
        }
    }
    assert_eq!(world.get(&app), (200, "Switched".into()));
}

pub(crate) fn destroyed(world: World) {
    let app = world.app("shop");
    world.deploy(&app, &one(&server("one"))).0.unwrap();
    let command = vec!["sleep".to_owned(), "1000".to_owned()];
    let run = world
        .apps
        .run(&app, command, RunOptions::default(), Stdio::Null);
    let (_, one_off) = world.runtime().block_on(run).unwrap();
    world
        .runtime()
        .block_on(world.apps.destroy(&app, "ann"))
        .unwrap();
    assert_eq!(one_off.wait().unwrap().signal, Some(9));
    assert_eq!(world.instance_dirs(), 0);
    assert_eq!(
        std::fs::read_dir(world.dir.join("logs")).unwrap().count(),
        0
    );
    assert_eq!(world.get(&app).0, 404);
    assert!(world.apps.instances(&app).is_err() && world.apps.ledger().apps().unwrap().is_empty());
    let name: AppName = "shop".parse().unwrap();
    world.app("shop");
    world.deploy(&name, &one(&server("again"))).0.unwrap();
    assert_eq!(world.get(&name), (200, "again".into()));
}

pub(crate) fn router_log(mut world: World) {
    world.keep_router_log();
    let app = world.app("shop");
    world.deploy(&app, &one(&server("one"))).0.unwrap();
    world.get(&app);
    let filter = LogFilter {
        process: Some("router".into()),
        source: Some(LogSource::Router),
        release: None,
    };
    until("the line is there", || {
        let lines = world.apps.log_tail(&app, 10, &filter).unwrap();
        lines
            .iter()
            .any(|line| line.text.contains("status=200") && line.text.contains("dyno=web.1"))
    });
}
