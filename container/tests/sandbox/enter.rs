//! Processes that enter a sandbox which runs already.

use std::{fs::File, io::Read as _, os::fd::OwnedFd, path::Path};

use container::{Entry, Exit, Process, Spawner, Stdio, Terminal, WindowSize, sandbox::Lifetime};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::{World, children, terminal::Typist, until};

const SIZE: WindowSize = WindowSize {
    columns: 80,
    rows: 24,
};

fn entry(world: &World, script: &str) -> Entry {
    let sandbox = world.sandbox("");
    Entry {
        argv: ["bash", "-c", script].map(str::to_owned).to_vec(),
        env: [sandbox.env, vec![("MINE".to_owned(), "yes".to_owned())]].concat(),
        cwd: sandbox.cwd,
        limits: sandbox.limits,
    }
}

/// A sandbox that waits, once it has begun to.
fn waiting(world: &World, lifetime: Lifetime) -> Process {
    let mut sandbox =
        world.sandbox("echo here > /tmp/mark; mv /tmp/mark /tmp/ready; sleep 1000 & wait");
    sandbox.lifetime = lifetime;
    let ready = sandbox.scratch.join("tmp/ready");
    let process = world.spawner.spawn(&sandbox, Stdio::Null).unwrap();
    until("the sandbox runs", || ready.exists());
    process
}

fn detached(world: &World) -> Lifetime {
    Lifetime::Detached {
        log: world.dir.path().join("log"),
        log_bytes_max: 1 << 20,
        label: "app[web.1]".into(),
        exit_record: world.dir.path().join("exit.json"),
    }
}

fn run(spawner: &Spawner, sandbox: &Process, entry: Entry) -> (Exit, String) {
    let (process, output) = start(spawner, sandbox, entry);
    let mut text = String::new();
    File::from(output).read_to_string(&mut text).unwrap();
    (process.wait().unwrap(), text)
}

fn start(spawner: &Spawner, sandbox: &Process, entry: Entry) -> (Process, OwnedFd) {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let stdio = Stdio::Fds {
        stdin: File::open("/dev/null").unwrap().into(),
        stdout: writer.try_clone().unwrap(),
        stderr: writer,
    };
    (spawner.enter(sandbox, entry, stdio).unwrap(), reader)
}

pub(crate) fn same_world(world: &World) {
    let sandbox = waiting(world, Lifetime::Bound);
    let ask = |script: &str| {
        let (exit, text) = run(&world.spawner, &sandbox, entry(world, script));
        assert!(exit.success(), "{script}: {exit:?} {text}");
        text
    };
    assert_eq!(
        ask("cat /tmp/ready; echo $MINE; pwd"),
        "here\nyes\n/workspace\n"
    );
    assert_eq!(ask("id -u; id -g; hostname"), "1000\n1000\nbox\n");
    // Of the main process, 2, everything can be seen: it is the same user in the same namespaces.
    for what in ["user", "mnt", "pid", "ipc", "uts", "net", "cgroup"] {
        let text = ask(&format!("readlink /proc/self/ns/{what} /proc/2/ns/{what}"));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() == 2 && lines[0] == lines[1], "{what}: {text}");
    }
    let text = ask("cat /proc/self/cgroup; echo --; cat /proc/2/cgroup");
    let (ours, main) = text.split_once("--\n").unwrap();
    assert_eq!(ours, main);
    for line in [
        "CapPrm",
        "CapEff",
        "CapBnd",
        "NoNewPrivs",
        "Seccomp:",
        "Seccomp_filters",
        "Groups",
    ] {
        let text = ask(&format!("grep -h {line} /proc/self/status /proc/2/status"));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() == 2 && lines[0] == lines[1], "{text}");
    }
    assert_eq!(
        ask("ulimit -u; ulimit -n; ulimit -c").lines().last(),
        Some("0")
    );
    // Nothing of ours came along.
    assert_eq!(ask("ls /proc/self/fd | wc -l"), "4\n");
    let (exit, _) = run(&world.spawner, &sandbox, entry(world, "exit 7"));
    assert_eq!(exit.code, Some(7));
    let (exit, _) = run(&world.spawner, &sandbox, entry(world, "kill -TERM $$"));
    assert_eq!(exit.signal, Some(15));
    assert!(!sandbox.has_ended().unwrap());
}

