//! Formats text for people: aligned columns, and times relative to now.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::output::Output;
use crate::error::{Result, printable};
use crate::model::{Now, Time};

/// Rows under headings, columns aligned.
pub(super) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Row>,
}

/// The cells of one row as they are shown, in one string, since a table may have very many rows.
pub(super) struct Row {
    text: String,
    /// The end of each cell in the text, in bytes, and its width in terminal columns.
    cells: Vec<(u32, u32)>,
}

impl Row {
    /// Makes a row of these cells; control characters are escaped.
    pub(super) fn new<C: AsRef<str>>(cells: &[C]) -> Self {
        let shown: Vec<Cow<'_, str>> = cells.iter().map(|cell| shown(cell.as_ref())).collect();
        let mut end = 0;
        let place = |cell: &Cow<'_, str>| {
            end += cell.len() as u32;
            (end, columns(cell) as u32)
        };
        Self { cells: shown.iter().map(place).collect(), text: shown.concat() }
    }

    /// Writes the row into `line`.
    fn write(&self, widths: &[usize], line: &mut String) {
        line.clear();
        let mut start = 0;
        for ((end, columns), width) in self.cells.iter().zip(widths) {
            line.push_str(&self.text[start..*end as usize]);
            let gap = width.saturating_sub(*columns as usize) + 2;
            line.extend(std::iter::repeat_n(' ', gap));
            start = *end as usize;
        }
        line.truncate(line.trim_end().len());
    }
}

impl Table {
    /// Makes an empty table.
    pub(super) fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; control characters are escaped.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.add(Row::new(&cells));
    }

    /// Adds a row that was made before.
    pub(super) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Returns whether the table has no row.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Prints the table.
    pub(super) fn print(&self, out: &mut Output) -> Result<()> {
        let mut widths: Vec<usize> = self.headings.iter().map(|heading| heading.len()).collect();
        for row in &self.rows {
            for (width, (_, columns)) in widths.iter_mut().zip(&row.cells) {
                *width = (*width).max(*columns as usize);
            }
        }
        let mut line = String::new();
        Row::new(&self.headings).write(&widths, &mut line);
        if out.colour() {
            out.line(&format!("\u{1b}[1m{line}\u{1b}[0m"))?;
        } else {
            out.line(&line)?;
        }
        for row in &self.rows {
            row.write(&widths, &mut line);
            out.line(&line)?;
        }
        Ok(())
    }
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..0x7f).contains(&byte))
}

fn shown(text: &str) -> Cow<'_, str> {
    if is_plain(text) { Cow::Borrowed(text) } else { Cow::Owned(printable(text)) }
}

/// Returns the width of a text in terminal columns.
fn columns(text: &str) -> usize {
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

/// Returns the first line of a text, shortened to `room` terminal columns.
pub(super) fn shorten(text: &str, room: usize) -> String {
    let first = text.lines().next().unwrap_or_default();
    if columns(first) <= room {
        return first.to_string();
    }
    let mut left = room.saturating_sub(1);
    let fits = |c: &char| {
        let width = c.width().unwrap_or(0);
        let fits = width <= left;
        left = if fits { left - width } else { 0 };
        fits
    };
    let head: String = first.chars().take_while(fits).collect();
    format!("{head}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_a_terminal() {
        let line = |name: &str| {
            let mut line = "of the row before".to_string();
            Row::new(&[name, "x", ""]).write(&[6, 1, 4], &mut line);
            line
        };
        assert_eq!(line("lane"), "lane    x");
        assert_eq!(line("レ票"), "レ票    x");
        assert_eq!(line("e\u{301}"), "e\u{301}       x");
        assert_eq!(line("a\tb"), "a\\tb    x");
    }

    #[test]
    fn what_is_shortened_fits() {
        assert_eq!(shorten("five!", 5), "five!");
        assert_eq!(shorten("sixsix", 5), "sixs…");
        assert_eq!(shorten("レビュー", 8), "レビュー");
        assert_eq!(shorten("レビュー", 7), "レビュ…");
        assert_eq!(shorten("レビュー", 6), "レビ…");
        assert_eq!(shorten("one\ntwo", 5), "one");
    }
}
