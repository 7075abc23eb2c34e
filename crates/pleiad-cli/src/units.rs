//! The numbers with units that people write on a command line.

use std::time::Duration;

/// Why a text is not a time or a size.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum UnitError {
    #[error("expected a time such as 30s, 15m, 1h30m, or a number of seconds")]
    Time,
    #[error("expected a time above zero")]
    ZeroTime,
    #[error("expected a size such as 512M, 2G or 1.5GiB (K, M, G, T are powers of 1024)")]
    Size,
    #[error("expected a size above zero")]
    ZeroSize,
}

/// Reads `90` (seconds), `0.5`, `30m`, `1h 30m`: above zero.
pub(crate) fn time(text: &str) -> Result<Duration, UnitError> {
    let time = match text.trim() {
        plain if plain.bytes().all(|b| b.is_ascii_digit() || b == b'.') => {
            let seconds: f64 = plain.parse().map_err(|_| UnitError::Time)?;
            Duration::try_from_secs_f64(seconds).map_err(|_| UnitError::Time)?
        }
        with_unit => humantime::parse_duration(with_unit).map_err(|_| UnitError::Time)?,
    };
    if time.is_zero() { Err(UnitError::ZeroTime) } else { Ok(time) }
}

/// As [`time`], or `0`.
pub(crate) fn time_or_zero(text: &str) -> Result<Duration, UnitError> {
    match time(text) {
        Err(UnitError::ZeroTime) => Ok(Duration::ZERO),
        other => other,
    }
}

/// Reads `4096` (bytes), `512M`, `1.5GiB`: above zero. Every unit is a power of 1024.
pub(crate) fn size(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(UnitError::Size),
    };
    let bytes = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(1 << shift).ok_or(UnitError::Size)?,
        Err(_) => fraction(number, shift)?,
    };
    if bytes == 0 { Err(UnitError::ZeroSize) } else { Ok(bytes) }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
fn fraction(number: &str, shift: u32) -> Result<u64, UnitError> {
    let number: f64 = number.parse().map_err(|_| UnitError::Size)?;
    let bytes = number * (1_u64 << shift) as f64;
    if bytes < 2_f64.powi(60) { Ok(bytes as u64) } else { Err(UnitError::Size) }
}

/// A size as people read it: `512 B`, `1.5 MiB`.
pub(crate) fn show_size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let unit = ((bytes.ilog2() / 10) as usize).min(UNITS.len());
    let number = bytes as f64 / (1_u64 << (10 * unit)) as f64;
    let number = format!("{number:.1}");
    format!("{} {}", number.strip_suffix(".0").unwrap_or(&number), UNITS[unit - 1])
}

/// A time as people read it: `250 ms`, `1.5 s`, `12 s`, `3 min 05 s`, `2 h 10 min`.
pub(crate) fn show_time(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3600..360_000 => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_number_is_seconds_and_a_unit_is_what_it_says() {
        for (text, millis) in
            [("90", 90_000), ("0.5", 500), ("30m", 1_800_000), ("1h 30m", 5_400_000), ("5ms", 5)]
        {
            assert_eq!(time(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "-5", "soon", "1.2.3", "5 parsecs", "."] {
            assert_eq!(time(text), Err(UnitError::Time), "{text}");
        }
        assert_eq!(time("0"), Err(UnitError::ZeroTime));
        assert_eq!(time("0s"), Err(UnitError::ZeroTime));
    }

    #[test]
    fn every_size_unit_is_a_power_of_1024() {
        for (text, bytes) in
            [("1", 1), ("4k", 4096), ("2G", 2 << 30), ("1.5GiB", 3 << 29), ("512 MB", 512 << 20)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "-1", "2X", "G", "1.5.2G", "99999999999T", "1e3", "999999999.5T"] {
            assert_eq!(size(text), Err(UnitError::Size), "{text}");
        }
        assert_eq!(size("0"), Err(UnitError::ZeroSize));
        assert_eq!(size("0.0001"), Err(UnitError::ZeroSize));
    }

    #[test]
    fn sizes_and_times_read_as_a_person_would_write_them() {
        assert_eq!(show_size(512), "512 B");
        assert_eq!(show_size(3 << 29), "1.5 GiB");
        assert_eq!(show_size(2 << 30), "2 GiB");
        assert_eq!(show_time(Duration::from_millis(250)), "250 ms");
        assert_eq!(show_time(Duration::from_secs(185)), "3 min 05 s");
        assert_eq!(show_time(Duration::from_secs(7800)), "2 h 10 min");
    }
}
