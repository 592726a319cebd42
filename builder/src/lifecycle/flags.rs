//! The flags of the phases, and the environment variables that stand for them (platform spec, "Usage").

use crate::{api::Api, failure::PhaseName};

/// One flag of some phases.
pub(super) struct Flag {
    pub(super) name: &'static str,
    /// Empty when there is none.
    pub(super) env: &'static str,
    pub(super) default: &'static str,
    pub(super) takes: Takes,
    /// By their letters; empty for what can be said by the variable only.
    phases: &'static str,
    /// Minor versions of the Platform API from which on and up to which there is the flag. The variable is always read.
    since: u32,
    until: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Text,
    /// Made absolute.
    Dir,
    Bool,
    /// May be repeated; the variable is a list with commas.
    Many,
}

/// A default that begins so follows `-layers`.
pub(super) const LAYERS: &str = "<layers>/";

impl Flag {
    pub(super) fn is_of(&self, phase: Option<PhaseName>, api: Api) -> bool {
        self.phases.contains(letter(phase))
            && (Api::of(self.since)..=Api::of(self.until)).contains(&api)
    }
}

/// `None` is the creator.
fn letter(phase: Option<PhaseName>) -> char {
    match phase {
        Some(PhaseName::Analyze) => 'a',
        Some(PhaseName::Detect | PhaseName::Generate) => 'd',
        Some(PhaseName::Restore) => 'r',
        Some(PhaseName::Build) => 'b',
        Some(PhaseName::Export) => 'e',
        Some(PhaseName::Rebase) => 'R',
        Some(PhaseName::Extend) => 'x',
        None => 'c',
    }
}

macro_rules! flag {
    ($name:literal, $env:literal, $default:literal, $takes:ident, $phases:literal) => {
        flag!($name, $env, $default, $takes, $phases, 0, 99)
    };
    ($name:literal, $env:literal, $default:literal, $takes:ident, $phases:literal, $since:literal) => {
        flag!($name, $env, $default, $takes, $phases, $since, 99)
    };
    ($name:literal, $env:literal, $default:literal, $takes:ident, $phases:literal, $since:literal, $until:literal) => {
        Flag {
            name: $name,
            env: $env,
            default: $default,
            takes: Takes::$takes,
            phases: $phases,
            since: $since,
            until: $until,
        }
    };
}

