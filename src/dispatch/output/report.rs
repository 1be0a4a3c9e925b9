//! What is known about a run once its output has been read.

use serde_json::Value;

use super::note::one_line;
use super::usage::{CostSource, Tokens, Usage, UsageLowerBound};

/// Figures that a vendor counts from the start of a conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Dollars.
    pub cost_usd: Option<f64>,
    /// Tokens.
    pub tokens: Option<Tokens>,
    /// Tokens by model.
    pub usage: Option<Usage>,
}

/// What came before this run in its conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Baseline {
    /// Nothing: the conversation starts with this run.
    #[default]
    Fresh,
    /// The conversation goes on; these were its totals after the run before.
    Resumed(Totals),
    /// The conversation goes on after runs whose part of its totals is not known in full, as they were cut short.
    AfterInterruption {
        /// The last totals that are known; zero if no run since the conversation's start told any.
        totals: Totals,
        /// What is counted of the runs since then.
        counted: UsageLowerBound,
    },
}

/// A tool call that was not permitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The tool, with the command or path it was denied for.
    pub call: String,
}

/// How work in the background ended that did not come to its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackgroundEnd {
    /// It was still going on when the agent's program ended.
    Outstanding,
    /// Somebody stopped it.
    Stopped,
    /// It failed.
    Failed,
}

/// Work that the agent started in the background and that did not come to its own end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackgroundWork {
    /// What it was, in the agent's words.
    pub name: String,
    /// A shell command, not an agent.
    pub is_command: bool,
    /// How it ended.
    pub end: BackgroundEnd,
    /// The agent went on after that, so it knew.
    pub is_known: bool,
}

impl BackgroundWork {
    /// What happened, in a person's words.
    pub fn words(&self) -> String {
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
    /// Background work that did not finish by itself.
    pub unfinished_work: Vec<BackgroundWork>,
    /// Error messages of the agent.
    pub errors: Vec<String>,
    /// HTTP status of the vendor's service that ended the run, or of its last retry.
    pub api_error_status: Option<u16>,
    /// Codes of the agent program for the last refusal by the service.
    pub error_codes: Vec<String>,
    /// The last few JSON objects about the limits of the account, unchanged.
    pub limits: Vec<Value>,
    /// Denied tool calls; the run may be a success nevertheless.
    pub denials: Vec<Denial>,
    /// Id of the conversation.
    pub session_id: Option<String>,
    /// Whether the run continues an earlier conversation.
    pub continues_session: bool,
    /// Models that worked on the task.
    pub models: Vec<String>,
    /// Version of the agent program.
    pub cli_version: Option<String>,
    /// Cost of this run alone, in US dollars.
    pub cost_usd: Option<f64>,
    /// Origin of the cost; `None` before the configured prices were consulted.
    pub cost_source: Option<CostSource>,
    /// Tokens of this run alone.
    pub tokens: Option<Tokens>,
    /// Tokens and cost of this run by model, if the models are known.
    pub usage: Usage,
    /// The lower bound that replaces these figures if the run was interrupted before it reported them.
    pub lower_bound: Option<UsageLowerBound>,
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

    /// Marks the result as superseded: the agent continues to work.
    pub fn supersede_result(&mut self) {
        if let Some(result) = &mut self.result {
            result.standing = ResultStanding::Superseded;
        }
    }

    /// Remembers a model, each once.
    pub fn add_model(&mut self, model: &str) {
        if !model.is_empty() && !self.models.iter().any(|known| known == model) {
            self.models.push(model.to_string());
        }
    }

    /// Remembers an object about limits; the last few are kept, as each replaces those before.
    pub fn add_limit(&mut self, event: &Value) {
        const MOST: usize = 8;
        if self.limits.len() == MOST {
            self.limits.remove(0);
        }
        self.limits.push(event.clone());
    }

    /// Takes `asked` for the model of a run that does not name its own, and what was used for that of the only model.
    pub fn name_model(&mut self, asked: Option<&str>) {
        if self.models.is_empty() {
            self.add_model(asked.unwrap_or_default());
        }
        let [model] = self.models.as_slice() else { return };
        if let Some(tokens) = self.tokens.filter(|_| self.usage.0.is_empty()) {
            self.usage.add(model, tokens, self.cost_usd);
        }
        if let Some(least) = self.lower_bound.as_mut().filter(|least| least.usage.0.is_empty()) {
            least.usage.add(model, least.tokens, least.cost_usd);
        }
    }

    /// Remembers an error text, bounded in number and length.
    pub fn add_error(&mut self, text: &str) {
        const MOST: usize = 20;
        let text = one_line(text, 2000);
        if !text.is_empty() && self.errors.len() < MOST {
            self.errors.push(text);
        }
    }
}
