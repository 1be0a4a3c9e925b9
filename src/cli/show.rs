//! `lanes show`: shows one task with its history, for people.

use std::path::Path;

use clap::Args;
use serde_json::Value;

use super::context::CommandContext;
use super::events::{kind_width, name_cell};
use super::exit::CommandExit;
use super::list::state_label;
use super::table::print_row;
use super::task_fields::{SHOW_PARTS, TaskFieldsArg};
use super::text_format::{count, relative, shorten};
use super::view::{next_action, task_view};
use crate::error::{Result, printable, shell_word};
use crate::model::json::{self, Object};
use crate::model::task::object;
use crate::model::{Event, ExclusiveKey, Now, Status, Task, Time};
use crate::store::Store;
use crate::workspace::{DISPATCHER_GONE, dependency_answers, dependency_objects, why};

/// Show a task with its prompt, its history and its answer.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes show d64cf2")]
pub(super) struct ShowCommand {
    /// Id of the task; its beginning or end suffices if unique
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    fields: TaskFieldsArg,
}

impl ShowCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        self.fields.apply_with(context, &SHOW_PARTS)?;
        let store = context.store()?;
        let task = store.shown(store.task(&store.resolve(&self.id)?)?);
        let events = store.events(&task.id)?;
        let response = store.response(&task)?;
        if context.out.json {
            let events: Vec<Value> = events.iter().map(|event| Value::Object(event.to_object())).collect();
            let response = response.map(|response| Value::Object(response.to_object()));
            let view = task_view(&store, &task, &store.now(), context.last_event(&store, &task));
            let mut reply = object([("status", "ok".into()), ("task", Value::Object(view))]);
            if self.fields.wants("events") {
                reply.insert("events".into(), events.into());
            }
            if self.fields.wants("response") {
                reply.insert("response".into(), response.into());
            }
            if self.fields.wants("dependencies") && !task.spec.after.is_empty() {
                reply.insert("dependencies".into(), dependency_objects(&store, &task)?.into());
            }
            context.out.object(&reply)?;
            return Ok(CommandExit::Done);
        }
        print_task(context, &store, &task, response.is_some())?;
        if !task.spec.prompt.is_empty() {
            context.out.line("\nprompt")?;
            print_block(context, &task.spec.prompt)?;
        }
        print_schema(context, &task)?;
        print_dependencies(context, &store, &task)?;
        print_questions(context, &task, store.now().wall)?;
        print_messages(context, &task)?;
        print_history(context, &store, &events)?;
        if let Some(response) = response {
            let verdict = response.verdict.map(|verdict| format!(", {verdict}")).unwrap_or_default();
            context.out.line(&format!(
                "\nanswer ({}{} by {})",
                response.status.as_str(),
                printable(&verdict),
                printable(&response.reviewer)
            ))?;
            print_block(context, &response.body)?;
            if let Some(line) = merge_command(&response.metadata) {
                context.out.line(&format!("\nmerge its work with: {}", printable(&line)))?;
            }
            if let Some(line) = uncommitted_work(&response.metadata) {
                context.out.line(&format!("\n{}", printable(&line)))?;
            }
        }
        Ok(CommandExit::Done)
    }
}

/// Returns the command that merges the commits that the agent of a task has made in its worktree, if it has made some.
fn merge_command(metadata: &Object) -> Option<String> {
    let worktree = metadata.get("worktree")?;
    let text = |key: &str| worktree.get(key).and_then(Value::as_str);
    let (repository, branch) = (text("repository")?, text("branch")?);
    (text("head_commit")? != text("base_commit")?)
        .then(|| format!("git -C {} merge {}", shell_word(repository), shell_word(branch)))
}

/// Says how much of the work in the worktree of a task is in no commit, and so is not merged.
fn uncommitted_work(metadata: &Object) -> Option<String> {
    let worktree = metadata.get("worktree")?;
    let files = worktree.get("uncommitted_files")?.as_array()?.len() as u64;
    let path = worktree.get("path")?.as_str()?;
    (files > 0).then(|| format!("not committed: {} in {path}", count(files, "file")))
}

