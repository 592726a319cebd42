//! A repository with a little history, and a client who says whatever the fuzzer wants.

use std::{cell::RefCell, path::Path};

use gix_hash::ObjectId;
use gix_object::{Find, Kind};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, duplex, empty, sink},
    runtime::{Builder, Runtime},
};

use crate::{
    git::{
        Decision, Landed, Landing, Limits, RefUpdate, Repo, Sideband, Version, receive_pack, upload_pack,
    },
    gone::Gone,
    pack::{self, line},
};

/// Small: what is to be found at a limit is found sooner.
const LIMITS: fn() -> Limits = || Limits {
    pack_bytes: 1 << 20,
    objects: 1000,
    object_bytes: 1 << 20,
    inflated_bytes: 8 << 20,
    ..Limits::default()
};
const ANSWER_MAX: usize = 1 << 20;

pub struct Server {
    runtime: Runtime,
    folder: TempDir,
    repo: Repo,
}

thread_local! {
    static SERVER: RefCell<Server> = RefCell::new(Server::new());
}

/// Pushes the bytes, and returns what the server answered.
pub fn push(bytes: &[u8]) -> Vec<u8> {
    SERVER.with_borrow_mut(|server| server.push(bytes))
}

pub fn commands(bytes: &[u8]) {
    push(bytes);
}

pub fn fetch(bytes: &[u8]) {
    let Some((&choice, request)) = bytes.split_first() else {
        return;
    };
    let version = [Version::V0, Version::V1, Version::V2][usize::from(choice % 3)];
    SERVER.with_borrow(|server| {
        let request: Box<dyn tokio::io::AsyncRead + Send + Unpin> =
            Box::new(std::io::Cursor::new(request.to_vec()));
        let gone = Gone::default();
        let served = upload_pack(
            &server.repo,
            "fuzz",
            version,
            request,
            Box::new(sink()),
            &gone,
        );
        _ = server.runtime.block_on(served);
    });
}

impl Server {
    fn new() -> Self {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_time().build().expect("a runtime");
        // In memory, where there is such a place: every input writes files.
        let memory = Path::new("/dev/shm");
        let folder = match memory.is_dir() {
            true => TempDir::new_in(memory),
            false => TempDir::new(),
        };
        let folder = folder.expect("a temporary folder");
        let repo = Repo::init(folder.path().join("1.git"), "main").expect("a repository");
        let mut server = Self {
            runtime,
            folder,
            repo,
        };
        server.fill();
        server
    }

    /// Two commits, a branch and a tag.
    fn fill(&mut self) {
        let seeds = pack::seeds();
        let mut request = line(&format!(
            "{} {} refs/heads/main\0report-status",
            ObjectId::null(gix_hash::Kind::Sha1),
            seeds.commit
        ));
        request.extend(line(&format!(
            "{} {} refs/tags/v1",
            ObjectId::null(gix_hash::Kind::Sha1),
            seeds.tag
        )));
        request.extend_from_slice(b"0000");
        request.extend(seeds.pack);
        let answer = self.receive(&request);
        let text = String::from_utf8_lossy(&answer);
        assert!(text.contains("ok refs/tags/v1"), "{text}");
    }

    fn push(&mut self, request: &[u8]) -> Vec<u8> {
        let answer = self.receive(request);
        let objects = self.repo.path().join("objects");
        let incoming = std::fs::read_dir(&objects).expect("lists").flatten();
        let left: Vec<_> = incoming
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("incoming"))
            .collect();
        assert!(left.is_empty(), "the quarantine is not empty: {left:?}");
        if answer.windows(9).any(|words| words == b"unpack ok") {
            self.check();
            self.reset();
        }
        answer
    }

    fn receive(&self, request: &[u8]) -> Vec<u8> {
        let request = std::io::Cursor::new(request.to_vec());
        let (output, answer) = duplex(ANSWER_MAX);
        let gone = Gone::default();
        let limits = LIMITS();
        self.runtime.block_on(async {
            let served = receive_pack(
                &self.repo,
                &Stored,
                &limits,
                request.chain(empty()),
                output,
                &gone,
            );
            let mut said = Vec::new();
            let read = async {
                let mut answer = answer.take(ANSWER_MAX as u64);
                answer.read_to_end(&mut said).await
            };
            let (_, read) = tokio::join!(served, read);
            read.expect("in memory");
            said
        })
    }

    /// Whoever reads what was accepted finds what its name says.
    fn check(&self) {
        let objects = gix_odb::at(self.repo.path().join("objects"), gix_hash::Kind::Sha1);
        let objects = objects.expect("an object store");
        let ids: Vec<ObjectId> = objects
            .iter()
            .expect("lists")
            .collect::<Result<_, _>>()
            .expect("an index");
        let mut bytes = Vec::new();
        for id in ids {
            let found = objects.try_find(&id, &mut bytes).expect("readable");
            let kind: Kind = found.expect("there").kind;
            let actual = gix_object::compute_hash(gix_hash::Kind::Sha1, kind, &bytes);
            assert_eq!(actual.expect("a hash"), id);
        }
    }

    fn reset(&mut self) {
        let path = self.folder.path().join("1.git");
        std::fs::remove_dir_all(&path).expect("removes");
        self.repo = Repo::init(path, "main").expect("a repository");
        self.fill();
    }
}

struct Stored;

impl Landing for Stored {
    type Options = ();

    fn options(&self, _: &[String]) -> Result<(), String> {
        Ok(())
    }

    fn decide(&self, _: &RefUpdate, (): &()) -> Decision {
        Decision::Store { hint: None }
    }

    async fn deploy(&self, _: Vec<RefUpdate>, (): &(), _: &Sideband) -> Result<Landed, String> {
        Err("nothing is deployed".to_owned())
    }
}
