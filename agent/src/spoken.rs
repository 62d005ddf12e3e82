//! Times in the words an operator writes and reads.

use std::time::Duration;

/// A duration as a configuration would have it: `100ms`, `5s`, `24h`. Exact.
pub(crate) fn exact(duration: Duration) -> String {
    let micros = duration.as_micros();
    for (unit, name) in [(3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms")] {
        if micros >= unit && micros.is_multiple_of(unit) {
            return format!("{}{name}", micros / unit);
        }
    }
    if micros == 0 { "0s".to_owned() } else { format!("{micros}us") }
}

/// A duration to look at: two figures are enough (`0.8s`, `11s`, `4m`, `2h 5m`, `12d 4h`).
pub(crate) fn rough(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{:.1}s", seconds.max(0.0));
    }
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).as_secs();
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{whole}s"),
        (0, 0, minutes) if minutes < 10 => format!("{minutes}m {}s", whole % 60),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// A count with its thousands set apart: `1,284`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_spoken_as_they_are_written() {
        for text in ["100ms", "5s", "90s", "30m", "24h", "1500us"] {
            assert_eq!(exact(humantime::parse_duration(text).unwrap()), text);
        }
        assert_eq!(exact(Duration::from_secs(120)), "2m");
        assert_eq!(exact(Duration::ZERO), "0s");
    }

    #[test]
    fn ages_are_rounded_to_what_an_operator_needs() {
        for (seconds, text) in
            [(0.84, "0.8s"), (11.2, "11s"), (245.0, "4m 5s"), (1_900.0, "31m"), (7_500.0, "2h 5m")]
        {
            assert_eq!(rough(seconds), text);
        }
        assert_eq!(rough(1_051_200.0), "12d 4h");
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }
}
