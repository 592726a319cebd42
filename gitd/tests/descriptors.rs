//! A server without a free file descriptor waits for one. Alone in its process, whose limit it lowers.

mod nowhere;

use std::{
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use gitd::{
    Caller, Gone, Io, Platform, Proof, RepoPath, Server, Status,
    git::{Limits, Repo},
};
use rustix::{
    net::{AddressFamily, SocketType, connect, socket},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use self::nowhere::Nowhere;

/// Longest wait for what takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// Enough for the server, and soon used up.
const DESCRIPTORS: u64 = 100;

/// Knows nobody.
struct Nobody(Limits);

impl Platform for Nobody {
    type Landing = Nowhere;

    fn caller(&self, _: &Proof, _: SocketAddr) -> Option<Caller> {
        None
    }

    fn takes_certificates(&self) -> bool {
        false
    }

    fn pushed(&self, _: &Caller, _: &RepoPath, _: &str, _: Result<(), &str>) {}

    async fn open(&self, _: &Caller, _: &RepoPath, _: &Gone) -> Result<(Repo, Nowhere), String> {
        Err("nowhere".to_owned())
    }

    async fn open_to_read(&self, _: &Caller, _: &RepoPath) -> Result<Repo, String> {
        Err("nowhere".to_owned())
    }

    fn limits(&self) -> &Limits {
        &self.0
    }

    async fn run(&self, _: &Caller, _: Vec<String>, _: Io) -> Status {
        1.into()
    }
}

#[test]
fn running_out_of_descriptors_does_not_stop_the_listener() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let any = "127.0.0.1:0".parse().expect("an address");
    let server = runtime
        .block_on(Server::bind(any, dir.path().join("host_keys")))
        .expect("listens")
        .with_policy(gitd::ssh::Policy {
            exempt: vec!["127.0.0.0/8".parse().expect("a network")],
            ..Default::default()
        });
    let address = server.local_addr().expect("bound");
    runtime.spawn(server.serve(Arc::new(Nobody(Limits::default())), std::future::pending()));
    greets(&TcpStream::connect(address).expect("connects"));
    // Made while there are some: the server takes every one that becomes free.
    let late = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");

    let limit = Rlimit {
        current: Some(DESCRIPTORS),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, limit).expect("lowers");
    let mut strangers = Vec::new();
    let error = loop {
        match TcpStream::connect(address) {
            Ok(stranger) => strangers.push(stranger),
            Err(error) => break error,
        }
    };
    assert_eq!(error.raw_os_error(), Some(24), "EMFILE: {error}");
    // The server has none for it, until the rest go.
    connect(&late, &address).expect("connects");
    drop(strangers);
    greets(&TcpStream::from(late));
}

/// The server sends its version.
fn greets(client: &TcpStream) {
    client
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("sets");
    let start = Instant::now();
    let mut seen = [0; 8];
    while start.elapsed() < PATIENCE {
        if std::io::Read::read(&mut &*client, &mut seen).is_ok_and(|read| read > 0) {
            assert!(seen.starts_with(b"SSH-2.0-"));
            return;
        }
    }
    panic!("no version within {PATIENCE:?}");
}
