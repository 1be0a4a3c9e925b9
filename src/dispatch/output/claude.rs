//! claude `--output-format stream-json`: one object per line, the last of type `result`.

use serde_json::{Value, json};

use super::answer::{ClosingStatus, closing};
use super::background::Background;
use super::json::{count, some_text, status, text};
use super::report::{AgentResult, Baseline, Denial, ResultStanding, ResultStatus, RunReport};
use super::tally::Tally;
use super::tool_call;
use super::usage_so_far::UsageSoFar;

/// Parses the output of claude.
#[derive(Debug, Default)]
pub(super) struct Claude {
    /// Its usage.
    tally: Tally,
    /// Its background tasks.
    background: Background,
}

impl Claude {
    pub(super) fn usage_so_far(&self) -> UsageSoFar {
        self.tally.so_far()
    }

    pub(super) fn read_line(&mut self, value: &Value, report: &mut RunReport) -> Option<String> {
        if let Some(id) = some_text(value, "session_id") {
            report.session_id = Some(id);
        }
        let note = match text(value, "type") {
            "system" => {
                self.background.system(value);
                system(value, report)
            }
            "assistant" => {
                // Messages of sub-agents carry the id of the call that started them.
                if value.get("parent_tool_use_id").is_none_or(Value::is_null) {
                    // Work continues after a result: it was not the last one.
                    report.supersede_result();
                    self.background.agent_continues();
                }
                if let Some(message) = value.get("message") {
                    self.tally.message(message);
                    // The program reports errors of the service as messages of the model.
                    report.has_worked |= text(message, "model") != "<synthetic>";
                }
                // The service responds again: the errors of the retries no longer apply.
                report.api_error_status = None;
                report.error_codes = some_text(value, "error").into_iter().collect();
                if let Some(info) =
                    value.get("api_error_params").and_then(|about| about.get("rate_limit_info"))
                {
                    // The program prints no event when the state of the limit has not changed.
                    report.add_limit(&json!({"type": "rate_limit_event", "rate_limit_info": info}));
                }
                value.get("message").and_then(assistant)
            }
            "user" => {
                self.background.tool_result(value);
                None
            }
            "result" => {
                self.background.result();
                self.result(value, report);
                None
            }
            _ => None,
        };
        if report.current_result().is_some() {
            let will_continue = self.background.will_continue(!declares_done(report));
            let standing = if will_continue { ResultStanding::Interim } else { ResultStanding::Final };
            report.result.iter_mut().for_each(|result| result.standing = standing);
        }
        note
    }

    fn result(&mut self, value: &Value, report: &mut RunReport) {
        let judgement = match value.get("is_error") {
            Some(Value::Bool(true)) => ResultStatus::Error,
            _ => ResultStatus::Success {
                structured: value.get("structured_output").filter(|value| !value.is_null()).cloned(),
            },
        };
        report.result =
            Some(AgentResult { status: judgement, reason: reason(value), standing: ResultStanding::Final });
        report.text = text(value, "result").to_string();
        report.errors.clear();
        for error in value.get("errors").and_then(Value::as_array).into_iter().flatten() {
            report.add_error(error.as_str().unwrap_or_default());
        }
        report.api_error_status = status(value, "api_error_status");
        report.error_codes.extend(some_text(value, "api_error"));
        report.denials = value
            .get("permission_denials")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|denial| Denial {
                call: tool_call(text(denial, "tool_name"), denial.get("tool_input").unwrap_or(&Value::Null)),
            })
            .collect();
        add(&mut report.turns, count(value, "num_turns"));
        self.tally.result(value);
        for key in ["model_usage_since_last_result", "modelUsage"] {
            for model in
                value.get(key).and_then(Value::as_object).into_iter().flat_map(|models| models.keys())
            {
                report.add_model(model);
            }
        }
    }

    pub(super) fn finish(self, report: &mut RunReport, baseline: &Baseline) {
        report.unfinished_work = self.background.unfinished_work();
        self.tally.finish(report, baseline);
    }
}

