//! The bundled buildpacks as the builder sees them: folders with a `buildpack.toml` and two links, and an order.

use std::{
    env, fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// Stands in each `buildpack.toml` where the version of this crate goes.
const VERSION_PLACEHOLDER: &str = "0.0.0-bundled";

/// In the order of detection: a web framework's app often holds `package.json` for its assets, so Node.js goes first, as
/// everyone who knows Heroku expects; what could be a part of any app (an `index.html`, an executable) goes last.
const BUNDLED: [(&str, &str); 5] = [
    ("slipway/nodejs", include_str!("nodejs/buildpack.toml")),
    ("slipway/python", include_str!("python/buildpack.toml")),
    ("slipway/static", include_str!("static_site/buildpack.toml")),
    ("slipway/plain", include_str!("plain/buildpack.toml")),
    ("slipway/procfile", include_str!("procfile/buildpack.toml")),
];

const PROCFILE: &str = "slipway/procfile";

/// The first line of an order that a newer version may replace.
const ORDER_IS_OURS: &str = "# Kept up to date by Slipway; without this line it stays as it is.\n";

pub(crate) fn install(dir: &Path, executable: &Path) -> io::Result<()> {
    for (id, toml) in BUNDLED {
        let folder = dir
            .join(id.replace('/', "_"))
            .join(env!("CARGO_PKG_VERSION"));
        let bin = folder.join("bin");
        fs::create_dir_all(&bin)?;
        write_if_changed(
            &folder.join("buildpack.toml"),
            &toml.replace(VERSION_PLACEHOLDER, env!("CARGO_PKG_VERSION")),
        )?;
        link_if_changed(executable, &bin.join("detect"))?;
        link_if_changed(executable, &bin.join("build"))?;
    }
    let order = dir.join("order.toml");
    match fs::read_to_string(&order) {
        // An operator has put other buildpacks into it.
        Ok(text) if !text.starts_with(ORDER_IS_OURS) => Ok(()),
        _ => write_if_changed(&order, &order_toml()),
    }
}

/// The id of the buildpack that this process runs as.
pub(crate) fn running_id() -> Result<String, RunningIdError> {
    #[derive(serde::Deserialize)]
    struct Descriptor {
        buildpack: Identity,
    }
    #[derive(serde::Deserialize)]
    struct Identity {
        id: String,
    }
    let dir = env::var_os("CNB_BUILDPACK_DIR").ok_or(RunningIdError::NoDirectory)?;
    let path = PathBuf::from(dir).join("buildpack.toml");
    let text = fs::read_to_string(&path).map_err(|source| RunningIdError::Read {
        path: path.clone(),
        source,
    })?;
    let descriptor: Descriptor =
        toml::from_str(&text).map_err(|source| RunningIdError::Parse { path, source })?;
    Ok(descriptor.buildpack.id)
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum RunningIdError {
    #[error("`CNB_BUILDPACK_DIR` is not set: the builder starts buildpacks with it")]
    NoDirectory,
    #[error("`{path}` cannot be read: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}` has no `buildpack.id`: {source}")]
    Parse {
        path: PathBuf,
        source: toml::de::Error,
    },
}

/// Each buildpack with a Procfile after it, then a Procfile alone.
fn order_toml() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = String::from(ORDER_IS_OURS);
    text.push_str(
        "# Tried from the top: the first group of which all pass but the optional.
",
    );
    for (id, _) in BUNDLED {
        text.push_str(&format!(
            "\n[[order]]\n\n  [[order.group]]\n  id = \"{id}\"\n  version = \"{version}\"\n"
        ));
        if id != PROCFILE {
            text.push_str(&format!(
                "\n  [[order.group]]\n  id = \"{PROCFILE}\"\n  version = \"{version}\"\n  optional = true\n"
            ));
        }
    }
    text
}

/// By rename, so that a build that starts meanwhile never reads half a file.
fn write_if_changed(path: &Path, text: &str) -> io::Result<()> {
    if fs::read(path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(());
    }
    let new = path.with_extension(format!("new-{}", std::process::id()));
    fs::write(&new, text)?;
    fs::rename(&new, path)
}

fn link_if_changed(target: &Path, link: &Path) -> io::Result<()> {
    if fs::read_link(link).is_ok_and(|found| found == target) {
        return Ok(());
    }
    let new = link.with_extension(format!("new-{}", std::process::id()));
    symlink(target, &new)?;
    fs::rename(&new, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folders_are_what_the_specification_names() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        install(dir.path(), Path::new("/cnb/lifecycle/slipway")).expect("installed");
        install(dir.path(), Path::new("/cnb/lifecycle/slipway")).expect("installed again");

        for (id, _) in BUNDLED {
            let folder = dir
                .path()
                .join(id.replace('/', "_"))
                .join(env!("CARGO_PKG_VERSION"));
            let text = fs::read_to_string(folder.join("buildpack.toml")).expect("buildpack.toml");
            let descriptor: toml::Table = toml::from_str(&text).expect("valid TOML");
            assert_eq!(descriptor["buildpack"]["id"].as_str(), Some(id));
            assert_eq!(
                descriptor["buildpack"]["version"].as_str(),
                Some(env!("CARGO_PKG_VERSION"))
            );
            let detects = descriptor["metadata"]["slipway"]["detects"]
                .as_array()
                .expect("a list");
            assert!(!detects.is_empty() && detects.iter().all(|phrase| phrase.is_str()));
            for name in ["detect", "build"] {
                assert_eq!(
                    fs::read_link(folder.join("bin").join(name)).expect("a link"),
                    Path::new("/cnb/lifecycle/slipway")
                );
            }
        }
        let leftovers = fs::read_dir(dir.path()).expect("readable").count();
        assert_eq!(leftovers, BUNDLED.len() + 1, "buildpacks and order.toml");
    }

    #[test]
    fn an_order_written_by_the_operator_stays() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let order = dir.path().join("order.toml");
        let after_install = |text: &str| {
            fs::write(&order, text).expect("written");
            install(dir.path(), Path::new("/x")).expect("installed");
            fs::read_to_string(&order).expect("readable")
        };
        assert_eq!(after_install("# mine\n"), "# mine\n");
        let of_an_older_version = format!("{ORDER_IS_OURS}[[order]]\n");
        assert_eq!(after_install(&of_an_older_version), order_toml());
    }

    #[test]
    fn every_group_of_the_order_names_bundled_buildpacks() {
        let order: toml::Table = toml::from_str(&order_toml()).expect("valid TOML");
        let groups = order["order"].as_array().expect("groups");
        let ids: Vec<Vec<&str>> = groups
            .iter()
            .map(|group| {
                let group = group["group"].as_array().expect("a group");
                group
                    .iter()
                    .map(|entry| entry["id"].as_str().expect("an id"))
                    .collect()
            })
            .collect();
        assert_eq!(
            ids,
            [
                vec!["slipway/nodejs", PROCFILE],
                vec!["slipway/python", PROCFILE],
                vec!["slipway/static", PROCFILE],
                vec!["slipway/plain", PROCFILE],
                vec![PROCFILE],
            ]
        );
    }
}
