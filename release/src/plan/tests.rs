//! Each row: what is wanted, what is seen, and the steps that follow.

use super::*;

const TIMING: Timing = Timing {
    boot_timeout: Duration::from_secs(60),
    stop_grace: Duration::from_secs(30),
};

/// `v2 web.1@5 worker.1@5`: instances of release 2 with at least serial 5.
fn cohort(text: &str) -> Option<Cohort> {
    let mut words = text.split_whitespace();
    // `v2/v1`: what runs of release 1 will do.
    let releases = words.next()?.split('/');
    let releases: Vec<_> = releases.map(|release| release.parse().unwrap()).collect();
    let slots = words.map(|word| {
        let (slot, serial) = word.split_once('@').unwrap_or((word, "0"));
        (slot.parse().unwrap(), serial.parse().unwrap())
    });
    Some(Cohort {
        release: releases[0],
        releases: releases.into_iter().collect(),
        slots: slots.collect(),
    })
}

/// `7 v2 web.1 up 100`: serial, release, slot, state, and since when in seconds.
fn seen(text: &str) -> Seen {
    let words: Vec<&str> = text.split_whitespace().collect();
    let state = match words[3] {
        "spawning" => State::Spawning,
        "starting" => State::Starting,
        "up" => State::Up,
        "draining" => State::Draining,
        "drained" => State::Drained,
        "stopping" => State::Stopping,
        "killed" => State::Killed,
        "exited" => State::Exited,
        other => panic!("{other}"),
    };
    Seen {
        serial: words[0].parse().unwrap(),
        release: words[1].parse().unwrap(),
        slot: words[2].parse().unwrap(),
        state,
        since: Duration::from_secs(words[4].parse().unwrap()),
    }
}

fn shown(step: &Step) -> String {
    match step {
        Step::Start { slot, release } => format!("start {slot} {release}"),
        Step::Up(serial) => format!("up {serial}"),
        Step::Switch => "switch".to_owned(),
        Step::GiveUp(serial) => format!("give up {serial}"),
        Step::BootTimeout(serial) => format!("boot timeout {serial}"),
        Step::Drain(serial) => format!("drain {serial}"),
        Step::Stop(serial) => format!("stop {serial}"),
        Step::Kill(serial) => format!("kill {serial}"),
        Step::Forget(serial) => format!("forget {serial}"),
    }
}

struct Row {
    current: &'static str,
    candidate: &'static str,
    seen: &'static [&'static str],
    now: u64,
    steps: &'static [&'static str],
    again_at: Option<u64>,
    settled: bool,
}

const ROW: Row = Row {
    current: "",
    candidate: "",
    seen: &[],
    now: 100,
    steps: &[],
    again_at: None,
    settled: false,
};

#[track_caller]
fn check(row: &Row) {
    check_after_crashes(row, &BTreeMap::new());
}

#[track_caller]
fn check_after_crashes(row: &Row, crashes: &BTreeMap<Slot, Crashes>) {
    let desired = Desired {
        current: cohort(row.current),
        candidate: cohort(row.candidate),
    };
    let instances: Vec<Seen> = row.seen.iter().map(|text| seen(text)).collect();
    let now = Duration::from_secs(row.now);
    let plan = plan(&desired, &instances, crashes, now, TIMING);
    let steps: Vec<String> = plan.steps.iter().map(shown).collect();
    assert_eq!(steps, row.steps);
    assert_eq!(plan.again_at.map(|at| at.as_secs()), row.again_at);
    assert_eq!(plan.settled, row.settled, "settled");
}

#[test]
fn nothing_wanted_nothing_to_do() {
    check(&Row {
        settled: true,
        ..ROW
    });
}

#[test]
fn a_first_deploy_from_nothing_to_live() {
    let deploy = Row {
        candidate: "v1 web.1@5 web.2@5",
        ..ROW
    };
    check(&Row {
        steps: &["start web.1 v1", "start web.2 v1"],
        ..deploy
    });
    check(&Row {
        seen: &["5 v1 web.1 spawning 100", "6 v1 web.2 spawning 100"],
        ..deploy
    });
    check(&Row {
        seen: &["5 v1 web.1 starting 90", "6 v1 web.2 starting 95"],
        again_at: Some(150),
        ..deploy
    });
    check(&Row {
        seen: &["5 v1 web.1 up 100", "6 v1 web.2 starting 95"],
        again_at: Some(155),
        ..deploy
    });
    check(&Row {
        seen: &["5 v1 web.1 up 100", "6 v1 web.2 up 100"],
        steps: &["switch"],
        ..deploy
    });
    check(&Row {
        current: "v1 web.1@5 web.2@5",
        seen: &["5 v1 web.1 up 100", "6 v1 web.2 up 100"],
        settled: true,
        ..ROW
    });
}

