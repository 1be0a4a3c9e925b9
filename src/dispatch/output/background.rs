//! Tasks that claude's agent started in the background: sub-agents, workflows, shell commands.
//!
//! The program reports each start and end (`task_started`, `task_updated`, `task_notification`), and recent
//! versions also report the whole set after each change (`background_tasks_changed`). All of these are read: the
//! end of a task may be missing, and old versions do not report the set.

use std::collections::BTreeMap;

use serde_json::Value;

use super::json::{some_text, text};
use super::one_line;
use super::report::{BackgroundEnd, BackgroundWork};

/// Maximum length of a description, in characters.
const MAX_NAME_CHARS: usize = 80;
/// Maximum number of tasks kept. A run has few, unless something floods the stream.
const MAX_TASKS: usize = 10_000;

/// One background task of an agent.
#[derive(Clone, Debug, Default)]
struct BackgroundTask {
    name: String,
    is_command: bool,
    /// The agent waits for it: it receives the end as a tool result.
    is_foreground: bool,
    /// Nothing waits for it: a watcher, for example.
    is_ambient: bool,
    /// The id of the tool call that started it.
    call: Option<String>,
    end: Option<EndStatus>,
    /// The agent has continued since it ended, so it knows about the end.
    agent_knows_end: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndStatus {
    Completed,
    Failed,
    Stopped,
}

impl EndStatus {
    /// Returns whether the agent is notified and continues. The program stops tasks only when it exits itself.
    fn is_notified(self) -> bool {
        self != Self::Stopped
    }

    fn parse(status: &str) -> Option<Self> {
        match status {
            "completed" => Some(Self::Completed),
            "failed" => Some(Self::Failed),
            "stopped" | "killed" => Some(Self::Stopped),
            _ => None,
        }
    }
}

/// The background tasks of a run.
#[derive(Debug, Default)]
pub(super) struct Background {
    tasks: BTreeMap<String, BackgroundTask>,
    /// A task has ended since the last result, so the agent will be notified and continue.
    will_resume: bool,
}

impl Background {
    /// Reads a `system` line.
    pub(super) fn system(&mut self, value: &Value) {
        match text(value, "subtype") {
            "task_started" => self.started(value),
            "task_updated" => {
                let patch = value.get("patch").unwrap_or(&Value::Null);
                let end = EndStatus::parse(text(patch, "status"));
                let moved = patch.get("is_backgrounded").and_then(Value::as_bool);
                self.change(text(value, "task_id"), |task| {
                    task.is_foreground = moved.map_or(task.is_foreground, |background| !background);
                    task.end = end.or(task.end);
                });
                self.will_resume |= end.is_some_and(EndStatus::is_notified);
            }
            "task_notification" => {
                let end = EndStatus::parse(text(value, "status"));
                self.change(text(value, "task_id"), |task| {
                    set_name(task, value);
                    task.end = end.or(task.end);
                });
                self.will_resume |= end.is_some_and(EndStatus::is_notified);
            }
            "background_tasks_changed" => self.replaced(value),
            _ => {}
        }
    }

    fn started(&mut self, value: &Value) {
        let flag = |key: &str| value.get(key).and_then(Value::as_bool).unwrap_or(false);
        let is_foreground = value.get("is_backgrounded").and_then(Value::as_bool) == Some(false);
        self.change(text(value, "task_id"), |task| {
            *task = BackgroundTask {
                is_foreground,
                is_ambient: flag("ambient") || flag("skip_transcript"),
                call: some_text(value, "tool_use_id"),
                ..BackgroundTask::default()
            };
            set_name(task, value);
        });
    }

    /// Reads the set of tasks that now run in the background; a task that left the set has ended.
    fn replaced(&mut self, value: &Value) {
        let Some(listed) = value.get("tasks").and_then(Value::as_array) else { return };
        for entry in listed {
            let is_ambient = entry.get("ambient").and_then(Value::as_bool).unwrap_or(false);
            self.change(text(entry, "task_id"), |task| {
                set_name(task, entry);
                task.is_foreground = false;
                task.is_ambient = is_ambient;
                task.end = None;
            });
        }
        for (id, task) in &mut self.tasks {
            let is_listed = listed.iter().any(|entry| text(entry, "task_id") == id);
            if !is_listed && !task.is_foreground && task.end.is_none() {
                task.end = Some(EndStatus::Completed);
            }
        }
    }

    fn change(&mut self, id: &str, change: impl FnOnce(&mut BackgroundTask)) {
        if !id.is_empty() && (self.tasks.contains_key(id) || self.tasks.len() < MAX_TASKS) {
            change(self.tasks.entry(id.to_string()).or_default());
        }
    }

