//! Uploads to a registry that stumbles, forgets, or will not have them.

use std::{
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering},
};

use container::{
    manifest::Descriptor,
    registry::{Client, Content, Credentials, RegistryError, Sent},
};

use crate::liar::{Asked, Liar, respond};

/// Three chunks.
const BYTES: usize = 40 * 1024 * 1024;
const CHUNK: usize = 16 * 1024 * 1024;

fn content() -> Vec<u8> {
    (0..BYTES).map(|at| (at / 7) as u8).collect()
}

fn push(liar: &Liar) -> Result<Sent, RegistryError> {
    let content = content();
    let blob = Descriptor::of("application/octet-stream", &content);
    let to = liar.reference("a/b").repository;
    let client = Client::new(Credentials::none(), vec![]);
    client.push_blob(&to, &blob, Content::Bytes(&content), &[])
}

fn ranges(liar: &Liar) -> Vec<String> {
    let asked = liar.asked().into_iter();
    let chunks = asked.filter(|asked| asked.line.starts_with("PATCH"));
    let range = |asked: Asked| asked.header("content-range").unwrap().to_owned();
    chunks.map(range).collect()
}

/// The range of the chunk that is sent, as the registry then has it.
fn stands(at: usize) -> String {
    format!("location: /up\r\nrange: 0-{}\r\n", at - 1)
}

fn end_of(asked: &Asked) -> usize {
    let range = asked.header("content-range").unwrap();
    range.split_once('-').unwrap().1.parse::<usize>().unwrap() + 1
}

/// Everything but the chunks, as it should be. A broken off upload stands at `at`.
fn otherwise(asked: &Asked, stream: &mut TcpStream, at: usize) {
    match asked.line.split(' ').next() {
        Some("POST") => respond(stream, 202, "location: /up\r\n", b""),
        Some("GET") => respond(stream, 204, &stands(at), b""),
        Some("PUT") => respond(stream, 201, "", b""),
        _ => respond(stream, 404, "", b""),
    }
}

#[test]
fn it_goes_on_where_the_registry_stands() {
    let count = AtomicUsize::new(0);
    let half = CHUNK + CHUNK / 2;
    let liar = Liar::new(move |asked, stream| {
        if !asked.line.starts_with("PATCH") {
            return otherwise(asked, stream, half);
        }
        // The second breaks off without an answer, and half of it has been kept.
        if count.fetch_add(1, Ordering::Relaxed) != 1 {
            respond(stream, 202, &stands(end_of(asked)), b"");
        }
    });
    assert_eq!(push(&liar).unwrap(), Sent::Uploaded);
    assert_eq!(
        ranges(&liar),
        [
            format!("0-{}", CHUNK - 1),
            format!("{CHUNK}-{}", 2 * CHUNK - 1),
            format!("{half}-{}", BYTES - 1),
        ]
    );
}

#[test]
fn a_registry_that_is_out_of_breath_or_out_of_step_is_waited_for() {
    for status in [429, 416, 503] {
        let count = AtomicUsize::new(0);
        let liar = Liar::new(move |asked, stream| {
            if !asked.line.starts_with("PATCH") {
                return otherwise(asked, stream, CHUNK);
            }
            match count.fetch_add(1, Ordering::Relaxed) {
                1 => respond(stream, status, "retry-after: 0\r\n", b""),
                _ => respond(stream, 202, &stands(end_of(asked)), b""),
            }
        });
        assert_eq!(push(&liar).unwrap(), Sent::Uploaded, "{status}");
        let again = format!("{CHUNK}-{}", 2 * CHUNK - 1);
        assert_eq!(ranges(&liar)[1..3], [again.clone(), again], "{status}");
    }
}

#[test]
fn a_token_that_runs_out_is_made_again() {
    let (tokens, chunks) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let liar = Liar::new(move |asked, stream| {
        let host = asked.header("host").unwrap();
        if asked.line.starts_with("GET /token?") {
            let token = format!(
                r#"{{"token":"t{}"}}"#,
                tokens.fetch_add(1, Ordering::Relaxed)
            );
            return respond(stream, 200, "", token.as_bytes());
        }
        let is_chunk = asked.line.starts_with("PATCH");
        let chunk = chunks.fetch_add(usize::from(is_chunk), Ordering::Relaxed);
        let wanted = if chunk == 0 { "Bearer t0" } else { "Bearer t1" };
        if asked.header("authorization") != Some(wanted) {
            let ask = format!("www-authenticate: Bearer realm=\"http://{host}/token\"\r\n");
            return respond(stream, 401, &ask, b"");
        }
        match is_chunk {
            true => respond(stream, 202, &stands(end_of(asked)), b""),
            false => otherwise(asked, stream, CHUNK),
        }
    });
    assert_eq!(push(&liar).unwrap(), Sent::Uploaded);
    let asked = liar.asked();
    let made = asked.iter().filter(|asked| asked.line.contains("/token?"));
    assert_eq!(made.count(), 2);
    assert_eq!(
        ranges(&liar).last().unwrap(),
        &format!("{}-{}", 2 * CHUNK, BYTES - 1)
    );
}

#[test]
fn an_upload_that_does_not_grow_is_given_up() {
    let liar = Liar::new(|asked, stream| match asked.line.starts_with("PATCH") {
        true => respond(stream, 202, "location: /up\r\nrange: 0-0\r\n", b""),
        false => otherwise(asked, stream, 1),
    });
    let error = push(&liar).unwrap_err();
    assert!(error.to_string().contains("does not grow"), "{error}");
    assert!(liar.asked().len() < 30);
    // Nor is one believed to have what it was not sent.
    let liar = Liar::new(|asked, stream| match asked.line.starts_with("PATCH") {
        true => respond(stream, 202, &stands(BYTES), b""),
        false => otherwise(asked, stream, BYTES),
    });
    assert_eq!(push(&liar).unwrap(), Sent::Uploaded);
    assert_eq!(ranges(&liar).len(), 3);
}

#[test]
fn a_blob_is_mounted_from_wherever_it_is() {
    let content = Content::Bytes(b"the blob");
    let blob = Descriptor::of("application/octet-stream", b"the blob");
    let liar = Liar::new(|asked, stream| match asked.line.as_str() {
        line if line.contains("from=secret") => respond(stream, 403, "", b""),
        line if line.contains("from=third") => respond(stream, 201, "", b""),
        line if line.starts_with("DELETE") => respond(stream, 204, "", b""),
        _ => otherwise(asked, stream, 0),
    });
    let repository = |name: &str| liar.reference(name).repository;
    let client = Client::new(Credentials::none(), vec![]);
    let push = |origins: &[&str]| {
        let origins: Vec<_> = origins.iter().map(|name| repository(name)).collect();
        client.push_blob(&repository("a/b"), &blob, content, &origins)
    };
    let sent = push(&["a/b", "secret", "first", "third"]);
    assert_eq!(sent.unwrap(), Sent::Mounted);
    let mounts = liar.asked();
    let mounts = mounts.iter().filter(|asked| asked.line.contains("?mount="));
    assert_eq!(mounts.count(), 3);
    // What no repository has is uploaded, and of several begun uploads one is used.
    let before = liar.asked().len();
    assert_eq!(
        push(&["secret", "first", "second"]).unwrap(),
        Sent::Uploaded
    );
    let methods: Vec<String> = liar.asked()[before..]
        .iter()
        .map(|asked| asked.line.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(methods, ["HEAD", "POST", "POST", "POST", "DELETE", "PUT"]);
}
