//! What a deploy that was cut may not leave behind: processes, mounts, folders.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{processes, server::Server};

/// What old instances and builds held is given back within the grace that instances have.
pub(crate) fn none(server: &Server, at_rest: usize) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let running = processes::of(server.tag());
        let scratch = scratch(&server.data());
        if running.len() <= at_rest
            && scratch.is_empty()
            && processes::mounts(server.tag()).is_empty()
        {
            return;
        }
        assert!(
            Instant::now() < end,
            "left over: {running:#?}\nscratch: {scratch:#?}\nmounts: {:#?}",
            processes::mounts(server.tag())
        );
        thread::sleep(Duration::from_millis(200));
    }
}

/// Folders of builds and pushes that are not under way any more.
fn scratch(data: &Path) -> Vec<String> {
    let named = |name: &str| {
        name.starts_with("incoming-") || name.starts_with("tmp-") || name.starts_with("build-")
    };
    let mut found = Vec::new();
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if named(&name) {
                found.push(entry.path().display().to_string());
            } else if folders.len() < 1000
                && entry.path().components().count() < data.components().count() + 4
            {
                folders.push(entry.path());
            }
        }
    }
    found
}
