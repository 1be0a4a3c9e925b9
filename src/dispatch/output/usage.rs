//! What a run used, by model: as its vendor summed it up, or the least that its stream shows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::report::one_line;

/// Tokens by what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    /// Read by the model, cached ones not included where the vendor tells them apart.
    pub input: u64,
    /// Written by the model.
    pub output: u64,
    /// Read from the vendor's cache.
    pub cache_read: u64,
    /// Written to the vendor's cache.
    pub cache_write: u64,
}

impl Tokens {
    /// These tokens without those counted before; zero rather than negative.
    pub fn since(self, earlier: Self) -> Self {
        self.with(earlier, u64::saturating_sub)
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    /// The larger number of each kind.
    pub fn max(self, other: Self) -> Self {
        self.with(other, u64::max)
    }

    /// Whether no kind has a smaller number than in `earlier`.
    pub fn reaches(self, earlier: Self) -> bool {
        self.max(earlier) == self
    }

    fn with(self, other: Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            input: of(self.input, other.input),
            output: of(self.output, other.output),
            cache_read: of(self.cache_read, other.cache_read),
            cache_write: of(self.cache_write, other.cache_write),
        }
    }

    /// All tokens together.
    pub fn total(self) -> u64 {
        self.input
            .saturating_add(self.output)
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write)
    }
}

/// What one model did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelUsage {
    /// Its tokens.
    #[serde(flatten)]
    pub tokens: Tokens,
    /// Dollars for them, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

/// What each model did, by its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Usage(pub BTreeMap<String, ModelUsage>);

impl Usage {
    /// Adds what a model did. Names without end are counted under one name: they come from the agent's stream.
    pub fn add(&mut self, model: &str, tokens: Tokens, cost_usd: Option<f64>) {
        const MOST_MODELS: usize = 100;
        let name = one_line(model, 200);
        let fits = self.0.len() < MOST_MODELS || self.0.contains_key(&name);
        let entry = self.0.entry(if fits { name } else { "others".to_string() }).or_default();
        entry.tokens = entry.tokens.plus(tokens);
        if let Some(cost) = cost_usd {
            entry.cost_usd = Some(plus_cost(entry.cost_usd, cost));
        }
    }

    /// Adds all of another usage.
    pub fn add_all(&mut self, other: &Self) {
        for (model, usage) in &other.0 {
            self.add(model, usage.tokens, usage.cost_usd);
        }
    }

    /// For each model the larger numbers.
    pub fn max(mut self, other: &Self) -> Self {
        for (model, usage) in &other.0 {
            let entry = self.0.entry(model.clone()).or_default();
            entry.tokens = entry.tokens.max(usage.tokens);
            entry.cost_usd = match (entry.cost_usd, usage.cost_usd) {
                (Some(one), Some(other)) => Some(one.max(other)),
                (one, other) => one.or(other),
            };
        }
        self
    }

    /// The tokens of all models.
    pub fn tokens(&self) -> Tokens {
        self.0.values().fold(Tokens::default(), |sum, usage| sum.plus(usage.tokens))
    }

    /// This usage of a conversation without what it came to before. A total below the earlier one is none: then this
    /// version of the program counts each run by itself.
    pub fn since(&self, earlier: &Self) -> Self {
        if self.reaches(earlier) { self.without(earlier) } else { self.clone() }
    }

    /// Whether no model has fewer tokens than in `earlier`.
    pub fn reaches(&self, earlier: &Self) -> bool {
        let mut models = earlier.0.iter();
        models.all(|(model, usage)| self.0.get(model).is_some_and(|now| now.tokens.reaches(usage.tokens)))
    }

    /// What is left of each model's figures without those of `other`, zero rather than negative; models of which no
    /// tokens are left are left out.
    pub fn without(&self, other: &Self) -> Self {
        let before = |model: &String| other.0.get(model).copied().unwrap_or_default();
        let mut since = Self::default();
        for (model, usage) in &self.0 {
            let before = before(model);
            let tokens = usage.tokens.since(before.tokens);
            if tokens.total() > 0 {
                let cost = usage.cost_usd.map(|cost| (cost - before.cost_usd.unwrap_or(0.0)).max(0.0));
                since.add(model, tokens, cost);
            }
        }
        since
    }
}

/// A sum of dollars, which never becomes infinite: agents may print any number.
pub fn plus_cost(sum: Option<f64>, more: f64) -> f64 {
    (sum.unwrap_or(0.0) + more).min(f64::MAX)
}

/// The least that a run used that was cut short: it never came to tell its sums.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AtLeast {
    /// All of it.
    pub tokens: Tokens,
    /// By model, where the models are known.
    pub usage: Usage,
    /// The part of it whose cost its vendor has not told.
    pub unpriced: Usage,
    /// Dollars: those that its vendor told, and those of the rest at known prices.
    pub cost_usd: Option<f64>,
}

/// Where a cost comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CostSource {
    /// The vendor said it.
    Reported,
    /// Tokens times prices of handoff.yaml.
    Computed,
}

impl CostSource {
    /// The word in the journal and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Computed => "computed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(models: &[(&str, u64)]) -> Usage {
        let mut usage = Usage::default();
        for (model, input) in models {
            usage.add(model, Tokens { input: *input, ..Tokens::default() }, None);
        }
        usage
    }

    #[test]
    fn a_total_minus_the_total_before_is_what_came_since() {
        let before = usage(&[("opus", 10), ("haiku", 5)]);
        assert_eq!(usage(&[("opus", 30), ("haiku", 5)]).since(&before), usage(&[("opus", 20)]));
        assert_eq!(usage(&[("opus", 30), ("haiku", 5)]).since(&Usage::default()).tokens().input, 35);
        // A model that is gone, or a smaller number: that was no total.
        assert_eq!(usage(&[("opus", 30)]).since(&before), usage(&[("opus", 30)]));
        assert_eq!(usage(&[("opus", 3), ("haiku", 6)]).since(&before).tokens().input, 9);
    }

    #[test]
    fn usage_is_written_flat() {
        let mut one = Usage::default();
        one.add("m", Tokens { input: 1, output: 2, ..Tokens::default() }, Some(0.5));
        let text = serde_json::to_string(&one).expect("JSON");
        assert_eq!(text, r#"{"m":{"input":1,"output":2,"cache_read":0,"cache_write":0,"cost_usd":0.5}}"#);
        assert_eq!(serde_json::from_str::<Usage>(&text).expect("readable"), one);
    }
}
