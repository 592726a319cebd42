//! REBASE: another run image below an app's image. The app's own layers stay as they are (platform spec, "Rebase").

use serde_json::Value;

use super::{
    analyze::{lifecycle_metadata, same_registry},
    app_image::{CREATED, history},
    export::Report,
    images::{Image, Images, NewImage},
    inputs::Inputs,
    run_image,
};
use crate::{
    api::Api,
    failure::Failure,
    metadata::{self, LifecycleMetadata, RunImageNames, StackMetadata, go_json},
    phase::detect::write_toml,
};

const STACK: &str = "io.buildpacks.stack.";
const BASE: &str = "io.buildpacks.base.";
/// Since then targets say whether two images suit each other, before stacks did.
const TARGETS: Api = Api::of(12);

pub(super) fn rebase(inputs: &Inputs, images: &Images) -> Result<(), Failure> {
    let output = inputs.images.first();
    let output =
        output.ok_or_else(|| Failure::Arguments("the name of the image is missing".to_owned()))?;
    same_registry(&inputs.images)?;
    let name = inputs.previous_image.as_deref().unwrap_or(output);
    let app = images.wanted(name)?;
    let missing = || Failure::Refused(format!("image `{name}` was not made by buildpacks"));
    let label = lifecycle_metadata(&app)?.ok_or_else(missing)?;
    let top = label.run_image.top_layer;
    let run_name = choose(inputs, images, &label, output)?;
    let base = images.wanted(&run_name)?;
    check(inputs, &app, &base)?;
    let label = relabel(inputs, label, &base, &run_name)?;
    let at = app
        .layers
        .iter()
        .position(|layer| Some(layer.diff_id) == top);
    let at = at.ok_or_else(|| {
        Failure::Refused(format!(
            "image `{name}` no longer has the layers of its run image"
        ))
    })?;
    let image = NewImage {
        config: config(&app, &base, at + 1, &label, inputs)?,
        layers: base
            .layers
            .iter()
            .chain(&app.layers[at + 1..])
            .map(|layer| layer.blob.clone())
            .collect(),
        blobs: std::path::Path::new("/nonexistent"),
        sources: vec![&app, &base],
    };
    let saved = images.save(&image, &inputs.images)?;
    write_toml(&inputs.report, &Report::of(&saved))
}

fn choose(
    inputs: &Inputs,
    images: &Images,
    label: &LifecycleMetadata,
    output: &str,
) -> Result<String, Failure> {
    if let Some(name) = &inputs.run_image {
        return Ok(name.clone());
    }
    let own = Some(&label.run_image.names)
        .filter(|names| inputs.api >= TARGETS && !names.image.is_empty());
    let of_stack = label
        .stack
        .as_ref()
        .map(|stack| &stack.run_image)
        .filter(|names| !names.image.is_empty());
    let missing = || {
        Failure::Arguments(
            "the image does not say where its run image is: -run-image does".to_owned(),
        )
    };
    run_image::best_mirror(own.or(of_stack).ok_or_else(missing)?, output, images)
}

/// Whether the app can stand on it.
fn check(inputs: &Inputs, app: &Image, base: &Image) -> Result<(), Failure> {
    let vars = app.config["config"]["Env"].as_array().into_iter().flatten();
    let api = vars
        .filter_map(Value::as_str)
        .find_map(|var| var.strip_prefix("CNB_PLATFORM_API="));
    if api
        .and_then(|api| api.parse().ok())
        .is_none_or(|api: Api| api < TARGETS)
    {
        return check_stack(app, base);
    }
    let refused = |why: String| {
        if inputs.force {
            inputs.log.warn(why);
            return Ok(());
        }
        Err(Failure::Refused(format!(
            "{why}; -force rebases it all the same"
        )))
    };
    if app.label("io.buildpacks.rebasable") == Some("false") {
        refused("the image is marked as one that cannot be rebased".to_owned())?;
    }
    let (of_app, of_base) = (run_image::target(app), run_image::target(base));
    if !of_app.can_move_to(&of_base) {
        refused(format!(
            "the app was built for {of_app}, and the new run image is for {of_base}"
        ))?;
    }
    Ok(())
}

