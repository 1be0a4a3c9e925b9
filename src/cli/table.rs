//! Prints rows under headings, in aligned columns.

use std::borrow::Cow;
use std::collections::HashSet;

use super::colour::{Colour, painted};
use super::output::Output;
use super::text_format::{columns, digits_that_differ, end_of_id, is_plain, shorten};
use crate::error::{Result, printable};

/// The spaces between two columns.
const GAP: usize = 2;

/// How many columns of a cell are shown at least, before a narrow terminal cuts the row.
const LEAST_CELL: usize = 10;

/// Rows under headings, columns aligned. A file or a pipe gets every cell whole. On a terminal, rows fit its width: ids
/// are shown by their ends, columns that say nothing are left out, and the last one, a free text, gets the room that is
/// left.
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

    fn cell(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.cells[before].0);
        &self.text[start as usize..self.cells[index].0 as usize]
    }

    fn width(&self, index: usize) -> usize {
        self.cells[index].1 as usize
    }
}

/// A column as it is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Column {
    /// Which of the cells of a row it shows.
    index: usize,
    width: usize,
    /// What its cells need; its heading may be cut.
    cells: usize,
    /// Whether its cells are ids, which are cut at their beginnings, and no shorter than `width`.
    has_ids: bool,
}

impl Table {
    /// Makes an empty table. Under `ID` and `TASK` are ids; the last column has the longest texts.
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
        let room = out.row_width();
        let columns = room.map_or_else(|| self.whole(), |room| self.fitted(room));
        let mut line = LineOfCells::new(room);
        for column in &columns {
            let heading = self.headings[column.index];
            line.push(heading, column, out.is_coloured().then_some(Colour::Bold));
        }
        out.line(line.text())?;
        for row in &self.rows {
            line.clear();
            for column in &columns {
                let cell = row.cell(column.index);
                let is_state = out.is_coloured() && self.headings[column.index] == "STATE";
                line.push(cell, column, is_state.then(|| Colour::of_state(cell)).flatten());
            }
            out.line(line.text())?;
        }
        Ok(())
    }

    /// Returns all columns, as wide as their cells.
    fn whole(&self) -> Vec<Column> {
        let column = |(index, heading): (usize, &&str)| {
            let cells = self.rows.iter().map(|row| row.width(index)).max().unwrap_or(0);
            Column { index, width: cells.max(heading.len()), cells, has_ids: false }
        };
        self.headings.iter().enumerate().map(column).collect()
    }

    /// Returns the columns of a table that is no wider than `room`. A table that is too wide even with the least of each
    /// column is cut.
    fn fitted(&self, room: usize) -> Vec<Column> {
        let mut columns = self.whole();
        let says_nothing = |index: usize, nothing: &str| {
            index > 0 && self.rows.iter().all(|row| ["", nothing].contains(&row.cell(index)))
        };
        columns.retain(|column| !says_nothing(column.index, ""));
        for column in &mut columns {
            if matches!(self.headings[column.index], "ID" | "TASK") {
                column.has_ids = true;
                column.cells = column.cells.min(self.digits(column.index));
                column.width = column.cells.max(self.headings[column.index].len());
            }
        }
        if excess(&columns, room) > 0 {
            columns.retain(|column| !says_nothing(column.index, "0"));
        }
        narrow(&mut columns, room);
        columns
    }

    /// Returns how many characters at the ends of the ids of a column tell them apart.
    fn digits(&self, index: usize) -> usize {
        digits_that_differ(&self.rows.iter().map(|row| row.cell(index)).collect::<HashSet<&str>>())
    }
}

/// A line of cells, cut at the width of the terminal.
struct LineOfCells {
    text: String,
    /// The columns of the line that no cell has taken; `None` without a limit.
    left: Option<usize>,
    room: Option<usize>,
    /// The spaces that are due before the next text.
    gap: usize,
}

impl LineOfCells {
    fn new(room: Option<usize>) -> Self {
        Self { text: String::new(), left: room, room, gap: 0 }
    }

    fn clear(&mut self) {
        self.text.clear();
        (self.left, self.gap) = (self.room, 0);
    }

    fn text(&self) -> &str {
        self.text.trim_end()
    }

