//! A registry of the CNCF on a loopback port, with one user; and a wire to it that can be cut.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// `user:secret`, by bcrypt, which is what the registry reads.
const HTPASSWD: &str = "user:$2b$04$1CD4q8Eth7IVxDgQJoZ8e.zVSsfWsqLnEzcafyh4mVGakysczaZxO\n";
/// Base64 of `user:secret`.
pub(crate) const AUTH: &str = "dXNlcjpzZWNyZXQ=";
const START_TIME_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Registry {
    child: Child,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) port: u16,
}

impl Registry {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("htpasswd"), HTPASSWD).unwrap();
        // Somebody else may take the port before the registry does; then it ends, and we try the next.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            let mut child = spawn(&dir, port);
            if answers(&mut child, port) {
                return Self { child, dir, port };
            }
        }
        panic!("docker-registry does not start");
    }

    /// As a docker configuration, for the registry at `port`.
    pub(crate) fn config(&self, port: u16) -> PathBuf {
        let file = self.dir.path().join(format!("config-{port}.json"));
        let auths = format!("{{\"auths\":{{\"127.0.0.1:{port}\":{{\"auth\":\"{AUTH}\"}}}}}}");
        fs::write(&file, auths).unwrap();
        file
    }

    pub(crate) fn skopeo(&self, args: &[&str]) -> String {
        let output = Command::new("skopeo")
            .args(args)
            .env("REGISTRY_AUTH_FILE", self.config(self.port))
            .env("HOME", self.dir.path())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "skopeo {args:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn spawn(dir: &tempfile::TempDir, port: u16) -> Child {
    let root = dir.path().display();
    let config = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {root}/data}}, delete: {{enabled: true}}}}\n\
         http: {{addr: '127.0.0.1:{port}', secret: s}}\n\
         auth: {{htpasswd: {{realm: test, path: {root}/htpasswd}}}}\n"
    );
    let file = dir.path().join(format!("registry-{port}.yml"));
    fs::write(&file, config).unwrap();
    Command::new("docker-registry")
        .arg("serve")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the tests need Debian's package docker-registry")
}

fn answers(child: &mut Child, port: u16) -> bool {
    let deadline = Instant::now() + START_TIME_MAX;
    while child.try_wait().unwrap().is_none() {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        assert!(Instant::now() < deadline, "docker-registry does not answer");
        thread::sleep(Duration::from_millis(20));
    }
    false
}

/// A wire to a port that is cut, both ways at once, after so many bytes have passed; the next `cuts` connections too.
pub(crate) struct Wire {
    pub(crate) port: u16,
    pub(crate) cuts_left: Arc<AtomicUsize>,
}

impl Wire {
    pub(crate) fn to(port: u16, bytes: i64, cuts: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let wire = Self {
            port: listener.local_addr().unwrap().port(),
            cuts_left: Arc::new(AtomicUsize::new(cuts)),
        };
        let cuts_left = wire.cuts_left.clone();
        // Ends with the test's process.
        thread::spawn(move || {
            for near in listener.incoming() {
                let (near, cuts) = (near.unwrap(), cuts_left.clone());
                thread::spawn(move || join(near, port, bytes, &cuts));
            }
        });
        wire
    }
}

fn join(near: TcpStream, port: u16, bytes: i64, cuts_left: &Arc<AtomicUsize>) {
    let far = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let left = AtomicI64::new(bytes);
    thread::scope(|scope| {
        scope.spawn(|| pump(&near, &far, &left, cuts_left));
        pump(&far, &near, &left, cuts_left);
    });
}

fn pump(mut from: &TcpStream, mut to: &TcpStream, left: &AtomicI64, cuts_left: &AtomicUsize) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length) = from.read(&mut buffer) {
        let length_read = i64::try_from(length).unwrap();
        let over = left.fetch_sub(length_read, Ordering::Relaxed) < length_read;
        let take = |cuts: usize| cuts.checked_sub(1);
        let cut = over
            && cuts_left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_ok();
        if length == 0 || cut || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    _ = from.shutdown(Shutdown::Both);
    _ = to.shutdown(Shutdown::Both);
}
