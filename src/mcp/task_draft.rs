//! Tasks that a client delegates: checked one by one, and then submitted together.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::agents::lane_of;
use super::answer_cache;
use super::arguments::Arguments;
use super::catalog::task_schema;
use super::failure::ToolFailure;
use super::open_queue::OpenQueue;
use super::single_flight::{FlightRequest, request_key};
use crate::model::answer_cache::{AgentSettings, SESSION_KEY};
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{AgentChain, DependencyRef, IdempotencyKey, LaneName, NewTask, TaskId};
use crate::workspace::{
    BaseDir, Config, SubmitContext, SubmitRequest, check_client_metadata, check_submit, misspelt_lane,
};

/// The lane of coordinated work, which servers for chats do themselves.
pub(super) const COORDINATION_LANE: &str = "lanes/coordination";
/// The key of the metadata with the plan of such work.
pub(super) const PLAN_KEY: &str = "coordination";

/// A checked task that is not submitted yet.
pub(super) struct TaskDraft {
    task: NewTask,
    /// Its content, for the key of a request that has none.
    content: Object,
    /// Whether a new task is submitted even if an open one is equal.
    is_fresh: bool,
    /// Whether it is for an agent, rather than for any worker of a lane.
    asks_agent: bool,
}

impl TaskDraft {
    /// Checks a task for an agent.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(super) fn for_agent(
        queue: &OpenQueue,
        config: &Config,
        agent: &str,
        task: &str,
        session: &str,
        chain: Option<&AgentChain>,
    ) -> Result<Self, ToolFailure> {
        let arguments = object([("agent", agent.into()), ("task", task.into())]);
        Self::of(queue, config, &Arguments::check(&task_schema()?, arguments)?, session, chain)
    }

    /// Makes a task of coordinated work, which no worker does.
    ///
    /// # Errors
    /// A task that a submit would refuse.
    pub(super) fn of_plan(
        queue: &OpenQueue,
        config: &Config,
        text: &str,
        plan: Value,
        session: &str,
        chain: Option<&AgentChain>,
    ) -> Result<Self, ToolFailure> {
        let mut metadata = object([(PLAN_KEY, plan)]);
        if let Some(chain) = chain {
            chain.record_in(&mut metadata);
        }
        check_client_metadata(&metadata)?;
        let content = object([("task", text.into()), ("metadata", Value::Object(metadata.clone()))]);
        metadata.insert(SESSION_KEY.to_string(), session.into());
        let request = SubmitRequest {
            lane: Some(COORDINATION_LANE.to_string()),
            prompt: Some(text.to_string()),
            metadata,
            source_agent: Some("mcp".to_string()),
            ..SubmitRequest::default()
        };
        let base = BaseDir::at(&config.workspace_root);
        let context = SubmitContext::new(config, &base, queue.store.now().wall);
        Ok(Self { task: check_submit(&context, request)?.task, content, is_fresh: false, asks_agent: false })
    }

    /// Checks the arguments of one task, which its schema accepts.
    ///
    /// # Errors
    /// An argument that is not valid, an agent that does not exist, or a task that a submit would refuse.
    pub(super) fn of(
        queue: &OpenQueue,
        config: &Config,
        arguments: &Arguments,
        session: &str,
        chain: Option<&AgentChain>,
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
        ]);
        if let Some(chain) = chain {
            queue.check_recursion(config, chain, &lane)?;
            chain.record_in(&mut metadata);
        }
        check_client_metadata(&metadata)?;
        let prompt = arguments.needed_text("task")?;
        let timeout_seconds = arguments.count("timeout")?.map(|seconds| seconds as f64);
        let priority = arguments.integer("priority");
        let path =
            |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
        let texts = |name: &str| match arguments.has(name) {
            true => arguments.needed_texts(name),
            false => Ok(Vec::new()),
        };
        let (after, exclusive) = (texts("after")?, texts("exclusive")?);
        let schema = arguments.object("schema").cloned().map(Value::Object);
        let content = object([
            ("lane", (&lane).into()),
            ("task", prompt.into()),
            ("after", if after.is_empty() { Value::Null } else { after.clone().into() }),
            ("exclusive", if exclusive.is_empty() { Value::Null } else { exclusive.clone().into() }),
            ("deadline", arguments.text("deadline").into()),
            ("after_group", arguments.text("after_group").into()),
            ("schema", schema.clone().into()),
            ("metadata", Value::Object(metadata.clone())),
            ("timeout", timeout_seconds.into()),
            ("priority", priority.into()),
            ("workspace", config.workspace_root.to_string_lossy().into_owned().into()),
            ("worktree", path(&config.worktree_path).into()),
            ("branch", config.expected_branch.clone().into()),
        ]);
        metadata.insert(SESSION_KEY.to_string(), session.into());
        let request = SubmitRequest {
            lane: Some(lane.into()),
            prompt: Some(prompt.to_string()),
            metadata,
            source_agent: Some("mcp".to_string()),
            key: arguments.text("key").map(str::to_string),
            priority,
            timeout_seconds,
            after: after.into_iter().map(DependencyRef::completed).collect(),
            exclusive,
            deadline: arguments.text("deadline").map(str::to_string),
            group: arguments.text("group").map(str::to_string),
            after_group: arguments.text("after_group").map(str::to_string).into_iter().collect(),
            schema,
            ..SubmitRequest::default()
        };
        let base = BaseDir::at(&config.workspace_root);
        let context = SubmitContext::new(config, &base, queue.store.now().wall);
        let task = check_submit(&context, request)?.task;
        Ok(Self { task, content, is_fresh: arguments.flag("fresh"), asks_agent: arguments.has("agent") })
    }

    /// Returns the lane of the task.
    pub(super) fn lane(&self) -> &LaneName {
        &self.task.spec.lane
    }
}

