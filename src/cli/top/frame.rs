//! Draws an overview of a queue as lines of text. Pure: the same overview gives the same frame.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::overview::{AttentionRow, EndedRow, LaneRow, QueueOverview, RunningRow};
use crate::cli::text_format::{format_duration, relative, shorten};
use crate::error::printable;
use crate::model::Now;

/// The widest columns of names, in terminal columns.
const MAX_LANE: usize = 18;
const MAX_WORKER: usize = 14;

/// The keys, for the last line: 80 columns at most, with the way out at its beginning.
const KEYS: &str = "q quit  j/k move  Enter show  l logs  c cancel  r retry  m move  p pause/resume";

/// How a piece of text looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TextStyle {
    #[default]
    Plain,
    Bold,
    Dim,
    Good,
    Bad,
    Waiting,
    /// The selected line.
    Selected,
}

/// A line of a frame: pieces of text without control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FrameLine(pub Vec<(TextStyle, String)>);

/// What a line of a frame is about, and what a key pressed on it acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RowTarget {
    Task(String),
    Lane(String),
}

/// The size of a frame, in terminal columns and lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameSize {
    pub width: usize,
    pub height: usize,
}

/// What decides, besides the overview, how a frame looks.
pub(super) struct FrameOptions<'a> {
    /// The name of the queue, for the first line.
    pub queue: &'a str,
    pub size: FrameSize,
    /// The number of the selected row among [`targets`]; `None` where nothing can be selected.
    pub selected: Option<usize>,
    /// The last line, in place of the keys.
    pub footer: Option<FrameLine>,
}

/// A part of a frame under a heading.
struct Pane {
    heading: FrameLine,
    rows: Vec<(RowTarget, FrameLine)>,
    /// Shown if there are no rows.
    empty: &'static str,
}

/// Returns what the rows of an overview are about, from the top to the bottom.
pub(super) fn targets(overview: &QueueOverview) -> Vec<RowTarget> {
    let task = |id: &String| RowTarget::Task(id.clone());
    let attention = overview.attention.iter().map(attention_target);
    let running = overview.running.iter().map(|row| task(&row.id));
    let lanes = overview.lanes.iter().map(|row| RowTarget::Lane(row.name.clone()));
    let ended = overview.ended.iter().map(|row| task(&row.id));
    attention.chain(running).chain(lanes).chain(ended).collect()
}

fn attention_target(row: &AttentionRow) -> RowTarget {
    match (&row.id, &row.lane) {
        (Some(id), _) => RowTarget::Task(id.clone()),
        (None, lane) => RowTarget::Lane(lane.clone().unwrap_or_default()),
    }
}

/// Draws a frame, which has at most as many lines as its size.
pub(super) fn draw(overview: &QueueOverview, now: &Now, options: &FrameOptions<'_>) -> Vec<FrameLine> {
    let FrameSize { width, height } = options.size;
    let mut lines = vec![head(overview, options.queue, width)];
    let footer = options.selected.is_some() || options.footer.is_some();
    let room = height.saturating_sub(1 + usize::from(footer));
    let panes = panes(overview, now, width);
    let heights = share(&panes.iter().map(Pane::full_height).collect::<Vec<_>>(), room);
    let mut before = 0;
    for (pane, height) in panes.iter().zip(heights) {
        let selected = options.selected.and_then(|selected| selected.checked_sub(before));
        lines.extend(pane.lines(height, selected.filter(|selected| *selected < pane.rows.len())));
        before += pane.rows.len();
    }
    lines.truncate(height.saturating_sub(usize::from(footer)).max(1));
    if footer {
        lines.resize(height.saturating_sub(1).max(1), FrameLine::default());
        let keys = || FrameLine(vec![(TextStyle::Dim, KEYS.to_string())]);
        lines.push(options.footer.clone().unwrap_or_else(keys));
    }
    lines.iter().map(|line| line.cut(width)).collect()
}

