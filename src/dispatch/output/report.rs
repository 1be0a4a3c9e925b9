//! The report of a run: the facts that its output contains.

use serde_json::Value;

use super::note::one_line;
use super::usage::{RunUsage, Tokens, Usage, UsageLowerBound};

/// Figures that a vendor counts from the start of a conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Cost in US dollars.
    pub cost_usd: Option<f64>,
    /// Tokens.
    pub tokens: Option<Tokens>,
    /// Tokens by model.
    pub usage: Option<Usage>,
}

/// The totals of a conversation before a run, which the figures of that run are counted from.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Baseline {
    /// Zero: the conversation starts with this run.
    #[default]
    Fresh,
    /// The totals after the previous run of the conversation.
    Resumed(Totals),
    /// The totals are incomplete: later runs of the conversation were interrupted before they reported any.
    AfterInterruption {
        /// Last reported totals; zero if no run of the conversation has reported any.
        totals: Totals,
        /// Lower bound of the usage of the runs since then.
        counted: UsageLowerBound,
    },
}

/// A denied tool call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Name of the tool, with the command or path.
    pub call: String,
}

/// How background work ended that did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackgroundEnd {
    /// It was still running when the agent's program exited.
    Outstanding,
    /// It was stopped.
    Stopped,
    /// It failed.
    Failed,
}

/// Work that an agent started in the background and that did not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackgroundWork {
    /// Description by the agent.
    pub name: String,
    /// Whether it is a shell command; otherwise it is an agent.
    pub is_command: bool,
    /// How it ended.
    pub end: BackgroundEnd,
    /// Whether the agent knows about the end, because it continued afterwards.
    pub agent_knows_end: bool,
}

impl BackgroundWork {
    /// Describes the work and its end for people.
    pub fn describe(&self) -> String {
        let kind = if self.is_command { "command" } else { "agent" };
        let end = match self.end {
            BackgroundEnd::Outstanding => "had not ended",
            BackgroundEnd::Stopped => "was stopped",
            BackgroundEnd::Failed => "failed",
        };
        let name = if self.name.is_empty() { String::new() } else { format!(" \"{}\"", self.name) };
        format!("background {kind}{name} {end}")
    }
}

/// Whether an agent's result is its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultStanding {
    /// Only clean-up remains.
    Final,
    /// Background work continues, and another result will follow.
    Interim,
    /// The agent has continued to work since, so the run has no result until the next one.
    Superseded,
}

/// How an agent judges its work.
#[derive(Clone, Debug, PartialEq)]
pub enum ResultStatus {
    /// The work succeeded.
    Success {
        /// The answer as a value, if the vendor validated it against a schema.
        structured: Option<Value>,
    },
    /// The work failed.
    Error,
}

/// The result object that an agent reports at the end of its work.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentResult {
    /// Success or error.
    pub status: ResultStatus,
    /// The vendor's code for the reason why the run ended.
    pub reason: Option<String>,
    /// Whether it is the last result.
    pub standing: ResultStanding,
}

impl AgentResult {
    /// Creates a final success without a structured answer.
    pub fn success(reason: Option<String>) -> Self {
        let status = ResultStatus::Success { structured: None };
        Self { status, reason, standing: ResultStanding::Final }
    }

    /// Creates a final error.
    pub fn error(reason: Option<String>) -> Self {
        Self { status: ResultStatus::Error, reason, standing: ResultStanding::Final }
    }
}

