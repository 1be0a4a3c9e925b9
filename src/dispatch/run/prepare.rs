//! Prepares a run: command line, environment, prompt and record.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::context::{ClaimedTask, RunContext, RunFile, files, run_id};
use super::conversation::Conversation;
use super::resume::ConversationToResume;
use super::{AttemptContext, git_directories, message_hook, prompt_input};

use crate::dispatch::agent::AgentSpec;
use crate::dispatch::agent::log::CappedLog;
use crate::dispatch::agent::mcp_access::MCP_VARIABLE;
use crate::dispatch::config::follow_ups::FollowUpRules;
use crate::dispatch::config::plan::Plan;
use crate::dispatch::config::route::Route;
use crate::dispatch::config::served_lane::ServedLane;
use crate::dispatch::cost_limit::CostLimit;
use crate::dispatch::outcome::{Interruption, RunFailure};
use crate::dispatch::output::StreamParser;
use crate::dispatch::prompt;
use crate::dispatch::task_metadata;
use crate::dispatch::vendor::{ArgumentValues, SessionIds};
use crate::guard::process_tree::{RUN_ID_VARIABLE, run_marker};
use crate::model::json;
use crate::model::{
    AgentChain, AnswerSchema, CHAIN_VARIABLE, ClaimToken, DEPTH_VARIABLE, FailureClass, RunId,
    StoredDuration, Task, Time,
};
use crate::store::Store;
use crate::{Error, ErrorKind};

/// Number of bytes at the beginning and at the end of a log that are kept.
const LOG_HEAD: usize = 16 * 1024 * 1024;
const LOG_TAIL: usize = 1024 * 1024;

/// The command line for a task, with the values that it was built from.
#[derive(Clone, Debug)]
pub(crate) struct CommandLine {
    /// Program.
    pub program: PathBuf,
    /// Arguments.
    pub args: Vec<String>,
    /// Working directory.
    pub cwd: PathBuf,
    /// Requested model.
    pub model: Option<String>,
    /// Requested effort.
    pub effort: Option<String>,
    /// The conversation.
    pub conversation: Conversation,
    /// Warnings about values of the task that the vendor does not support.
    pub warnings: Vec<String>,
}

/// Reason for which the run of a task cannot be prepared.
#[derive(Debug)]
pub(crate) enum PrepareError {
    /// The task itself cannot be run.
    Task(RunFailure),
    /// Something that all runs of the lane need is missing; the task is not the cause.
    Lane(String),
    /// The store cannot be used, or a value of the task cannot be an argument.
    Error(Error),
}

impl PrepareError {
    fn task(message: impl Into<String>) -> Self {
        Self::Task(RunFailure::permanent(message))
    }
}

impl From<Error> for PrepareError {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl fmt::Display for PrepareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(failure) => f.write_str(&failure.message),
            Self::Lane(message) => f.write_str(message),
            Self::Error(error) => error.fmt(f),
        }
    }
}

/// Returns the directory that the agent of a task works in unless it gets a worktree.
///
/// # Errors
/// When it does not exist, or the task may not choose it.
pub(crate) fn working_directory(plan: &Plan, route: &Route, task: &Task) -> Result<PathBuf, PrepareError> {
    let cwd = match &route.cwd {
        Some(cwd) => plan.process.cwd.join(cwd),
        None => {
            let asked = task.spec.worktree_path.as_ref().unwrap_or(&task.spec.workspace_root);
            match plan.allowed_directories.admit(Path::new(asked)) {
                Ok(real) => real,
                Err(message) => return Err(PrepareError::task(message)),
            }
        }
    };
    if !cwd.is_dir() {
        let cwd = crate::error::printable(&cwd.to_string_lossy());
        return Err(PrepareError::task(format!("the working directory {cwd} does not exist")));
    }
    Ok(cwd)
}

