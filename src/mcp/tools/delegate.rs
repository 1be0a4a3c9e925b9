//! `delegate`: submits tasks and waits for their answers.

use serde_json::Value;

use super::{MAX_TASKS, reply_about};
use crate::mcp::agents::lane_of;
use crate::mcp::arguments::Arguments;
use crate::mcp::call::{ToolCall, ToolResult};
use crate::mcp::catalog::task_schema;
use crate::mcp::client::{DEFAULT_CHARS, DEFAULT_WAIT};
use crate::mcp::failure::ToolFailure;
use crate::mcp::open_queue::OpenQueue;
use crate::mcp::single_flight::request_key;
use crate::mcp::waiting::wait_for_ends;
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{LaneName, NewTask, TaskId};
use crate::workspace::{BaseDir, Config, SubmitContext, SubmitRequest, check_client_metadata, check_submit};

/// The arguments of the call that hold for all `tasks` that do not give their own.
const SHARED: [&str; 9] =
    ["agent", "lane", "context", "caller", "goal", "format", "timeout", "fresh", "priority"];

pub(super) async fn run(mut call: ToolCall, arguments: Arguments) -> ToolResult {
    let seconds = arguments.count("wait")?.unwrap_or(DEFAULT_WAIT);
    let max_chars =
        arguments.count("max_chars")?.map_or(DEFAULT_CHARS, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let wanted = wanted_tasks(arguments)?;
    let (session, depth) = (call.session.clone(), call.depth);
    // From here on the tasks are in the store, whatever becomes of the call.
    let ids = call.with_queue(move |queue| submit_all(queue, &wanted, &session, depth)).await?;
    let reports = wait_for_ends(&mut call, &ids, false, seconds).await?;
    Ok(reply_about(&call, &reports, max_chars))
}

/// Returns the arguments of each task.
fn wanted_tasks(arguments: Arguments) -> Result<Vec<Arguments>, ToolFailure> {
    let Some(items) = arguments.objects("tasks") else { return Ok(vec![arguments]) };
    if items.is_empty() || items.len() > MAX_TASKS {
        let what = format!("'tasks' has {} tasks", items.len());
        return Err(ToolFailure::invalid(what, format!("give 1 to {MAX_TASKS}")));
    }
    if let Some(name) = ["task", "key", "session_id"].into_iter().find(|name| arguments.has(name)) {
        let what = format!("'{name}' belongs to one task");
        return Err(ToolFailure::invalid(what, "give it in an item of 'tasks'"));
    }
    let schema = task_schema()?;
    let with_shared = |(number, mut item): (usize, Object)| {
        let has_target = item.contains_key("agent") || item.contains_key("lane");
        for name in SHARED {
            let is_target = matches!(name, "agent" | "lane");
            if let Some(value) = arguments.value(name).filter(|_| !(is_target && has_target)) {
                item.entry(name).or_insert_with(|| value.clone());
            }
        }
        Arguments::check(&schema, item).map_err(|failure| of_item(number, failure))
    };
    items.into_iter().enumerate().map(with_shared).collect()
}

fn of_item(number: usize, failure: ToolFailure) -> ToolFailure {
    ToolFailure { what: format!("tasks[{number}]: {}", failure.what), ..failure }
}

/// Submits the tasks, all of which are checked before.
fn submit_all(
    queue: &OpenQueue,
    wanted: &[Arguments],
    session: &str,
    depth: Option<u32>,
) -> Result<Vec<TaskId>, ToolFailure> {
    let config = queue.config_now()?;
    let mut drafts: Vec<TaskDraft> = Vec::with_capacity(wanted.len());
    for (number, arguments) in wanted.iter().enumerate() {
        let draft = TaskDraft::of(queue, &config, arguments, session, depth);
        drafts.push(
            draft.map_err(|failure| if wanted.len() > 1 { of_item(number, failure) } else { failure })?,
        );
    }
    let mut ids = Vec::with_capacity(drafts.len());
    for number in 0..drafts.len() {
        match drafts[number].submit(queue, session, repetitions(&drafts, number)) {
            Ok(id) => ids.push(id),
            Err(failure) if ids.is_empty() => return Err(failure),
            Err(failure) => {
                let done: Vec<&str> = ids.iter().map(TaskId::as_str).collect();
                let what = format!("{}; submitted before that: {}", failure.what, done.join(", "));
                return Err(ToolFailure { what, ..of_item(number, failure) });
            }
        }
    }
    Ok(ids)
}

/// Returns how many of the drafts before this one ask for the same.
fn repetitions(drafts: &[TaskDraft], number: usize) -> usize {
    drafts[..number].iter().filter(|draft| draft.content == drafts[number].content).count()
}

/// A checked task that is not submitted yet.
struct TaskDraft {
    task: NewTask,
    /// What it asks for, for the key of a request that has none.
    content: Object,
    /// Whether an open task that asks for the same does not count.
    is_fresh: bool,
}

impl TaskDraft {
    fn of(
        queue: &OpenQueue,
        config: &Config,
        arguments: &Arguments,
        session: &str,
        depth: Option<u32>,
    ) -> Result<Self, ToolFailure> {
        let lane = match (arguments.text("agent"), arguments.text("lane")) {
            (Some(agent), None) => lane_of(config, &queue.store, agent)?,
            (None, Some(lane)) => LaneName::new(lane)?,
            _ => return Err(ToolFailure::invalid("give 'agent' or 'lane'", "name one of them, not both")),
        };
        let text = |name: &str| arguments.text(name).filter(|text| !text.is_empty());
        let mut metadata = object([
            ("caller", text("caller").into()),
            ("goal", text("goal").into()),
            ("context", text("context").into()),
            ("session_id", text("session_id").into()),
            ("response_format", text("format").filter(|format| *format == "json").into()),
            // As `lanes submit` does: dispatchers count how deep chains of agents become.
            ("dispatch_depth", depth.map(|depth| depth.to_string()).into()),
        ]);
        check_client_metadata(&metadata)?;
        let prompt = arguments.needed_text("task")?;
        let timeout_seconds = arguments.count("timeout")?.map(|seconds| seconds as f64);
        let priority = arguments.integer("priority");
        let path =
            |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
        let content = object([
            ("lane", (&lane).into()),
            ("task", prompt.into()),
            ("metadata", Value::Object(metadata.clone())),
            ("timeout", timeout_seconds.into()),
            ("priority", priority.into()),
            ("workspace", config.workspace_root.to_string_lossy().into_owned().into()),
            ("worktree", path(&config.worktree_path).into()),
            ("branch", config.expected_branch.clone().into()),
        ]);
        metadata.insert("mcp_session".to_string(), session.into());
        let request = SubmitRequest {
            lane: Some(lane.into()),
            prompt: Some(prompt.to_string()),
            metadata,
            source_agent: Some("mcp".to_string()),
            key: arguments.text("key").map(str::to_string),
            priority,
            timeout_seconds,
            ..SubmitRequest::default()
        };
        let base = BaseDir::at(&config.workspace_root);
        let context = SubmitContext::new(config, &base, queue.store.now().wall);
        let task = check_submit(&context, request)?.task;
        Ok(Self { task, content, is_fresh: arguments.flag("fresh") })
    }

    fn submit(&self, queue: &OpenQueue, session: &str, repetition: usize) -> Result<TaskId, ToolFailure> {
        let new = self.task.clone();
        let submitted = if new.spec.key.is_some() || self.is_fresh {
            queue.store.submit(new)?
        } else {
            let first_key = request_key(&self.content, session, repetition)?;
            queue.single_flight.submit(&queue.store, new, &first_key)?
        };
        Ok(submitted.task.id)
    }
}
