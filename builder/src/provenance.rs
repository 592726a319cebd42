//! How an image came to be, for those who check: an in-toto statement with a SLSA provenance predicate (in-toto
//! attestation framework v1; SLSA provenance v1), as an artifact that refers to the image.

use container::{
    Stack,
    layout::Layout,
    manifest::{Descriptor, EMPTY_JSON, Manifest, OCI_EMPTY},
    store::StoreError,
};
use serde_json::{Value, json};

use crate::{
    Built,
    id::{BuildpackId, Version},
};

/// Of the statement, and of the artifact that holds it.
pub const MEDIA_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://slsa.dev/provenance/v1";
const BUILD_TYPE: &str = "https://buildpacks.io/slipway/v1";

/// What was built from what.
#[derive(Debug)]
pub struct Provenance<'a> {
    /// The commit, where there is one.
    pub source: Option<&'a str>,
    pub stack: &'a Stack,
    pub buildpacks: &'a [(BuildpackId, Version)],
    pub built: &'a Built,
    /// RFC 3339.
    pub started: &'a str,
    pub finished: &'a str,
}

impl Provenance<'_> {
    /// The statement about the image that `manifest` describes.
    pub fn statement(&self, name: &str, manifest: &Descriptor) -> Value {
        let digest = |hex: String| json!({ "sha256": hex });
        let commit = self
            .source
            .map(|commit| json!({ "uri": "git", "digest": { "gitCommit": commit } }));
        let stack = json!({ "uri": format!("stack:{}", self.stack.run_image), "digest": digest(self.stack.base_layer.hex()) });
        let buildpacks = self.buildpacks.iter();
        let buildpacks =
            buildpacks.map(|(id, version)| json!({ "uri": format!("buildpack:{id}@{version}") }));
        let dependencies: Vec<Value> = commit
            .into_iter()
            .chain([stack])
            .chain(buildpacks)
            .collect();
        json!({
            "_type": STATEMENT,
            "subject": [{ "name": name, "digest": digest(manifest.digest.hex()) }],
            "predicateType": PREDICATE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": { "source": self.source, "stack": self.stack.id },
                    "resolvedDependencies": dependencies,
                },
                "runDetails": {
                    "builder": { "id": "slipway", "version": { "slipway": env!("CARGO_PKG_VERSION") } },
                    "metadata": {
                        "invocationId": self.built.image,
                        "startedOn": self.started,
                        "finishedOn": self.finished,
                    },
                },
            },
        })
    }

    /// Puts the statement into the layout, as a referrer of the image.
    pub fn attach(
        &self,
        layout: &Layout,
        name: &str,
        image: &Descriptor,
    ) -> Result<Descriptor, StoreError> {
        let statement = self.statement(name, image).to_string();
        let config = layout.put(OCI_EMPTY, EMPTY_JSON)?;
        let layer = layout.put(MEDIA_TYPE, statement.as_bytes())?;
        let subject = Descriptor {
            annotations: Default::default(),
            ..image.clone()
        };
        layout.add_referrer(&Manifest {
            artifact_type: Some(MEDIA_TYPE.to_owned()),
            subject: Some(subject),
            ..Manifest::new(config, vec![layer])
        })
    }
}
