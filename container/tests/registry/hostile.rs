use std::{fs, io::Write as _, net::TcpStream};

use container::{
    Digest,
    manifest::{Descriptor, Manifest, OCI_CONFIG, OCI_MANIFEST, Platform},
    registry::{Client, Content, Credentials, RegistryError},
};

use crate::liar::{Asked, Liar, respond};

fn anonymous() -> Client {
    Client::new(Credentials::none(), vec![])
}

fn blob() -> Descriptor {
    Descriptor::of("application/octet-stream", b"the blob")
}

/// Fetches [`blob`] from a server with that answer; nothing may be left of it.
fn fetch(answer: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static) -> RegistryError {
    let liar = Liar::new(answer);
    let dir = tempfile::tempdir().unwrap();
    let repository = liar.reference("a/b").repository;
    let error = anonymous()
        .blobs_into(&repository, &[blob()], dir.path())
        .unwrap_err();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{error:?}");
    error
}

#[test]
fn a_blob_is_what_was_promised_or_an_error() {
    let error = fetch(|_, stream| respond(stream, 200, "", b"a lie!!!"));
    assert!(matches!(error, RegistryError::Digest { .. }), "{error:?}");
    let error = fetch(|_, stream| respond(stream, 200, "", b"another length"));
    assert!(matches!(error, RegistryError::Size { .. }), "{error:?}");
    let error = fetch(|_, stream| respond(stream, 206, "", b"the blob"));
    assert!(matches!(error, RegistryError::Nonsense { .. }), "{error:?}");
    let error = fetch(|_, stream| respond(stream, 302, "location: /v2/a/b\r\n", b""));
    assert!(
        matches!(error, RegistryError::Transport { .. }),
        "{error:?}"
    );
    let error = fetch(|_, stream| respond(stream, 404, "", b""));
    assert!(error.to_string().contains("does not exist"), "{error}");
}

#[test]
fn an_endless_body_is_not_read_to_its_end() {
    let error = fetch(|_, stream| {
        _ = stream.write_all(b"HTTP/1.1 200 x\r\nconnection: close\r\n\r\n");
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
    });
    assert!(matches!(error, RegistryError::Size { .. }), "{error:?}");
}

#[test]
fn one_that_dies_half_way_is_given_some_tries() {
    let liar = Liar::new(|_, stream| {
        _ = stream.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 8\r\n\r\nthe");
    });
    let repository = liar.reference("a/b").repository;
    let error = anonymous()
        .blob_bytes(&repository, &blob(), 100)
        .unwrap_err();
    let name = format!("`{repository}@{}`", blob().digest);
    assert_eq!(
        error.to_string(),
        format!("{name} broke off after 3 of 8 bytes")
    );
    let asked = liar.asked();
    assert!((2..10).contains(&asked.len()), "{asked:?}");
    assert_eq!(asked[0].header("range"), None);
    assert_eq!(asked[1].header("range"), Some("bytes=3-"));
}

#[test]
fn ranges_are_used_where_they_are_known_and_done_without_where_not() {
    for ranges in [true, false] {
        let liar = Liar::new(move |asked, stream| match asked.header("range") {
            None => _ = stream.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 8\r\n\r\nthe"),
            Some(_) if ranges => respond(stream, 206, "content-range: bytes 3-7/8\r\n", b" blob"),
            Some(_) => respond(stream, 200, "", b"the blob"),
        });
        let repository = liar.reference("a/b").repository;
        assert_eq!(
            anonymous().blob_bytes(&repository, &blob(), 100).unwrap(),
            b"the blob"
        );
    }
}

#[test]
fn a_busy_registry_is_asked_again() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let liar = Liar::new(move |_, stream| {
        if count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2 {
            respond(stream, 503, "retry-after: 0\r\n", b"");
        } else {
            respond(stream, 200, "", b"the blob");
        }
    });
    let repository = liar.reference("a/b").repository;
    anonymous().blob_bytes(&repository, &blob(), 100).unwrap();
    assert_eq!(liar.asked().len(), 3);
    let busy = Liar::new(|_, stream| {
        respond(
            stream,
            429,
            "retry-after: 0\r\n",
            br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow\u001b[31m down"}]}"#,
        );
    });
    let error = anonymous()
        .blob_bytes(&busy.reference("a/b").repository, &blob(), 100)
        .unwrap_err();
    assert!(
        error.to_string().ends_with(
            "answered 429 to pull `127.0.0.1:PORT/a/b@DIGEST`: slow[31m down"
                .replace("PORT", &busy.port.to_string())
                .replace("DIGEST", &blob().digest.to_string())
                .as_str()
        ),
        "{error}"
    );
}

