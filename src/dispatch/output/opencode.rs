//! opencode `run --format json`: steps, each with its own cost; the last one has the reason `stop`.

use serde_json::Value;

use super::json::{amount, count, some_text, status, text};
use super::report::{AgentResult, RunReport};
use super::tool_call;
use super::usage::{Cost, ReportedUsage, RunUsage, Tokens, UsageLowerBound, plus_cost};
use super::usage_so_far::UsageSoFar;

/// Parses the output of opencode.
#[derive(Debug, Default)]
pub(super) struct Opencode {
    step_text: String,
    steps: u64,
    /// The sum of the finished steps.
    usage: ReportedUsage,
    /// The tokens of the finished steps that have reported no cost.
    unpriced: Tokens,
    /// An error was reported; the steps after it do not make the run a success.
    has_failed: bool,
}

impl Opencode {
    pub(super) fn usage_so_far(&self) -> UsageSoFar {
        UsageSoFar {
            reported_usd: self.usage.cost_usd().unwrap_or_default(),
            of_unnamed_model: self.unpriced,
            ..UsageSoFar::default()
        }
    }

    pub(super) fn read_line(&mut self, value: &Value, report: &mut RunReport) -> Option<String> {
        if let Some(id) = some_text(value, "sessionID") {
            report.session_id = Some(id);
        }
        let nothing = Value::Null;
        let part = value.get("part").unwrap_or(&nothing);
        match text(value, "type") {
            "step_start" => {
                self.step_text.clear();
                report.supersede_result();
                None
            }
            "text" => {
                report.has_worked = true;
                if !self.step_text.is_empty() {
                    self.step_text.push('\n');
                }
                self.step_text.push_str(text(part, "text"));
                // Kept even if the step never finishes: it may be all there is.
                report.text.clone_from(&self.step_text);
                some_text(part, "text")
            }
            "tool_use" => {
                report.has_worked = true;
                let input = part.get("state").and_then(|state| state.get("input")).unwrap_or(&nothing);
                Some(tool_call(text(part, "tool"), input))
            }
            "step_finish" => {
                self.step_finished(part, report);
                None
            }
            "error" => {
                self.has_failed = true;
                Some(failed(value.get("error").unwrap_or(&nothing), report))
            }
            _ => None,
        }
    }

    fn step_finished(&mut self, part: &Value, report: &mut RunReport) {
        self.steps += 1;
        report.result = match some_text(part, "reason") {
            // Another step follows.
            Some(reason) if reason == "tool-calls" => None,
            Some(reason) if self.has_failed => Some(AgentResult::error(Some(reason))),
            Some(reason) => Some(AgentResult::success(Some(reason))),
            None => None,
        };
        if let Some(cost) = amount(part, "cost") {
            self.usage.cost = Some(Cost::reported(plus_cost(self.usage.cost_usd(), cost)));
        }
        if let Some(tokens) = part.get("tokens") {
            let nothing = Value::Null;
            let cache = tokens.get("cache").unwrap_or(&nothing);
            let step = Tokens {
                input: count(tokens, "input").unwrap_or(0),
                output: count(tokens, "output").unwrap_or(0),
                cache_read: count(cache, "read").unwrap_or(0),
                cache_write: count(cache, "write").unwrap_or(0),
            };
            self.usage.tokens = Some(self.usage.tokens.unwrap_or_default().plus(step));
            if amount(part, "cost").is_none() {
                self.unpriced = self.unpriced.plus(step);
            }
        }
    }

    pub(super) fn finish(self, report: &mut RunReport) {
        report.turns = (self.steps > 0).then_some(self.steps);
        report.usage = match (report.current_result(), self.usage.tokens) {
            // Each step reports its own share; that of the unfinished step is missing.
            (None, Some(tokens)) => {
                let cost_usd = self.usage.cost_usd();
                RunUsage::AtLeast(UsageLowerBound { tokens, cost_usd, ..UsageLowerBound::default() })
            }
            _ => RunUsage::Reported(self.usage),
        };
    }
}

fn failed(error: &Value, report: &mut RunReport) -> String {
    let nothing = Value::Null;
    let data = error.get("data").unwrap_or(&nothing);
    let message = some_text(data, "message").unwrap_or_else(|| text(error, "name").to_string());
    report.result = Some(AgentResult::error(some_text(error, "name")));
    report.api_error_status = status(data, "statusCode");
    report.add_error(&message);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::output::{Baseline, Format, StreamParser};

    fn read(text: &str) -> RunReport {
        let mut parser = StreamParser::new(Format::OpencodeJson);
        parser.feed(text.as_bytes(), &mut |_| {});
        parser.finish(&Baseline::Fresh)
    }

    #[test]
    fn costs_of_steps_add_up_and_the_last_text_is_the_answer() {
        let report = read(
            r#"{"type":"step_start","timestamp":1,"sessionID":"ses_1","part":{}}
{"type":"text","timestamp":1,"sessionID":"ses_1","part":{"text":"looking"}}
{"type":"tool_use","timestamp":1,"sessionID":"ses_1","part":{"tool":"bash","state":{"input":{"command":"ls"}}}}
{"type":"step_finish","timestamp":1,"sessionID":"ses_1","part":{"reason":"tool-calls","cost":0.25,"tokens":{"total":3,"input":2,"output":1,"reasoning":0,"cache":{"read":0,"write":0}}}}
{"type":"step_start","timestamp":1,"sessionID":"ses_1","part":{}}
{"type":"text","timestamp":1,"sessionID":"ses_1","part":{"text":"done"}}
{"type":"step_finish","timestamp":1,"sessionID":"ses_1","part":{"reason":"stop","cost":0.5,"tokens":{"total":3,"input":2,"output":1,"reasoning":0,"cache":{"read":5,"write":0}}}}
"#,
        );
        assert_eq!(report.result, Some(AgentResult::success(Some("stop".to_string()))));
        assert_eq!(report.text, "done");
        assert_eq!(report.session_id.as_deref(), Some("ses_1"));
        assert_eq!(report.cost_usd(), Some(0.75));
        assert_eq!(report.turns, Some(2));
        assert_eq!(report.usage.tokens().map(Tokens::total), Some(11));
    }

    #[test]
    fn a_step_that_calls_tools_is_not_the_end() {
        let report = read(r#"{"type":"step_finish","sessionID":"s","part":{"reason":"tool-calls"}}"#);
        assert_eq!(report.result, None);
    }

    #[test]
    fn errors_carry_the_status() {
        let report = read(
            r#"{"type":"error","sessionID":"s","error":{"name":"APIError","data":{"message":"slow down","statusCode":429,"isRetryable":true}}}"#,
        );
        assert_eq!(report.result, Some(AgentResult::error(Some("APIError".to_string()))));
        assert_eq!(report.api_error_status, Some(429));
        assert_eq!(report.errors, ["slow down"]);
    }
    #[test]
    fn steps_after_an_error_do_not_make_the_run_a_success() {
        let report = read(
            r#"{"type":"error","sessionID":"s","error":{"name":"APIError"}}
{"type":"step_start","sessionID":"s","part":{}}
{"type":"step_finish","sessionID":"s","part":{"reason":"stop"}}
"#,
        );
        assert_eq!(report.result, Some(AgentResult::error(Some("stop".to_string()))));
    }
}
