//! How an instance that takes requests is asked whether it is healthy, before it gets any.

use std::time::Duration;

/// `None`: as the platform has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checks {
    /// A `GET` of it must be answered with a status from 200 to 399; without one, a bound port is healthy.
    pub path: Option<String>,
    /// Longest wait for one answer.
    pub timeout: Option<Duration>,
    /// Between two questions.
    pub interval: Option<Duration>,
    /// From its start until it must be healthy.
    pub boot: Option<Duration>,
}

pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
pub const INTERVAL_DEFAULT: Duration = Duration::from_millis(500);
/// Shorter would be load, not a question.
pub const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Of each of the times.
pub const TIME_MAX: Duration = Duration::from_hours(1);
const PATH_BYTES_MAX: usize = 1024;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckRefused {
    #[error(
        "a health check path starts with `/` and has no blanks, at most {PATH_BYTES_MAX} bytes"
    )]
    Path,
    #[error("`{0}` is longer than one hour, or nothing at all")]
    Time(&'static str),
    #[error("less than {} ms between two checks is load, not a question", INTERVAL_MIN.as_millis())]
    Interval,
}

impl Checks {
    pub(crate) fn check(&self) -> Result<(), CheckRefused> {
        let good = |path: &String| {
            path.starts_with('/')
                && path.len() <= PATH_BYTES_MAX
                // It becomes part of a request's first line.
                && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
        };
        if !self.path.as_ref().is_none_or(good) {
            return Err(CheckRefused::Path);
        }
        let times = [
            ("timeout", self.timeout),
            ("interval", self.interval),
            ("boot", self.boot),
        ];
        for (name, time) in times {
            if time.is_some_and(|time| time.is_zero() || time > TIME_MAX) {
                return Err(CheckRefused::Time(name));
            }
        }
        match self.interval {
            Some(interval) if interval < INTERVAL_MIN => Err(CheckRefused::Interval),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_smuggle_a_second_request() {
        let check = |path: &str, right: bool| {
            let checks = Checks {
                path: Some(path.to_owned()),
                ..Checks::default()
            };
            assert_eq!(checks.check().is_ok(), right, "{path:?}");
        };
        check("/", true);
        check("/healthz?deep=1", true);
        check("healthz", false);
        check("/a b", false);
        check("/a\r\nHost: x", false);
        check("/a#b", false);
        check("/ä", false);
        check(&format!("/{}", "a".repeat(PATH_BYTES_MAX)), false);
    }

    #[test]
    fn times_are_bounded() {
        let check = |ms, right: bool| {
            let time = Some(Duration::from_millis(ms));
            let checks = Checks {
                timeout: time,
                interval: time,
                boot: time,
                path: None,
            };
            assert_eq!(checks.check().is_ok(), right, "{ms}");
        };
        check(0, false);
        check(99, false);
        check(100, true);
        check(3_600_000, true);
        check(3_600_001, false);
    }
}
