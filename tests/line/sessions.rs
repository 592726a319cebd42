//! Every transcript is a test.

use crate::transcript::play;

macro_rules! transcripts {
    ($($name:ident)*) => { $(#[test] fn $name() { play(stringify!($name)); })* };
}

transcripts! {
    first_push
    apps
    config
    ps
    logs
    releases
    build
    build_flags
    buildpacks
    builds
    deploys
    tidy
    run
    keys
    access
    certificates
    help
    names
    front
    completion
    other_branches
    fetch
    json
    image
    guessed
}
