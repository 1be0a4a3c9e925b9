//! codex `exec --json`: one event per line, ended by `turn.completed` or `turn.failed`.

use serde_json::Value;

use super::json::{count, some_text, status_in, text};
use super::note::one_line;
use super::report::{AgentResult, Baseline, Denial, RunReport, Totals};
use super::usage::{ReportedUsage, RunUsage, Tokens};

/// The end of a program's message about a file that the sandbox keeps read-only.
const READ_ONLY: &str = "Read-only file system";
/// Maximum length of such a message that is reported, in characters.
const MAX_REFUSAL_CHARS: usize = 300;

/// Parses the output of codex.
#[derive(Debug, Default)]
pub(super) struct Codex {
    /// Tokens since the start of the conversation.
    total: Option<Tokens>,
    turns: u64,
}

impl Codex {
    pub(super) fn read_line(&mut self, value: &Value, report: &mut RunReport) -> Option<String> {
        match text(value, "type") {
            "thread.started" => {
                report.session_id = some_text(value, "thread_id");
                None
            }
            "turn.started" => {
                report.supersede_result();
                None
            }
            "turn.completed" => {
                report.result = Some(AgentResult::success(Some("completed".to_string())));
                self.turns += 1;
                self.total = value.get("usage").map(tokens).or(self.total);
                None
            }
            "turn.failed" => {
                report.result = Some(AgentResult::error(Some("turn.failed".to_string())));
                let message = text(value.get("error").unwrap_or(&Value::Null), "message");
                report.api_error_status = status_in(message);
                report.errors.clear();
                report.add_error(message);
                None
            }
            // A warning: the run continues. If it does not, the last one states the reason.
            "error" => {
                report.errors.clear();
                report.add_error(text(value, "message"));
                some_text(value, "message")
            }
            "item.started" | "item.completed" => {
                let item = value.get("item")?;
                report.has_worked |= text(item, "type") != "error";
                if text(value, "type") == "item.started" { started(item) } else { completed(item, report) }
            }
            _ => None,
        }
    }

    pub(super) fn finish(self, report: &mut RunReport, baseline: &Baseline) {
        report.totals = Totals { tokens: self.total, ..Totals::default() };
        report.turns = (self.turns > 0).then_some(self.turns);
        let tokens = match (self.total, baseline) {
            (total, Baseline::Fresh) => total,
            (Some(total), Baseline::Resumed(before)) => before.tokens.map(|before| total.since(before)),
            (Some(total), Baseline::AfterInterruption { totals, counted }) => {
                totals.tokens.map(|before| total.since(before.plus(counted.tokens)))
            }
            (None, _) => None,
        };
        report.usage = RunUsage::Reported(ReportedUsage { tokens, ..ReportedUsage::default() });
    }
}

fn tokens(usage: &Value) -> Tokens {
    let cached = count(usage, "cached_input_tokens").unwrap_or(0);
    Tokens {
        // codex includes cached tokens in the input; here each token is counted once.
        input: count(usage, "input_tokens").unwrap_or(0).saturating_sub(cached),
        output: count(usage, "output_tokens").unwrap_or(0),
        cache_read: cached,
        cache_write: count(usage, "cache_write_input_tokens").unwrap_or(0),
    }
}

fn started(item: &Value) -> Option<String> {
    match text(item, "type") {
        "command_execution" => Some(format!("runs {}", text(item, "command"))),
        "mcp_tool_call" => Some(format!("calls {}.{}", text(item, "server"), text(item, "tool"))),
        _ => None,
    }
}

fn completed(item: &Value, report: &mut RunReport) -> Option<String> {
    match text(item, "type") {
        "agent_message" => {
            // The answer is the last message; earlier ones are progress.
            report.text = text(item, "text").to_string();
            some_text(item, "text")
        }
        "mcp_tool_call" => {
            let error = item.get("error").map(error_text).unwrap_or_default();
            if error.contains("requires approval") {
                let call = format!("{}.{}", text(item, "server"), text(item, "tool"));
                report.denials.push(Denial { call });
            }
            None
        }
        "command_execution" if text(item, "status") == "declined" => {
            let call = text(item, "command").to_string();
            report.denials.push(Denial { call });
            None
        }
        "command_execution" => {
            // The sandbox refuses through the file system, and a shell may exit with 0 nevertheless.
            let mut lines = text(item, "aggregated_output").lines();
            if let Some(line) = lines.find(|line| line.ends_with(READ_ONLY)) {
                let call = format!("{}: {}", text(item, "command"), one_line(line, MAX_REFUSAL_CHARS));
                report.denials.push(Denial { call });
            }
            None
        }
        "error" => some_text(item, "message"),
        _ => None,
    }
}