    /// Reads a `user` line: the result of a tool call that waited for its task ends that task.
    pub(super) fn tool_result(&mut self, value: &Value) {
        let status = value.get("tool_use_result").map_or("", |result| text(result, "status"));
        if status != "completed" {
            return;
        }
        let blocks =
            value.get("message").and_then(|message| message.get("content")).and_then(Value::as_array);
        for block in blocks.into_iter().flatten() {
            let call = text(block, "tool_use_id");
            for task in self.tasks.values_mut().filter(|task| task.call.as_deref() == Some(call)) {
                task.end = task.end.or(Some(EndStatus::Completed));
            }
        }
    }

    /// Notes that the agent has reported a result.
    pub(super) fn result(&mut self) {
        self.will_resume = false;
    }

    /// Notes that the agent itself continues: it knows about everything that has ended.
    pub(super) fn agent_continues(&mut self) {
        self.will_resume = false;
        for task in self.tasks.values_mut().filter(|task| task.end.is_some()) {
            task.agent_knows_end = true;
        }
    }

    /// Returns whether the agent will continue by itself: a task has just ended, or one is running whose end will
    /// be reported to it. Running shell commands count only if `commands` is set.
    pub(super) fn will_continue(&self, commands: bool) -> bool {
        let counts =
            |task: &BackgroundTask| !task.is_foreground && !task.is_ambient && (commands || !task.is_command);
        self.will_resume || self.tasks.values().any(|task| task.end.is_none() && counts(task))
    }

