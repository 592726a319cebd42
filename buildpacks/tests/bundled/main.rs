//! The bundled buildpacks as the builder runs them: real folders, real exit codes, real package registries, and the apps
//! that come out of it answering on a port.
//!
//! `cargo test -p buildpacks --test bundled [PART-OF-A-NAME]`

mod hostile;
mod lab;
mod nodejs;
mod python;
mod simple;

use std::{
    env,
    panic::catch_unwind,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

type Case = (&'static str, fn());

/// They wait for registries more than they compute.
const CASES_AT_ONCE: usize = 3;

fn main() -> ExitCode {
    let mut args = env::args();
    if let Some(code) = args.next().as_deref().and_then(buildpacks::main_by_name) {
        return code;
    }
    let args: Vec<String> = args.collect();
    let cases: Vec<Case> = [nodejs::CASES, python::CASES, simple::CASES, hostile::CASES]
        .concat()
        .into_iter()
        .filter(|(name, _)| {
            let mut filters = args.iter().filter(|arg| !arg.starts_with('-')).peekable();
            filters.peek().is_none() || filters.any(|filter| name.contains(filter.as_str()))
        })
        .collect();
    if args.iter().any(|arg| arg == "--list") {
        cases.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    match run(&cases) {
        0 => ExitCode::SUCCESS,
        failed => {
            println!("{failed} of {} failed", cases.len());
            ExitCode::FAILURE
        }
    }
}

fn run(cases: &[Case]) -> usize {
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..CASES_AT_ONCE {
            scope.spawn(|| {
                while let Some((name, case)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let start = Instant::now();
                    let is_ok = catch_unwind(case).is_ok();
                    failed.fetch_add(usize::from(!is_ok), Ordering::Relaxed);
                    println!(
                        "test {name} ... {} ({:.1}s)",
                        if is_ok { "ok" } else { "FAILED" },
                        start.elapsed().as_secs_f64()
                    );
                }
            });
        }
    });
    failed.into_inner()
}
