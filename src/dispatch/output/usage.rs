//! Usage of a run by model: the vendor's sum, or the lower bound that the output shows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::note::one_line;

/// Tokens by price class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    /// Input tokens, without cached ones where the vendor distinguishes them.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// Input tokens read from the vendor's cache.
    pub cache_read: u64,
    /// Input tokens written to the vendor's cache.
    pub cache_write: u64,
}

impl Tokens {
    /// Subtracts `earlier`; zero rather than negative.
    pub fn since(self, earlier: Self) -> Self {
        self.with(earlier, u64::saturating_sub)
    }

    /// Adds both.
    pub fn plus(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    /// Takes the larger number of each kind.
    pub fn max(self, other: Self) -> Self {
        self.with(other, u64::max)
    }

    /// Returns whether every kind is at least that of `earlier`.
    pub fn is_at_least(self, earlier: Self) -> bool {
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

    /// Returns the number of tokens of all kinds.
    pub fn total(self) -> u64 {
        self.input
            .saturating_add(self.output)
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write)
    }
}

/// Usage of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelUsage {
    /// Tokens.
    #[serde(flatten)]
    pub tokens: Tokens,
    /// Their cost in US dollars, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

/// Usage by model name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Usage(pub BTreeMap<String, ModelUsage>);

impl Usage {
    /// Adds the usage of a model. Names come from the agent's output: those beyond a limit share one name.
    pub fn add(&mut self, model: &str, tokens: Tokens, cost_usd: Option<f64>) {
        const MAX_MODELS: usize = 100;
        let name = one_line(model, 200);
        let fits = self.0.len() < MAX_MODELS || self.0.contains_key(&name);
        let entry = self.0.entry(if fits { name } else { "others".to_string() }).or_default();
        entry.tokens = entry.tokens.plus(tokens);
        if let Some(cost) = cost_usd {
            entry.cost_usd = Some(plus_cost(entry.cost_usd, cost));
        }
    }

    /// Adds another usage.
    pub fn add_all(&mut self, other: &Self) {
        for (model, usage) in &other.0 {
            self.add(model, usage.tokens, usage.cost_usd);
        }
    }

    /// Takes the larger numbers for each model.
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

    /// Returns the tokens of all models.
    pub fn tokens(&self) -> Tokens {
        self.0.values().fold(Tokens::default(), |sum, usage| sum.plus(usage.tokens))
    }

    /// Returns the usage of a conversation since an earlier total. A number below the earlier total is not a total:
    /// that version of the program counts each run separately.
    pub fn since(&self, earlier: &Self) -> Self {
        if self.is_at_least(earlier) { self.without(earlier) } else { self.clone() }
    }

    /// Returns whether every model has at least the tokens of `earlier`.
    pub fn is_at_least(&self, earlier: &Self) -> bool {
        let mut models = earlier.0.iter();
        models.all(|(model, usage)| self.0.get(model).is_some_and(|now| now.tokens.is_at_least(usage.tokens)))
    }

    /// Subtracts `other` from each model's figures, zero rather than negative, and drops models without remaining
    /// tokens.
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

/// Adds amounts in US dollars. The sum never becomes infinite, although agents may print any number.
pub(crate) fn plus_cost(sum: Option<f64>, more: f64) -> f64 {
    (sum.unwrap_or(0.0) + more).min(f64::MAX)
}

/// A lower bound for the usage of a run that was interrupted before it reported its totals.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UsageLowerBound {
    /// All tokens.
    pub tokens: Tokens,
    /// Usage by model, where the models are known.
    pub usage: Usage,
    /// The part whose cost the vendor has not reported.
    pub unpriced: Usage,
    /// US dollars: the amount that the vendor reported, plus the rest at configured prices.
    pub cost_usd: Option<f64>,
}

/// The usage that a run reported. A missing figure is unknown, never zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportedUsage {
    /// Cost.
    pub cost: Option<Cost>,
    /// Tokens.
    pub tokens: Option<Tokens>,
    /// Tokens and cost by model; empty if the models are unknown.
    pub by_model: Usage,
}

impl ReportedUsage {
    /// Returns the cost in US dollars.
    pub fn cost_usd(&self) -> Option<f64> {
        self.cost.map(|cost| cost.usd)
    }
}

