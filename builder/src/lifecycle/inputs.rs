//! What a phase is told: a flag goes before the environment variable, and that before the default.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
};

use super::{
    flags::{FLAGS, Flag, LAYERS, Takes},
    privileges::home_of,
};
use crate::{
    api::Api,
    failure::{Failure, PhaseName},
    log::{Level, Log},
};

/// All inputs of all phases; each reads its own.
#[derive(Debug, Clone)]
pub(crate) struct Inputs {
    pub(crate) api: Api,
    pub(crate) log: Log,
    pub(crate) analyzed: PathBuf,
    pub(crate) app: PathBuf,
    pub(crate) build_config: PathBuf,
    pub(crate) buildpacks: PathBuf,
    pub(crate) build_image: Option<String>,
    pub(crate) cache_dir: Option<PathBuf>,
    pub(crate) cache_image: Option<String>,
    pub(crate) daemon: bool,
    pub(crate) exec_env: String,
    /// What becomes of experimental features: `error`, `warn`, `quiet`.
    pub(crate) experimental: String,
    pub(crate) extended: PathBuf,
    pub(crate) extensions: PathBuf,
    pub(crate) force: bool,
    pub(crate) generated: PathBuf,
    pub(crate) gid: u32,
    pub(crate) group: PathBuf,
    /// Of the build's user, where that is not the caller: buildpacks run in the creator itself.
    pub(crate) home: Option<PathBuf>,
    /// The image arguments: the first is the output, the others more names for it, as are those of `-tag`.
    pub(crate) images: Vec<String>,
    /// Of them, those that are no `-tag`.
    pub(crate) argument_count: usize,
    pub(crate) insecure_registries: Vec<String>,
    pub(crate) launcher: Option<PathBuf>,
    pub(crate) launcher_sbom: PathBuf,
    pub(crate) layers: PathBuf,
    pub(crate) layout: bool,
    pub(crate) layout_dir: Option<PathBuf>,
    pub(crate) order: PathBuf,
    pub(crate) plan: PathBuf,
    pub(crate) platform: PathBuf,
    pub(crate) previous_image: Option<String>,
    pub(crate) process_type: Option<String>,
    pub(crate) project_metadata: PathBuf,
    pub(crate) report: PathBuf,
    pub(crate) run: PathBuf,
    pub(crate) run_image: Option<String>,
    pub(crate) skip_layers: bool,
    pub(crate) stack: PathBuf,
    pub(crate) system: PathBuf,
    pub(crate) uid: u32,
    pub(crate) wants_version: bool,
}

