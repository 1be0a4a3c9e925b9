//! What keys do to the selected task or lane.
//!
//! Nothing happens before a word is typed: a key that was meant for another window changes nothing.

use super::frame::{RowTarget, end_of_id};
use super::overview::QueueOverview;
use crate::cli::text_format::{columns, shorten};
use crate::error::{Result, printable};
use crate::model::{Command, LaneName, TaskId};
use crate::store::Store;

/// The word that confirms an action.
const YES: &str = "yes";

/// An action on a task or a lane, to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TopAction {
    Cancel { id: String, title: String },
    Retry { id: String, title: String },
    Move { id: String, title: String },
    Pause { lane: String },
    Resume { lane: String },
}

/// Returns what has to be selected for the action of a key.
pub(super) fn describe(key: char) -> &'static str {
    match key {
        'p' => "select a lane first, or a task of it",
        _ => "select a task first",
    }
}

impl TopAction {
    /// Returns the action of a key on a row; `None` if it has none there.
    pub(super) fn of_key(key: char, row: &RowTarget, overview: &QueueOverview) -> Option<Self> {
        if key == 'p' {
            let lane = lane_of(row, overview)?;
            let is_paused = overview.lanes.iter().any(|row| row.name == lane && row.is_paused);
            return Some(if is_paused { Self::Resume { lane } } else { Self::Pause { lane } });
        }
        let RowTarget::Task(id) = row else { return None };
        let (id, title) = (id.clone(), title_of(id, overview));
        match key {
            'c' => Some(Self::Cancel { id, title }),
            'r' => Some(Self::Retry { id, title }),
            'm' => Some(Self::Move { id, title }),
            _ => None,
        }
    }

    /// Returns the question and what the person has typed so far, in at most `room` columns. A title that is too long is
    /// cut, so that the answer is always seen.
    pub(super) fn prompt(&self, typed: &str, room: usize) -> String {
        let line = |title: &str| printable(&format!("{} {typed}_", self.question(title)));
        let title = match self {
            Self::Cancel { title, .. } | Self::Retry { title, .. } | Self::Move { title, .. } => {
                printable(title)
            }
            Self::Pause { .. } | Self::Resume { .. } => String::new(),
        };
        let excess = columns(&line(&title)).saturating_sub(room);
        let line = line(&shorten(&title, columns(&title).saturating_sub(excess)));
        // Even without a title, the end is what has to be seen.
        let mut start = 0;
        while columns(&line[start..]) > room {
            start += line[start..].chars().next().map_or(1, char::len_utf8);
        }
        line[start..].to_string()
    }

    /// Returns the question to which the person types the answer; an empty title is left out.
    fn question(&self, title: &str) -> String {
        let title = if title.is_empty() { String::new() } else { format!(" “{title}”") };
        match self {
            Self::Cancel { id, .. } => format!("Cancel {}{title}? Type yes:", end_of_id(id)),
            Self::Retry { id, .. } => format!("Submit {}{title} again? Type yes:", end_of_id(id)),
            Self::Move { id, .. } => format!("Move {}{title} to which lane?", end_of_id(id)),
            Self::Pause { lane } => format!("Pause lane {lane}? Type yes:"),
            Self::Resume { lane } => format!("Resume lane {lane}? Type yes:"),
        }
    }

    /// Does it, if what was typed confirms it. Returns what was done, for the person.
    ///
    /// # Errors
    /// As the command of the same name.
    pub(super) fn run(&self, store: &Store, typed: &str, by: &str) -> Result<String> {
        let is_confirmed = match self {
            Self::Move { .. } => !typed.is_empty(),
            _ => typed == YES,
        };
        if !is_confirmed {
            return Ok("nothing was changed".to_string());
        }
        match self {
            Self::Cancel { id, .. } => {
                let cancel = Command::Cancel { reason: None, by: by.to_string() };
                store.apply(&TaskId::parse(id)?, &cancel)?;
                Ok(format!("{} is cancelled", end_of_id(id)))
            }
            Self::Retry { id, .. } => {
                let submitted = store.retry(&TaskId::parse(id)?, by)?;
                let (old, new) = (end_of_id(id), end_of_id(submitted.task.id.as_str()));
                Ok(match submitted.existing {
                    true => format!("{old} was submitted again before, as {new}"),
                    false => format!("{old} is submitted again, as {new}"),
                })
            }
            Self::Move { id, .. } => {
                let lane = LaneName::new(typed)?;
                store.apply(&TaskId::parse(id)?, &Command::Move { lane })?;
                Ok(format!("{} is moved to lane {typed}", end_of_id(id)))
            }
            Self::Pause { lane } => {
                store.pause(&LaneName::new(lane.as_str())?, None)?;
                Ok(format!("lane {lane} is paused"))
            }
            Self::Resume { lane } => {
                store.resume(&LaneName::new(lane.as_str())?)?;
                Ok(format!("lane {lane} is resumed"))
            }
        }
    }
}

/// Returns the lane that a row is about.
fn lane_of(row: &RowTarget, overview: &QueueOverview) -> Option<String> {
    let lane = match row {
        RowTarget::Lane(lane) => Some(lane.clone()),
        RowTarget::Task(id) => {
            let running = overview.running.iter().map(|row| (&row.id, Some(&row.lane)));
            let ended = overview.ended.iter().map(|row| (&row.id, Some(&row.lane)));
            let asking =
                overview.attention.iter().filter_map(|row| Some((row.id.as_ref()?, row.lane.as_ref())));
            running.chain(ended).chain(asking).find(|(known, _)| *known == id)?.1.cloned()
        }
    };
    lane.filter(|lane| !lane.is_empty())
}

/// Returns the title of a task; nothing if it is not known.
fn title_of(id: &str, overview: &QueueOverview) -> String {
    let running = overview.running.iter().map(|row| (&row.id, &row.title));
    let ended = overview.ended.iter().map(|row| (&row.id, &row.title));
    let found = running.chain(ended).find(|(known, _)| *known == id);
    found.map_or_else(String::new, |(_, title)| title.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_seen_whatever_the_title_is() {
        let title =
            "Rewrite the import of catalogues so that it reads gzip, zstd and plain files 目録".to_string();
        let action =
            TopAction::Move { id: "20261121T070000000000Z-work-d285194604e2-d64cf2".to_string(), title };
        assert_eq!(action.prompt("revi", 60), "Move d64cf2 “Rewrite the import of ca…” to which lane? revi_");
        for room in 1..120 {
            let prompt = action.prompt("revi", room);
            assert!(columns(&prompt) <= room && prompt.ends_with('_'), "{room}: {prompt}");
            assert!(room < 5 || prompt.ends_with("revi_"), "{room}: {prompt}");
        }
        assert!(action.prompt("", 120).contains("目録” to which lane?"));
    }
}