    /// Adds a cell, which takes the width of its column.
    fn push(&mut self, cell: &str, column: &Column, colour: Option<Colour>) {
        let end = if column.has_ids { end_of_id(cell, column.width) } else { cell };
        let width = self.left.map_or(column.width, |left| column.width.min(left.saturating_sub(self.gap)));
        let shown = match columns(end) > width {
            true => Cow::Owned(shorten(end, width)),
            false => Cow::Borrowed(end),
        };
        if !shown.is_empty() {
            self.text.extend(std::iter::repeat_n(' ', self.gap));
            self.text.push_str(&painted(&shown, colour));
            self.left = self.left.map(|left| left.saturating_sub(self.gap + columns(&shown)));
            self.gap = 0;
        }
        self.gap += column.width.saturating_sub(columns(&shown)) + GAP;
    }
}

/// Returns by how much a row of these columns is too wide.
fn excess(columns: &[Column], room: usize) -> usize {
    let cells: usize = columns.iter().map(|column| column.width).sum();
    (cells + GAP * columns.len().saturating_sub(1)).saturating_sub(room)
}

/// Narrows columns until a row fits: the last one first, then always the widest one. Ids stay whole, and so do short
/// cells, such as numbers.
fn narrow(columns: &mut [Column], room: usize) {
    const LEAST_TEXT: usize = 16;
    let over = excess(columns, room);
    if let Some(last) = columns.last_mut().filter(|last| !last.has_ids) {
        last.width -= over.min(last.width.saturating_sub(LEAST_TEXT));
    }
    for _ in 0..excess(columns, room) {
        let can_shrink =
            |column: &&mut Column| !column.has_ids && column.width > column.cells.clamp(1, LEAST_CELL);
        let Some(widest) = columns.iter_mut().filter(can_shrink).max_by_key(|column| column.width) else {
            return;
        };
        widest.width -= 1;
    }
}

fn shown(text: &str) -> Cow<'_, str> {
    if is_plain(text) { Cow::Borrowed(text) } else { Cow::Owned(printable(text)) }
}

/// Prints a line that is a row of a growing table: on a terminal, what does not fit is cut.
pub(super) fn print_row(out: &mut Output, text: &str) -> Result<()> {
    match out.row_width() {
        Some(room) => out.line(&shorten(text, room)),
        None => out.line(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_a_terminal() {
        let cell = |text: &str| {
            let mut line = LineOfCells::new(None);
            let column = Column { index: 0, width: 6, cells: 6, has_ids: false };
            line.push(Row::new(&[text]).cell(0), &column, None);
            line.push("x", &column, None);
            line.push("", &column, None);
            line.text().to_string()
        };
        assert_eq!(cell("lane"), "lane    x");
        assert_eq!(cell("レ票"), "レ票    x");
        assert_eq!(cell("e\u{301}"), "e\u{301}       x");
        assert_eq!(cell("a\tb"), "a\\tb    x");
    }

    #[test]
    fn ids_are_shown_by_the_shortest_ends_that_differ_and_are_no_flags() {
        let table = |ids: &[&str]| {
            let mut table = Table::new(&["ID"]);
            ids.iter().for_each(|id| table.add(Row::new(&[id])));
            table.digits(0)
        };
        assert_eq!(table(&["x-12abcdef", "x-12abcdee", "x-12abcdee"]), 6);
        assert_eq!(table(&["x-12abcdef", "x-13abcdef"]), 7);
        assert_eq!(table(&["abc", "x-abc", "y"]), 5);
        assert_eq!(
            (end_of_id("x-12abcdef", 6), end_of_id("x-abcde", 6), end_of_id("abc", 6)),
            ("abcdef", "abcde", "abc")
        );
    }

    #[test]
    fn a_table_fits_the_width_and_uses_it() {
        let mut table = Table::new(&["ID", "LANE", "NONE", "COUNT", "ZERO", "WHAT"]);
        let what = "A sentence about the task that is longer than a narrow terminal is wide, since people write such.";
        let id = "20261121T070000000000Z-questions-d285194604e2-d64cf2";
        table.add(Row::new(&[id, "review", "", "12345678", "0", what]));
        table.add(Row::new(&[
            "other-aaaaaa",
            "レビューレビューレビューレビュー",
            "",
            "1",
            "0",
            "\u{1b}[31m\u{202e}☃\u{fe0f}",
        ]));
        let widths = |room: usize| -> Vec<(&str, usize)> {
            table.fitted(room).iter().map(|column| (table.headings[column.index], column.width)).collect()
        };
        assert_eq!(widths(60), [("ID", 6), ("LANE", 24), ("COUNT", 8), ("WHAT", 16)]);
        assert_eq!(
            widths(300),
            [("ID", 6), ("LANE", 32), ("COUNT", 8), ("ZERO", 4), ("WHAT", columns(what))]
        );
        for room in 1..200 {
            assert!(excess(&table.fitted(room), room) == 0 || room < 40, "{room}");
        }
    }
}