/// Returns whether the agent declares its work finished. A command that it left running, such as a server, is then
/// not waited for. A background agent is: its end would be reported to the agent, which would continue.
fn declares_done(report: &RunReport) -> bool {
    report.has_error_result() || closing(&report.text) == Some(ClosingStatus::Done)
}

fn system(value: &Value, report: &mut RunReport) -> Option<String> {
    match text(value, "subtype") {
        "init" => {
            report.cli_version = some_text(value, "claude_code_version");
            report.add_model(text(value, "model"));
            None
        }
        "api_retry" => {
            report.api_error_status = status(value, "error_status");
            let attempt = count(value, "attempt").unwrap_or(0);
            let most = count(value, "max_retries").unwrap_or(0);
            let status =
                report.api_error_status.map_or("no connection".to_string(), |code| format!("HTTP {code}"));
            Some(format!("service answers {status} {}; retry {attempt} of {most}", text(value, "error")))
        }
        _ => None,
    }
}

fn assistant(message: &Value) -> Option<String> {
    let blocks = message.get("content")?.as_array()?;
    blocks.iter().find_map(|block| match text(block, "type") {
        "text" => some_text(block, "text"),
        "tool_use" => Some(tool_call(text(block, "name"), block.get("input").unwrap_or(&Value::Null))),
        _ => None,
    })
}

/// Returns the most specific reason why the run ended; old versions report only the subtype.
fn reason(value: &Value) -> Option<String> {
    let subtype = some_text(value, "subtype").filter(|subtype| subtype != "success");
    some_text(value, "terminal_reason").or(subtype)
}