fn error_text(error: &Value) -> String {
    match error {
        Value::String(text) => text.clone(),
        other => text(other, "message").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::output::{Format, StreamParser};

    fn read(text: &str, baseline: &Baseline) -> (RunReport, Vec<String>) {
        let mut parser = StreamParser::new(Format::CodexJsonl);
        let mut notes = Vec::new();
        parser.feed(text.as_bytes(), &mut |note| notes.push(note.text));
        (parser.finish(baseline), notes)
    }

    const RUN: &str = r#"{"type":"thread.started","thread_id":"t1"}
{"type":"turn.started"}
{"type":"item.started","item":{"id":"item_0","type":"command_execution","command":"/bin/bash -lc pwd","aggregated_output":"","exit_code":null,"status":"in_progress"}}
{"type":"item.completed","item":{"id":"item_0","type":"command_execution","command":"/bin/bash -lc pwd","aggregated_output":"...","exit_code":0,"status":"completed"}}
{"type":"item.completed","item":{"id":"item_1","type":"mcp_tool_call","server":"q","tool":"add","arguments":{},"result":null,"error":{"message":"MCP tool call requires approval, but approval policy is never"},"status":"failed"}}
{"type":"item.completed","item":{"id":"item_2","type":"agent_message","text":"interim"}}
{"type":"item.completed","item":{"id":"item_3","type":"error","message":"a warning"}}
{"type":"error","message":"Reconnecting... 1/5 (timeout)"}
{"type":"item.completed","item":{"id":"item_4","type":"agent_message","text":"final text"}}
{"type":"turn.completed","usage":{"input_tokens":9536,"cached_input_tokens":500,"cache_write_input_tokens":0,"output_tokens":3,"reasoning_output_tokens":0}}
"#;

    #[test]
    fn a_whole_run() {
        let (report, notes) = read(RUN, &Baseline::Fresh);
        assert_eq!(report.result, Some(AgentResult::success(Some("completed".to_string()))));
        assert_eq!(report.text, "final text");
        assert_eq!(report.session_id.as_deref(), Some("t1"));
        assert_eq!(report.denials, [Denial { call: "q.add".to_string() }]);
        assert_eq!(report.usage.cost(), None);
        let tokens = report.usage.tokens().expect("tokens");
        assert_eq!((tokens.input, tokens.cache_read, tokens.output), (9036, 500, 3));
        assert_eq!(
            notes,
            ["runs /bin/bash -lc pwd", "interim", "a warning", "Reconnecting... 1/5 (timeout)", "final text"]
        );
    }

    #[test]
    fn tokens_of_a_resumed_run_are_the_difference() {
        let before = Tokens { input: 9000, output: 1, ..Tokens::default() };
        let baseline = Baseline::Resumed(Totals { tokens: Some(before), ..Totals::default() });
        let (report, _) = read(RUN, &baseline);
        let tokens = report.usage.tokens().expect("known");
        assert_eq!((tokens.input, tokens.output, tokens.cache_read), (36, 2, 500));
        assert_eq!(report.totals.tokens.map(|total| total.input), Some(9036));
        let (report, _) = read(RUN, &Baseline::Resumed(Totals::default()));
        assert_eq!(report.usage.tokens(), None);
    }

    #[test]
    fn a_failed_turn_names_the_status() {
        let (report, _) = read(
            "{\"type\":\"turn.started\"}\n{\"type\":\"turn.failed\",\"error\":{\"message\":\"exceeded retry limit, last status: 429 Too Many Requests\"}}",
            &Baseline::Fresh,
        );
        assert_eq!(report.result, Some(AgentResult::error(Some("turn.failed".to_string()))));
        assert_eq!(report.api_error_status, Some(429));
        assert_eq!(report.errors, ["exceeded retry limit, last status: 429 Too Many Requests"]);
    }

    #[test]
    fn without_an_end_of_turn_there_is_no_result() {
        let cut = RUN.find("{\"type\":\"turn.completed\"").expect("present");
        assert_eq!(read(&RUN[..cut], &Baseline::Fresh).0.result, None);
    }

    #[test]
    fn what_the_sandbox_refused_is_a_denial() {
        let line = |output: &str| {
            let item = serde_json::json!({"type": "command_execution", "command": "/bin/bash -lc 'git commit -m x'",
                "aggregated_output": output, "exit_code": 0, "status": "completed"});
            let mut report = RunReport::default();
            Codex::default()
                .read_line(&serde_json::json!({"type": "item.completed", "item": item}), &mut report);
            report.denials
        };
        let refused = line("one\nfatal: Unable to create '/w/.git/index.lock': Read-only file system\ntwo\n");
        assert_eq!(
            refused[0].call,
            "/bin/bash -lc 'git commit -m x': fatal: Unable to create '/w/.git/index.lock': Read-only file system"
        );
        assert_eq!(line("all is well"), []);
        assert_eq!(line("Read-only file system is what mount says of /x"), []);
    }
}