/// The result of submitting tasks together.
#[derive(Debug, Default)]
pub(super) struct Submission {
    /// The tasks that are in the store.
    pub ids: Vec<TaskId>,
    /// Those of them that are older, and whose answers are given again.
    pub cached: HashSet<TaskId>,
    /// Why the others are not.
    pub failures: Vec<ToolFailure>,
    /// What the client should know about those that are, such as a lane that is probably misspelt.
    pub warnings: Vec<String>,
}

/// Submits checked tasks as one batch, except those whose answers are in the cache. Each of them is stored or refused on
/// its own.
///
/// # Errors Two of the tasks have the same key and are not the same, the budget of the session is spent, or none
/// could be stored.
pub(super) fn submit_all(
    queue: &OpenQueue,
    config: &Config,
    drafts: &[TaskDraft],
    session: &str,
) -> Result<Submission, ToolFailure> {
    refuse_shared_keys(drafts)?;
    let settings = settings_of_agents(queue, config, drafts);
    let mut submission = Submission::default();
    // The tasks in the order of the drafts; those that are submitted follow.
    let mut found: Vec<Option<TaskId>> = Vec::with_capacity(drafts.len());
    let mut requests = Vec::new();
    for (number, draft) in drafts.iter().enumerate() {
        let new = draft.task.clone();
        let repetition = repetitions(drafts, number);
        let settings = settings.get(&new.spec.lane).and_then(Option::as_ref);
        let is_asked_anew =
            draft.is_fresh || !new.after.is_empty() || new.spec.key.is_some() || repetition > 0;
        let cached = settings.filter(|_| !is_asked_anew);
        let cached = cached.and_then(|settings| answer_cache::find(queue, &new, settings));
        if cached.is_none() {
            let first_key = match new.spec.key.is_some() || draft.is_fresh {
                true => None,
                false => Some(request_key(&draft.content, session, repetition)?),
            };
            requests.push(FlightRequest { new, first_key });
        }
        submission.cached.extend(cached.clone());
        found.push(cached);
    }
    let requests = queue.single_flight.with_current_keys(requests);
    if let Some(budget) = &queue.budget {
        let unanswered = queue.single_flight.unanswered();
        let tasks = requests.iter().map(|request| &request.new);
        budget.check(&queue.store, config, session, unanswered, tasks)?;
    }
    submission.warnings = misspelt_lanes(queue, config, drafts);
    let mut submitted = queue.single_flight.submit_all(&queue.store, requests).into_iter();
    for (number, cached) in found.into_iter().enumerate() {
        let submitted = match cached {
            Some(_) => None,
            None => submitted.next(),
        };
        if let Some(Ok(submitted)) = &submitted
            && let Some(settings) = settings.get(&submitted.task.spec.lane).and_then(Option::as_ref)
            && !submitted.existing
        {
            queue.cache.note_settings(&submitted.task.id, settings);
        }
        match cached.map(Ok).or_else(|| submitted.map(|result| result.map(|submitted| submitted.task.id))) {
            Some(Ok(id)) => submission.ids.push(id),
            Some(Err(error)) if drafts.len() == 1 => return Err(error.into()),
            Some(Err(error)) => submission.failures.push(of_item(number, error.into())),
            None => {}
        }
    }
    match submission.failures.pop() {
        Some(last) if submission.ids.is_empty() => Err(last),
        last => {
            submission.failures.extend(last);
            Ok(submission)
        }
    }
}