    /// Returns the tasks that did not finish by themselves.
    pub(super) fn unfinished_work(&self) -> Vec<BackgroundWork> {
        let tasks = self.tasks.values().filter(|task| !task.is_foreground && !task.is_ambient);
        tasks
            .filter_map(|task| {
                let end = match task.end {
                    None => BackgroundEnd::Outstanding,
                    Some(EndStatus::Failed) => BackgroundEnd::Failed,
                    Some(EndStatus::Stopped) => BackgroundEnd::Stopped,
                    Some(EndStatus::Completed) => return None,
                };
                // Commands often fail or are stopped; the agent that was notified has dealt with it.
                if task.is_command && task.agent_knows_end {
                    return None;
                }
                let (name, is_command) = (task.name.clone(), task.is_command);
                Some(BackgroundWork { name, is_command, end, agent_knows_end: task.agent_knows_end })
            })
            .collect()
    }
}

fn set_name(task: &mut BackgroundTask, value: &Value) {
    if let Some(kind) = some_text(value, "task_type") {
        task.is_command = kind == "local_bash";
    }
    let named = some_text(value, "description").or_else(|| some_text(value, "summary"));
    if let Some(name) = named.filter(|_| task.name.is_empty()) {
        task.name = one_line(&name, MAX_NAME_CHARS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::output::report::ResultStanding;
    use crate::dispatch::output::{Baseline, Format, RunReport, StreamParser};

    const LISTED: &str = r#"{"type":"system","subtype":"background_tasks_changed","tasks":[{"task_id":"a1","task_type":"local_agent","description":"look"}],"session_id":"s"}"#;
    const EMPTY: &str =
        r#"{"type":"system","subtype":"background_tasks_changed","tasks":[],"session_id":"s"}"#;
    const STARTED: &str = r#"{"type":"system","subtype":"task_started","task_id":"a1","tool_use_id":"toolu_1","description":"look","is_backgrounded":true,"task_type":"local_agent","session_id":"s"}"#;
    const LAUNCHED: &str = r#"{"type":"user","message":{"role":"user","content":[{"tool_use_id":"toolu_1","type":"tool_result","content":"launched"}]},"tool_use_result":{"isAsync":true,"status":"async_launched","agentId":"a1"}}"#;
    const SAYS: &str = r#"{"type":"assistant","message":{"content":[{"type":"text","text":"waiting"}]},"parent_tool_use_id":null,"session_id":"s"}"#;
    const SUB_SAYS: &str = r#"{"type":"assistant","message":{"content":[{"type":"text","text":"found"}]},"parent_tool_use_id":"toolu_1","session_id":"s"}"#;

    fn notified(status: &str) -> String {
        format!(
            r#"{{"type":"system","subtype":"task_notification","task_id":"a1","status":"{status}","summary":"look","session_id":"s"}}"#
        )
    }

    fn result(text: &str) -> String {
        format!(
            r#"{{"type":"result","subtype":"success","is_error":false,"result":"{text}","session_id":"s"}}"#
        )
    }

    fn is_interim(report: &RunReport) -> bool {
        report.result.as_ref().is_some_and(|result| result.standing == ResultStanding::Interim)
    }

    /// Returns the report and, for each line, whether the run had its last result after it.
    fn read(lines: &[&str]) -> (RunReport, Vec<bool>) {
        let mut parser = StreamParser::new(Format::ClaudeStream);
        let feed = |line: &&str| {
            parser.feed(format!("{line}\n").as_bytes(), &mut |_| {});
            parser.has_final_result()
        };
        let done = lines.iter().map(feed).collect();
        (parser.finish(&Baseline::Fresh), done)
    }

    #[test]
    fn an_agent_that_the_program_stopped_makes_the_result_an_incomplete_one() {
        let stopped = notified("stopped");
        let killed =
            r#"{"type":"system","subtype":"task_updated","task_id":"a1","patch":{"status":"killed"}}"#;
        let lines = [LISTED, STARTED, LAUNCHED, SAYS, killed, &stopped, EMPTY, &result("interim text")];
        let (report, _) = read(&lines);
        assert!(report.has_final_result());
        assert_eq!(report.unfinished_work.len(), 1, "{:?}", report.unfinished_work);
        assert!(!report.unfinished_work[0].agent_knows_end);
        assert_eq!(report.unfinished_work[0].describe(), "background agent \"look\" was stopped");
        // Even a notice without any start counts.
        let (report, _) = read(&[&stopped, &result("x")]);
        assert_eq!(report.unfinished_work.len(), 1);
    }

    #[test]
    fn a_result_is_interim_while_a_background_agent_runs() {
        let (interim, completed, last) = (result("interim"), notified("completed"), result("synthesis"));
        let lines = [LISTED, STARTED, LAUNCHED, SAYS, &interim, SUB_SAYS, &completed, EMPTY, SAYS, &last];
        let (report, done) = read(&lines);
        assert_eq!(done.iter().position(|is| *is), Some(lines.len() - 1), "{done:?}");
        assert_eq!((report.text.as_str(), report.unfinished_work.len()), ("synthesis", 0));
        // Ended while it runs: the last result is all there is, and it is known to be interim.
        let (report, _) = read(&lines[..6]);
        assert!(is_interim(&report));
        assert_eq!(report.unfinished_work[0].end, BackgroundEnd::Outstanding);
        assert_eq!(report.text, "interim");
        // Versions that do not report the set.
        let (_, done) = read(&[STARTED, SAYS, &interim, &completed, SAYS, &last]);
        assert_eq!(done, [false, false, false, false, false, true]);
        // An end without a notification.
        let (report, _) = read(&[LISTED, STARTED, SAYS, EMPTY, SAYS, &last]);
        assert_eq!(report.unfinished_work, []);
    }

    #[test]
    fn an_agent_that_was_waited_for_is_not_in_the_background() {
        let started = STARTED.replace("\"is_backgrounded\":true", "\"is_backgrounded\":false");
        let (report, done) = read(&[&started, SAYS, &notified("failed"), SAYS, &result("x")]);
        assert_eq!((report.unfinished_work.len(), done.last()), (0, Some(&true)));
        // Old versions do not say whether it was waited for; the result of the call does.
        let started = STARTED.replace("\"is_backgrounded\":true,", "");
        let returned = LAUNCHED.replace("async_launched", "completed");
        let (report, done) = read(&[&started, &returned, SAYS, &result("x")]);
        assert_eq!((report.unfinished_work.len(), done.last()), (0, Some(&true)));
        // Moved to the background later.
        let started = STARTED.replace("\"is_backgrounded\":true", "\"is_backgrounded\":false");
        let moved =
            r#"{"type":"system","subtype":"task_updated","task_id":"a1","patch":{"is_backgrounded":true}}"#;
        let (report, _) = read(&[&started, moved, &result("x")]);
        assert!(is_interim(&report));
    }

    #[test]
    fn ends_that_the_agent_knows_differ_from_tasks_left_running() {
        let (report, _) = read(&[STARTED, SAYS, &notified("failed"), SAYS, &result("x")]);
        assert!(report.unfinished_work[0].agent_knows_end);
        let command = STARTED.replace("local_agent", "local_bash");
        let (report, _) = read(&[&command, SAYS, &notified("failed"), SAYS, &result("x")]);
        assert_eq!(report.unfinished_work, [], "a command that failed, and the agent went on");
        let (report, done) = read(&[&command, SAYS, &result("I wait for the tests.")]);
        assert!(is_interim(&report) && !done[2]);
        let (report, done) = read(&[&command, SAYS, &result("The server runs.\\nSTATUS: done")]);
        assert!(report.has_final_result() && done[2]);
        assert_eq!(report.unfinished_work[0].describe(), "background command \"look\" had not ended");
        let (last, stopped) = (result("The server runs.\\nSTATUS: done"), notified("stopped"));
        let (report, done) = read(&[&command, SAYS, &last, &stopped, EMPTY]);
        assert!(report.has_final_result() && done[4], "stopped with the program, which nobody waits for");
        let watcher = STARTED.replace("\"description\"", "\"ambient\":true,\"description\"");
        let (report, done) = read(&[&watcher, SAYS, &result("x")]);
        assert_eq!((report.unfinished_work.len(), done[2]), (0, true));
    }
}
