//! Where an image goes: a folder, or a registry.

use std::{error::Error, fmt, path::PathBuf, str::FromStr};

use builder::{Builder, Built, Previous, provenance::Provenance};
use container::{
    Digest,
    layout::Layout,
    registry::{Client, NotAReference, Reference},
};

const LATEST: &str = "latest";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Layout { dir: PathBuf, tag: String },
    Registry(Reference),
}

impl Target {
    /// The image that is there now.
    pub(super) fn previous(&self) -> Previous<'_> {
        match self {
            Self::Layout { dir, tag } => Previous::Layout { dir, tag },
            Self::Registry(reference) => Previous::Registry(reference),
        }
    }
}

impl FromStr for Target {
    type Err = NotAReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(path) = text.strip_prefix("oci:") else {
            return text.parse().map(Self::Registry);
        };
        let (dir, tag) = match path.rsplit_once(':') {
            Some((dir, tag)) if !tag.contains('/') => (dir, tag),
            _ => (path, LATEST),
        };
        Ok(Self::Layout {
            dir: dir.into(),
            tag: tag.to_owned(),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout { dir, tag } => write!(f, "oci:{}:{tag}", dir.display()),
            Self::Registry(reference) => reference.fmt(f),
        }
    }
}

/// Writes and pushes the image and its provenance; returns the manifest's digest, the same everywhere.
pub(super) fn deliver(
    targets: &[Target],
    client: &Client,
    builder: &Builder,
    built: &Built,
    provenance: &Provenance<'_>,
) -> Result<Digest, Box<dyn Error>> {
    let mut references: Vec<&Reference> = vec![];
    let mut digest = None;
    for target in targets {
        match target {
            Target::Layout { dir, tag } => {
                let layout = Layout::create(dir)?;
                let image = layout.add(&builder.store, &built.image, tag)?;
                provenance.attach(&layout, tag, &image)?;
                digest = Some(image.digest);
            }
            Target::Registry(reference) => references.push(reference),
        }
    }
    if references.is_empty() {
        return digest.ok_or_else(|| "there is nowhere to put the image".into());
    }
    let scratch = builder.store.scratch()?;
    let layout = Layout::create(&scratch.path().join("layout"))?;
    let image = layout.add(&builder.store, &built.image, LATEST)?;
    let all: Vec<Reference> = references
        .iter()
        .map(|reference| (*reference).clone())
        .collect();
    client.push(&layout, &image, &all, &[])?;
    for reference in references {
        let repository = &reference.repository;
        let artifact = provenance.attach(&layout, &repository.to_string(), &image)?;
        client.push_referrer(&layout, &artifact, &image.digest, repository)?;
    }
    Ok(image.digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_folders_or_references() {
        for (text, expected) in [
            ("oci:/tmp/x", "oci:/tmp/x:latest"),
            ("oci:x:v1", "oci:x:v1"),
            ("oci:/a:b/c", "oci:/a:b/c:latest"),
            ("localhost:5000/a:1", "localhost:5000/a:1"),
            ("a/b", "docker.io/a/b:latest"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), expected);
        }
        assert!("A B".parse::<Target>().is_err());
    }
}
