//! How long something is good for, as a person writes it.

use std::str::FromStr;

/// `90m`, `12h`, `30d`, `4w`, `1y`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetime {
    seconds: u64,
}

const UNITS: [(&str, u64); 5] = [
    ("m", 60),
    ("h", 3600),
    ("d", 86_400),
    ("w", 7 * 86_400),
    ("y", 365 * 86_400),
];
const SECONDS_MAX: u64 = 10 * 365 * 86_400;

impl Lifetime {
    pub(crate) fn seconds(self) -> u64 {
        self.seconds
    }
}

impl FromStr for Lifetime {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let seconds = UNITS.into_iter().find_map(|(unit, seconds)| {
            let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
            number.checked_mul(seconds)
        });
        seconds
            .filter(|seconds| (1..=SECONDS_MAX).contains(seconds))
            .map(|seconds| Self { seconds })
            .ok_or("write it as 90m, 12h, 30d, 4w or 1y, at most ten years")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes() {
        let check = |text: &str, seconds: Option<u64>| {
            let parsed = text.parse::<Lifetime>().ok().map(Lifetime::seconds);
            assert_eq!(parsed, seconds, "{text}");
        };
        check("1m", Some(60));
        check("30d", Some(2_592_000));
        check("10y", Some(SECONDS_MAX));
        for wrong in [
            "",
            "d",
            "0d",
            "30",
            "-1d",
            "11y",
            "99999999999999999999d",
            "1.5h",
            "1 d",
        ] {
            check(wrong, None);
        }
    }
}
