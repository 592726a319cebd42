//! What the processes of a release are started from: its image, its config, what is set for the app, and what the
//! platform adds.

use std::{collections::BTreeMap, sync::Arc};

use container::{ImageConfig, Store};

use crate::{
    App, AppLimits, AppName, Checks, ConfigName, ConfigVars, DeployError, Ledger, ProcessType,
    Release, ReleaseNumber, RunOptions,
    processes::{self, Processes},
};

/// Platform spec, "Launch": a symbolic link per process type, to the launcher, which looks at the name it is called by.
const PROCESS_DIR: &str = "/cnb/process";
/// Runs any command line in the environment that the buildpacks prepared.
const LAUNCHER: &str = "/cnb/lifecycle/launcher";
/// Of the user that every sandbox runs as.
const HOME: &str = "/home/app";

#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) app: AppName,
    pub(crate) app_id: i64,
    pub(crate) release: ReleaseNumber,
    pub(crate) image: ImageConfig,
    pub(crate) processes: Processes,
    pub(crate) limits: AppLimits,
    pub(crate) checks: Checks,
    config: ConfigVars,
    commit: Option<String>,
}

impl Launch {
    /// `None`: the release has no image, there is nothing to start.
    pub(crate) fn of(
        app: &App,
        release: &Release,
        ledger: &Ledger,
        store: &Store,
    ) -> Result<Option<Self>, DeployError> {
        let Some(id) = &release.image else {
            return Ok(None);
        };
        let unusable = |source| DeployError::Image {
            release: release.number,
            source,
        };
        let image = store
            .image(id)
            .map_err(|source| unusable(source.into()))?
            .config;
        Ok(Some(Self {
            app: app.name.clone(),
            app_id: app.id,
            release: release.number,
            processes: processes::of_image(&image).map_err(unusable)?,
            image,
            limits: ledger.limits(&app.name)?,
            checks: ledger.checks(&app.name)?,
            config: release.config.clone(),
            commit: release.commit.clone(),
        }))
    }

    pub(crate) fn with_limits(&self, limits: AppLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            ..self.clone()
        })
    }

    pub(crate) fn command(&self, process_type: &ProcessType) -> &str {
        self.processes.get(process_type).map_or("", String::as_str)
    }

    /// The process types that have instances: not the release phase.
    pub(crate) fn kept_running(&self) -> impl Iterator<Item = &ProcessType> {
        let types = self.processes.keys();
        types.filter(|process_type| process_type.as_str() != ProcessType::RELEASE)
    }

    pub(crate) fn has_instances(&self, process_type: &ProcessType) -> bool {
        self.kept_running().any(|known| known == process_type)
    }

    /// For somebody's command. What describes a terminal is set only where nothing else is; but TERM belongs to whoever
    /// looks at it.
    pub(crate) fn environment_of_run(
        &self,
        process: &str,
        port: Option<u16>,
        options: &RunOptions,
    ) -> Vec<(String, String)> {
        let mut env: BTreeMap<_, _> = options.terminal.iter().cloned().collect();
        let of_terminal = env.remove_entry("TERM");
        env.extend(self.environment(process, port, &options.env));
        env.extend(of_terminal);
        env.into_iter().collect()
    }

    /// What the image sets, the config vars over it, `extra` over both, and what the platform sets over all.
    pub(crate) fn environment(
        &self,
        process: &str,
        port: Option<u16>,
        extra: &BTreeMap<ConfigName, String>,
    ) -> Vec<(String, String)> {
        let mut env = BTreeMap::from([("HOME".to_owned(), HOME.to_owned())]);
        let of_image = self
            .image
            .env
            .iter()
            .filter_map(|line| line.split_once('='));
        env.extend(of_image.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let of_config = self.config.iter();
        env.extend(of_config.map(|(name, value)| (name.to_string(), value.as_str().to_owned())));
        env.extend(
            extra
                .iter()
                .map(|(name, value)| (name.to_string(), value.clone())),
        );
        let of_platform = [
            ("DYNO", Some(process.to_owned())),
            ("PORT", port.map(|port| port.to_string())),
            ("SLIPWAY_APP", Some(self.app.to_string())),
            ("SLIPWAY_RELEASE", Some(self.release.to_string())),
            ("SOURCE_VERSION", self.commit.clone()),
        ];
        let of_platform = of_platform
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)));
        env.extend(of_platform);
        env.into_iter().collect()
    }
}

/// The command line of a declared process type.
pub(crate) fn of_process_type(process_type: &ProcessType) -> Vec<String> {
    vec![format!("{PROCESS_DIR}/{process_type}")]
}

/// The command line of a one-off process. One word is a line for the shell, so that `"rake db:migrate && rake seed"`
/// works; several words are executed as they are.
pub(crate) fn of_command(words: Vec<String>) -> Vec<String> {
    let direct = [LAUNCHER, "--"].map(str::to_owned).into_iter();
    if words.len() == 1 {
        let shell = ["bash", "-c"].map(str::to_owned);
        return direct.chain(shell).chain(words).collect();
    }
    direct.chain(words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_wins_over_config_and_config_over_the_image() {
        let launch = Launch {
            app: "shop".parse().unwrap(),
            app_id: 1,
            release: "v3".parse().unwrap(),
            image: ImageConfig {
                env: [
                    "PATH=/cnb/process:/usr/bin",
                    "A=image",
                    "B=image",
                    "C=image",
                    "PORT=1",
                    "odd",
                ]
                .map(str::to_owned)
                .to_vec(),
                entrypoint: vec![],
                working_dir: String::new(),
                user: String::new(),
                labels: BTreeMap::new(),
                layers: vec![],
                ..ImageConfig::default()
            },
            processes: Processes::new(),
            limits: AppLimits::default(),
            checks: Checks::default(),
            config: ConfigVars::from([("B".parse().unwrap(), "config=x".to_owned().into())]),
            commit: None,
        };
        let env: Vec<String> = launch
            .environment(
                "web.1",
                Some(21_234),
                &BTreeMap::from([("C".parse().unwrap(), "extra".to_owned())]),
            )
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            env,
            [
                "A=image",
                "B=config=x",
                "C=extra",
                "DYNO=web.1",
                "HOME=/home/app",
                "PATH=/cnb/process:/usr/bin",
                "PORT=21234",
                "SLIPWAY_APP=shop",
                "SLIPWAY_RELEASE=v3"
            ]
        );
    }

    #[test]
    fn one_word_is_a_line_for_the_shell_and_several_are_left_alone() {
        let check = |words: &[&str], expected: &str| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(
                of_command(words).join("|"),
                format!("/cnb/lifecycle/launcher|--|{expected}")
            );
        };
        check(&["node", "-e", "a b; c"], "node|-e|a b; c");
        check(&["ls | wc -l"], "bash|-c|ls | wc -l");
    }
}
