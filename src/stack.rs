//! What builds and instances stand on, by the command line: this machine, an image, or a builder image.

use std::{
    error::Error,
    path::{Path, PathBuf},
};

use container::{
    Stack, Store,
    registry::Client,
    stack::{Base, ImageSource},
};

const HOST: &str = "host";

#[derive(clap::Args)]
pub(crate) struct Choice {
    /// What builds and instances stand on: `host`, this machine itself, or an image (a reference, or the folder of an OCI layout)
    #[arg(long, value_name = "REF|DIR", default_value = HOST)]
    stack: String,
    /// A builder image: its buildpacks, their order, and its run image; instead of --stack
    #[arg(short = 'B', long, value_name = "REF|DIR", conflicts_with = "stack")]
    builder: Option<ImageSource>,
    /// What instances stand on, where that is another image
    #[arg(long, value_name = "REF|DIR")]
    run_image: Option<ImageSource>,
}

/// A stack, and the buildpacks that come with it.
pub(crate) struct Opened {
    pub(crate) stack: Stack,
    pub(crate) buildpacks: Option<PathBuf>,
}

impl Choice {
    /// Whether it brings buildpacks, and their order.
    pub(crate) fn is_builder(&self) -> bool {
        self.builder.is_some()
    }

    /// Images are pulled once, and kept by their digests below `data`.
    pub(crate) fn open(
        &self,
        client: &Client,
        store: &Store,
        data: &Path,
    ) -> Result<Opened, Box<dyn Error>> {
        let build = match &self.builder {
            Some(builder) => builder.clone(),
            None if self.stack != HOST => self.stack.parse()?,
            None if self.run_image.is_some() => {
                return Err("--run-image goes with --stack or --builder".into());
            }
            None => {
                let stack = Stack::open(HOST, store)?;
                return Ok(Opened {
                    stack,
                    buildpacks: None,
                });
            }
        };
        let kept = data.join("stacks");
        let note = |text: &str| eprintln!("       {text}");
        let open = |source: &ImageSource| Base::open(source, client, store, &kept, &note);
        eprintln!("-----> Stack {build}");
        // What one has found stays while the other is fetched.
        let _hold = store.hold();
        let build_base = open(&build)?;
        let named = match (&self.run_image, &self.builder) {
            (Some(run_image), _) => Some(run_image.clone()),
            (None, Some(_)) => {
                let named = builder::builder_image::run_image(&build_base.labels)?;
                Some(
                    named
                        .ok_or("the builder names no run image; name one with --run-image")?
                        .parse()?,
                )
            }
            (None, None) => None,
        };
        let run_base = match named {
            Some(run_image) => open(&run_image)?,
            None => build_base.clone(),
        };
        let buildpacks = match &self.builder {
            Some(_) => Some(self.buildpacks(&build_base, store, &kept)?),
            None => None,
        };
        Ok(Opened {
            stack: Stack::of_images(build_base, run_base),
            buildpacks,
        })
    }

    fn buildpacks(
        &self,
        base: &Base,
        store: &Store,
        kept: &Path,
    ) -> Result<PathBuf, Box<dyn Error>> {
        let tree = store
            .layer(&base.layer)
            .ok_or("the builder's layer is not in the store")?;
        let into = kept.join(format!("{}.buildpacks", base.layer.hex()));
        builder::builder_image::install_buildpacks(&tree, &into)?;
        Ok(into)
    }
}
