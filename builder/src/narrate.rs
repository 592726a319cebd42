//! The builder's own lines in a build's output.

use crate::{Output, error::BuildError, group::Group, layers::Layers, phase::export::Exported};

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
            one.why(),
            width = width.unwrap_or(0)
        ));
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
