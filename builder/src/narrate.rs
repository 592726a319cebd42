//! The builder's own lines in a build's output.

use crate::{
    Output,
    error::BuildError,
    failure::{Ended, Tried},
    group::Group,
    layers::Layers,
    phase::export::Exported,
};

pub(crate) fn group(group: &Group, output: &mut dyn Output) {
    output.step("Buildpacks that take part");
    for member in &group.group {
        output.detail(&format!("{} {}", member.id, member.version));
    }
}

pub(crate) fn restored(layers: &Layers, output: &mut dyn Output) {
    match layers.restored_count() {
        0 => {}
        1 => output.detail("1 cached layer restored"),
        count => output.detail(&format!("{count} cached layers restored")),
    }
}

/// After a detection without a result: per buildpack why it does not apply.
pub(crate) fn tried(error: &BuildError, output: &mut dyn Output) {
    let (BuildError::NothingDetected { tried } | BuildError::DetectFailed { tried }) = error else {
        return;
    };
    output.step("No buildpack applies to this app");
    let width = tried.iter().map(|one| one.id.as_str().len()).max();
    for one in tried {
        let id = one.id.as_str();
        output.detail(&format!(
            "{id:width$}  {}",
            why(one),
            width = width.unwrap_or(0)
        ));
    }
}

fn why(tried: &Tried) -> String {
    match (&tried.misfit, tried.exit, tried.wants.as_slice()) {
        (Some(misfit), _, _) => misfit.clone(),
        (None, Ended::Status(0), _) => "would apply, but not alone".to_owned(),
        (None, Ended::Status(100), []) => "bin/detect exited 100".to_owned(),
        (None, Ended::Status(100), files) => format!("found no {}", one_of(files)),
        (None, exit, _) => format!("bin/detect failed: {exit}"),
    }
}

/// `a`, `a or b`, `a, b or c`.
fn one_of(names: &[String]) -> String {
    match names {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        names => names.concat(),
    }
}

/// A cache that could not be renewed costs the next build time, and nothing else.
pub(crate) fn exported(exported: &Exported, kept: Result<(), BuildError>, output: &mut dyn Output) {
    let (layers, reused) = (exported.layer_count, exported.reused_count);
    output.step(&format!(
        "Image of {layers} layers, {reused} of them unchanged"
    ));
    if let Err(error) = kept {
        output.detail(&format!("the cache stays as it was: {}", error.reason()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{BuildpackId, Version};

    #[test]
    fn every_buildpack_says_why_it_does_not_apply() {
        for (exit, misfit, wants, expected) in [
            (Ended::Status(100), None, &[][..], "bin/detect exited 100"),
            (Ended::Status(100), None, &["a"], "found no a"),
            (
                Ended::Status(100),
                None,
                &["a", "b", "c"],
                "found no a, b or c",
            ),
            (Ended::Status(0), None, &[], "would apply, but not alone"),
            (Ended::Status(0), Some("requires `x`"), &[], "requires `x`"),
            (
                Ended::Status(2),
                None,
                &["a"],
                "bin/detect failed: exit status 2",
            ),
        ] {
            let tried = Tried {
                id: BuildpackId::try_from("acme/a".to_owned()).unwrap(),
                version: Version::try_from("1".to_owned()).unwrap(),
                exit,
                misfit: misfit.map(str::to_owned),
                wants: wants.iter().map(|file| (*file).to_owned()).collect(),
            };
            assert_eq!(why(&tried), expected);
        }
    }
}
