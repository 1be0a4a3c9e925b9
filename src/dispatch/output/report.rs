//! What is known about a run once its output has been read.

use serde_json::Value;

use super::note::one_line;
use super::usage::{AtLeast, CostSource, Tokens, Usage};

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
    AfterCut {
        /// The last totals that are known; zero if no run since the conversation's start told any.
        totals: Totals,
        /// What is counted of the runs since then.
        counted: AtLeast,
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
pub enum Ending {
    /// It was still going on when the agent's program ended.
    Outstanding,
    /// Somebody stopped it.
    Stopped,
    /// It failed.
    Failed,
}

/// Work that the agent started in the background and that did not come to its own end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutShort {
    /// What it was, in the agent's words.
    pub name: String,
    /// A shell command, not an agent.
    pub is_command: bool,
    /// How it ended.
    pub ending: Ending,
    /// The agent went on after that, so it knew.
    pub is_known: bool,
}

impl CutShort {
    /// What happened, in a person's words.
    pub fn words(&self) -> String {
        let kind = if self.is_command { "command" } else { "agent" };
        let end = match self.ending {
            Ending::Outstanding => "had not ended",
            Ending::Stopped => "was stopped",
            Ending::Failed => "failed",
        };
        let name = if self.name.is_empty() { String::new() } else { format!(" \"{}\"", self.name) };
        format!("background {kind}{name} {end}")
    }
}

/// Everything one run told about itself. A missing figure is unknown, never zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunReport {
    /// A result object was seen: the agent says that it is done.
    pub complete: bool,
    /// The result is an interim one: work in the background goes on, and another result will follow.
    pub is_interim: bool,
    /// Work in the background that did not come to its own end.
    pub cut_short: Vec<CutShort>,
    /// The model has said or done something.
    pub has_worked: bool,
    /// The agent says that it failed.
    pub is_error: bool,
    /// The answer: the agent's last message.
    pub text: String,
    /// The answer was longer than what is kept.
    pub text_cut: bool,
    /// The answer as a value, where the vendor checked it against a schema.
    pub structured: Option<Value>,
    /// What went wrong, in the agent's words.
    pub errors: Vec<String>,
    /// HTTP status of the vendor's service that ended the run, or of its last retry.
    pub api_error_status: Option<u16>,
    /// The vendor's word for why the run ended.
    pub terminal_reason: Option<String>,
    /// What the program told of its account's limits, the last few objects as they came.
    pub limits: Vec<Value>,
    /// The program's words, meant for programs, for what the service refused last.
    pub error_words: Vec<String>,
    /// Tool calls that were not permitted; the run may still call itself a success.
    pub denials: Vec<Denial>,
    /// The conversation.
    pub session_id: Option<String>,
    /// It began with this run.
    pub begins_session: bool,
    /// Models that worked on it.
    pub models: Vec<String>,
    /// Version of the agent program.
    pub cli_version: Option<String>,
    /// Dollars for this run alone.
    pub cost_usd: Option<f64>,
    /// Where they come from; nothing until prices were looked at.
    pub cost_source: Option<CostSource>,
    /// Tokens of this run alone.
    pub tokens: Option<Tokens>,
    /// The same by model, where the models are known.
    pub usage: Usage,
    /// In place of these figures, the least that a run used which did not come to tell them.
    pub at_least: Option<AtLeast>,
    /// Totals of the conversation after this run, the [`Baseline`] of the next.
    pub totals: Totals,
    /// Turns of this run.
    pub turns: Option<u64>,
    /// Lines that were no JSON objects with a type, or too long.
    pub skipped_lines: u64,
}

impl RunReport {
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
        if let Some(least) = self.at_least.as_mut().filter(|least| least.usage.0.is_empty()) {
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
