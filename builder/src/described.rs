//! A build as its app describes it: what a push does.

use std::{borrow::Cow, collections::BTreeMap};

use crate::{
    BuildError, Builder, Built, Output, Request, failed,
    project::Project,
    sources::{Asked, Set, SourceUri, Sources, Wanted},
    trees,
};

impl Builder {
    /// Like [`Builder::build`], after the source's project.toml and .buildpacks have been heeded. The buildpacks that are
    /// `set` for the app take their place.
    pub fn build_described(
        &self,
        request: Request<'_>,
        sources: &Sources,
        set: &[SourceUri],
        output: &mut dyn Output,
    ) -> Result<Built, BuildError> {
        let prepared = self.prepare(&request, sources, set, output);
        let (project, buildpacks) = match prepared {
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
        if let Some(buildpacks) = &buildpacks {
            builder.buildpacks = buildpacks.dir().to_owned();
        }
        let failed = request.failed;
        let built = builder.build(
            Request {
                env: &env,
                ..request
            },
            output,
        );
        if let (Err(_), Some(failed), Some(set)) = (&built, failed, &buildpacks)
            && failed.exists()
        {
            failed::keep_buildpacks(failed, set)?;
        }
        built
    }

    fn prepare(
        &self,
        request: &Request<'_>,
        sources: &Sources,
        set: &[SourceUri],
        output: &mut dyn Output,
    ) -> Result<(Project, Option<Set>), BuildError> {
        let project = Project::read(&request.source)?;
        let of_project = project.asked().map_err(BuildError::NoBuilder)?;
        let set: Vec<Wanted> = set.iter().cloned().map(Wanted::Source).collect();
        let asked = match (set.as_slice(), of_project) {
            ([], Asked::Any) => {
                project.prune(&request.source)?;
                return Ok((project, None));
            }
            ([], of_project) => {
                output.step(&format!("Fetching the buildpacks of {}", project.said_in));
                of_project
            }
            (_, of_project) => {
                output.step("Fetching the buildpacks that are set for the app");
                if !matches!(of_project, Asked::Any) {
                    let other = project.said_in;
                    output.detail(&format!("{other} names others, which are not used"));
                }
                Asked::These(Cow::Owned(set))
            }
        };
        let buildpacks = sources.gather(self, &asked)?;
        // Afterwards: a buildpack that lies in the app need not be part of it.
        project.prune(&request.source)?;
        Ok((project, buildpacks))
    }
}
