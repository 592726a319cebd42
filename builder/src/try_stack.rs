//! Whether our own program, which runs the phases, runs on what a stack has.

use container::{Bind, Mount, Sandbox, Stdio, sandbox::Lifetime};

use crate::{
    BuildError, Builder,
    dirs::{LIFECYCLE, PATH},
    error::Doing as _,
    lifecycle_dir::BINARY,
};

impl Builder {
    /// Says so before the first build does.
    pub fn try_stack(&self) -> Result<(), BuildError> {
        let layer = self.stack.build_layer;
        let missing = container::store::StoreError::NoLayer(layer);
        let root = self.store.layer(&layer).ok_or(missing)?;
        let scratch = self.store.scratch()?;
        let mut mounts = self.stack.mounts.clone();
        mounts.push(Mount::Bind(Bind {
            source: self.lifecycle.clone(),
            target: LIFECYCLE.to_owned(),
            read_only: true,
        }));
        let sandbox = Sandbox {
            lowers: vec![root],
            scratch: scratch.path().to_owned(),
            mounts,
            argv: vec![format!("{LIFECYCLE}/{BINARY}"), "--version".to_owned()],
            env: vec![("PATH".to_owned(), PATH.to_owned())],
            cwd: "/".to_owned(),
            hostname: "try".to_owned(),
            limits: self.limits,
            lifetime: Lifetime::Bound,
        };
        let started = self.spawner.spawn(&sandbox, Stdio::Null);
        let exit = started.map(|process| process.wait().doing("wait for", scratch.path()));
        match exit {
            Ok(Ok(exit)) if exit.success() => Ok(()),
            _ => Err(BuildError::Refused(format!(
                "the buildpacks' phases do not run on {}: builds need a stack with a C library as new as this server's (glibc 2.34)",
                self.stack.id
            ))),
        }
    }
}