#[test]
fn a_deploy_starts_beside_and_takes_the_old_away_after_the_switch() {
    let before = Row {
        current: "v1 web.1",
        candidate: "v2 web.1@5",
        ..ROW
    };
    check(&Row {
        seen: &["1 v1 web.1 up 0"],
        steps: &["start web.1 v2"],
        ..before
    });
    check(&Row {
        seen: &["1 v1 web.1 up 0", "5 v2 web.1 starting 99"],
        again_at: Some(159),
        ..before
    });
    check(&Row {
        seen: &["1 v1 web.1 up 0", "5 v2 web.1 up 100"],
        steps: &["switch"],
        ..before
    });
    let after = Row {
        current: "v2 web.1@5",
        ..ROW
    };
    check(&Row {
        seen: &["1 v1 web.1 up 0", "5 v2 web.1 up 100"],
        steps: &["drain 1"],
        ..after
    });
    check(&Row {
        seen: &["1 v1 web.1 draining 100", "5 v2 web.1 up 100"],
        settled: true,
        ..after
    });
    check(&Row {
        seen: &["1 v1 web.1 drained 100", "5 v2 web.1 up 100"],
        steps: &["stop 1"],
        settled: true,
        ..after
    });
    check(&Row {
        seen: &["1 v1 web.1 stopping 90", "5 v2 web.1 up 100"],
        again_at: Some(120),
        settled: true,
        ..after
    });
    check(&Row {
        seen: &["1 v1 web.1 stopping 70", "5 v2 web.1 up 100"],
        steps: &["kill 1"],
        settled: true,
        ..after
    });
    check(&Row {
        seen: &["1 v1 web.1 killed 100", "5 v2 web.1 up 100"],
        settled: true,
        ..after
    });
    check(&Row {
        seen: &["1 v1 web.1 exited 100", "5 v2 web.1 up 100"],
        steps: &["forget 1"],
        settled: true,
        ..after
    });
}

#[test]
fn a_candidate_is_given_up_when_one_of_it_ends_or_says_nothing() {
    let deploy = Row {
        current: "v1 web.1",
        candidate: "v2 web.1@5 web.2@5",
        ..ROW
    };
    check(&Row {
        seen: &[
            "1 v1 web.1 up 0",
            "5 v2 web.1 up 99",
            "6 v2 web.2 exited 100",
        ],
        steps: &["give up 6"],
        ..deploy
    });
    check(&Row {
        seen: &[
            "1 v1 web.1 up 0",
            "5 v2 web.1 starting 40",
            "6 v2 web.2 up 99",
        ],
        steps: &["give up 5"],
        ..deploy
    });
    // Afterwards nothing wants them any more.
    let after = Row {
        current: "v1 web.1",
        settled: true,
        ..ROW
    };
    check(&Row {
        seen: &[
            "1 v1 web.1 up 0",
            "5 v2 web.1 up 99",
            "6 v2 web.2 exited 100",
        ],
        steps: &["drain 5", "forget 6"],
        settled: false,
        ..after
    });
    check(&Row {
        seen: &["1 v1 web.1 up 0", "5 v2 web.1 starting 40"],
        steps: &["stop 5"],
        settled: false,
        ..after
    });
    check(&Row {
        seen: &["1 v1 web.1 up 0", "5 v2 web.1 spawning 40"],
        settled: false,
        ..after
    });
}

#[test]
fn a_crash_of_the_old_release_during_a_deploy_is_made_good() {
    check(&Row {
        current: "v1 web.1",
        candidate: "v2 web.1@5",
        seen: &["1 v1 web.1 exited 100", "5 v2 web.1 spawning 100"],
        steps: &["forget 1", "start web.1 v1"],
        ..ROW
    });
}

#[test]
fn workers_count_as_up_after_a_grace() {
    let deploy = Row {
        candidate: "v1 worker.1@5",
        ..ROW
    };
    check(&Row {
        seen: &["5 v1 worker.1 starting 100"],
        again_at: Some(101),
        ..deploy
    });
    check(&Row {
        seen: &["5 v1 worker.1 starting 99"],
        steps: &["up 5"],
        ..deploy
    });
    check(&Row {
        seen: &["5 v1 worker.1 up 100"],
        steps: &["switch"],
        ..deploy
    });
    check(&Row {
        current: "v2 worker.1",
        seen: &["5 v1 worker.1 up 0", "6 v2 worker.1 up 0"],
        steps: &["stop 5"],
        ..ROW
    });
}

