//! Formats text for people: ids, texts that fit, counts, and times relative to now.

use std::collections::HashSet;

use unicode_width::UnicodeWidthStr;

use crate::model::{Now, Time};

/// The shortest end of an id that is shown where a row must fit a terminal.
pub(super) const SHORTEST_ID: usize = 6;

/// Returns the end of an id, which names the task as the whole id does. It does not begin with a hyphen, as a flag does.
pub(super) fn end_of_id(id: &str, digits: usize) -> &str {
    let start = id.char_indices().rev().take(digits).last().map_or(0, |(start, _)| start);
    id[start..].trim_start_matches('-')
}

/// Returns how many characters at the ends of ids tell them apart.
pub(super) fn digits_that_differ(ids: &HashSet<&str>) -> usize {
    let longest = ids.iter().map(|id| id.len()).max().unwrap_or(0);
    let is_enough = |digits: &usize| {
        let ends: HashSet<&str> = ids.iter().map(|id| end_of_id(id, *digits)).collect();
        ends.len() == ids.len()
    };
    (SHORTEST_ID..longest).find(is_enough).unwrap_or(longest)
}

/// Returns whether an id begins with a time, as generated ids do: `20261121T070000123456Z-`.
pub(super) fn has_time(id: &str) -> bool {
    const TIME_TEMPLATE: &[u8; 23] = b"00000000T000000000000Z-";
    let fits = |(byte, form): (&u8, &u8)| byte == form || (*form == b'0' && byte.is_ascii_digit());
    id.len() > TIME_TEMPLATE.len() && id.as_bytes().iter().zip(TIME_TEMPLATE).all(fits)
}

/// Returns a sentence with the ends of the generated ids that it names, for a line with little room.
pub(super) fn with_short_ids(sentence: &str) -> String {
    let is_of_id = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
    let mut short = String::with_capacity(sentence.len());
    for part in sentence.split_inclusive(|c| !is_of_id(c)) {
        let word = part.trim_end_matches(|c| !is_of_id(c));
        let id = word.trim_end_matches('.');
        short.push_str(if has_time(id) { end_of_id(id, SHORTEST_ID) } else { id });
        short.push_str(&part[id.len()..]);
    }
    short
}

/// Returns a sentence with its times, which are written in full and in UTC, as `show` shows them.
pub(super) fn with_times(sentence: &str, show: impl Fn(Time) -> String) -> String {
    const TIME_TEMPLATE: &[u8; 27] = b"0000-00-00T00:00:00.000000Z";
    let fits = |(byte, form): (&u8, &u8)| byte == form || (*form == b'0' && byte.is_ascii_digit());
    let time_at = |start: usize| {
        let text = sentence.get(start..start + TIME_TEMPLATE.len())?;
        let is_time = text.bytes().zip(TIME_TEMPLATE).all(|(byte, form)| fits((&byte, form)));
        Time::parse(text).ok().filter(|_| is_time)
    };
    let (mut shown, mut copied) = (String::with_capacity(sentence.len()), 0);
    // The hyphen behind a year is all that is looked for in a sentence without times.
    for (hyphen, _) in sentence.match_indices('-') {
        let Some(start) = hyphen.checked_sub(4).filter(|start| *start >= copied) else { continue };
        if let Some(time) = time_at(start) {
            shown.push_str(&sentence[copied..start]);
            shown.push_str(&show(time));
            copied = start + TIME_TEMPLATE.len();
        }
    }
    shown.push_str(&sentence[copied..]);
    shown
}

/// Returns whether each byte of a text takes one terminal column.
pub(super) fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..0x7f).contains(&byte))
}

/// Returns the width of a text in terminal columns.
pub(super) fn columns(text: &str) -> usize {
    if is_plain(text) { text.len() } else { text.width() }
}

/// Formats a time relative to now: `3m ago`, `in 2h`, `now`.
pub(super) fn relative(time: Time, now: &Now) -> String {
    let seconds = now.wall.seconds_since(time);
    match seconds {
        s if s.abs() < 1.0 => "now".to_string(),
        s if s > 0.0 => format!("{} ago", format_duration(s)),
        s => format!("in {}", format_duration(-s)),
    }
}

/// Formats a duration in the largest unit of which it contains at least two.
pub(super) fn format_duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{}s", s as u64),
        s if s < 2.0 * 3600.0 => format!("{}m", (s / 60.0) as u64),
        s if s < 2.0 * 86_400.0 => format!("{}h", (s / 3600.0) as u64),
        s => format!("{}d", (s / 86_400.0) as u64),
    }
}

/// Formats a count with its noun: `1 task`, `2 tasks`.
pub(super) fn count(n: u64, noun: &str) -> String {
    let ending = if n == 1 { "" } else { "s" };
    format!("{n} {noun}{ending}")
}

/// Formats a number of seconds as it was given: `1 second`, `0.25 seconds`.
pub(super) fn seconds(n: f64) -> String {
    let ending = if n == 1.0 { "" } else { "s" };
    format!("{n} second{ending}")
}

/// Returns the first line of a text, shortened to `room` terminal columns.
pub(super) fn shorten(text: &str, room: usize) -> String {
    let first = text.lines().next().unwrap_or_default();
    if room == 0 {
        return String::new();
    }
    if columns(first) <= room {
        return first.to_string();
    }
    let fits = |end: &usize| columns(&first[..*end]) < room;
    let ends = first.char_indices().map(|(start, c)| start + c.len_utf8());
    let end =
        if is_plain(first) { room.saturating_sub(1) } else { ends.take_while(fits).last().unwrap_or(0) };
    format!("{}…", &first[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shortened_fits() {
        assert_eq!(shorten("five!", 5), "five!");
        assert_eq!(shorten("sixsix", 5), "sixs…");
        assert_eq!(shorten("レビュー", 8), "レビュー");
        assert_eq!(shorten("レビュー", 7), "レビュ…");
        assert_eq!(shorten("レビュー", 6), "レビ…");
        assert_eq!(shorten("one\ntwo", 5), "one");
        assert_eq!(shorten(&"☃\u{fe0f}".repeat(5), 5), "☃\u{fe0f}☃\u{fe0f}…");
    }

    #[test]
    fn a_sentence_shows_its_times_as_it_is_told_to() {
        let of = |sentence: &str| with_times(sentence, |time| format!("<{}>", time.micros()));
        assert_eq!(
            of("until 1970-01-01T00:00:00.000001Z or 1970-01-01T00:00:01.000000Z; ä-b"),
            "until <1> or <1000000>; ä-b"
        );
        for other in [
            "",
            "-",
            "2026-11-2",
            "1970-13-01T00:00:00.000001Z",
            "1970-01-01T00:00:00Z",
            "ää-01-01T00:00:00.000001Z",
        ] {
            assert_eq!(of(other), other);
        }
    }

    #[test]
    fn a_sentence_names_generated_ids_by_their_ends() {
        let id = "20261121T070000000000Z-questions-d285194604e2-d64cf2";
        assert_eq!(
            with_short_ids(&format!(
                "waiting for 1 of 2: {id} (queued), own-id; `lanes answer {id}`, é{id}."
            )),
            "waiting for 1 of 2: d64cf2 (queued), own-id; `lanes answer d64cf2`, éd64cf2."
        );
        let other = "until 2026-11-21T09:00:00.000000Z, 20261121T070000000000Z; in a/b-20261121";
        assert_eq!(with_short_ids(other), other);
        assert_eq!(with_short_ids(""), "");
    }
}