/// The usage of one run alone, without the rest of its conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum RunUsage {
    /// The run reported its usage, or nothing about it.
    Reported(ReportedUsage),
    /// The run was interrupted before it reported its usage, and used at least this.
    AtLeast(UsageLowerBound),
}

impl Default for RunUsage {
    fn default() -> Self {
        Self::Reported(ReportedUsage::default())
    }
}

impl RunUsage {
    /// Returns the reported usage, unless only a lower bound is known.
    pub fn reported(&self) -> Option<&ReportedUsage> {
        match self {
            Self::Reported(reported) => Some(reported),
            Self::AtLeast(_) => None,
        }
    }

    /// Returns the lower bound, unless the usage was reported.
    pub fn lower_bound(&self) -> Option<&UsageLowerBound> {
        match self {
            Self::Reported(_) => None,
            Self::AtLeast(least) => Some(least),
        }
    }

    /// Adds the usage of another run. What one of them does not know is unknown; a lower bound makes the sum one.
    pub fn plus(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Reported(own), Self::Reported(other)) => {
                let cost = own.cost.zip(other.cost).map(|(one, other)| Cost {
                    usd: plus_cost(Some(one.usd), other.usd),
                    source: if other.source == CostSource::Computed { other.source } else { one.source },
                });
                let tokens = own.tokens.zip(other.tokens).map(|(one, other)| one.plus(other));
                let mut by_model = own.by_model;
                by_model.add_all(&other.by_model);
                Self::Reported(ReportedUsage { cost, tokens, by_model })
            }
            (own, other) => {
                let (mut own, other) = (own.at_least(), other.clone().at_least());
                own.usage.add_all(&other.usage);
                own.unpriced.add_all(&other.unpriced);
                let cost_usd = match (own.cost_usd, other.cost_usd) {
                    (sum, Some(more)) => Some(plus_cost(sum, more)),
                    (sum, None) => sum,
                };
                Self::AtLeast(UsageLowerBound { tokens: own.tokens.plus(other.tokens), cost_usd, ..own })
            }
        }
    }

    /// Returns what was used at least.
    fn at_least(self) -> UsageLowerBound {
        match self {
            Self::AtLeast(least) => least,
            Self::Reported(reported) => UsageLowerBound {
                tokens: reported.tokens.unwrap_or_default(),
                cost_usd: reported.cost_usd(),
                usage: reported.by_model,
                unpriced: Usage::default(),
            },
        }
    }

    /// Returns the reported cost.
    pub fn cost(&self) -> Option<Cost> {
        self.reported()?.cost
    }

    /// Returns the reported tokens.
    pub fn tokens(&self) -> Option<Tokens> {
        self.reported()?.tokens
    }

    /// Returns the reported usage by model, if the models are known.
    pub fn by_model(&self) -> Option<&Usage> {
        self.reported().map(|reported| &reported.by_model).filter(|usage| !usage.0.is_empty())
    }
}

/// The cost of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Amount in US dollars.
    pub usd: f64,
    /// Origin of the amount.
    pub source: CostSource,
}

impl Cost {
    /// Creates a cost that the vendor reported.
    pub const fn reported(usd: f64) -> Self {
        Self { usd, source: CostSource::Reported }
    }
}

/// Where a cost comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CostSource {
    /// The vendor reported it.
    Reported,
    /// Tokens times the prices in handoff.yaml.
    Computed,
}

impl CostSource {
    /// Returns the name in the usage log and in responses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Computed => "computed",
        }
    }

    /// Parses a name; `None` for an unknown one.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Reported, Self::Computed].into_iter().find(|source| source.as_str() == name)
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
    fn the_usage_of_a_run_is_the_difference_of_totals() {
        let before = usage(&[("opus", 10), ("haiku", 5)]);
        assert_eq!(usage(&[("opus", 30), ("haiku", 5)]).since(&before), usage(&[("opus", 20)]));
        assert_eq!(usage(&[("opus", 30), ("haiku", 5)]).since(&Usage::default()).tokens().input, 35);
        // A model that is gone, or a smaller number: that was not a total.
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