/// Builds the command line of the agent for a task, which works in `cwd` if that is given. `random` determines the id of a
/// new conversation. If the task does not name a conversation, the run resumes `conversation`.
///
/// # Errors
/// When something that the run needs is missing, or a value of the task could be parsed as a flag.
pub(crate) fn command_line(
    store: &Store,
    plan: &Plan,
    served: &ServedLane,
    task: &Task,
    conversation: Option<&str>,
    random: u128,
    cwd: Option<&Path>,
) -> Result<CommandLine, PrepareError> {
    let (route, vendor) = (&served.route, &served.vendor);
    let program = match (served.check_ready(), served.program()) {
        (Ok(()), Some(program)) => program.to_path_buf(),
        (Ok(()), None) => PathBuf::from(&vendor.command),
        (Err(error), _) => return Err(PrepareError::Lane(error.message().to_string())),
    };
    let cwd = match cwd {
        Some(cwd) => cwd.to_path_buf(),
        None => working_directory(plan, route, task)?,
    };
    let resumed = match task_metadata::session_id(task) {
        Ok(session) => session.or(conversation),
        Err(message) => return Err(PrepareError::task(message)),
    };
    let template = match (resumed, &vendor.resume_args) {
        (None, _) => &vendor.args,
        (Some(_), Some(resume_args)) => resume_args,
        (Some(_), None) => {
            return Err(PrepareError::task(format!("{} cannot continue a conversation", vendor.name)));
        }
    };
    let conversation = match (resumed, vendor.session) {
        (Some(session), _) => Conversation::Resumed(session.to_string()),
        (None, SessionIds::Uuid) => Conversation::NewWithId(uuid(random)),
        (None, _) => Conversation::New,
    };
    let mut warnings = Vec::new();
    let (effort, warning) = prompt_input::effort(task, route);
    warnings.extend(warning);
    let (model, warning) = served.model_for(task);
    warnings.extend(warning);
    let mut line = CommandLine {
        program,
        args: Vec::new(),
        cwd,
        model,
        effort: effort.or_else(|| vendor.effort.clone()),
        conversation,
        warnings,
    };
    let list = |own: &crate::workspace::Override<Vec<String>>, vendor: &Vec<String>| {
        own.clone().or_inherit(Some(vendor.clone())).unwrap_or_default()
    };
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let git_dirs = if route.git_writable { git_directories::git_dirs(&line.cwd) } else { Vec::new() };
    let attempt = store.spool().attempt_path(&task.id, task.fence);
    let last_message = attempt.join(files::LAST_MESSAGE);
    line.args = template.render(&ArgumentValues {
        session_id: line.conversation.new_id().map(str::to_string),
        resume_id: line.conversation.resumed_id().map(str::to_string),
        model: line.model.clone(),
        effort: line.effort.clone(),
        permission_mode: route.permission_mode.clone().or_inherit(vendor.permission_mode.clone()),
        setting_sources: Some(list(&route.setting_sources, &vendor.setting_sources).join(","))
            .filter(|sources| !sources.is_empty()),
        max_budget_usd: route.max_budget_usd.map(|amount| amount.to_string()),
        mcp_config: route.mcp_config.clone(),
        permission_prompt: permission_server(plan, route)?,
        message_hook: Some(message_hook::message_hook()),
        cwd: Some(text(&line.cwd)),
        last_message: Some(text(&last_message)),
        allowed_tools: list(&route.allowed_tools, &vendor.allowed_tools),
        disallowed_tools: list(&route.disallowed_tools, &vendor.disallowed_tools),
        task_dir: Some(text(&store.spool().task_path(&task.id))),
        add_dirs: route.add_dirs.clone(),
        git_dirs: git_dirs.iter().map(|dir| text(dir)).collect(),
        schema: schema_argument(task),
        schema_file: has_strict_schema(task).then(|| text(&attempt.join(files::SCHEMA))),
        extra_args: route.args.clone(),
    })?;
    Ok(line)
}

/// Returns the MCP configuration of the server by which an agent asks for permissions, if it does: this program, which
/// finds its run in the environment.
fn permission_server(plan: &Plan, route: &Route) -> Result<Option<String>, PrepareError> {
    /// How much longer than the question is open the agent's program waits for the answer.
    const SLACK: Duration = Duration::from_secs(60);
    if !route.permission_prompts.asks {
        return Ok(None);
    }
    let program = plan.process.program.as_deref().and_then(Path::to_str);
    let program = program.ok_or_else(|| {
        PrepareError::Lane("the path of this program is unknown, so the agent has no way to ask".to_string())
    })?;
    let expires = route.permission_prompts.expires;
    let seconds = expires.as_secs_f64().ceil().to_string();
    let timeout = u64::try_from((expires + SLACK).as_millis()).unwrap_or(u64::MAX);
    let server = serde_json::json!({
        "command": program,
        "args": ["mcp", "--tools", "permission", "--permission-expires", seconds],
        "timeout": timeout,
    });
    Ok(Some(serde_json::json!({"mcpServers": {"lanes_permissions": server}}).to_string()))
}