/// Returns a warning for each lane that is probably misspelt. Those of agents are known.
fn misspelt_lanes(queue: &OpenQueue, config: &Config, drafts: &[TaskDraft]) -> Vec<String> {
    let lanes = drafts.iter().filter(|draft| !draft.asks_agent).map(TaskDraft::lane);
    let lanes: BTreeSet<&LaneName> = lanes.filter(|lane| lane.as_str() != COORDINATION_LANE).collect();
    lanes.into_iter().filter_map(|lane| misspelt_lane(config, &queue.store, lane)).collect()
}

/// Returns the settings of the agents that are asked. Without them nothing is cached; why they cannot be read is told by
/// the dispatcher that needs them.
fn settings_of_agents(
    queue: &OpenQueue,
    config: &Config,
    drafts: &[TaskDraft],
) -> BTreeMap<LaneName, Option<AgentSettings>> {
    let lanes = drafts.iter().filter(|draft| draft.asks_agent).map(|draft| &draft.task.spec.lane);
    let lanes: BTreeSet<&LaneName> = lanes.collect();
    let settings = |lane: &LaneName| queue.agent_settings(config, lane).ok().flatten();
    lanes.into_iter().map(|lane| (lane.clone(), settings(lane))).collect()
}

/// Refuses different tasks with the same key, of which the store would accept the first.
fn refuse_shared_keys(drafts: &[TaskDraft]) -> Result<(), ToolFailure> {
    let mut first: HashMap<&IdempotencyKey, usize> = HashMap::new();
    for (number, draft) in drafts.iter().enumerate() {
        let Some(key) = &draft.task.spec.key else { continue };
        let before = *first.entry(key).or_insert(number);
        if drafts[before].content != draft.content {
            let what = format!("it has the key of tasks[{before}], which is another task");
            return Err(of_item(number, ToolFailure::invalid(what, "give each task a key of its own")));
        }
    }
    Ok(())
}

/// Returns how many of the drafts before this one are equal to it.
fn repetitions(drafts: &[TaskDraft], number: usize) -> usize {
    drafts[..number].iter().filter(|draft| draft.content == drafts[number].content).count()
}

/// Adds to a failure which of several tasks it is about.
pub(super) fn of_item(number: usize, failure: ToolFailure) -> ToolFailure {
    ToolFailure { what: format!("tasks[{number}]: {}", failure.what), ..failure }
}
