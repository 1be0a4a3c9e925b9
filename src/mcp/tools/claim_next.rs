//! `claim_next`: claims a task of a lane, which the chat then does itself.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::error::Result;
use crate::mcp::arguments::Arguments;
use crate::mcp::call::{CallEnd, ToolCall, ToolReply, ToolResult};
use crate::mcp::client::DEFAULT_WAIT;
use crate::mcp::failure::ToolFailure;
use crate::mcp::given_results::{CLIENT_GONE, GivenResult};
use crate::mcp::open_queue::OpenQueue;
use crate::mcp::report_text::TextPiece;
use crate::mcp::request_text::request_text;
use crate::model::json::Object;
use crate::model::limits::lease_from_seconds;
use crate::model::{Filter, LaneName, Owner, Task};
use crate::store::{LaneQuery, Registration, WorkerInfo, WorkerKind};
use crate::workspace::mark_messages_read;

/// The default length of a lease, in seconds: a model may think for a long time between two calls.
const DEFAULT_LEASE: u64 = 1800;
/// The room for the lines before the request, in characters.
const HEAD: usize = 1000;

/// The task that a call waits for.
#[derive(Clone)]
struct WantedTask {
    query: LaneQuery,
    worker: Owner,
    lease: Duration,
    max_chars: usize,
    end: CallEnd,
}

pub(super) async fn run(mut call: ToolCall, arguments: Arguments) -> ToolResult {
    let lane = LaneName::new(arguments.needed_text("lane")?)?;
    let wait = arguments.count("wait")?.unwrap_or(DEFAULT_WAIT).min(call.limits.wait_seconds);
    let wanted = WantedTask {
        query: LaneQuery { lanes: vec![lane.clone()], filter: filter(arguments.object("match"))? },
        worker: call.worker.clone(),
        lease: lease_from_seconds(arguments.count("lease")?.unwrap_or(DEFAULT_LEASE) as f64)?,
        max_chars: call.limits.result_chars.saturating_sub(HEAD),
        end: call.end.clone(),
    };
    let deadline = Instant::now() + Duration::from_secs(wait);
    let mut changes = call.with_queue(|queue| Ok(queue.changes()?)).await?;
    // Shows others that the lane is served, as long as the call waits.
    let mut registration: Option<Registration> = None;
    loop {
        changes.borrow_and_update();
        let attempt = wanted.clone();
        if let Some((claim, text)) = call.with_queue(move |queue| attempt.claim(queue)).await? {
            let is_awaited = call.give(claim).await?;
            return Ok(if is_awaited { ToolReply::text(text) } else { ToolReply::default() });
        }
        if Instant::now() >= deadline || call.end.is_over() {
            return nothing_came(&call, lane, wait).await;
        }
        if registration.is_none() {
            let waiting = wanted.clone();
            registration = Some(call.with_queue(move |queue| Ok(waiting.register(queue)?)).await?);
        }
        let mut wake = deadline;
        if let Some(progress) = &mut call.progress {
            progress.report(format!("waiting for lane {lane}")).await;
            wake = wake.min(progress.next_check());
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = tokio::time::sleep_until(wake) => {}
            () = call.end.wait() => {}
        }
    }
}

/// Reads the conditions: `{key: value}` or `{key: [value, …]}`.
fn filter(conditions: Option<&Object>) -> Result<Filter> {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    let conditions = conditions.into_iter().flatten().map(|(key, value)| {
        let values = match value {
            Value::Array(values) => values.iter().map(word).collect::<Vec<_>>().join(","),
            value => word(value),
        };
        format!("{key}={values}")
    });
    Filter::parse(&conditions.collect::<Vec<_>>())
}

async fn nothing_came(call: &ToolCall, lane: LaneName, wait: u64) -> ToolResult {
    call.with_queue(move |queue| {
        let text = match queue.store.paused()?.get(&lane) {
            Some(pause) => format!("nothing to claim: lane {lane} has been paused since {}", pause.since),
            None => {
                format!("nothing to claim in lane {lane} within {wait} s. Call claim_next again to continue.")
            }
        };
        Ok(ToolReply::text(text))
    })
    .await
}

impl WantedTask {
    /// Claims a task and returns the claim with the text about it. If the client is gone, the task is given back.
    fn claim(&self, queue: &OpenQueue) -> std::result::Result<Option<(GivenResult, String)>, ToolFailure> {
        if self.end.is_over() {
            return Ok(None);
        }
        let claimed = queue.store.claim_next(&self.query, &self.worker, self.lease)?;
        let Some((task, claim)) =
            claimed.and_then(|task| GivenResult::claim_of(&task).map(|claim| (task, claim)))
        else {
            return Ok(None);
        };
        match self.text(queue, &task) {
            Ok(text) if !self.end.is_over() => {
                if let Some(held) = task.status.claim() {
                    mark_messages_read(&queue.store, &task, &held.token);
                }
                Ok(Some((claim, text)))
            }
            Ok(_) => {
                claim.take_back(queue, CLIENT_GONE);
                Ok(None)
            }
            Err(error) => {
                claim.take_back(queue, "its request could not be read");
                Err(error.into())
            }
        }
    }

    fn text(&self, queue: &OpenQueue, task: &Task) -> Result<String> {
        let claim = task.status.claim();
        let token = claim.map_or("", |claim| claim.token.as_str());
        let until = claim.map(|claim| claim.lease_expires_at.to_string()).unwrap_or_default();
        let request = request_text(&queue.store, task)?;
        let request =
            TextPiece::of(&request, 0, self.max_chars).with_cut_line(&format!("id={} part=prompt", task.id));
        Ok(format!(
            "claimed {} lane={} attempt={} token={token} lease={} s until {until}\nRenew with \
             report(do:\"renew\") before that; finish with respond.\n\n{request}",
            task.id,
            task.spec.lane,
            task.attempt,
            self.lease.as_secs()
        ))
    }

    fn register(&self, queue: &OpenQueue) -> Result<Registration> {
        queue.store.register(&WorkerInfo {
            kind: WorkerKind::ClaimWait,
            owner: self.worker.clone(),
            pid: std::process::id(),
            lanes: self.query.lanes.clone(),
            filter: self.query.filter.describe(),
            since: queue.store.now().wall,
            data: Object::new(),
        })
    }
}