fn head(overview: &QueueOverview, queue: &str, width: usize) -> FrameLine {
    let waiting: u64 = overview.lanes.iter().map(|lane| lane.queued + lane.scheduled + lane.blocked).sum();
    let needs = overview.attention.len();
    let counts = format!("{} running, {waiting} waiting", overview.running.len());
    let needs = match needs {
        0 => String::new(),
        1 => ", 1 needs you".to_string(),
        _ => format!(", {needs} need you"),
    };
    let room = width.saturating_sub(counts.width() + needs.width() + 2);
    FrameLine(vec![
        (TextStyle::Bold, counts),
        (TextStyle::Waiting, needs),
        (TextStyle::Dim, format!("  {}", shorten(&printable(queue), room))),
    ])
}

fn panes(overview: &QueueOverview, now: &Now, width: usize) -> Vec<Pane> {
    let mut panes = Vec::new();
    if !overview.attention.is_empty() {
        panes.push(attention_pane(&overview.attention, now, width));
    }
    panes.push(running_pane(&overview.running, now, width));
    panes.push(lane_pane(&overview.lanes));
    if !overview.ended.is_empty() {
        panes.push(ended_pane(&overview.ended, now, width));
    }
    panes
}

/// Divides `room` among panes of these heights: each gets an equal part, and what one does not need goes to the others,
/// from the top.
fn share(wanted: &[usize], room: usize) -> Vec<usize> {
    let mut given = vec![0; wanted.len()];
    let mut left = room;
    while left > 0 && given.iter().zip(wanted).any(|(given, wanted)| given < wanted) {
        for (given, wanted) in given.iter_mut().zip(wanted) {
            if left > 0 && *given < *wanted {
                *given += 1;
                left -= 1;
            }
        }
    }
    given
}

impl Pane {
    /// Returns the height with all rows: with the heading, and an empty line before it.
    fn full_height(&self) -> usize {
        self.rows.len().max(1) + 2
    }

    /// Draws the pane with this height, so that the selected row is seen.
    fn lines(&self, height: usize, selected: Option<usize>) -> Vec<FrameLine> {
        let mut lines = vec![FrameLine::default(), self.heading.clone()];
        let room = height.saturating_sub(2);
        if self.rows.is_empty() {
            lines.push(FrameLine(vec![(TextStyle::Dim, self.empty.to_string())]));
        }
        let hidden = self.rows.len() > room;
        let shown = if hidden { room.saturating_sub(1) } else { room };
        let first = selected.map_or(0, |selected| (selected + 1).saturating_sub(shown));
        for (number, (_, line)) in self.rows.iter().enumerate().skip(first).take(shown) {
            lines.push(if selected == Some(number) { line.selected() } else { line.clone() });
        }
        if hidden && room > 0 {
            let more = self.rows.len() - shown;
            lines.push(FrameLine(vec![(TextStyle::Dim, format!("… {more} more"))]));
        }
        lines.truncate(height);
        lines
    }
}

fn attention_pane(rows: &[AttentionRow], now: &Now, width: usize) -> Pane {
    let lane = column_width("LANE", rows.iter().map(|row| row.lane.as_deref().unwrap_or_default()), MAX_LANE);
    let text = width.saturating_sub(6 + 8 + lane + 8 + 8);
    let row = |row: &AttentionRow| {
        let id = row.id.as_deref().map_or("", end_of_id);
        let since = row.since.map_or(String::new(), |since| relative(since, now));
        let cells = [
            cell(TextStyle::Plain, id, 6),
            cell(TextStyle::Waiting, row.kind, 8),
            cell(TextStyle::Plain, row.lane.as_deref().unwrap_or_default(), lane),
            right(TextStyle::Dim, &since, 8),
            cell(TextStyle::Plain, &row.text, text),
        ];
        (attention_target(row), joined(cells))
    };
    Pane {
        heading: joined([
            cell(TextStyle::Bold, "NEEDS YOU", 16),
            cell(TextStyle::Bold, "LANE", lane),
            right(TextStyle::Bold, "SINCE", 8),
            cell(TextStyle::Bold, "WHAT", text),
        ]),
        rows: rows.iter().map(row).collect(),
        empty: "",
    }
}