/// A run that is ready to start.
pub(crate) struct PreparedRun {
    /// Specification of the agent process.
    pub spec: AgentSpec,
    /// Record of the run.
    pub run_file: RunFile,
    /// The number of the last message that the prompt has; 0 without one.
    pub messages_through: u32,
    /// Version of the vendor's program, if the program was asked for it.
    pub version: Option<String>,
}

impl RunContext<'_> {
    /// Prepares the run of a claimed task.
    ///
    /// # Errors
    /// When the task or its lane cannot be run now, or the store fails.
    pub(super) fn prepare(
        &self,
        claimed: &ClaimedTask,
        attempt_context: &AttemptContext<'_>,
        conversation: Option<&ConversationToResume>,
    ) -> Result<PreparedRun, PrepareError> {
        let ClaimedTask { task, served, token, .. } = claimed;
        let AttemptContext { events, attempt, cwd, rejection, .. } = *attempt_context;
        let (route, vendor) = (&served.route, &served.vendor);
        let session = conversation.map(|conversation| conversation.session.as_str());
        let random = self.store.random();
        let line = command_line(self.store, &self.plan, served, task, session, random, cwd)?;
        for warning in &line.warnings {
            self.warn(format!("{}: {warning}", task.id));
        }
        let mut input = match prompt_input::prompt_input(self.store, task, events, route, &self.plan.process)
        {
            Ok(input) => input,
            // The request of the task cannot be read.
            Err(error) if error.kind() == ErrorKind::Io => {
                return Err(PrepareError::Task(RunFailure::new(FailureClass::Error, error.to_string())));
            }
            Err(error) => return Err(error.into()),
        };
        if !vendor.supports_effort() {
            input.effort_hint.clone_from(&line.effort);
        }
        input.rejection = rejection.cloned();
        // A message may have come since the claim.
        let told = self.store.task(&task.id)?.messages;
        let messages_through = told.last().map_or(0, |message| message.number);
        let in_this_run = matches!(
            conversation.map(|conversation| conversation.interruption),
            Some(Interruption::Rejected | Interruption::Told)
        );
        // What the conversation has had in this attempt is not repeated.
        input.messages =
            told.into_iter().filter(|message| !in_this_run || message.receipt.is_none()).collect();
        let prompt = match conversation {
            Some(_) if rejection.is_some() => prompt::rejection_prompt(&input),
            Some(ConversationToResume { interruption: Interruption::Told, .. }) => {
                prompt::message_prompt(&input)
            }
            Some(ConversationToResume { interruption: Interruption::Answered, .. }) => {
                prompt::answer_prompt(&input)
            }
            Some(conversation) => prompt::resume_prompt(&input, conversation.interruption.describe()),
            None => prompt::build(&input),
        };
        if let Some(schema) = &task.spec.schema {
            attempt.write(files::SCHEMA, json::to_text(schema.as_object()).as_bytes())?;
        }
        attempt.write(files::PROMPT, prompt.as_bytes())?;
        attempt.redact(files::PROMPT, token.as_str().as_bytes())?;
        let started_at = self.store.now().wall;
        let run_file = RunFile {
            is_verified_later: !route.verify.commands_for(task).is_empty(),
            ..new_run_file(served, token, &line, started_at, input.wants_json)
        };
        let text =
            serde_json::to_vec(&run_file).map_err(|error| Error::corrupt(format!("a run: {error}")))?;
        attempt.write(files::RUN, &text)?;
        let conversation_id = run_file.conversation.id();
        let lock =
            conversation_id.map(|session| self.store.spool().conversation_lock_path(session)).transpose()?;
        let log = |name| Ok::<_, Error>(CappedLog::new(attempt.create(name)?, LOG_HEAD, LOG_TAIL));
        let run = run_id(token);
        let version = self.versions.of(served, &line.program, &self.plan.process, self.guard_pool);
        let spec = AgentSpec {
            program: line.program.into_os_string(),
            args: line.args,
            env: self.environment(claimed, &self.chain_above(task)?, &run, &line.cwd),
            cwd: line.cwd,
            run,
            stdin: attempt.file_path(files::PROMPT),
            lock,
            stdout: log(files::STDOUT)?,
            log: Some(attempt.file_path(files::STDOUT)),
            stderr: log(files::STDERR)?,
            parser: StreamParser::new(vendor.format)
                .with_refusing_statuses(vendor.messages.refusing_statuses()),
            cost_limit: cost_limit(&self.plan, served, run_file.model.as_deref()),
            timeout: own_timeout(task).or(route.timeout),
            silence_timeout: route.effective_silence_timeout(vendor.format),
            grace: self.plan.grace,
            linger: self.plan.linger,
            expected_session: line.conversation.resumed_id().map(str::to_string),
        };
        self.registration.update_run(&task.id, |entry| {
            entry.session_id = run_file.conversation.id().map(str::to_string);
            entry.silence_timeout = spec.silence_timeout;
            entry.deadline = spec.timeout.map(|limit| started_at.plus_seconds(limit.as_secs_f64()));
        });
        Ok(PreparedRun { spec, run_file, messages_through, version })
    }

    /// Returns the environment of a program that works for a task.
    pub(super) fn environment(
        &self,
        claimed: &ClaimedTask,
        chain_above: &AgentChain,
        run: &RunId,
        cwd: &Path,
    ) -> BTreeMap<OsString, OsString> {
        let process = &self.plan.process;
        let task = &claimed.task;
        let chain = chain_above.joined_by(&task.spec.lane);
        let path = |path: &Path| Some(path.to_string_lossy().into_owned());
        let own = BTreeMap::from(
            [
                ("LANES_TASK_ID", Some(task.id.to_string())),
                ("LANES_CLAIM_TOKEN", Some(claimed.token.as_str().to_string())),
                ("LANES_STORE", path(self.store.address())),
                ("LANES_CONFIG", self.plan.config_path.as_deref().and_then(path)),
                ("LANES_LANE", Some(task.spec.lane.to_string())),
                ("LANES_ATTEMPT", Some(task.attempt.to_string())),
                ("LANES_FENCE", Some(task.fence.to_string())),
                ("LANES_API_URL", process.variable("LANES_API_URL").map(str::to_string)),
                (DEPTH_VARIABLE, Some(chain.depth().to_string())),
                (CHAIN_VARIABLE, chain.names().map(str::to_string)),
                (MCP_VARIABLE, Some(claimed.served.route.mcp.as_str().to_string())),
                // Set as a shell does: some programs use it as their working directory.
                ("PWD", path(cwd)),
                (RUN_ID_VARIABLE, Some(run_marker(run, process.variable(RUN_ID_VARIABLE)))),
            ]
            .map(|(name, value)| (name.to_string(), value)),
        );
        claimed.served.environment(process, &own)
    }
}