/// The values as they were given.
struct Given(BTreeMap<&'static str, Vec<String>>);

impl Inputs {
    /// `phase` is `None` for the creator.
    pub(crate) fn read(phase: Option<PhaseName>, args: &[String]) -> Result<Self, Failure> {
        let api = platform_api()?;
        let (given, images) = Given::read(phase, api, args)?;
        let layers = absolute(given.text("layers"))?;
        let path = |name: &str| match given.text(name).strip_prefix(LAYERS) {
            Some(below) => layers.join(below),
            None => given.text(name).into(),
        };
        let dir = |name: &str| match given.text(name).strip_prefix(LAYERS) {
            Some(below) => Ok(layers.join(below)),
            None => absolute(given.text(name)),
        };
        let some_dir = |name: &str| given.some(name).map(|text| absolute(&text)).transpose();
        let uid = given.number("uid")?;
        Ok(Self {
            api,
            log: Log {
                level: given
                    .text("log-level")
                    .parse()
                    .map_err(Failure::Arguments)?,
                color: !given.is("no-color")?,
            },
            analyzed: path("analyzed"),
            app: dir("app")?,
            build_config: dir("build-config")?,
            build_image: given.some("build-image"),
            buildpacks: dir("buildpacks")?,
            cache_dir: some_dir("cache-dir")?,
            cache_image: given.some("cache-image"),
            daemon: given.is("daemon")?,
            exec_env: given.text("exec-env").to_owned(),
            experimental: given.text("experimental").to_owned(),
            extended: path("extended"),
            extensions: dir("extensions")?,
            force: given.is("force")?,
            generated: dir("generated")?,
            gid: given.number("gid")?,
            group: path("group"),
            home: phase.is_none().then(|| home_of(uid)).flatten(),
            argument_count: images.len(),
            images: [images, given.all("tag")].concat(),
            insecure_registries: given.all("insecure-registry"),
            launcher: given.some("launcher").map(PathBuf::from),
            launcher_sbom: path("launcher-sbom"),
            layout: given.is("layout")?,
            layout_dir: some_dir("layout-dir")?,
            order: order(&layers, path("order")),
            plan: path("plan"),
            platform: dir("platform")?,
            previous_image: given.some("previous-image"),
            process_type: given.some("process-type"),
            project_metadata: path("project-metadata"),
            report: path("report"),
            run: path("run"),
            run_image: given.some("run-image").or(given.some("image")),
            skip_layers: given.is("skip-layers")? || given.is("skip-restore")?,
            stack: path("stack"),
            system: path("system"),
            uid,
            wants_version: given.is("version")?,
            layers,
        })
    }

    /// `<layers>/<buildpack>`.
    pub(crate) fn layers_of(&self, id: &crate::id::BuildpackId) -> PathBuf {
        self.layers.join(id.dir_name())
    }
}

impl Given {
    fn read(
        phase: Option<PhaseName>,
        api: Api,
        args: &[String],
    ) -> Result<(Self, Vec<String>), Failure> {
        let mut given = Self(BTreeMap::new());
        for flag in FLAGS {
            let of_env = Some(flag.env).filter(|name| !name.is_empty());
            let of_env = of_env
                .and_then(|name| env::var(name).ok())
                .filter(|value| !value.is_empty());
            let value = of_env.as_deref().unwrap_or(flag.default);
            let values = match flag.takes {
                Takes::Many => several(value).collect(),
                Takes::Text | Takes::Dir | Takes::Bool => vec![value.to_owned()],
            };
            given.0.insert(flag.name, values);
        }
        let mut args = args.iter();
        let mut seen_many = Vec::new();
        while let Some(arg) = args.next() {
            let Some(text) = flag_text(arg) else {
                // What comes behind the first image is an image, whatever it looks like.
                let rest = (arg != "--").then_some(arg).into_iter().chain(args);
                return Ok((given, rest.cloned().collect()));
            };
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text, None),
            };
            let known = FLAGS
                .iter()
                .find(|flag| flag.name == name && flag.is_of(phase, api));
            let flag = known.ok_or_else(|| Failure::Arguments(unknown(name, phase, api)))?;
            let value = match (value, flag.takes) {
                (Some(value), _) => value,
                (None, Takes::Bool) => "true".to_owned(),
                (None, _) => args
                    .next()
                    .cloned()
                    .ok_or_else(|| Failure::Arguments(format!("the flag -{name} needs a value")))?,
            };
            given.set(flag, value, &mut seen_many);
        }
        Ok((given, vec![]))
    }

    /// The first of several values takes the place of what the variable said. One that is empty is none: platforms fill
    /// their arguments from parameters that nobody has set.
    fn set(&mut self, flag: &Flag, value: String, seen_many: &mut Vec<&'static str>) {
        if value.is_empty() {
            return;
        }
        let values = self.0.entry(flag.name).or_default();
        if flag.takes != Takes::Many || !seen_many.contains(&flag.name) {
            values.clear();
            seen_many.push(flag.name);
        }
        match flag.takes {
            Takes::Many => values.extend(several(&value)),
            Takes::Text | Takes::Dir | Takes::Bool => values.push(value),
        }
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.0.get(name).cloned().unwrap_or_default()
    }

    fn text(&self, name: &str) -> &str {
        let values = self.0.get(name);
        values
            .and_then(|values| values.first())
            .map_or("", String::as_str)
    }

    fn some(&self, name: &str) -> Option<String> {
        let text = self.text(name);
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn is(&self, name: &str) -> Result<bool, Failure> {
        match self.text(name) {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            other => Err(Failure::Arguments(format!(
                "`{other}` is neither true nor false, which -{name} is"
            ))),
        }
    }

    fn number(&self, name: &str) -> Result<u32, Failure> {
        let text = self.text(name);
        let wrong = |_| Failure::Arguments(format!("`{text}` is no number, which -{name} is"));
        text.parse().map_err(wrong)
    }
}

fn several(text: &str) -> impl Iterator<Item = String> {
    let values = text.split(',').filter(|value| !value.is_empty());
    values.map(str::to_owned)
}

/// `-x` and `--x` are the same.
fn flag_text(arg: &str) -> Option<&str> {
    let text = arg.strip_prefix('-')?;
    let text = text.strip_prefix('-').unwrap_or(text);
    (!text.is_empty()).then_some(text)
}

fn unknown(name: &str, phase: Option<PhaseName>, api: Api) -> String {
    let mut known: Vec<&str> = FLAGS
        .iter()
        .filter(|flag| flag.is_of(phase, api))
        .map(|flag| flag.name)
        .collect();
    known.sort_unstable();
    format!(
        "there is no flag -{name} with Platform API {api}; there are -{}",
        known.join(", -")
    )
}