fn add(sum: &mut Option<u64>, more: Option<u64>) {
    if let Some(more) = more {
        *sum = Some(sum.unwrap_or(0).saturating_add(more));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::output::{Format, StreamParser, Totals, UsageLowerBound};

    const INIT: &str = r#"{"type":"system","subtype":"init","session_id":"s1","model":"claude-opus-5-5","permissionMode":"default","tools":["Bash"],"claude_code_version":"2.1.329"}"#;
    const RETRY: &str = r#"{"type":"system","subtype":"api_retry","attempt":1,"max_retries":10,"retry_delay_ms":1158,"error_status":429,"error":"rate_limit","session_id":"s1"}"#;
    const TEXT: &str = r#"{"type":"assistant","message":{"role":"assistant","content":[{"type":"text","text":"looking"}]},"session_id":"s1"}"#;
    const TOOL: &str = r#"{"type":"assistant","message":{"content":[{"type":"tool_use","id":"toolu_1","name":"Bash","input":{"command":"ls"}}]}}"#;
    const RESULT: &str = r#"{"type":"result","subtype":"success","is_error":false,"result":"the answer","session_id":"s1","num_turns":2,"total_cost_usd":0.0998,"terminal_reason":"completed","api_error_status":null,"permission_denials":[{"tool_name":"Bash","tool_use_id":"toolu_1","tool_input":{"command":"touch x"}}],"usage":{"input_tokens":12456,"output_tokens":3,"cache_creation_input_tokens":0,"cache_read_input_tokens":7},"modelUsage":{"claude-opus-5-5":{"costUSD":0.0998}},"model_usage_since_last_result":{"claude-opus-5-5":{"costUSD":0.0498},"claude-haiku-5-5":{"costUSD":0.01}}}"#;

    fn read(lines: &[&str], baseline: &Baseline) -> (RunReport, Vec<String>) {
        let mut parser = StreamParser::new(Format::ClaudeStream);
        let mut notes = Vec::new();
        for line in lines {
            // Byte by byte: boundaries must not matter.
            for byte in line.bytes().chain([b'\n']) {
                parser.feed(&[byte], &mut |note| notes.push(note.text));
            }
        }
        (parser.finish(baseline), notes)
    }

    #[test]
    fn a_whole_run() {
        let (report, notes) = read(&[INIT, RETRY, TEXT, TOOL, RESULT], &Baseline::Fresh);
        assert_eq!(report.result, Some(AgentResult::success(Some("completed".to_string()))));
        assert_eq!(report.text, "the answer");
        assert_eq!(report.session_id.as_deref(), Some("s1"));
        assert_eq!(report.cli_version.as_deref(), Some("2.1.329"));
        assert_eq!(report.api_error_status, None);
        assert_eq!(report.turns, Some(2));
        assert_eq!(report.denials, [Denial { call: "Bash: touch x".to_string() }]);
        assert_eq!(report.models, ["claude-opus-5-5", "claude-haiku-5-5"]);
        let tokens = report.usage.tokens().expect("tokens");
        assert_eq!((tokens.input, tokens.output, tokens.cache_read), (12456, 3, 7));
        assert_eq!(notes, ["service answers HTTP 429 rate_limit; retry 1 of 10", "looking", "Bash: ls"]);
    }

    #[test]
    fn cost_is_of_this_run_alone() {
        let close = |cost: Option<f64>, expected: f64| (cost.expect("known") - expected).abs() < 1e-9;
        let resumed = |cost_usd| Baseline::Resumed(Totals { cost_usd, ..Totals::default() });
        let (report, _) = read(&[RESULT], &resumed(Some(0.05)));
        assert!(close(report.cost_usd(), 0.0598), "the vendor's own figure");
        assert!(close(report.totals.cost_usd, 0.0998));
        let plain = r#"{"type":"result","is_error":false,"result":"x","total_cost_usd":0.08}"#;
        assert!(close(read(&[plain], &resumed(Some(0.05))).0.cost_usd(), 0.03));
        assert!(close(read(&[plain], &resumed(Some(0.09))).0.cost_usd(), 0.08), "counted per run");
        assert!(close(read(&[plain], &Baseline::Fresh).0.cost_usd(), 0.08));
        assert_eq!(read(&[plain], &resumed(None)).0.cost_usd(), None, "unknown rather than wrong");
        let after_cut = |told, counted| Baseline::AfterInterruption {
            totals: Totals { cost_usd: told, ..Totals::default() },
            counted: UsageLowerBound { cost_usd: counted, ..UsageLowerBound::default() },
        };
        assert!(close(read(&[plain], &after_cut(Some(0.0), Some(0.03))).0.cost_usd(), 0.05));
        assert!(close(read(&[plain], &after_cut(Some(0.0), Some(0.1))).0.cost_usd(), 0.0), "never negative");
        assert_eq!(read(&[plain], &after_cut(None, Some(0.03))).0.cost_usd(), None);
        assert!(
            close(read(&[RESULT], &after_cut(Some(0.0), None)).0.cost_usd(), 0.0998),
            "with the untold part"
        );
    }

    #[test]
    fn errors_are_read_from_is_error_and_errors() {
        let api = r#"{"type":"result","subtype":"success","is_error":true,"result":"API Error: 529","terminal_reason":"api_error","api_error_status":529,"session_id":"s"}"#;
        let (report, _) = read(&[api], &Baseline::Fresh);
        assert_eq!(report.result, Some(AgentResult::error(Some("api_error".to_string()))));
        assert_eq!(report.api_error_status, Some(529));
        let budget = r#"{"type":"result","subtype":"error_max_budget_usd","is_error":true,"errors":["Reached maximum budget"],"session_id":"s"}"#;
        let (report, _) = read(&[budget], &Baseline::Fresh);
        assert_eq!(report.result, Some(AgentResult::error(Some("error_max_budget_usd".to_string()))));
        assert_eq!(report.errors, ["Reached maximum budget"]);
    }

    #[test]
    fn half_a_result_is_no_result_and_work_after_a_result_reopens_the_run() {
        let (report, _) = read(&[INIT, &RESULT[..80]], &Baseline::Fresh);
        assert_eq!(report.result, None);
        let (report, _) = read(&[RESULT, TEXT], &Baseline::Fresh);
        assert_eq!(report.current_result(), None);
        assert!(report.result.is_some_and(|result| result.standing == ResultStanding::Superseded));
        let (report, _) = read(&[RESULT, TEXT, RESULT], &Baseline::Fresh);
        assert!(report.has_final_result());
        assert!((report.cost_usd().expect("known") - 0.1196).abs() < 1e-9);
    }
}