/// Returns the schema of a task's answers as ASCII text, if vendors that check answers accept it.
fn schema_argument(task: &Task) -> Option<String> {
    let schema = task.spec.schema.as_ref().filter(|schema| schema.describes_object())?;
    Some(json::to_ascii(json::to_line(schema.as_object()).trim_end()))
}

/// Returns whether the schema of a task's answers can be handed to a service that accepts only strict ones.
fn has_strict_schema(task: &Task) -> bool {
    task.spec.schema.as_ref().is_some_and(AnswerSchema::is_strict)
}

/// Returns the most that a run may cost, if the program of its vendor does not see to that itself.
pub(super) fn cost_limit(plan: &Plan, served: &ServedLane, model: Option<&str>) -> Option<CostLimit> {
    let usd = served.route.max_budget_usd.filter(|_| !served.vendor.limits_cost())?;
    let prices = plan.prices.clone();
    Some(CostLimit {
        usd,
        price_of: Arc::new(move |usage| prices.cost(usage)),
        model: model.map(str::to_string),
    })
}

/// Returns the timeout that the task itself sets, if any.
pub(crate) fn own_timeout(task: &Task) -> Option<Duration> {
    task.spec.timeout.and_then(StoredDuration::duration)
}

/// Formats random bits as a UUID (version 4).
fn uuid(random: u128) -> String {
    let bits = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn new_run_file(
    served: &ServedLane,
    token: &ClaimToken,
    line: &CommandLine,
    started_at: Time,
    wants_json: bool,
) -> RunFile {
    let program = line.program.to_string_lossy().into_owned();
    let rules = &served.route.follow_ups;
    RunFile {
        run: run_id(token),
        started_at: Some(started_at),
        vendor: served.vendor.name.clone(),
        format: served.vendor.format.name().to_string(),
        argv: std::iter::once(program).chain(line.args.iter().cloned()).collect(),
        conversation: line.conversation.clone(),
        model: line.model.clone(),
        wants_json,
        move_to: rules.on_success.as_ref().map(|rule| rule.lane.clone()),
        is_verified_later: false,
        follow_ups: (*rules != FollowUpRules::default()).then(|| rules.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_of_version_4() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