pub(crate) fn ends(world: &World) {
    let sandbox = waiting(world, Lifetime::Bound);
    let left = |name: &str| {
        let script = format!("ps -o args= -e | grep -c '^{name}'; true");
        run(&world.spawner, &sandbox, entry(world, &script))
            .1
            .trim()
            .to_owned()
    };
    // What it leaves behind in its session, or has started in others, ends with it.
    run(
        &world.spawner,
        &sandbox,
        entry(world, "sleep 2001 & sleep 0"),
    );
    assert_eq!(left("sleep 2001"), "0");
    let script = "setsid sleep 2002 & echo ready; wait";
    let (process, output) = start(&world.spawner, &sandbox, entry(world, script));
    let mut ready = [0; 6];
    File::from(output.try_clone().unwrap())
        .read_exact(&mut ready)
        .unwrap();
    until("it has started", || left("sleep 2002") == "1");
    process.kill().unwrap();
    assert_eq!(process.wait().unwrap().signal, Some(9));
    assert_eq!(left("sleep 2002"), "0");
    // The sandbox takes it along.
    let (process, output) = start(
        &world.spawner,
        &sandbox,
        entry(world, "echo ready; sleep 2003"),
    );
    File::from(output).read_exact(&mut ready).unwrap();
    sandbox.kill().unwrap();
    assert_eq!(process.wait().unwrap().signal, Some(9));
    sandbox.wait().unwrap();
    let error = world
        .spawner
        .enter(&sandbox, entry(world, "true"), Stdio::Null)
        .unwrap_err();
    assert!(error.to_string().contains("namespaces"), "{error}");
}

pub(crate) fn of_an_earlier_spawner(world: &World) {
    let sandbox = waiting(world, detached(world));
    let other = Spawner::start(Path::new("/proc/self/exe")).unwrap();
    let script = "cat /proc/self/cgroup; echo --; cat /proc/2/cgroup";
    let (exit, text) = run(&other, &sandbox, entry(world, script));
    assert!(exit.success());
    let (ours, main) = text.split_once("--\n").unwrap();
    assert_eq!(ours, main);
    // With its spawner goes what it let in, and nothing else.
    let (process, output) = start(
        &other,
        &sandbox,
        entry(world, "echo ready; sleep 2004 & wait"),
    );
    let mut ready = [0; 6];
    File::from(output).read_exact(&mut ready).unwrap();
    drop(other);
    assert_eq!(process.wait().unwrap().signal, Some(9));
    assert!(!sandbox.has_ended().unwrap());
    let script = "ps -o args= -e | grep -c '^sleep 2004'; true";
    assert_eq!(run(&world.spawner, &sandbox, entry(world, script)).1, "0\n");
    sandbox.kill().unwrap();
    sandbox.wait().unwrap();
}

pub(crate) fn on_a_terminal(world: &World) {
    let sandbox = waiting(world, Lifetime::Bound);
    let (ordered, stdio) = Terminal::order(SIZE).unwrap();
    let process = world
        .spawner
        .enter(
            &sandbox,
            entry(world, "PS1='$ ' exec bash --norc -i"),
            stdio,
        )
        .unwrap();
    let mut typist = Typist::new(ordered.take().unwrap());
    typist.wait_for("$ ");
    typist.type_in("tty; stty size\r");
    typist.wait_for("/dev/pts/0\r\n24 80");
    typist.type_in("yes\r");
    typist.wait_for("y\r\ny\r\n");
    typist.type_in("\x03");
    typist.wait_for("$ ");
    drop(typist);
    // Bash passes the hangup on to itself.
    assert_eq!(process.wait().unwrap().signal, Some(1));
    assert!(!sandbox.has_ended().unwrap());
}

pub(crate) fn cannot(world: &World) {
    let sandbox = waiting(world, Lifetime::Bound);
    let mut no_program = entry(world, "");
    no_program.argv = vec!["/no/such".to_owned()];
    let error = world
        .spawner
        .enter(&sandbox, no_program, Stdio::Null)
        .unwrap_err();
    assert!(error.to_string().contains("exec /no/such"), "{error}");
    let mut no_dir = entry(world, "true");
    no_dir.cwd = "/no/such".to_owned();
    let error = world
        .spawner
        .enter(&sandbox, no_dir, Stdio::Null)
        .unwrap_err();
    assert!(error.to_string().contains("chdir /no/such"), "{error}");
    let spawner = children(std::process::id());
    assert_eq!(spawner.len(), 1);
    until("only the sandbox is left", || {
        children(spawner[0]).len() == 1
    });
}
