//! Text for people: aligned columns and times relative to now.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::output::Output;
use crate::error::{Result, printable};
use crate::model::{Now, Time};

/// Rows under headings, columns aligned.
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; control characters are escaped.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| printable(cell)).collect());
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Prints the table.
    pub fn print(&self, out: &mut Output) -> Result<()> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let longest = cells.map(|cell| cell.width()).max().unwrap_or(0);
            longest.max(self.headings[column].len())
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        let headings: Vec<String> = self.headings.iter().map(ToString::to_string).collect();
        let text = line(&headings, &widths);
        if out.colour() {
            out.line(&format!("\u{1b}[1m{text}\u{1b}[0m"))?;
        } else {
            out.line(&text)?;
        }
        for row in &self.rows {
            out.line(&line(row, &widths))?;
        }
        Ok(())
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        text.push_str(cell);
        let gap = width.saturating_sub(cell.width()) + 2;
        text.extend(std::iter::repeat_n(' ', gap));
    }
    text.trim_end().to_string()
}

/// `3m ago`, `in 2h`, `now`.
pub fn relative(time: Time, now: &Now) -> String {
    let seconds = now.wall.seconds_since(time);
    match seconds {
        s if s.abs() < 1.0 => "now".to_string(),
        s if s > 0.0 => format!("{} ago", span(s)),
        s => format!("in {}", span(-s)),
    }
}

/// A length of time in the largest unit of which it holds at least two.
pub fn span(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{}s", s as u64),
        s if s < 2.0 * 3600.0 => format!("{}m", (s / 60.0) as u64),
        s if s < 2.0 * 86_400.0 => format!("{}h", (s / 3600.0) as u64),
        s => format!("{}d", (s / 86_400.0) as u64),
    }
}

/// `1 task`, `2 tasks`.
pub fn count(n: u64, noun: &str) -> String {
    let ending = if n == 1 { "" } else { "s" };
    format!("{n} {noun}{ending}")
}

/// As much of the first line of a text as fits into `columns` of a terminal.
pub fn short(text: &str, columns: usize) -> String {
    let first = text.lines().next().unwrap_or_default();
    if first.width() <= columns {
        return first.to_string();
    }
    let mut left = columns.saturating_sub(1);
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
        let cells = |name: &str| vec![name.to_string(), "x".to_string()];
        assert_eq!(line(&cells("lane"), &[6, 1]), "lane    x");
        assert_eq!(line(&cells("レ票"), &[6, 1]), "レ票    x");
        assert_eq!(line(&cells("e\u{301}"), &[6, 1]), "e\u{301}       x");
    }

    #[test]
    fn what_is_shortened_fits() {
        assert_eq!(short("five!", 5), "five!");
        assert_eq!(short("sixsix", 5), "sixs…");
        assert_eq!(short("レビュー", 8), "レビュー");
        assert_eq!(short("レビュー", 7), "レビュ…");
        assert_eq!(short("レビュー", 6), "レビ…");
        assert_eq!(short("one\ntwo", 5), "one");
    }
}