fn platform_api() -> Result<Api, Failure> {
    let text = env::var("CNB_PLATFORM_API").unwrap_or_default();
    if text.trim().is_empty() {
        return Err(Failure::PlatformApi(
            "set CNB_PLATFORM_API to the Platform API that you want, 0.7 to 0.15".to_owned(),
        ));
    }
    let known = text.parse().ok().filter(|api: &Api| api.is_platform_api());
    known.ok_or_else(|| {
        Failure::PlatformApi(format!(
            "Platform API `{text}` is not supported: 0.7 to 0.15 are"
        ))
    })
}

fn absolute(text: &str) -> Result<PathBuf, Failure> {
    std::path::absolute(text)
        .map_err(|error| Failure::Arguments(format!("`{text}` is no path: {error}")))
}

/// The platform's order, if it wrote one among the layers, else the builder's.
fn order(layers: &Path, order: PathBuf) -> PathBuf {
    if order == layers.join("order.toml") && !order.exists() {
        return "/cnb/order.toml".into();
    }
    order
}

impl std::str::FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "debug" => Ok(Self::Debug),
            "info" => Ok(Self::Info),
            "warn" | "warning" => Ok(Self::Warn),
            "error" | "fatal" => Ok(Self::Error),
            other => Err(format!(
                "`{other}` is no log level: debug, info, warn and error are"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(
        phase: Option<PhaseName>,
        minor: u32,
        args: &[&str],
    ) -> Result<(Given, Vec<String>), String> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        Given::read(phase, Api::of(minor), &args).map_err(|failure| failure.to_string())
    }

    #[test]
    fn flags_are_written_as_go_has_them() {
        let args = [
            "-app",
            "/a",
            "--layers=/l",
            "-layout",
            "-daemon=false",
            "-tag",
            "t",
            "-tag=u",
            "img",
            "-x",
        ];
        let (given, images) = given(None, 15, &args).unwrap();
        assert_eq!(given.text("app"), "/a");
        assert_eq!(given.text("layers"), "/l");
        assert!(given.is("layout").unwrap());
        assert!(!given.is("daemon").unwrap());
        assert_eq!(given.all("tag"), ["t", "u"]);
        assert_eq!(images, ["img", "-x"]);
        assert_eq!(given.text("group"), "<layers>/group.toml");
    }

    #[test]
    fn what_is_left_empty_is_not_given() {
        let args = [
            "-layers=",
            "-uid",
            "",
            "-tag=",
            "-insecure-registry=a,b",
            "-insecure-registry=",
        ];
        let (given, images) = given(None, 15, &[&args[..], &["img"]].concat()).unwrap();
        assert_eq!(given.text("layers"), "/layers");
        assert!(given.all("tag").is_empty());
        assert_eq!(given.all("insecure-registry"), ["a", "b"]);
        assert_eq!(images, ["img"]);
    }

    #[test]
    fn a_flag_belongs_to_phases_and_versions() {
        use PhaseName::{Analyze, Build, Detect, Rebase, Restore};
        for (phase, minor, arg, expected) in [
            (Detect, 15, "-system=x", true),
            (Detect, 14, "-system=x", false),
            (Build, 11, "-analyzed=x", false),
            (Build, 12, "-analyzed=x", true),
            (Analyze, 11, "-stack=x", true),
            (Analyze, 12, "-stack=x", false),
            (Restore, 13, "-run=x", false),
            (Restore, 14, "-run=x", true),
            (Rebase, 12, "-force", true),
            (Rebase, 12, "-app=x", false),
            (Detect, 15, "-nonsense", false),
        ] {
            assert_eq!(
                given(Some(phase), minor, &[arg]).is_ok(),
                expected,
                "{phase:?} {minor} {arg}"
            );
        }
    }

    #[test]
    fn what_is_wrong_says_what_would_be_right() {
        let error = given(Some(PhaseName::Detect), 15, &["-appp", "x"])
            .map(drop)
            .unwrap_err();
        assert!(
            error.starts_with(
                "there is no flag -appp with Platform API 0.15; there are -analyzed, -app, "
            ),
            "{error}"
        );
        let error = given(Some(PhaseName::Detect), 15, &["-app"])
            .map(drop)
            .unwrap_err();
        assert_eq!(error, "the flag -app needs a value");
        let (given, _) = given(None, 15, &["-layout=maybe", "-uid=x"]).unwrap();
        assert!(given.is("layout").is_err() && given.number("uid").is_err());
    }
}