#[test]
fn a_release_without_anything_to_run_is_switched_to_at_once() {
    check(&Row {
        candidate: "v1",
        steps: &["switch"],
        ..ROW
    });
    check(&Row {
        current: "v1",
        settled: true,
        ..ROW
    });
}

#[test]
fn a_restart_replaces_what_it_names_after_the_new_one_is_up() {
    let restart = Row {
        current: "v1 web.1 web.2",
        candidate: "v1 web.1@5",
        ..ROW
    };
    check(&Row {
        seen: &["1 v1 web.1 up 0", "2 v1 web.2 up 0"],
        steps: &["start web.1 v1"],
        ..restart
    });
    check(&Row {
        seen: &[
            "1 v1 web.1 up 0",
            "2 v1 web.2 up 0",
            "5 v1 web.1 starting 99",
        ],
        again_at: Some(159),
        ..restart
    });
    check(&Row {
        seen: &["1 v1 web.1 up 0", "2 v1 web.2 up 0", "5 v1 web.1 up 99"],
        steps: &["switch"],
        ..restart
    });
    let after = cohort("v1 web.1 web.2")
        .unwrap()
        .switched(cohort("v1 web.1@5").unwrap());
    assert_eq!(Some(after), cohort("v1 web.1@5 web.2@0"));
    check(&Row {
        current: "v1 web.1@5 web.2",
        seen: &["1 v1 web.1 up 0", "2 v1 web.2 up 0", "5 v1 web.1 up 99"],
        steps: &["drain 1"],
        ..ROW
    });
    let after = cohort("v1 web.1 web.2")
        .unwrap()
        .switched(cohort("v2 web.1@5").unwrap());
    assert_eq!(Some(after), cohort("v2 web.1@5"));
}

#[test]
fn a_release_without_a_restart_keeps_what_runs_and_starts_the_new() {
    let after = Row {
        current: "v3/v2 web.1 web.2",
        ..ROW
    };
    check(&Row {
        seen: &["1 v2 web.1 up 0", "2 v2 web.2 up 0"],
        settled: true,
        ..after
    });
    check(&Row {
        seen: &["1 v2 web.1 up 0"],
        steps: &["start web.2 v3"],
        ..after
    });
    check(&Row {
        seen: &["1 v2 web.1 up 0", "2 v1 web.2 up 0"],
        steps: &["drain 2", "start web.2 v3"],
        ..after
    });
    check(&Row {
        candidate: "v3 web.1@5 web.2@5",
        seen: &["1 v2 web.1 up 0", "2 v3 web.2 up 0"],
        steps: &["start web.1 v3", "start web.2 v3"],
        ..after
    });
}

#[test]
fn scaling_adds_and_takes_away() {
    check(&Row {
        current: "v1 web.1 web.2",
        seen: &["1 v1 web.1 up 0"],
        steps: &["start web.2 v1"],
        ..ROW
    });
    check(&Row {
        current: "v1 web.1",
        seen: &["1 v1 web.1 up 0", "2 v1 web.2 up 0"],
        steps: &["drain 2"],
        ..ROW
    });
    check(&Row {
        current: "v1",
        seen: &["1 v1 web.1 up 0"],
        steps: &["drain 1"],
        ..ROW
    });
}

#[test]
fn whatever_the_platform_was_doing_when_it_was_killed_the_next_start_goes_on() {
    // Before, during and after a deploy's switch: the ledger knows which release is current.
    check(&Row {
        current: "v1 web.1",
        seen: &["1 v1 web.1 up 0", "5 v2 web.1 starting 0"],
        steps: &["stop 5"],
        ..ROW
    });
    check(&Row {
        current: "v1 web.1",
        seen: &["1 v1 web.1 up 0", "5 v2 web.1 up 0"],
        steps: &["drain 5"],
        ..ROW
    });
    check(&Row {
        current: "v2 web.1",
        seen: &["1 v1 web.1 up 0", "5 v2 web.1 up 0"],
        steps: &["drain 1"],
        ..ROW
    });
    // During a restart: two of one slot, and only one stays, rather one that is up than a newer one.
    check(&Row {
        current: "v1 web.1",
        seen: &["1 v1 web.1 up 0", "5 v1 web.1 starting 90"],
        steps: &["stop 5"],
        ..ROW
    });
    check(&Row {
        current: "v1 web.1",
        seen: &["1 v1 web.1 up 0", "5 v1 web.1 up 0"],
        steps: &["drain 1"],
        ..ROW
    });
    // Everything ended with the machine.
    check(&Row {
        current: "v1 web.1",
        seen: &["1 v1 web.1 exited 0"],
        steps: &["forget 1", "start web.1 v1"],
        ..ROW
    });
    check(&Row {
        current: "v1 web.1",
        steps: &["start web.1 v1"],
        ..ROW
    });
    // The app went.
    check(&Row {
        seen: &["1 v1 web.1 up 0", "2 v1 worker.1 up 0"],
        steps: &["drain 1", "stop 2"],
        ..ROW
    });
}

