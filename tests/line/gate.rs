//! Deploys that stop where a test wants them to, and go on when it says so: an app whose stages (`detect`, `build`,
//! `release`, `boot`) ask at a port of the test's.

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::server::Server;

/// A deploy on a machine that does many other things comes to its stage, or ends, within this time.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct Gate {
    listener: TcpListener,
}

/// A stage that waits. Dropped, it is let through.
pub(crate) struct Held {
    /// `build two`: the stage, and the version that is deployed.
    pub(crate) what: String,
    stream: TcpStream,
}

impl Gate {
    /// Also lets the server know the buildpack.
    pub(crate) fn new(server: &Server) -> Self {
        install_buildpack(server);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket's option");
        Self { listener }
    }

    /// Makes ./NAME an app of version `one` that stops at these stages.
    pub(crate) fn app(&self, server: &Server, name: &str, stages: &str) {
        server.app(name, "gated");
        self.commit(server, name, "one", stages);
    }

    /// Another version, which stops at these stages.
    pub(crate) fn commit(&self, server: &Server, name: &str, version: &str, stages: &str) {
        let port = self.listener.local_addr().expect("bound").port();
        server
            .sh(&format!(
                "cd {name} && echo {version} > version && echo {port} {stages} > gate && git add -A && git commit -qm {version}"
            ))
            .ok();
    }

    /// Waits until a deploy has come to its stage.
    pub(crate) fn wait(&self, what: &str) -> Held {
        let held = self.wait_any();
        assert_eq!(held.what, what);
        held
    }

    pub(crate) fn wait_any(&self) -> Held {
        let end = Instant::now() + PATIENCE;
        let stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(_) => assert!(Instant::now() < end, "nothing came within {PATIENCE:?}"),
            }
            thread::sleep(Duration::from_millis(10));
        };
        stream.set_nonblocking(false).expect("a socket's option");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket's option");
        let mut line = String::new();
        let mut reader = BufReader::new(stream);
        reader.read_line(&mut line).expect("says what it is");
        Held {
            what: line.trim_end().to_owned(),
            stream: reader.into_inner(),
        }
    }
}

impl Held {
    pub(crate) fn open(mut self) {
        _ = self.stream.write_all(b"go\n");
    }

    /// Waits until what waits here has been killed.
    pub(crate) fn must_be_cut(mut self) {
        let ended = match self.stream.read(&mut [0]) {
            Ok(length) => length == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        assert!(ended, "`{}` still runs", self.what);
    }
}

fn install_buildpack(server: &Server) {
    let buildpacks = server.data().join("buildpacks");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/line/buildpacks/gate");
    let to = buildpacks.join("test_gate");
    fs::create_dir_all(&to).expect("a folder");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(from)
        .arg(to.join("1.0.0"))
        .status();
    assert!(copied.expect("cp runs").success());
    let order = buildpacks.join("order.toml");
    let bundled = fs::read_to_string(&order).expect("the order is there");
    let ours = "[[order]]\n[[order.group]]\nid = \"test/gate\"\nversion = \"1.0.0\"\n\n";
    fs::write(&order, format!("{ours}{bundled}")).expect("writes");
}
