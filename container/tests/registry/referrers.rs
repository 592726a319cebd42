//! What refers to an image: by the registry's own list, and by a tag where it has none.

use container::{
    Digest,
    layout::Layout,
    manifest::{Descriptor, EMPTY_JSON, Index, Manifest, OCI_EMPTY, OCI_INDEX, OCI_MANIFEST},
    registry::{Client, Credentials, RegistryError},
};

use crate::{
    liar::{Liar, respond},
    server::Registry,
};

/// An artifact about an image that need not be there.
fn artifact(layout: &Layout, text: &str) -> (Descriptor, Digest) {
    let subject = Descriptor::of(OCI_MANIFEST, b"the image");
    let config = layout.put(OCI_EMPTY, EMPTY_JSON).unwrap();
    let layer = layout.put("text/plain", text.as_bytes()).unwrap();
    let manifest = Manifest {
        artifact_type: Some("text/plain".to_owned()),
        subject: Some(subject.clone()),
        ..Manifest::new(config, vec![layer])
    };
    (layout.add_referrer(&manifest).unwrap(), subject.digest)
}

fn index(count: usize) -> Vec<u8> {
    let one = |n: usize| Descriptor::of(OCI_MANIFEST, n.to_string().as_bytes());
    Index::new((0..count).map(one).collect()).to_json()
}

fn anonymous() -> Client {
    Client::new(Credentials::none(), vec![])
}

#[test]
fn a_registry_without_a_list_gets_a_tag() {
    let registry = Registry::start();
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path()).unwrap();
    let to = registry.reference("acme/app").repository;
    let client = registry.client();
    let (one, subject) = artifact(&layout, "one");
    let (two, _) = artifact(&layout, "two");
    assert_eq!(client.referrers(&to, &subject).unwrap(), []);
    for artifact in [&one, &two, &one] {
        client
            .push_referrer(&layout, artifact, &subject, &to)
            .unwrap();
    }
    assert_eq!(client.referrers(&to, &subject).unwrap(), [one, two]);
}

#[test]
fn a_registry_that_keeps_track_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path()).unwrap();
    let (artifact, subject) = artifact(&layout, "one");
    let kept = format!("oci-subject: {subject}\r\n");
    let liar = Liar::new(
        move |asked, stream| match asked.line.split_once(' ').unwrap() {
            ("POST", _) => respond(stream, 202, "location: /up\r\n", b""),
            ("PUT", path) if path.contains("/manifests/") => respond(stream, 201, &kept, b""),
            ("PUT", _) => respond(stream, 201, "", b""),
            ("GET", path) if path.contains("/referrers/") => {
                let kind = format!("content-type: {OCI_INDEX}\r\n");
                match path.contains("page=2") {
                    true => respond(stream, 200, &kind, &index(3)),
                    false => {
                        let next = format!("{kind}link: <{path}?page=2>; rel=\"next\"\r\n");
                        respond(stream, 200, &next, &index(2));
                    }
                }
            }
            _ => respond(stream, 404, "", b""),
        },
    );
    let to = liar.reference("a/b").repository;
    anonymous()
        .push_referrer(&layout, &artifact, &subject, &to)
        .unwrap();
    let asked = liar.asked();
    let tag = format!("sha256-{}", subject.hex());
    assert!(
        !asked.iter().any(|asked| asked.line.contains(&tag)),
        "{asked:?}"
    );
    assert_eq!(anonymous().referrers(&to, &subject).unwrap().len(), 5);
}

#[test]
fn a_list_without_an_end_and_a_page_for_people_are_no_lists() {
    let subject = Digest::of(b"the image");
    let kind = format!("content-type: {OCI_INDEX}\r\n");
    let endless = Liar::new({
        let kind = kind.clone();
        move |asked, stream| {
            let (_, path) = asked.line.split_once(' ').unwrap();
            let next = format!("{kind}link: <{path}>; rel=\"next\"\r\n");
            respond(stream, 200, &next, &index(1));
        }
    });
    let error = anonymous()
        .referrers(&endless.reference("a/b").repository, &subject)
        .unwrap_err();
    assert!(matches!(error, RegistryError::Nonsense { .. }), "{error:?}");

    let elsewhere = Liar::new(|_, stream| respond(stream, 500, "", b""));
    let port = elsewhere.port;
    let page = Liar::new(move |asked, stream| {
        if !asked.line.contains("/referrers/") {
            return respond(stream, 200, &kind, &index(2));
        }
        respond(stream, 200, "content-type: text/html\r\n", b"<html>");
    });
    let found = anonymous().referrers(&page.reference("a/b").repository, &subject);
    assert_eq!(found.unwrap().len(), 2);
    // A next page at another host is none.
    let leading = Liar::new(move |_, stream| {
        let link = format!("link: <http://127.0.0.1:{port}/x>; rel=\"next\"\r\n");
        respond(
            stream,
            200,
            &format!("content-type: {OCI_INDEX}\r\n{link}"),
            &index(1),
        );
    });
    let found = anonymous().referrers(&leading.reference("a/b").repository, &subject);
    assert_eq!(found.unwrap().len(), 1);
    assert!(elsewhere.asked().is_empty());
}
