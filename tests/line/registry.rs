//! A registry of the CNCF on a loopback port, for everybody.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const STARTED_WITHIN: Duration = Duration::from_secs(60);

pub(crate) struct Registry {
    child: Child,
    pub(crate) port: u16,
    _dir: tempfile::TempDir,
}

impl Registry {
    pub(crate) fn start() -> Self {
        // Another program may take the port before the registry does; then that ends, and the next is tried.
        for _ in 0..5 {
            let dir = tempfile::tempdir().expect("a temporary folder");
            let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
            let port = port.expect("a free port").port();
            let file = dir.path().join("registry.yml");
            let root = dir.path().display();
            let config = format!(
                "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
                 storage: {{filesystem: {{rootdirectory: {root}/data}}}}\nhttp: {{addr: '127.0.0.1:{port}', secret: s}}\n"
            );
            fs::write(&file, config).expect("written");
            let child = Command::new("docker-registry")
                .arg("serve")
                .arg(&file)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the tests need Debian's package docker-registry");
            let mut registry = Self {
                child,
                port,
                _dir: dir,
            };
            if registry.answers() {
                return registry;
            }
        }
        panic!("docker-registry does not start");
    }

    fn answers(&mut self) -> bool {
        let end = Instant::now() + STARTED_WITHIN;
        while self
            .child
            .try_wait()
            .expect("it can be waited for")
            .is_none()
        {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            assert!(Instant::now() < end, "docker-registry does not answer");
            thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