fn check_stack(app: &Image, base: &Image) -> Result<(), Failure> {
    let id = |image: &Image| image.label(&format!("{STACK}id")).map(str::to_owned);
    match (id(app), id(base)) {
        (Some(app), Some(base)) if app == base => {}
        (Some(app), Some(base)) => {
            return Err(Failure::Refused(format!(
                "the app was built for stack `{app}`, and the new run image has `{base}`"
            )));
        }
        _ => {
            return Err(Failure::Refused(
                "one of the images names no stack".to_owned(),
            ));
        }
    }
    let mixins = |image: &Image| -> Result<Vec<String>, Failure> {
        let Some(label) = image.label(&format!("{STACK}mixins")) else {
            return Ok(vec![]);
        };
        let all: Vec<String> = serde_json::from_str(label).map_err(|error| {
            Failure::Refused(format!("image {} has odd mixins: {error}", image.reference))
        })?;
        // `build:x` and `run:x` are `x` in that stage.
        let name = |name: &String| {
            name.split_once(':')
                .map_or(name.clone(), |(_, name)| name.to_owned())
        };
        Ok(all.iter().map(name).collect())
    };
    let there = mixins(base)?;
    let missing: Vec<String> = mixins(app)?
        .into_iter()
        .filter(|name| !there.contains(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::Refused(format!(
        "the new run image lacks mixins of the app: {}",
        missing.join(", ")
    )))
}

fn relabel(
    inputs: &Inputs,
    mut label: LifecycleMetadata,
    base: &Image,
    name: &str,
) -> Result<LifecycleMetadata, Failure> {
    label.run_image.top_layer = base.layers.last().map(|layer| layer.diff_id);
    label.run_image.reference.clone_from(&base.reference);
    let of_stack = label
        .stack
        .as_ref()
        .is_some_and(|stack| stack.run_image.contains(name));
    if inputs.api < TARGETS || label.run_image.names.contains(name) || of_stack {
        return Ok(label);
    }
    let why = format!("the image does not name `{name}` as one of its run images");
    if !inputs.force {
        return Err(Failure::Refused(format!(
            "{why}; -force rebases it all the same"
        )));
    }
    inputs.log.warn(why);
    let names = RunImageNames {
        image: name.to_owned(),
        mirrors: vec![],
    };
    label.run_image.names = names.clone();
    label.stack = Some(StackMetadata { run_image: names });
    Ok(label)
}

/// The app's, but for what comes with the layers below.
fn config(
    app: &Image,
    base: &Image,
    own_from: usize,
    label: &LifecycleMetadata,
    inputs: &Inputs,
) -> Result<Value, Failure> {
    let mut config = app.config.clone();
    for field in ["os", "architecture", "variant", "os.version"] {
        match base.config.get(field) {
            Some(value) => config[field] = value.clone(),
            None => {
                _ = config
                    .as_object_mut()
                    .and_then(|config| config.remove(field))
            }
        }
    }
    let diff_ids = base
        .layers
        .iter()
        .chain(&app.layers[own_from..])
        .map(|layer| layer.diff_id.to_string());
    config["rootfs"]["diff_ids"] = diff_ids.collect();
    let entries = [history(base), history(app).split_off(own_from)].concat();
    config["history"] = entries
        .into_iter()
        .map(|mut entry| {
            entry["created"] = CREATED.into();
            entry
        })
        .collect();
    config["created"] = CREATED.into();
    let text = go_json(label).map_err(Failure::io("write the image's labels"))?;
    if let Some(labels) = config["config"]["Labels"].as_object_mut() {
        let synced = |name: &str| {
            name.starts_with(STACK) || (inputs.api >= TARGETS && name.starts_with(BASE))
        };
        labels.retain(|name, _| !synced(name));
        let of_base = base.config["config"]["Labels"]
            .as_object()
            .into_iter()
            .flatten();
        labels.extend(
            of_base
                .filter(|(name, _)| synced(name))
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        labels.insert(metadata::LIFECYCLE.to_owned(), text.into());
    }
    Ok(config)
}