/// The facts that the output of a run contains. A missing figure is unknown, never zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunReport {
    /// The latest result, if the agent has reported one; see [`RunReport::current_result`].
    pub result: Option<AgentResult>,
    /// The agent's last message: the answer if the run succeeds.
    pub text: String,
    /// Whether `text` is only the beginning of a message that was too long.
    pub is_text_truncated: bool,
    /// Whether the model has produced a message or a tool call.
    pub has_worked: bool,
    /// Background work that did not complete.
    pub unfinished_work: Vec<BackgroundWork>,
    /// Error messages of the agent. They may precede a success: an agent continues after warnings and failed calls.
    pub errors: Vec<String>,
    /// HTTP status of the last call that the vendor's service refused; an agent may have continued after that too.
    pub api_error_status: Option<u16>,
    /// Codes of the agent program for the last refusal by the service.
    pub error_codes: Vec<String>,
    /// The last few JSON objects about the limits of the account, unchanged.
    pub limits: Vec<Value>,
    /// Denied tool calls; the run may be a success nevertheless.
    pub denials: Vec<Denial>,
    /// Id of the conversation.
    pub session_id: Option<String>,
    /// Whether the run resumes an earlier conversation.
    pub continues_session: bool,
    /// Models that worked on the task.
    pub models: Vec<String>,
    /// Version of the agent program.
    pub cli_version: Option<String>,
    /// Usage of this run alone.
    pub usage: RunUsage,
    /// Totals of the conversation after this run, the [`Baseline`] of the next.
    pub totals: Totals,
    /// Number of turns of this run.
    pub turns: Option<u64>,
    /// Number of lines that were skipped: too long, or not a JSON object with a type.
    pub skipped_lines: u64,
}

impl RunReport {
    /// Returns the result of the run, unless the agent has continued to work since it reported one.
    pub fn current_result(&self) -> Option<&AgentResult> {
        self.result.as_ref().filter(|result| result.standing != ResultStanding::Superseded)
    }

    /// Returns whether the agent has reported its last result.
    pub fn has_final_result(&self) -> bool {
        self.result.as_ref().is_some_and(|result| result.standing == ResultStanding::Final)
    }

    /// Returns whether the latest result is an error, even if the agent has continued to work since.
    pub fn has_error_result(&self) -> bool {
        self.result.as_ref().is_some_and(|result| result.status == ResultStatus::Error)
    }

    /// Returns the structured answer of the latest result.
    pub fn structured(&self) -> Option<&Value> {
        match &self.result.as_ref()?.status {
            ResultStatus::Success { structured } => structured.as_ref(),
            ResultStatus::Error => None,
        }
    }

    /// Returns the cost of this run in US dollars.
    pub fn cost_usd(&self) -> Option<f64> {
        self.usage.reported()?.cost_usd()
    }

    /// Marks the result as superseded: the agent continues to work.
    pub fn supersede_result(&mut self) {
        if let Some(result) = &mut self.result {
            result.standing = ResultStanding::Superseded;
        }
    }

    /// Adds a model unless it is known.
    pub fn add_model(&mut self, model: &str) {
        if !model.is_empty() && !self.models.iter().any(|known| known == model) {
            self.models.push(model.to_string());
        }
    }

    /// Adds an object about limits. Only the last few are kept, because each replaces the earlier ones.
    pub fn add_limit(&mut self, event: &Value) {
        const MAX_LIMITS: usize = 8;
        if self.limits.len() == MAX_LIMITS {
            self.limits.remove(0);
        }
        self.limits.push(event.clone());
    }

    /// Assumes the requested model if the output names none, and attributes the usage to the model if there is only one.
    pub fn attribute_to_model(&mut self, requested: Option<&str>) {
        if self.models.is_empty() {
            self.add_model(requested.unwrap_or_default());
        }
        let [model] = self.models.as_slice() else { return };
        match &mut self.usage {
            RunUsage::Reported(reported) if reported.by_model.0.is_empty() => {
                if let Some(tokens) = reported.tokens {
                    reported.by_model.add(model, tokens, reported.cost_usd());
                }
            }
            RunUsage::AtLeast(least) if least.usage.0.is_empty() => {
                least.usage.add(model, least.tokens, least.cost_usd);
            }
            RunUsage::Reported(_) | RunUsage::AtLeast(_) => {}
        }
    }

    /// Adds an error message; number and length are limited.
    pub fn add_error(&mut self, text: &str) {
        const MAX_ERRORS: usize = 20;
        let text = one_line(text, 2000);
        if !text.is_empty() && self.errors.len() < MAX_ERRORS {
            self.errors.push(text);
        }
    }
}
