//! `lanes show`: shows one task with its history, for people.

use clap::Args;
use serde_json::Value;

use super::context::CommandContext;
use super::events::kind_width;
use super::exit::CommandExit;
use super::list::state_label;
use super::table::{relative, shorten};
use super::view::{next_action, task_view};
use crate::error::{Result, printable, shell_word};
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{Event, ExclusiveKey, Status, Task, Time};
use crate::store::Store;
use crate::workspace::{dependency_answers, dependency_objects};

/// Show a task with its prompt, its history and its answer.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes show d64cf2")]
pub(super) struct ShowCommand {
    /// Id of the task; its beginning or end suffices if unique
    #[arg(value_name = "ID")]
    id: String,
}

impl ShowCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let store = context.store()?;
        let task = store.task(&store.resolve(&self.id)?)?;
        let events = store.events(&task.id)?;
        let response = store.response(&task)?;
        if context.out.json {
            let events: Vec<Value> = events.iter().map(|event| Value::Object(event.to_object())).collect();
            let response = response.map(|response| Value::Object(response.to_object()));
            let mut reply = object([
                ("status", "ok".into()),
                (
                    "task",
                    Value::Object(task_view(&store, &task, &store.now(), context.last_event(&store, &task))),
                ),
                ("events", events.into()),
            ]);
            reply.insert("response".into(), response.into());
            if !task.spec.after.is_empty() {
                reply.insert("dependencies".into(), dependency_objects(&store, &task)?.into());
            }
            context.out.object(&reply)?;
            return Ok(CommandExit::Done);
        }
        print_task(context, &store, &task)?;
        if !task.spec.prompt.is_empty() {
            context.out.line("\nprompt")?;
            print_block(context, &task.spec.prompt)?;
        }
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

/// Prints the fields of a task, one a line.
pub(super) fn print_task(context: &mut CommandContext, store: &Store, task: &Task) -> Result<()> {
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
        format!("{} since {}{until}", claim.owner, claim.claimed_at)
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
                task.created_at,
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
        ("next", Some(next_action(task, &now, last.as_ref(), false))),
    ];
    for (name, fact) in facts {
        if let Some(fact) = fact {
            context.out.line(&format!("{name:<11} {}", printable(&fact)))?;
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
        context.out.line(&format!("\nquestion {} of {asked_by} ({})", question.number, question.asked_at))?;
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
                context.out.line(&format!("answered {by} ({})", answer.at))?;
                print_block(context, &answer.text)?;
            }
            (None, Some(default)) => {
                let at = default.expires_at;
                let when = if at > now { format!("from {at} on") } else { "by now".to_string() };
                context
                    .out
                    .line(&format!("open; its default counts {when}: {}", printable(&default.text)))?;
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
            Some(receipt) => format!("read by {} at {}", receipt.by, receipt.at),
            None => "not read".to_string(),
        };
        context.out.line(&format!(
            "\nmessage {} from {} ({}), {}",
            message.number,
            printable(&message.sent_by),
            message.sent_at,
            printable(&read)
        ))?;
        print_block(context, &message.text)?;
    }
    Ok(())
}

fn print_history(context: &mut CommandContext, store: &Store, events: &[Event]) -> Result<()> {
    let now = store.now();
    let width = kind_width(events);
    context.out.line("\nhistory")?;
    for event in events {
        context.out.line(&format!(
            "  {}  {:>8}  {:<width$} {}",
            event.created_at,
            relative(event.created_at, &now),
            printable(&event.kind),
            printable(&event.message)
        ))?;
    }
    Ok(())
}

/// Prints text from outside, indented and with control characters escaped.
fn print_block(context: &mut CommandContext, text: &str) -> Result<()> {
    for line in text.lines() {
        context.out.line(&format!("  {}", printable(&line.replace('\t', "    "))))?;
    }
    Ok(())
}