/// `-layout` of the rebaser is ours: the specification has it rebase in registries only.
pub(super) const FLAGS: &[Flag] = &[
    flag!(
        "analyzed",
        "CNB_ANALYZED_PATH",
        "<layers>/analyzed.toml",
        Text,
        "arex"
    ),
    flag!(
        "analyzed",
        "CNB_ANALYZED_PATH",
        "<layers>/analyzed.toml",
        Text,
        "d",
        10
    ),
    flag!(
        "analyzed",
        "CNB_ANALYZED_PATH",
        "<layers>/analyzed.toml",
        Text,
        "b",
        12
    ),
    flag!("app", "CNB_APP_DIR", "/workspace", Dir, "dbecx"),
    flag!(
        "build-config",
        "CNB_BUILD_CONFIG_DIR",
        "/cnb/build-config",
        Dir,
        "dbc",
        11
    ),
    flag!("build-image", "CNB_BUILD_IMAGE", "", Text, "r", 10),
    flag!(
        "buildpacks",
        "CNB_BUILDPACKS_DIR",
        "/cnb/buildpacks",
        Dir,
        "dbc"
    ),
    flag!("cache-dir", "CNB_CACHE_DIR", "", Dir, "rec"),
    flag!("cache-image", "CNB_CACHE_IMAGE", "", Text, "arec"),
    flag!("daemon", "CNB_USE_DAEMON", "", Bool, "aecR"),
    flag!("daemon", "CNB_USE_DAEMON", "", Bool, "r", 12),
    flag!("exec-env", "CNB_EXEC_ENV", "production", Text, ""),
    flag!(
        "extended",
        "CNB_EXTENDED_DIR",
        "<layers>/extended",
        Text,
        "ex",
        12
    ),
    flag!(
        "extensions",
        "CNB_EXTENSIONS_DIR",
        "/cnb/extensions",
        Dir,
        "d",
        10
    ),
    flag!("force", "CNB_FORCE_REBASE", "", Bool, "R", 12),
    flag!(
        "generated",
        "CNB_GENERATED_DIR",
        "<layers>/generated",
        Dir,
        "dx",
        10
    ),
    flag!(
        "generated",
        "CNB_GENERATED_DIR",
        "<layers>/generated",
        Dir,
        "r",
        12
    ),
    flag!("gid", "CNB_GROUP_ID", "0", Text, "arecRx"),
    flag!(
        "group",
        "CNB_GROUP_PATH",
        "<layers>/group.toml",
        Text,
        "drbex"
    ),
    flag!("image", "", "", Text, "eR"),
    flag!(
        "insecure-registry",
        "CNB_INSECURE_REGISTRIES",
        "",
        Many,
        "arecR",
        13
    ),
    flag!("kind", "CNB_EXTEND_KIND", "build", Text, "x"),
    flag!("launch-cache", "CNB_LAUNCH_CACHE_DIR", "", Dir, "aec"),
    flag!("launcher", "", "", Text, "ec"),
    flag!("launcher-sbom", "", "/cnb/lifecycle", Text, "ec", 11),
    flag!("layers", "CNB_LAYERS_DIR", "/layers", Dir, "adrbecx"),
    flag!("layout", "CNB_USE_LAYOUT", "", Bool, "arecR", 12),
    flag!("layout-dir", "CNB_LAYOUT_DIR", "", Dir, "arecR", 12),
    flag!("log-level", "CNB_LOG_LEVEL", "info", Text, "adrbecRx"),
    flag!("experimental", "CNB_EXPERIMENTAL_MODE", "", Text, ""),
    flag!("no-color", "CNB_NO_COLOR", "", Bool, "adrbecRx"),
    flag!("order", "CNB_ORDER_PATH", "<layers>/order.toml", Text, "dc"),
    flag!("parallel", "CNB_PARALLEL_EXPORT", "", Bool, "ec"),
    flag!("plan", "CNB_PLAN_PATH", "<layers>/plan.toml", Text, "dbx"),
    flag!("platform", "CNB_PLATFORM_DIR", "/platform", Dir, "dbcx"),
    flag!("previous-image", "CNB_PREVIOUS_IMAGE", "", Text, "ac"),
    flag!("previous-image", "CNB_PREVIOUS_IMAGE", "", Text, "R", 11),
    flag!("process-type", "CNB_PROCESS_TYPE", "", Text, "ec"),
    flag!(
        "project-metadata",
        "CNB_PROJECT_METADATA_PATH",
        "<layers>/project-metadata.toml",
        Text,
        "ec"
    ),
    flag!(
        "report",
        "CNB_REPORT_PATH",
        "<layers>/report.toml",
        Text,
        "ecR"
    ),
    flag!("run", "CNB_RUN_PATH", "/cnb/run.toml", Text, "adec", 12),
    flag!("run", "CNB_RUN_PATH", "/cnb/run.toml", Text, "r", 14),
    flag!("run-image", "CNB_RUN_IMAGE", "", Text, "aecR"),
    flag!("skip-layers", "CNB_SKIP_LAYERS", "", Bool, "r"),
    flag!("skip-layers", "CNB_SKIP_LAYERS", "", Bool, "a", 9),
    flag!("skip-restore", "CNB_SKIP_RESTORE", "", Bool, "c"),
    flag!(
        "stack",
        "CNB_STACK_PATH",
        "/cnb/stack.toml",
        Text,
        "ae",
        0,
        11
    ),
    flag!("stack", "CNB_STACK_PATH", "/cnb/stack.toml", Text, "c"),
    flag!(
        "system",
        "CNB_SYSTEM_PATH",
        "/cnb/system.toml",
        Text,
        "dc",
        15
    ),
    flag!("tag", "", "", Many, "ac"),
    flag!("uid", "CNB_USER_ID", "0", Text, "arecRx"),
    flag!("version", "", "", Bool, "adrbecRx"),
];
