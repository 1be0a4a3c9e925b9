//! Lengths of time as people write them.

/// Reads a length of time in seconds: a plain number (`90`, `0.5`) or numbers with units
/// (`15m`, `2h`, `1h30m`, `1d`). `None` for anything else; never negative, always finite.
pub fn parse_span(text: &str) -> Option<f64> {
    let text = text.trim();
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().ok()?;
        let mut after = rest[end..].chars();
        let unit = match after.next() {
            // A number without unit stands alone: `1h30` could mean minutes or seconds.
            None if rest.len() == text.len() => 1.0,
            Some('s') => 1.0,
            Some('m') => 60.0,
            Some('h') => 3600.0,
            Some('d') => 86_400.0,
            Some('w') => 604_800.0,
            _ => return None,
        };
        total += number * unit;
        rest = after.as_str();
    }
    (!text.is_empty() && f64::is_finite(total)).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_units_are_read() {
        for (text, seconds) in [
            ("90", 90.0),
            ("0", 0.0),
            (" 1.5 ", 1.5),
            ("15m", 900.0),
            ("2h", 7200.0),
            ("1h30m", 5400.0),
            ("1d", 86_400.0),
            ("2w", 1_209_600.0),
            ("45s", 45.0),
        ] {
            assert_eq!(parse_span(text), Some(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_length_is_refused() {
        let huge = "9".repeat(400);
        for text in ["", "nan", "inf", "-5", "+5", "1e3", "5x", "m", "1h30", "1 h", ".", "1..2", "é", &huge]
        {
            assert_eq!(parse_span(text), None, "{text}");
        }
    }
}
