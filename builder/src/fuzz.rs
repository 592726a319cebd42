//! The parsers of what others have written, one function each, for a fuzzer: whatever the bytes are, each comes back and
//! does not panic. What it makes of them is of no interest here.

use std::path::Path;

use container::{
    Digest,
    layout::Layout,
    manifest::Platform,
    unpack::{Bounds, unpack},
};

use crate::{
    buildpack, files,
    id::{BuildpackId, Version},
    lifecycle,
    plan::{self, DetectPlan, Passed, Provider},
    project::Project,
    scratch::TempDir,
    sources,
};

/// Small: a fuzzer is after wrong turns, not after full disks.
const BOUNDS: Bounds = Bounds {
    bytes_max: 1024 * 1024,
    entries_max: 100,
};

/// `project.toml`.
pub fn project_toml(bytes: &[u8]) {
    let Ok(project) = Project::parse(bytes, Path::new("/none")) else {
        return;
    };
    _ = project.asked();
    _ = project.prune(Path::new("/none"));
}

/// `buildpack.toml`.
pub fn buildpack_toml(bytes: &[u8]) {
    _ = buildpack::parse(bytes);
}

/// What bin/detect writes: of a buildpack that must take part, and of one behind it that may.
pub fn build_plan(bytes: &[u8]) {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let read = |bytes| files::parse::<DetectPlan>("plan.toml", bytes).ok();
    let plans = [read(bytes), read(first), read(second)];
    let passed = plans.into_iter().flatten().zip(0..);
    let passed = passed.filter_map(|(plan, number)| {
        plan.check("plan.toml").ok()?;
        Some(Passed {
            provider: Provider {
                id: BuildpackId::try_from(format!("a/{number}")).ok()?,
                version: Version::try_from("1".to_owned()).ok()?,
                extension: false,
            },
            optional: number > 0,
            plan,
        })
    });
    _ = plan::resolve(&passed.collect::<Vec<_>>());
}

/// A layer's tar, as a cache or a registry gives it.
pub fn layer(bytes: &[u8]) {
    if let Ok(dir) = TempDir::new() {
        let into = dir.path().join("into");
        _ = lifecycle::extract(bytes, Path::new("/layers/a/x"), &Digest::of(bytes), &into);
    }
}

/// A buildpackage as a file, `.cnb`.
pub fn buildpackage(bytes: &[u8]) {
    let Ok(dir) = TempDir::new() else { return };
    let (tree, into) = (dir.path().join("tree"), dir.path().join("into"));
    let made = [&tree, &into].map(std::fs::create_dir);
    if made.iter().any(Result::is_err)
        || unpack(bytes, &tree, BOUNDS, |path| Some(path.to_owned())).is_err()
    {
        return;
    }
    let Ok(layout) = Layout::open(&tree) else {
        return;
    };
    let Ok((_, manifest)) = layout.image(None, &Platform::here()) else {
        return;
    };
    if let Ok(config) = layout.bytes(&manifest.config) {
        _ = sources::unpack_all(&manifest, &config, &into, |blob| layout.blob(blob));
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const SEEDS: &[&str] = &[
        "[_]\nschema-version='0.2'\n[io.buildpacks]\nexclude=['/a','!*.md']\n[[io.buildpacks.group]]\nid='a/b'\nversion='1'\n\
         [[io.buildpacks.group]]\nuri='https://x.io/a.git#v1'\n[[io.buildpacks.group]]\nid='c/d'\nscript={api='0.10',inline='x'}\n",
        "api='0.10'\n[buildpack]\nid='a/b'\nversion='1'\n[[order]]\n[[order.group]]\nid='c/d'\nversion='2'\noptional=true\n\
         [[targets]]\nos='linux'\n[[stacks]]\nid='*'\n[metadata.slipway]\ndetects=['x']\n",
        "[[provides]]\nname='x'\n[[requires]]\nname='x'\n[requires.metadata]\nversion='1'\n[[or]]\n[[or.provides]]\nname='y'\n",
    ];

    fn all(bytes: &[u8]) {
        for parser in [
            project_toml,
            buildpack_toml,
            build_plan,
            layer,
            buildpackage,
        ] {
            parser(bytes);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_parser_panic(bytes in vec(any::<u8>(), 0..600)) {
            all(&bytes);
        }

        #[test]
        fn nor_does_damage(seed in 0..SEEDS.len(), at: prop::sample::Index, new in vec(any::<u8>(), 0..4), cut in 0_usize..4) {
            let mut bytes = SEEDS[seed].as_bytes().to_vec();
            let at = at.index(bytes.len());
            let end = bytes.len().min(at + cut);
            bytes.splice(at..end, new);
            all(&bytes);
        }
    }
}