/// Returns what to do about a task; `None` if nothing is left to do. `has_answer` means that its answer is shown, too.
fn next_step(
    store: &Store,
    task: &Task,
    (now, last): (&Now, Option<&Event>),
    has_answer: bool,
) -> Option<String> {
    let is_answered = matches!(task.status, Status::Completed { .. }) && store.response_exists(task);
    let is_in_store = store.is_response_kept_in_store(task);
    match (is_answered, is_in_store) {
        (true, true) if has_answer => None,
        (true, true) => Some(format!("`lanes wait {}` prints the answer", task.id)),
        (true, false) if Path::new(&task.response_path).exists() => None,
        (true, false) => {
            Some(format!("`lanes wait {}` writes the answer to {}", task.id, task.response_path))
        }
        (false, _) if matches!(task.status, Status::Claimed(_)) => {
            let left = why(store, task).ok().filter(|reason| reason.code == DISPATCHER_GONE);
            Some(left.map_or_else(|| next_action(task, now, last, false), |reason| reason.sentence))
        }
        (false, _) => {
            let is_missing = matches!(task.status, Status::Completed { .. });
            Some(next_action(task, now, last, is_missing))
        }
    }
}

/// Prints the fields of a task, one a line. `has_answer` means that its answer is printed, too.
pub(super) fn print_task(
    context: &mut CommandContext,
    store: &Store,
    task: &Task,
    has_answer: bool,
) -> Result<()> {
    let now = store.now();
    let last = context.last_event(store, task);
    let attempts = match task.spec.max_attempts {
        Some(max) => format!("{} of {max}", task.attempt),
        None => task.attempt.to_string(),
    };
    let claim = task.status.claim();
    let metadata =
        (!task.spec.metadata.is_empty()).then(|| Value::Object(task.spec.metadata.clone()).to_string());
    let supporting: Vec<&str> = task.spec.supporting_paths.iter().map(|file| file.path.as_str()).collect();
    let held = claim.map(|claim| {
        let until = match task.status {
            Status::Claimed(_) => format!(", lease ends {}", relative(claim.lease_expires_at, &now)),
            _ => String::new(),
        };
        format!("{} since {}{until}", claim.owner, context.out.time(claim.claimed_at))
    });
    let some = |text: &str| (!text.is_empty()).then(|| text.to_string());
    let exclusive: Vec<&str> = task.spec.exclusive.iter().map(ExclusiveKey::as_str).collect();
    let facts: [(&str, Option<String>); 21] = [
        ("task", some(task.id.as_str())),
        ("name", task.spec.name.clone()),
        ("lane", some(task.spec.lane.as_str())),
        ("state", some(&state_label(&task.status, &now, || task.lease_is_live(&now)))),
        (
            "submitted",
            Some(format!(
                "{} ({}) by {}",
                context.out.time(task.created_at),
                relative(task.created_at, &now),
                task.spec.source_agent
            )),
        ),
        ("priority", (task.spec.priority != 0).then(|| task.spec.priority.to_string())),
        ("attempts", (task.fence > 0 || task.spec.max_attempts.is_some()).then_some(attempts)),
        ("claimed by", held),
        ("metadata", metadata),
        ("labels", some(&task.spec.labels.join(", "))),
        ("group", task.spec.group.clone().map(String::from)),
        ("exclusive", some(&exclusive.join(", "))),
        ("key", task.spec.key.clone().map(String::from)),
        ("workspace", some(&task.spec.workspace_root)),
        ("worktree", task.spec.worktree_path.clone()),
        ("branch", task.spec.expected_branch.clone()),
        ("request", some(&task.request_path)),
        ("supporting", some(&supporting.join(", "))),
        ("answer to", some(&task.response_path)),
        ("retry of", task.spec.retry_of.clone()),
        ("next", next_step(store, task, (&now, last.as_ref()), has_answer)),
    ];
    for (name, fact) in facts {
        if let Some(fact) = fact {
            let fact = printable(&fact);
            let fact = if name == "state" { context.out.state(&fact) } else { fact.into() };
            context.out.line(&format!("{name:<11} {fact}"))?;
        }
    }
    if let Status::Failed { reason, .. } = &task.status {
        context.out.line(&format!("{:<11} {}", "failed", printable(&shorten(reason, 200))))?;
    }
    Ok(())
}

