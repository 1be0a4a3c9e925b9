//! Checks the history of one task.

use serde::Deserialize;

use super::fault::{Repair, TaskCheck};
use super::report::Severity;
use crate::error::{ErrorKind, Result};
use crate::model::{Task, json};
use crate::store::bounded_file;
use crate::store::dir::Dir;
use crate::store::layout::EVENTS_FILE;

/// The number of an event line.
#[derive(Deserialize)]
struct EventNumber {
    n: Option<u64>,
}

/// Returns the number of an event line; `None` when the line is not a JSON object.
fn event_number(line: &[u8]) -> Option<Option<u64>> {
    match serde_json::from_slice::<EventNumber>(line) {
        Ok(event) => Some(event.n),
        // Text that Python writes and a strict parser refuses is not damage.
        Err(_) => json::parse_object(line).ok().map(|object| object.get("n").and_then(|n| n.as_u64())),
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n") && line.len() > 1)
}

/// Returns the lines of the history that are events and happened.
pub(crate) fn whole_event_lines(dir: &Dir, task: &Task) -> Result<Vec<u8>> {
    let content =
        bounded_file::read(dir, EVENTS_FILE, u64::MAX)?.map(|content| content.bytes).unwrap_or_default();
    let is_event = |line: &&[u8]| event_number(line).is_some_and(|n| !is_uncommitted_number(n, task));
    Ok(lines(&content).filter(is_event).collect::<Vec<_>>().concat())
}

/// Returns whether a line has a number above the last event of the task.
fn is_uncommitted_number(n: Option<u64>, task: &Task) -> bool {
    !task.was_written_by_others() && n > Some(task.bookkeeping.last_event)
}

/// Checks the history of a task.
pub(crate) fn check_events(check: &mut TaskCheck, dir: &Dir, task: &Task) -> Result<()> {
    let bytes = match bounded_file::read(dir, EVENTS_FILE, u64::MAX) {
        Ok(content) => content.map(|content| content.bytes).unwrap_or_default(),
        // A link has been found already; a directory or a pipe must be moved as well.
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            let (file, repair) = (EVENTS_FILE, Repair::ReplaceEvents);
            match check.faults.iter_mut().find(|fault| fault.file == file) {
                Some(link) => link.repair = repair,
                None => check.fault("events-unreadable", Severity::Damage, file, error.message(), repair),
            }
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let (mut broken, mut uncommitted, mut gap, mut newest) = (0_u32, 0_u32, false, 0_u64);
    for line in lines(&bytes) {
        match event_number(line) {
            None => broken += 1,
            Some(n) if is_uncommitted_number(n, task) => uncommitted += 1,
            Some(Some(n)) => {
                gap |= n > newest.saturating_add(1);
                newest = newest.max(n);
            }
            Some(None) => {}
        }
    }
    let recent = &task.bookkeeping.recent;
    let next = recent.iter().filter_map(|event| event.n).find(|n| *n > newest);
    gap |= next.is_some_and(|next| next > newest.saturating_add(1));
    if broken > 0 {
        let message = format!("{broken} lines are not events");
        check.fault("events-broken", Severity::Damage, EVENTS_FILE, message, Repair::RewriteEvents);
    } else if uncommitted > 0 {
        let message = format!("{uncommitted} lines are about events that did not happen");
        check.fault("events-undone", Severity::Leftover, EVENTS_FILE, message, Repair::RewriteEvents);
    } else if bytes.last().is_some_and(|last| *last != b'\n') {
        let message = "the last line is incomplete";
        check.fault("events-torn", Severity::Leftover, EVENTS_FILE, message, Repair::CompleteEvents);
    } else if next.is_some() {
        let message = "events in task.json are not copied to it yet";
        check.fault("events-behind", Severity::Leftover, EVENTS_FILE, message, Repair::CompleteEvents);
    }
    if gap {
        let message = "some events of the past are lost";
        check.fault("events-lost", Severity::Leftover, EVENTS_FILE, message, Repair::Nothing);
    }
    Ok(())
}