#[test]
fn a_manifest_is_what_was_promised_or_an_error() {
    let json = Manifest::new(Descriptor::of(OCI_CONFIG, b"{}"), vec![]).to_json();
    let digest = Digest::of(&json);
    let serve = |headers: String, body: Vec<u8>| {
        Liar::new(move |_, stream| respond(stream, 200, &headers, &body))
    };
    let kind = format!("content-type: {OCI_MANIFEST}\r\n");
    let honest = serve(
        format!("{kind}docker-content-digest: {digest}\r\n"),
        json.clone(),
    );
    let reference = honest.reference("a/b:1");
    assert_eq!(anonymous().manifest(&reference).unwrap().0.digest, digest);

    let lie = Digest::of(b"else");
    let liar = serve(
        format!("{kind}docker-content-digest: {lie}\r\n"),
        json.clone(),
    );
    let error = anonymous().manifest(&liar.reference("a/b:1")).unwrap_err();
    assert!(matches!(error, RegistryError::Digest { .. }), "{error:?}");
    let liar = serve(kind.clone(), json);
    let pinned = liar.reference("a/b").pinned(lie);
    let error = anonymous().manifest(&pinned).unwrap_err();
    assert!(matches!(error, RegistryError::Digest { .. }), "{error:?}");

    let huge = serve(kind.clone(), vec![b' '; 5 * 1024 * 1024]);
    let error = anonymous().manifest(&huge.reference("a/b:1")).unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error:?}");
    let odd = serve(kind, b"\xff\x00{".to_vec());
    let error = anonymous()
        .image(&odd.reference("a/b:1"), &Platform::here())
        .unwrap_err();
    assert!(
        matches!(error, RegistryError::BadManifest { .. }),
        "{error:?}"
    );
}

#[test]
fn an_index_that_names_itself_ends() {
    let liar = Liar::new(|_, stream| {
        let entry = r#"{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":2,"platform":{"os":"linux","architecture":"amd64"}}"#;
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#);
        respond(stream, 200, "", index.as_bytes());
    });
    let platform = Platform {
        architecture: "amd64".to_owned(),
        ..Platform::here()
    };
    assert!(
        anonymous()
            .image(&liar.reference("a/b:1"), &platform)
            .is_err()
    );
}

#[test]
fn a_token_is_made_and_goes_nowhere_else() {
    let elsewhere = Liar::new(|_, stream| respond(stream, 200, "", b"the blob"));
    let target = format!("location: http://127.0.0.1:{}/blob\r\n", elsewhere.port);
    let liar = Liar::new(move |asked, stream| {
        let host = asked.header("host").unwrap().to_owned();
        if asked.line.starts_with("GET /token?") {
            return respond(stream, 200, "", br#"{"access_token":"t0k"}"#);
        }
        match asked.header("authorization") {
            Some("Bearer t0k") => respond(stream, 307, &target, b""),
            _ => {
                let ask = format!(
                    "www-authenticate: Bearer realm=\"http://{host}/token\",service=\"the service\"\r\n"
                );
                respond(stream, 401, &ask, b"");
            }
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.json");
    let auths = format!(
        "{{\"auths\":{{\"127.0.0.1:{}\":{{\"auth\":\"dXNlcjpzZWNyZXQ=\"}}}}}}",
        liar.port
    );
    fs::write(&config, auths).unwrap();
    let client = Client::new(Credentials::from_file(&config).unwrap(), vec![]);
    let repository = liar.reference("a/b").repository;
    assert_eq!(
        client.blob_bytes(&repository, &blob(), 100).unwrap(),
        b"the blob"
    );
    let asked = liar.asked();
    let lines: Vec<&str> = asked.iter().map(|asked| asked.line.as_str()).collect();
    assert_eq!(
        lines[1],
        "GET /token?service=the%20service&scope=repository%3Aa%2Fb%3Apull"
    );
    assert_eq!(
        asked[1].header("authorization"),
        Some("Basic dXNlcjpzZWNyZXQ=")
    );
    assert_eq!(elsewhere.asked()[0].header("authorization"), None);
    // The token is kept.
    client.blob_bytes(&repository, &blob(), 100).unwrap();
    assert_eq!(liar.asked().len(), asked.len() + 1);
}

#[test]
fn an_upload_elsewhere_gets_no_credentials_and_a_liar_no_thanks() {
    let elsewhere = Liar::new(|_, stream| respond(stream, 201, "", b""));
    let port = elsewhere.port;
    let liar = Liar::new(move |asked, stream| {
        let location = format!("location: http://127.0.0.1:{port}/up?s=1\r\n");
        match asked.line.split(' ').next() {
            Some("HEAD") => respond(stream, 404, "", b""),
            Some("POST") if asked.header("authorization").is_none() => {
                respond(stream, 401, "www-authenticate: Basic\r\n", b"");
            }
            Some("POST") => respond(stream, 202, &location, b""),
            _ => {
                let lie = format!("docker-content-digest: {}\r\n", Digest::of(b"else"));
                respond(stream, 201, &lie, b"");
            }
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.json");
    let auths = format!(
        "{{\"auths\":{{\"127.0.0.1:{}\":{{\"auth\":\"dXNlcjpzZWNyZXQ=\"}}}}}}",
        liar.port
    );
    fs::write(&config, auths).unwrap();
    let client = Client::new(Credentials::from_file(&config).unwrap(), vec![]);
    let reference = liar.reference("a/b:1");
    client
        .push_blob(
            &reference.repository,
            &blob(),
            Content::Bytes(b"the blob"),
            &[],
        )
        .unwrap();
    let put = &elsewhere.asked()[0];
    assert!(
        put.line.starts_with("PUT /up?s=1&digest=sha256%3A"),
        "{put:?}"
    );
    assert_eq!(put.header("authorization"), None);
    let error = client
        .push_manifest(&reference, OCI_MANIFEST, b"{}")
        .unwrap_err();
    assert!(matches!(error, RegistryError::Digest { .. }), "{error:?}");
}
