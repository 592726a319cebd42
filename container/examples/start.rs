//! How long a sandbox takes from the request to the end of /usr/bin/true, and how much memory idle ones take:
//! `cargo run --release -p container --example start`.

use std::{
    error::Error,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use container::{Limits, Sandbox, Spawner, Stack, Stdio, Store, sandbox::Lifetime, spawner};

const ROUNDS: usize = 300;
const APART_ROUNDS: usize = 60;
/// What the kernel keeps ready for the next has gone by then.
const APART: Duration = Duration::from_millis(60);
const IDLE: usize = 50;

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().next().as_deref() == Some(spawner::ARGV0) {
        spawner::main();
    }
    let dir = tempfile::tempdir()?;
    let store = Store::open(&dir.path().join("store"))?;
    let bench = Bench {
        stack: Stack::open("host", &store)?,
        store,
        spawner: Spawner::start(Path::new("/proc/self/exe"))?,
    };
    println!("{:?}", bench.spawner.capabilities());
    bench.starts()?;
    bench.idle()
}

struct Bench {
    store: Store,
    stack: Stack,
    spawner: Spawner,
}

impl Bench {
    fn starts(&self) -> Result<(), Box<dyn Error>> {
        let in_a_row = (0..ROUNDS).map(|_| self.start(Duration::ZERO));
        report("sandbox, start to end", in_a_row.collect::<Result<_, _>>()?);
        let now_and_then = (0..APART_ROUNDS).map(|_| self.start(APART));
        let times = now_and_then.collect::<Result<_, _>>()?;
        report("the same a while after the last", times);
        let mut plain = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            Command::new("/usr/bin/true").status()?;
            plain.push(start.elapsed());
        }
        report("plain process, start to end", plain);
        Ok(())
    }

    fn start(&self, after: Duration) -> Result<Duration, Box<dyn Error>> {
        let scratch = self.store.scratch()?;
        let sandbox = self.sandbox(scratch.path(), &["/usr/bin/true"])?;
        std::thread::sleep(after);
        let start = Instant::now();
        let exit = self.spawner.spawn(&sandbox, Stdio::Null)?.wait()?;
        let time = start.elapsed();
        exit.success()
            .then_some(time)
            .ok_or_else(|| format!("{exit:?}").into())
    }

    /// Detached, as instances are; adds up what their inits alone would free.
    fn idle(&self) -> Result<(), Box<dyn Error>> {
        let mut running = Vec::new();
        for _ in 0..IDLE {
            let scratch = self.store.scratch()?;
            let mut sandbox = self.sandbox(scratch.path(), &["/usr/bin/sleep", "1000"])?;
            sandbox.lifetime = Lifetime::Detached {
                log: sandbox.scratch.join("log"),
                log_bytes_max: 1 << 20,
                label: "app[web.1]".into(),
                exit_record: sandbox.scratch.join("exit.json"),
            };
            running.push((self.spawner.spawn(&sandbox, Stdio::Null)?, scratch));
        }
        std::thread::sleep(Duration::from_secs(2));
        let pss: u64 = running.iter().map(|(init, _)| pss_kib(init.pid())).sum();
        println!("{IDLE} idle inits: {} KiB PSS each", pss / IDLE as u64);
        for (process, _scratch) in running {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    fn sandbox(&self, scratch: &Path, argv: &[&str]) -> Result<Sandbox, Box<dyn Error>> {
        Ok(Sandbox {
            lowers: self
                .store
                .layer(&self.stack.base_layer)
                .into_iter()
                .collect(),
            scratch: scratch.to_owned(),
            mounts: self.stack.mounts.clone(),
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            cwd: "/".into(),
            hostname: "box".into(),
            limits: Limits {
                memory_bytes: Some(256 << 20),
                cpu_milli: Some(1000),
                processes: Some(64),
            },
            lifetime: Lifetime::Bound,
        })
    }
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[times.len() * percent / 100];
    println!("{what}: p50 {:?}, p95 {:?}", at(50), at(95));
}

fn pss_kib(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    rollup
        .lines()
        .find_map(|line| {
            line.strip_prefix("Pss:")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or(0)
}