/// Prints the tasks that a task waits or has waited for, with their answers.
fn print_dependencies(context: &mut CommandContext, store: &Store, task: &Task) -> Result<()> {
    for answer in dependency_answers(store, task)? {
        context.out.line(&format!("\nafter {} ({})", answer.task_id, printable(&answer.state)))?;
        if let Some(body) = &answer.body {
            print_block(context, body)?;
        }
        if let Some(path) = &answer.whole_text {
            context.out.line(&format!("  the whole text is in {}", printable(path)))?;
        }
    }
    Ok(())
}

/// Prints the questions of a task with their answers.
fn print_questions(context: &mut CommandContext, task: &Task, now: Time) -> Result<()> {
    for question in &task.questions {
        let asked_by = printable(question.asked_by.as_str());
        let at = context.out.time(question.asked_at);
        context.out.line(&format!("\nquestion {} of {asked_by} ({at})", question.number))?;
        print_block(context, &question.text)?;
        for choice in &question.choices {
            context.out.line(&format!("  - {}", printable(choice)))?;
        }
        match (&question.answer, &question.default) {
            (Some(answer), _) => {
                let by = answer
                    .by
                    .as_deref()
                    .map_or("by default".to_string(), |by| format!("by {}", printable(by)));
                let at = context.out.time(answer.at);
                context.out.line(&format!("answered {by} ({at})"))?;
                print_block(context, &answer.text)?;
            }
            (None, Some(default)) => {
                let at = default.expires_at;
                let when =
                    if at > now { format!("from {} on", context.out.time(at)) } else { "by now".to_string() };
                context
                    .out
                    .line(&format!("open; its default applies {when}: {}", printable(&default.text)))?;
            }
            (None, None) => context.out.line("open")?,
        }
    }
    Ok(())
}

/// Prints the messages to the workers of a task, and who has read them.
fn print_messages(context: &mut CommandContext, task: &Task) -> Result<()> {
    for message in &task.messages {
        let read = match &message.receipt {
            Some(receipt) => format!("read by {} at {}", receipt.by, context.out.time(receipt.at)),
            None => "not read".to_string(),
        };
        let sent_at = context.out.time(message.sent_at);
        context.out.line(&format!(
            "\nmessage {} from {} ({}), {}",
            message.number,
            printable(&message.sent_by),
            sent_at,
            printable(&read)
        ))?;
        print_block(context, &message.text)?;
    }
    Ok(())
}

fn print_history(context: &mut CommandContext, store: &Store, events: &[Event]) -> Result<()> {
    let now = store.now();
    let width = kind_width(&context.out, events, 0);
    context.out.line("\nhistory")?;
    for event in events {
        let at = context.out.time(event.created_at);
        let (age, kind) = (relative(event.created_at, &now), name_cell(&context.out, &event.kind, width));
        let row = format!("  {at}  {age:>8}  {kind} {}", printable(&event.message));
        print_row(&mut context.out, &row)?;
    }
    Ok(())
}

/// Prints the schema against which an answer must be valid, if there is one.
pub(super) fn print_schema(context: &mut CommandContext, task: &Task) -> Result<()> {
    let Some(schema) = &task.spec.schema else { return Ok(()) };
    context.out.line("\nschema of the answer, which must be JSON")?;
    print_block(context, &json::to_text(schema.as_object()))
}

/// Prints text from outside, indented and with control characters escaped.
pub(super) fn print_block(context: &mut CommandContext, text: &str) -> Result<()> {
    for line in text.lines() {
        context.out.line(&format!("  {}", printable(&line.replace('\t', "    "))))?;
    }
    Ok(())
}
