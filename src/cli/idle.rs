//! The reply of `claim`, `next` and `wait --lane` when there is nothing to claim.

use super::context::CommandContext;
use super::text_format::seconds;
use crate::error::{Result, shell_word};
use crate::model::LaneName;
use crate::model::task::object;
use crate::store::{LaneQuery, Store};
use crate::workspace::similar_lane;

/// Reports that there is nothing to claim, and the reason.
pub(super) fn print_idle(
    context: &mut CommandContext,
    store: &Store,
    want: &LaneQuery,
    timeout: f64,
) -> Result<()> {
    let lanes = want.lanes.join(", ");
    let flags: Vec<String> =
        want.lanes.iter().map(|lane| format!("--lane {}", shell_word(lane.as_str()))).collect();
    let mut used = false;
    for lane in &want.lanes {
        used |= store.lane_has_tasks(lane)?;
    }
    let reason = if used { "no_queued_task" } else { "no_task_submitted" };
    let paused = store.paused()?;
    let stopped: Vec<&str> =
        want.lanes.iter().filter(|lane| paused.contains_key(*lane)).map(LaneName::as_str).collect();
    let message = if !stopped.is_empty() && stopped.len() == want.lanes.len() {
        let words: Vec<String> = stopped.iter().map(|lane| shell_word(lane)).collect();
        format!("lane {lanes} is paused; run `lanes resume {}` to reopen it", words.join("`, `lanes resume "))
    } else if used {
        format!("lane {lanes} has nothing to claim")
    } else {
        let config = context.config().ok();
        let similar =
            config.and_then(|config| want.lanes.iter().find_map(|lane| similar_lane(&config, store, lane)));
        let similar = similar.map_or(String::new(), |similar| format!("; did you mean {similar}?"));
        format!("nothing was ever submitted to lane {lanes}{similar}")
    };
    if context.out.json {
        context.out.object(&object([
            ("status", "idle".into()),
            ("lane", want.lanes.first().map_or("", LaneName::as_str).into()),
            ("lanes", want.lanes.clone().into()),
            ("reason", reason.into()),
            ("paused", stopped.into()),
            ("timeout_seconds", timeout.into()),
            ("message", message.into()),
            (
                "next_action",
                format!(
                    "monitor: wait again; worker: `lanes claim {} --wait`; submitter: submit",
                    flags.join(" ")
                )
                .into(),
            ),
        ]))
    } else {
        let waited = if timeout > 0.0 { format!("; waited {}", seconds(timeout)) } else { String::new() };
        context.out.note(&format!("lanes: {message}{waited}"));
        Ok(())
    }
}
