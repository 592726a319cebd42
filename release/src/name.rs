//! Names that are parsed once, at the edge; past that they cannot be wrong. Each has `FromStr` (the error names the
//! text and the rule), `Display`, and serde as a string.

/// `^[a-z][a-z0-9-]{0,29}$`, no trailing `-` (Heroku's rule: also a DNS label and a git path).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppName(String);

/// `web`, `worker`: `^[A-Za-z0-9_-]{1,63}$`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessType(String);

/// `^[A-Za-z_][A-Za-z0-9_]*$`, and none that the platform sets (`PORT`, `CNB_*`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigName(String);

/// 1 and up; shown as `v3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleaseNumber(u64);