fn running_pane(rows: &[RunningRow], now: &Now, width: usize) -> Pane {
    let lane = column_width("LANE", rows.iter().map(|row| row.lane.as_str()), MAX_LANE);
    let worker = column_width("WORKER", rows.iter().map(|row| row.worker.as_str()), MAX_WORKER);
    let title = width.saturating_sub(7 + lane + worker + 7 + 6 + 10);
    let row = |row: &RunningRow| {
        let attempt = match row.max_attempts {
            Some(most) => format!("{}/{most}", row.attempt),
            None => row.attempt.to_string(),
        };
        let (style, time) = match row.lease_expires_at <= now.wall {
            true => (TextStyle::Bad, "no lease".to_string()),
            false => (TextStyle::Good, format_duration(now.wall.seconds_since(row.since).max(0.0))),
        };
        let cells = [
            cell(TextStyle::Plain, end_of_id(&row.id), 7),
            cell(TextStyle::Plain, &row.lane, lane),
            cell(TextStyle::Plain, &row.worker, worker),
            right(TextStyle::Plain, &attempt, 7),
            right(style, &time, 8),
            cell(TextStyle::Plain, &row.title, title),
        ];
        (RowTarget::Task(row.id.clone()), joined(cells))
    };
    Pane {
        heading: joined([
            cell(TextStyle::Bold, "RUNNING", 7),
            cell(TextStyle::Bold, "LANE", lane),
            cell(TextStyle::Bold, "WORKER", worker),
            right(TextStyle::Bold, "ATTEMPT", 7),
            right(TextStyle::Bold, "TIME", 8),
            cell(TextStyle::Bold, "TASK", title),
        ]),
        rows: rows.iter().map(row).collect(),
        empty: "nothing is running",
    }
}

fn lane_pane(rows: &[LaneRow]) -> Pane {
    const COUNTS: [&str; 8] =
        ["QUEUED", "SCHED", "BLOCKED", "RUNNING", "ASKING", "DONE", "FAILED", "WORKERS"];
    let name = column_width("LANE", rows.iter().map(|row| row.name.as_str()), MAX_LANE);
    let row = |row: &LaneRow| {
        let counts = [
            (TextStyle::Waiting, row.queued),
            (TextStyle::Plain, row.scheduled),
            (TextStyle::Plain, row.blocked),
            (TextStyle::Good, row.running),
            (TextStyle::Waiting, row.asking),
            (TextStyle::Plain, row.completed),
            (TextStyle::Bad, row.failed),
            (TextStyle::Plain, row.workers),
        ];
        let mut cells = vec![cell(TextStyle::Plain, &row.name, name)];
        cells.extend(counts.iter().zip(COUNTS).map(|((style, count), heading)| match count {
            0 => right(TextStyle::Dim, "·", heading.len()),
            count => right(*style, &count.to_string(), heading.len()),
        }));
        if row.is_paused {
            cells.push(cell(TextStyle::Waiting, "paused", 6));
        }
        (RowTarget::Lane(row.name.clone()), joined(cells))
    };
    let heading = COUNTS.iter().map(|heading| right(TextStyle::Bold, heading, heading.len()));
    Pane {
        heading: joined(std::iter::once(cell(TextStyle::Bold, "LANE", name)).chain(heading)),
        rows: rows.iter().map(row).collect(),
        empty: "nothing was ever submitted here; `lanes submit` adds the first task",
    }
}

