//! The one thing that a task waits for.

use serde_json::Value;

use crate::error::Result;
use crate::model::task::Availability;
use crate::model::{FailureClass, RequestCheck, Status, Task};
use crate::store::{Parked, Store};

/// A reason: a stable word for programs, and a sentence.
pub struct Reason {
    /// The word.
    pub code: &'static str,
    /// The sentence.
    pub sentence: String,
}

/// Tells why a task is where it is.
///
/// # Errors
/// Whatever the store says.
pub fn why(store: &Store, task: &Task) -> Result<Reason> {
    let now = store.now();
    let say = |code, sentence| Ok(Reason { code, sentence });
    match (&task.status, task.availability(&now)) {
        (Status::Completed { at, .. }, _) => say("completed", format!("nothing: it was answered at {at}")),
        (Status::Failed { class: FailureClass::Cancelled, reason, .. }, _) => {
            say("cancelled", format!("nothing: it was {reason}"))
        }
        (Status::Failed { class, reason, .. }, _) => {
            let word = if *class == FailureClass::Dead { "dead" } else { "failed" };
            let reason = short(reason, 200);
            let then = match &task.retried_as {
                Some(new) => format!("it was retried as {new}"),
                None => format!("`lanes retry {}` submits it again", task.id),
            };
            say(word, format!("nothing: it has failed ({reason}); {then}"))
        }
        (Status::Parked(word), _) => say("parked", format!("a newer lanes put it into the state '{word}'")),
        (Status::Claimed(claim), Availability::Leased(until)) => {
            say("claimed", format!("{} works on it, under a lease until {until}", claim.owner))
        }
        (_, Availability::Spent) => say(
            "spent",
            "nothing: its attempts are spent; the next look for work declares it dead".to_string(),
        ),
        (_, Availability::NotBefore(until)) => {
            say("scheduled", format!("its time: it is scheduled for {until}"))
        }
        _ => waiting_reason(store, task),
    }
}

/// Why a task that could be claimed is not.
fn waiting_reason(store: &Store, task: &Task) -> Result<Reason> {
    let say = |code, sentence| Ok(Reason { code, sentence });
    let lane = &task.lane;
    if let Some(pause) = store.paused()?.get(lane) {
        let why = pause.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        return say(
            "paused",
            format!("lane {lane} is paused since {}{why}; `lanes resume {lane}` opens it", pause.since),
        );
    }
    match store.request_check(task) {
        RequestCheck::Missing => {
            return say("request_missing", format!("its request file is missing: {}", task.request_path));
        }
        RequestCheck::Changed(_) => {
            return say(
                "request_changed",
                format!(
                    "its request file is not the submitted one: {}; restore it or cancel the task",
                    task.request_path
                ),
            );
        }
        RequestCheck::Same | RequestCheck::Unchecked => {}
    }
    if !store.lane_is_served(lane)? {
        return say("no_worker", format!("a worker: nobody serves lane {lane}"));
    }
    if let Some((vendor, parked)) = all_vendors_parked(store, lane)? {
        let reason = short(&parked.reason, 200);
        return say(
            "vendor_parked",
            format!("{vendor}, which is left alone until {}: {reason}", parked.until),
        );
    }
    let ahead = store.tasks_ahead(task)?;
    let what = match ahead {
        0 => "it is next".to_string(),
        1 => "1 task is ahead of it".to_string(),
        n => format!("{n} tasks are ahead of it"),
    };
    say("queued", format!("a free worker in lane {lane}: {what}"))
}

/// The vendor that comes back first, if all who serve a lane are dispatchers of parked vendors.
fn all_vendors_parked(store: &Store, lane: &str) -> Result<Option<(String, Parked)>> {
    let parked = store.parked_now();
    let mut back_first: Option<(String, Parked)> = None;
    for worker in
        store.live_workers()?.iter().filter(|worker| worker.lanes.iter().any(|served| served == lane))
    {
        let vendors = worker.data.get("vendors").and_then(Value::as_array);
        let vendors: Vec<&str> = vendors.into_iter().flatten().filter_map(Value::as_str).collect();
        if vendors.is_empty() {
            return Ok(None);
        }
        for vendor in vendors {
            let Some(entry) = parked.get(vendor) else { return Ok(None) };
            if back_first.as_ref().is_none_or(|(_, first)| entry.until < first.until) {
                back_first = Some((vendor.to_string(), entry.clone()));
            }
        }
    }
    Ok(back_first)
}

/// At most `length` characters of the first line of a text.
fn short(text: &str, length: usize) -> String {
    let first = text.lines().next().unwrap_or_default();
    if first.chars().count() <= length {
        first.to_string()
    } else {
        let head: String = first.chars().take(length.saturating_sub(1)).collect();
        format!("{head}…")
    }
}
