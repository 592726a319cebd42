//! Sizes and times as people write them: `512M`, `0.5`, `30s`.

use std::time::Duration;

/// `512M`, `1.5G`, `65536`: with K, M, G or T, of 1024 each.
pub fn bytes(text: &str) -> Option<u64> {
    let text = text.trim_end_matches(['b', 'B']).trim_end_matches('i');
    let unit = match text.chars().last()?.to_ascii_uppercase() {
        'K' => 1 << 10,
        'M' => 1 << 20,
        'G' => 1 << 30,
        'T' => 1 << 40,
        _ => return text.parse().ok(),
    };
    let number = &text[..text.len() - 1];
    scaled(number, unit)
}

/// `0.5` of a processor in thousandths; `500m` is the same.
pub(crate) fn cpu_milli(text: &str) -> Option<u32> {
    let milli = match text.strip_suffix('m') {
        Some(milli) => milli.parse().ok()?,
        None => scaled(text, 1000)?,
    };
    u32::try_from(milli).ok()
}

/// `500ms`, `30s`, `10m`, `2h`, and seconds without a unit.
pub(crate) fn time(text: &str) -> Option<Duration> {
    let split = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit_ms = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    scaled(number, unit_ms).map(Duration::from_millis)
}

/// `512 MiB`
pub(crate) fn show_bytes(bytes: u64) -> String {
    let units = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let Some((unit, name)) = units.into_iter().find(|(unit, _)| bytes >= *unit) else {
        return format!("{bytes} B");
    };
    if bytes.is_multiple_of(unit) {
        return format!("{} {name}", bytes / unit);
    }
    format!("{:.1} {name}", bytes as f64 / unit as f64)
}

/// `500ms`, `5s`
pub(crate) fn show_time(time: Duration) -> String {
    let ms = time.as_millis();
    if ms.is_multiple_of(1000) {
        format!("{}s", ms / 1000)
    } else {
        format!("{ms}ms")
    }
}

/// Digits with at most one point.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let is_number = number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !is_number || number.is_empty() {
        return None;
    }
    let value = number.parse::<f64>().ok()? * unit as f64;
    // Below 2^53 a float counts exactly.
    (value < 9e15).then_some(value.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let check = |text: &str, expected| assert_eq!(bytes(text), expected, "{text}");
        check("512M", Some(512 << 20));
        check("512MB", Some(512 << 20));
        check("512MiB", Some(512 << 20));
        check("1.5g", Some(3 << 29));
        check("65536", Some(65536));
        for wrong in ["", "M", "-1M", "1e3M", "1.2.3M", "x", "9999999999T", "ä"] {
            check(wrong, None);
        }
        assert_eq!(show_bytes(512 << 20), "512 MiB");
        assert_eq!(show_bytes(3 << 29), "1.5 GiB");
        assert_eq!(show_bytes(12), "12 B");
    }

    #[test]
    fn processors() {
        let check = |text: &str, expected| assert_eq!(cpu_milli(text), expected, "{text}");
        check("0.5", Some(500));
        check("2", Some(2000));
        check("250m", Some(250));
        for wrong in ["", "m", "-1", "1e9", "99999999999", "half"] {
            check(wrong, None);
        }
    }

    #[test]
    fn times() {
        let check = |text: &str, ms: Option<u64>| {
            assert_eq!(time(text), ms.map(Duration::from_millis), "{text}");
        };
        check("500ms", Some(500));
        check("30", Some(30_000));
        check("1.5s", Some(1500));
        check("10m", Some(600_000));
        check("2h", Some(7_200_000));
        for wrong in ["", "s", "-1s", "1d", "1 s", "1s1"] {
            check(wrong, None);
        }
        assert_eq!(show_time(Duration::from_millis(500)), "500ms");
        assert_eq!(show_time(Duration::from_secs(60)), "60s");
    }
}
