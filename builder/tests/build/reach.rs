//! What a push names is fetched from the internet, and from nowhere near the server: web servers of our own, on two
//! addresses of this machine of which one is allowed.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use builder::sources::{SourceUri, Sources};
use container::registry::{Client, Reach};

use crate::world::World;

pub(crate) const CASES: &[crate::Case] = &[
    ("others_stay_within_reach", others_stay_within_reach),
    ("git_goes_where_it_was_let", git_goes_where_it_was_let),
];

/// Counts who connects. Ends with the test's process.
struct Server {
    address: String,
    visits: Arc<AtomicUsize>,
}

impl Server {
    /// `answer` gets the request's first line and its body.
    fn start(at: &str, answer: impl Fn(&str, &[u8]) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((at, 0)).unwrap();
        let server = Self {
            address: listener.local_addr().unwrap().to_string(),
            visits: Arc::default(),
        };
        let (visits, answer) = (server.visits.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                visits.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                thread::spawn(move || serve(stream.unwrap(), &*answer));
            }
        });
        server
    }

    fn visits(&self) -> usize {
        self.visits.load(Ordering::SeqCst)
    }
}

fn serve(stream: TcpStream, answer: &dyn Fn(&str, &[u8]) -> Vec<u8>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut length, mut waits) = (String::new(), 0, false);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        waits |= line == "expect: 100-continue";
        if line.is_empty() {
            break;
        }
    }
    let mut stream = stream;
    if waits {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    // The client may have gone.
    _ = stream.write_all(&answer(&first, &body));
}

fn redirect(to: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

/// What a client may fetch that may go to `127.0.0.1` and the internet.
fn check(world: &World, text: &str) -> Result<(), String> {
    let reach = Reach::public_and(vec!["127.0.0.1".parse().unwrap()]);
    let sources = Sources {
        client: Client::for_others(reach),
        installed: world.builder.buildpacks.clone(),
    };
    let uri = SourceUri::parse(text, None).unwrap();
    sources.check(&world.builder, &uri).map_err(|error| {
        let mut said = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            said = format!("{said}: {error}");
            cause = error.source();
        }
        said
    })
}

fn others_stay_within_reach(world: &World) {
    let secret = Server::start("127.0.0.2", |_, _| redirect("http://127.0.0.2/"));
    let (away, challenge) = (secret.address.clone(), secret.address.clone());
    let open = Server::start("127.0.0.1", move |_, _| {
        redirect(&format!("http://{away}/x"))
    });
    let registry = Server::start("127.0.0.1", move |_, _| {
        format!(
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://{challenge}/token\",service=\"x\"\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .into_bytes()
    });
    let (secret_at, open_at, registry_at) = (&secret.address, &open.address, &registry.address);
    for text in [
        format!("http://{secret_at}/a.tgz"),
        format!("http://{secret_at}/a.git#v1"),
        format!("docker://{secret_at}/a:1"),
        format!("http://{open_at}/a.tgz"),
        format!("http://{open_at}/a.git"),
        format!("docker://{open_at}/a:1"),
        format!("docker://{registry_at}/a:1"),
        "http://[::1]:1/a.tgz".to_owned(),
    ] {
        let said = check(world, &text).unwrap_err();
        assert!(
            said.contains("not of the public internet"),
            "{text}: {said}"
        );
    }
    assert_eq!(secret.visits(), 0);
    assert!(open.visits() >= 3 && registry.visits() >= 1);
}

/// Answers like a host of git repositories: git's own program for it, behind a redirect as some have one.
fn git_goes_where_it_was_let(world: &World) {
    let root = world.dir.join("hosted");
    repository(&root);
    let secret = Server::start("127.0.0.2", |_, _| vec![]);
    let away = secret.address.clone();
    let host = Server::start("127.0.0.1", move |first, body| {
        let path = first.split(' ').nth(1).unwrap();
        if let Some(rest) = path.strip_prefix("/moved/") {
            return redirect(&format!("/{rest}"));
        }
        // A host that changes its mind once git has begun.
        if first.starts_with("POST /later/") {
            return redirect(&format!("http://{away}/"));
        }
        http_backend(&root, first, body)
    });
    let at = &host.address;
    for text in [
        format!("http://{at}/one.git#v1"),
        format!("http://{at}/moved/one.git"),
    ] {
        check(world, &text).unwrap_or_else(|said| panic!("{text}: {said}"));
    }
    for (text, expected) in [
        (format!("http://{at}/one.git#v9"), "git cannot fetch it"),
        (format!("http://{at}/none.git"), "git cannot fetch it"),
        (format!("http://{at}/later/one.git"), "git cannot fetch it"),
    ] {
        let said = check(world, &text).unwrap_err();
        assert!(said.contains(expected), "{text}: {said}");
    }
    assert_eq!(secret.visits(), 0);
}

fn repository(root: &Path) {
    let work = root.join("work");
    for (name, text) in [("detect", "exit 0"), ("compile", "true")] {
        crate::sources::script(&work.join("bin").join(name), text);
    }
    fs::create_dir_all(root.join("later")).unwrap();
    let git = |args: &[&str]| {
        let names = ["-c", "user.name=n", "-c", "user.email=e@x"];
        let done = Command::new("git")
            .args(names)
            .args(args)
            .current_dir(&work)
            .env("HOME", root)
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{args:?}: {words}");
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "one"]);
    git(&["tag", "v1"]);
    git(&["clone", "-q", "--bare", ".", "../one.git"]);
    git(&["clone", "-q", "--bare", ".", "../later/one.git"]);
}

/// git-http-backend(1), by CGI.
fn http_backend(root: &PathBuf, first: &str, body: &[u8]) -> Vec<u8> {
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let service = path.rsplit('/').next().unwrap();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        // Whoever runs the tests need not own the folder.
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", format!("application/x-{service}-request"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(body).unwrap();
    let output = child.wait_with_output().unwrap().stdout;
    let text = String::from_utf8_lossy(&output);
    let status = text.lines().find_map(|line| line.strip_prefix("Status: "));
    let head = format!(
        "HTTP/1.1 {}\r\nConnection: close\r\n",
        status.unwrap_or("200 OK")
    );
    [head.as_bytes(), &output].concat()
}