#[test]
fn an_adopted_instance_that_never_answers_is_replaced() {
    check(&Row {
        current: "v1 web.1",
        seen: &["1 v1 web.1 starting 40"],
        steps: &["boot timeout 1"],
        ..ROW
    });
    check(&Row {
        current: "v1 web.1",
        seen: &["1 v1 web.1 stopping 90"],
        steps: &["start web.1 v1"],
        again_at: Some(120),
        ..ROW
    });
}

#[test]
fn a_crash_loop_waits() {
    let slot: Slot = "web.1".parse().unwrap();
    let at = |second| Duration::from_secs(second);
    let crashed = |times: u32| {
        let crashes = (0..times).fold(None, |before, _| {
            Some(Crashes::again(before, Duration::ZERO, at(98)))
        });
        crashes
            .map(|crashes| (slot.clone(), crashes))
            .into_iter()
            .collect()
    };
    let row = Row {
        current: "v1 web.1",
        ..ROW
    };
    check_after_crashes(
        &Row {
            steps: &["start web.1 v1"],
            ..row
        },
        &crashed(1),
    );
    check_after_crashes(
        &Row {
            steps: &["start web.1 v1"],
            ..row
        },
        &crashed(3),
    );
    check_after_crashes(
        &Row {
            again_at: Some(102),
            ..row
        },
        &crashed(4),
    );
}

#[test]
fn requests_go_to_what_is_up_of_the_current_release() {
    let check = |current: &str,
                 candidate: &str,
                 instances: &[&str],
                 crashed: bool,
                 expected: Result<&[Serial], NoBackend>| {
        let desired = Desired {
            current: cohort(current),
            candidate: cohort(candidate),
        };
        let instances: Vec<Seen> = instances.iter().map(|text| seen(text)).collect();
        let crashes = crashed.then(|| {
            (
                "web.1".parse().unwrap(),
                Crashes::again(None, Duration::ZERO, Duration::ZERO),
            )
        });
        let found = targets(&desired, &instances, &crashes.into_iter().collect());
        assert_eq!(
            found,
            expected.map(<[Serial]>::to_vec),
            "{current} {candidate} {instances:?}"
        );
    };
    check("", "", &[], false, Err(NoBackend::Blank));
    check(
        "",
        "v1 web.1@5",
        &["5 v1 web.1 up 0"],
        false,
        Err(NoBackend::Blank),
    );
    check(
        "v1 worker.1",
        "",
        &["1 v1 worker.1 up 0"],
        false,
        Err(NoBackend::NoWeb),
    );
    check("v1 web.1", "", &[], false, Err(NoBackend::Booting));
    check(
        "v1 web.1",
        "",
        &["1 v1 web.1 starting 0"],
        false,
        Err(NoBackend::Booting),
    );
    check(
        "v1 web.1",
        "",
        &["1 v1 web.1 exited 0"],
        true,
        Err(NoBackend::Crashed),
    );
    check(
        "v1 web.1 web.2",
        "",
        &["1 v1 web.1 up 0", "2 v1 web.2 starting 0"],
        false,
        Ok(&[1]),
    );
    check(
        "v1 web.1",
        "v2 web.1@5",
        &["1 v1 web.1 up 0", "5 v2 web.1 up 0"],
        false,
        Ok(&[1]),
    );
    check(
        "v2 web.1@5",
        "",
        &["1 v1 web.1 up 0", "5 v2 web.1 up 0"],
        false,
        Ok(&[5]),
    );
    check(
        "v1 web.1",
        "v1 web.1@5",
        &["1 v1 web.1 up 0", "5 v1 web.1 up 0"],
        false,
        Ok(&[1]),
    );
    check(
        "v1 web.1@5",
        "",
        &["1 v1 web.1 up 0", "5 v1 web.1 up 0"],
        false,
        Ok(&[5]),
    );
    check(
        "v1 web.1",
        "",
        &["1 v1 web.1 up 0", "5 v1 web.1 up 0"],
        false,
        Ok(&[5]),
    );
    check(
        "v1 web.1",
        "",
        &["1 v1 web.1 draining 0"],
        false,
        Err(NoBackend::Booting),
    );
}