fn ended_pane(rows: &[EndedRow], now: &Now, width: usize) -> Pane {
    let lane = column_width("LANE", rows.iter().map(|row| row.lane.as_str()), MAX_LANE);
    let outcome = column_width("OUTCOME", rows.iter().map(|row| row.outcome.as_str()), 24);
    let title = width.saturating_sub(7 + lane + outcome + 8 + 8);
    let row = |row: &EndedRow| {
        let style = if row.is_failed { TextStyle::Bad } else { TextStyle::Good };
        let cells = [
            cell(TextStyle::Plain, end_of_id(&row.id), 7),
            cell(TextStyle::Plain, &row.lane, lane),
            cell(style, &row.outcome, outcome),
            right(TextStyle::Dim, &relative(row.at, now), 8),
            cell(TextStyle::Plain, &row.title, title),
        ];
        (RowTarget::Task(row.id.clone()), joined(cells))
    };
    Pane {
        heading: joined([
            cell(TextStyle::Bold, "ENDED", 7),
            cell(TextStyle::Bold, "LANE", lane),
            cell(TextStyle::Bold, "OUTCOME", outcome),
            right(TextStyle::Bold, "WHEN", 8),
            cell(TextStyle::Bold, "TASK", title),
        ]),
        rows: rows.iter().map(row).collect(),
        empty: "",
    }
}

/// Returns the end of an id, by which commands accept it.
pub(super) fn end_of_id(id: &str) -> &str {
    id.rsplit('-').next().unwrap_or(id)
}

fn column_width<'a>(heading: &str, texts: impl Iterator<Item = &'a str>, most: usize) -> usize {
    texts.map(|text| printable(text).width()).chain([heading.len()]).max().unwrap_or(0).min(most)
}

/// Returns a text in a column of this width, which two spaces follow.
fn cell(style: TextStyle, text: &str, width: usize) -> (TextStyle, String) {
    let text = shorten(&printable(text.lines().next().unwrap_or_default()), width);
    let gap = width.saturating_sub(text.width()) + 2;
    (style, text + &" ".repeat(gap))
}

/// The same, with the text at the right.
fn right(style: TextStyle, text: &str, width: usize) -> (TextStyle, String) {
    let text = shorten(&printable(text), width);
    (style, " ".repeat(width.saturating_sub(text.width())) + &text + "  ")
}

fn joined(cells: impl IntoIterator<Item = (TextStyle, String)>) -> FrameLine {
    FrameLine(cells.into_iter().collect())
}

impl FrameLine {
    /// Returns the text without styles, and without spaces at its end.
    pub(super) fn text(&self) -> String {
        let text: String = self.0.iter().map(|(_, text)| text.as_str()).collect();
        text.trim_end().to_string()
    }

    /// Returns the line as the selected one.
    fn selected(&self) -> Self {
        Self(vec![(TextStyle::Selected, self.0.iter().map(|(_, text)| text.as_str()).collect())])
    }

    /// Returns the line in as many lines as it needs in this width, without styles.
    pub(super) fn wrapped(&self, width: usize) -> Vec<Self> {
        let mut lines = vec![String::new()];
        let mut left = width;
        for character in self.text().chars() {
            let columns = character.width().unwrap_or(0);
            if columns > left {
                lines.push(String::new());
                left = width;
            }
            left = left.saturating_sub(columns);
            if let Some(line) = lines.last_mut() {
                line.push(character);
            }
        }
        lines.into_iter().map(|line| Self(vec![(TextStyle::Plain, line)])).collect()
    }

    /// Returns the line without what is beyond the width.
    fn cut(&self, width: usize) -> Self {
        let mut left = width;
        let mut pieces = Vec::new();
        for (style, text) in &self.0 {
            if text.width() <= left {
                left -= text.width();
                pieces.push((*style, text.clone()));
                continue;
            }
            // Spaces at the end need no mark.
            let text = text.trim_end();
            if left > 0 && !text.is_empty() {
                pieces.push((*style, shorten(text, left)));
            }
            break;
        }
        Self(pieces)
    }
}
