//! One-off processes: in the background, listed, stopped, and cut off.

use std::time::Duration;

use container::Stdio;
use release::{AppName, DeployError, RunOptions};

use crate::{
    deploys::{one, server},
    world::{World, until},
};

fn deployed(world: &World) -> AppName {
    let app = world.app("shop");
    world.deploy(&app, &one(&server("one"))).0.unwrap();
    app
}

fn start(world: &World, app: &AppName, line: &str, options: RunOptions) -> String {
    let run = world.apps.run_detached(app, vec![line.to_owned()], options);
    world.runtime().block_on(run).unwrap()
}

fn runs(world: &World, app: &AppName) -> Vec<(String, String)> {
    let instances = world.apps.instances(app).unwrap();
    let runs = instances
        .into_iter()
        .filter(|one| one.name.starts_with("run."));
    runs.map(|one| (one.name, one.state)).collect()
}

pub(crate) fn detached(world: World) {
    let app = deployed(&world);
    let options = RunOptions {
        env: [("GREETING".parse().unwrap(), "hello there".to_owned())].into(),
        ..RunOptions::default()
    };
    let name = start(
        &world,
        &app,
        "echo \"$GREETING\"; echo >&2 trouble; exit 3",
        options,
    );
    until("it has ended", || {
        world.log(&app).contains("Process exited with status 3")
    });
    let log = world.log(&app);
    for line in [
        format!("app[{name}]: hello there\n"),
        format!("app[{name}]: trouble\n"),
        format!("heroku[{name}]: Process exited with status 3\n"),
    ] {
        assert!(log.contains(&line), "{line}{log}");
    }
    until("it is no longer listed", || runs(&world, &app).is_empty());
}

pub(crate) fn stopped(world: World) {
    let app = deployed(&world);
    let polite = "trap 'echo bye; exit 0' TERM; echo polite; while :; do sleep 0.05; done";
    let deaf = "trap '' TERM; echo deaf; while :; do sleep 0.05; done";
    let names = [polite, deaf].map(|line| start(&world, &app, line, RunOptions::default()));
    let up: Vec<_> = runs(&world, &app);
    assert_eq!(up.len(), 2);
    assert!(up.iter().all(|(_, state)| state == "up"), "{up:?}");
    let instances = world.apps.instances(&app).unwrap();
    assert!(instances.iter().all(|one| one.memory_bytes.is_some()));
    until("their traps are set", || {
        let log = world.log(&app);
        log.contains(&format!("app[{}]: polite\n", names[0]))
            && log.contains(&format!("app[{}]: deaf\n", names[1]))
    });
    for name in &names {
        world.apps.stop_run(&app, name).unwrap();
    }
    until("both have ended", || runs(&world, &app).is_empty());
    until("the log says so", || {
        let log = world.log(&app);
        log.contains(&format!("app[{}]: bye\n", names[0]))
            && log.contains(&format!(
                "heroku[{}]: Process was killed by signal 9\n",
                names[1]
            ))
    });
    assert!(matches!(
        world.apps.stop_run(&app, &names[0]),
        Err(DeployError::NoInstance { .. })
    ));
}

pub(crate) fn time_limit(world: World) {
    let app = deployed(&world);
    let options = RunOptions {
        time_max: Some(Duration::from_millis(200)),
        ..RunOptions::default()
    };
    let run = world
        .apps
        .run(&app, vec!["sleep 1000".to_owned()], options, Stdio::Null);
    let (name, process) = world.runtime().block_on(run).unwrap();
    assert_eq!(process.wait().unwrap().signal, Some(15));
    let log = world.log(&app);
    let line = format!("heroku[{name}]: Stopping all processes with SIGTERM: the time limit");
    assert!(log.contains(&line), "{log}");
    // The eleventh is refused.
    for _ in 0..10 {
        start(&world, &app, "sleep 1000", RunOptions::default());
    }
    let eleventh = world
        .apps
        .run_detached(&app, vec!["true".to_owned()], RunOptions::default());
    assert!(matches!(
        world.runtime().block_on(eleventh),
        Err(DeployError::TooManyRuns(10, _))
    ));
}
