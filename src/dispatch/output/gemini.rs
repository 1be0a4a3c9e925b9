//! gemini `-o stream-json`: messages in pieces, tools, and a `result` at the end.

use serde_json::Value;

use super::json::{count, some_text, status, text};
use super::report::{AgentResult, RunReport};
use super::tool_call;
use super::usage::{ReportedUsage, RunUsage, Tokens};

/// Parses the output of gemini.
#[derive(Debug, Default)]
pub(super) struct Gemini {
    /// The text since the last tool call.
    message: String,
    /// The text before it, in case nothing follows the last tool call.
    earlier: String,
    usage: ReportedUsage,
}

impl Gemini {
    pub(super) fn read_line(&mut self, value: &Value, report: &mut RunReport) -> Option<String> {
        match text(value, "type") {
            "init" => {
                report.session_id = some_text(value, "session_id");
                report.add_model(text(value, "model"));
                None
            }
            "message" if text(value, "role") != "user" => {
                report.has_worked = true;
                let content = text(value, "content");
                let is_piece = value.get("delta").and_then(Value::as_bool).unwrap_or(false);
                if !is_piece {
                    self.message.clear();
                }
                self.message.push_str(content);
                Some(content.to_string())
            }
            "tool_use" => {
                report.has_worked = true;
                if !self.message.is_empty() {
                    self.earlier = std::mem::take(&mut self.message);
                }
                let input = value.get("parameters").unwrap_or(&Value::Null);
                Some(tool_call(text(value, "tool_name"), input))
            }
            "error" => {
                let message = some_text(value, "message");
                report.add_error(message.as_deref().unwrap_or_default());
                message
            }
            "result" => {
                self.result(value, report);
                None
            }
            _ => None,
        }
    }

    pub(super) fn finish(self, report: &mut RunReport) {
        report.usage = RunUsage::Reported(self.usage);
        report.text = if self.message.trim().is_empty() { self.earlier } else { self.message };
    }

    fn result(&mut self, value: &Value, report: &mut RunReport) {
        report.result = Some(match some_text(value, "status") {
            Some(status) if status == "success" => AgentResult::success(Some(status)),
            status => AgentResult::error(status),
        });
        if let Some(error) = value.get("error") {
            report.add_error(text(error, "message"));
            report.api_error_status = status(error, "code");
        }
        if let Some(stats) = value.get("stats") {
            self.usage.tokens = tokens(stats);
            for (model, of_model) in stats.get("models").and_then(Value::as_object).into_iter().flatten() {
                report.add_model(model);
                if let Some(tokens) = tokens(of_model) {
                    self.usage.by_model.add(model, tokens, None);
                }
            }
        }
    }
}

fn tokens(stats: &Value) -> Option<Tokens> {
    let cached = count(stats, "cached").unwrap_or(0);
    count(stats, "input_tokens").map(|input| Tokens {
        // gemini includes cached tokens in the input; here each token is counted once.
        input: input.saturating_sub(cached),
        output: count(stats, "output_tokens").unwrap_or(0),
        cache_read: cached,
        cache_write: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::output::{Baseline, Format, StreamParser};

    fn read(text: &str) -> RunReport {
        let mut parser = StreamParser::new(Format::GeminiStream);
        parser.feed(text.as_bytes(), &mut |_| {});
        parser.finish(&Baseline::Fresh)
    }

    #[test]
    fn the_answer_is_what_follows_the_last_tool() {
        let report = read(
            r#"{"type":"init","session_id":"g1","model":"gemini-x"}
{"type":"message","role":"user","content":"do it"}
{"type":"message","role":"assistant","content":"I look","delta":true}
{"type":"tool_use","tool_name":"run_shell_command","tool_id":"1","parameters":{"command":"ls"}}
{"type":"tool_result","tool_id":"1","status":"success","output":"a"}
{"type":"message","role":"assistant","content":"All ","delta":true}
{"type":"message","role":"assistant","content":"done","delta":true}
{"type":"result","status":"success","stats":{"total_tokens":12,"input_tokens":10,"output_tokens":2,"cached":4,"duration_ms":5,"tool_calls":1}}
"#,
        );
        assert_eq!(report.result, Some(AgentResult::success(Some("success".to_string()))));
        assert_eq!(report.text, "All done");
        assert_eq!(report.session_id.as_deref(), Some("g1"));
        assert_eq!(report.models, ["gemini-x"]);
        assert_eq!(report.usage.tokens().map(Tokens::total), Some(12));
    }

    #[test]
    fn a_result_that_is_no_success_is_an_error() {
        let report = read(
            r#"{"type":"message","role":"assistant","content":"partly","delta":true}
{"type":"tool_use","tool_name":"x","tool_id":"1","parameters":{}}
{"type":"result","status":"error","error":{"type":"FatalTurnLimitedError","message":"too many turns","code":53}}
"#,
        );
        assert_eq!(report.result, Some(AgentResult::error(Some("error".to_string()))));
        assert_eq!(report.text, "partly");
        assert_eq!(report.errors, ["too many turns"]);
    }
}
