//! A build as the app's own project.toml describes it: what a push does.

use std::collections::BTreeMap;

use container::registry::{Client, Credentials};

use crate::{
    BuildError, Builder, Built, Output, Request, failed,
    project::Project,
    sources::{Fetcher, Set, Sources},
    trees,
};

impl Builder {
    /// Like [`Builder::build`], after the source's project.toml has been heeded. Buildpacks are fetched without the
    /// credentials and keys of this machine: whoever pushes has not been given those.
    pub fn build_described(
        &self,
        request: Request<'_>,
        output: &mut dyn Output,
    ) -> Result<Built, BuildError> {
        let prepared = self.prepare(&request, output);
        let (project, set) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                // A build consumes its source, also one that fails; what cannot be moved now goes with the store's scratch.
                _ = trees::discard(&self.store, &request.source);
                return Err(error);
            }
        };
        let mut env: BTreeMap<String, String> = project.env;
        env.extend(request.env.clone());
        let mut builder = self.clone();
        if let Some(set) = &set {
            builder.buildpacks = set.dir().to_owned();
        }
        let failed = request.failed;
        let built = builder.build(
            Request {
                env: &env,
                ..request
            },
            output,
        );
        if let (Err(_), Some(failed), Some(set)) = (&built, failed, &set)
            && failed.exists()
        {
            failed::keep_buildpacks(failed, set)?;
        }
        built
    }

    fn prepare(
        &self,
        request: &Request<'_>,
        output: &mut dyn Output,
    ) -> Result<(Project, Option<Set>), BuildError> {
        let project = Project::read(&request.source)?;
        if project.buildpacks.is_empty() && project.builder.is_none() {
            project.prune(&request.source)?;
            return Ok((project, None));
        }
        output.step("Fetching the buildpacks of project.toml");
        let sources = Sources {
            registry: Client::new(Credentials::none(), vec![]),
            git: Fetcher::Others,
            installed: self.buildpacks.clone(),
        };
        let image = project
            .builder
            .as_ref()
            .filter(|_| project.buildpacks.is_empty());
        let set = match image {
            Some(text) => {
                let image = text.parse().map_err(BuildError::NoBuilder)?;
                sources.assemble_builder(self, &image)?
            }
            None => sources.assemble(self, &project.buildpacks)?,
        };
        // Afterwards: a buildpack that lies in the app need not be part of it.
        project.prune(&request.source)?;
        Ok((project, Some(set)))
    }
}
