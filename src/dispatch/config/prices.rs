//! Prices of tokens, for vendors that do not report the cost: `prices:` in handoff.yaml.

use std::collections::BTreeMap;

use serde_yaml::Value;

use crate::Result;
use crate::dispatch::output::{
    Cost, CostSource, ReportedUsage, RunReport, RunUsage, Tokens, Usage, plus_cost,
};
use crate::workspace::Section;

/// Number of tokens that a price is for.
const TOKENS_PER_PRICE: f64 = 1e6;

/// US dollars for a million tokens of each kind; `None` if unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Price {
    input: Option<f64>,
    output: Option<f64>,
    cache_read: Option<f64>,
    cache_write: Option<f64>,
}

impl Price {
    /// Returns the cost of `tokens` in US dollars, or `None` if the price of some of them is unknown.
    fn of(&self, tokens: Tokens) -> Option<f64> {
        self.parts(tokens).into_iter().sum::<Option<f64>>().map(|sum| sum / TOKENS_PER_PRICE)
    }

    /// Returns the cost in US dollars of those tokens whose price is known.
    fn at_least(&self, tokens: Tokens) -> f64 {
        self.parts(tokens).into_iter().flatten().sum::<f64>() / TOKENS_PER_PRICE
    }

    fn parts(&self, tokens: Tokens) -> [Option<f64>; 4] {
        let part = |price: Option<f64>, count: u64| match count {
            0 => Some(0.0),
            _ => price.map(|price| price * count as f64),
        };
        [
            part(self.input, tokens.input),
            part(self.output, tokens.output),
            part(self.cache_read, tokens.cache_read),
            part(self.cache_write, tokens.cache_write),
        ]
    }
}

/// Prices by model name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prices(BTreeMap<String, Price>);

impl Prices {
    /// Returns whether no model has a price.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Parses `prices:`, a mapping from models to their prices.
    ///
    /// # Errors
    /// `Config`, with file, line and key.
    pub fn read(section: &Section<'_>) -> Result<Self> {
        let mut prices = BTreeMap::new();
        for model in section.keys()? {
            let of_model = section.section(&model)?;
            of_model.refuse_unknown_keys(&["input", "output", "cache_read", "cache_write"])?;
            let price = |key: &str| Ok::<_, crate::Error>(of_model.read(key, parse_price)?.value());
            let price = Price {
                input: price("input")?,
                output: price("output")?,
                cache_read: price("cache_read")?,
                cache_write: price("cache_write")?,
            };
            prices.insert(model, price);
        }
        Ok(Self(prices))
    }

    /// Returns the cost of `usage` in US dollars, or `None` if a price is unknown, which does not mean 0.
    pub(crate) fn cost(&self, usage: &Usage) -> Option<f64> {
        let costs = usage.0.iter().map(|(model, used)| self.0.get(model)?.of(used.tokens));
        costs.sum()
    }

    /// Returns the minimum cost of `usage` in US dollars, or `None` if no price is known.
    fn at_least(&self, usage: &Usage) -> Option<f64> {
        let known = usage.0.iter().filter_map(|(model, used)| Some(self.0.get(model)?.at_least(used.tokens)));
        let cost: f64 = known.sum();
        (cost > 0.0).then_some(cost)
    }

    /// Adds the costs that the vendor did not report.
    pub fn complete(&self, report: &mut RunReport) {
        match &mut report.usage {
            RunUsage::AtLeast(least) => {
                let priced = self.at_least(&least.unpriced);
                least.cost_usd = match (least.cost_usd, priced) {
                    (Some(reported), Some(priced)) => Some(plus_cost(Some(reported), priced)),
                    (reported, priced) => reported.or(priced),
                };
            }
            RunUsage::Reported(ReportedUsage { cost: cost @ None, by_model, .. })
                if !by_model.0.is_empty() =>
            {
                let Some(usd) = self.cost(by_model) else { return };
                *cost = Some(Cost { usd, source: CostSource::Computed });
                for (model, used) in &mut by_model.0 {
                    used.cost_usd = self.0.get(model).and_then(|price| price.of(used.tokens));
                }
            }
            RunUsage::Reported(_) => {}
        }
    }
}

/// Parses a price. 0 is valid, for models that run locally.
///
/// # Errors
/// A message for a value that is not a number from 0 up.
fn parse_price(value: &Value) -> std::result::Result<f64, String> {
    let price = value.as_f64().filter(|price| price.is_finite() && *price >= 0.0);
    price.ok_or_else(|| "expected dollars for a million tokens, a number from 0 up".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::output::UsageLowerBound;
    use crate::workspace::SourceText;

    const TEXT: &str = "\
prices:
  gpt-x: {input: 2, output: 10, cache_read: 0.5, cache_write: 0}
  half: {input: 1}
";

    fn prices(text: &str) -> Result<Prices> {
        let value: Value = serde_yaml::from_str(text).expect("valid YAML");
        let source = SourceText { file: "handoff.yaml", text };
        Prices::read(&Section::new(source, &["prices"], value.get("prices"))?)
    }

    fn report(model: Option<&str>, tokens: Tokens) -> RunReport {
        let usage = RunUsage::Reported(ReportedUsage { tokens: Some(tokens), ..ReportedUsage::default() });
        let mut report = RunReport { usage, ..RunReport::default() };
        report.attribute_to_model(model);
        prices(TEXT).expect("valid").complete(&mut report);
        report
    }

    #[test]
    fn a_cost_is_computed_only_from_known_prices() {
        let tokens = Tokens { input: 1_000_000, output: 100_000, cache_read: 2_000_000, cache_write: 7 };
        let known = report(Some("gpt-x"), tokens);
        assert_eq!(known.usage.cost(), Some(Cost { usd: 4.0, source: CostSource::Computed }));
        assert_eq!(known.usage.by_model().expect("known").0["gpt-x"].cost_usd, Some(4.0));
        for model in [Some("gpt-y"), Some("half"), None] {
            let unknown = report(model, tokens);
            assert_eq!(unknown.usage.cost(), None, "{model:?}");
        }
        let input = Tokens { input: 500_000, ..Tokens::default() };
        assert_eq!(report(Some("half"), input).cost_usd(), Some(0.5), "no other price is needed");
    }

    #[test]
    fn a_reported_cost_wins_over_a_computed_one() {
        let mut usage = ReportedUsage { cost: Some(Cost::reported(0.25)), ..ReportedUsage::default() };
        usage.by_model.add("gpt-x", Tokens { input: 1, ..Tokens::default() }, None);
        let mut reported = RunReport { usage: RunUsage::Reported(usage), ..RunReport::default() };
        prices(TEXT).expect("valid").complete(&mut reported);
        assert_eq!(reported.usage.cost(), Some(Cost { usd: 0.25, source: CostSource::Reported }));
    }

    #[test]
    fn a_lower_bound_adds_reported_costs_and_priced_tokens() {
        let mut rest = Usage::default();
        rest.add("half", Tokens { input: 1_000_000, output: 5, ..Tokens::default() }, None);
        rest.add("nobody", Tokens { input: 9, ..Tokens::default() }, None);
        let mut cut = RunReport {
            usage: RunUsage::AtLeast(UsageLowerBound {
                unpriced: rest,
                cost_usd: Some(0.5),
                ..UsageLowerBound::default()
            }),
            ..RunReport::default()
        };
        prices(TEXT).expect("valid").complete(&mut cut);
        assert_eq!((cut.usage.lower_bound().expect("a bound").cost_usd, cut.usage.cost()), (Some(1.5), None));
    }

    #[test]
    fn errors_name_their_line() {
        let message = |text: &str| prices(text).expect_err("a mistake").to_string();
        let negative = message("prices:\n  m:\n    input: -1\n");
        assert!(negative.starts_with("handoff.yaml line 3: prices.m.input: expected dollars"), "{negative}");
        assert!(message("prices:\n  m: {inptu: 1}\n").contains("did you mean input?"));
        assert!(message("prices: {m: 3}\n").contains("prices.m: expected keys"));
    }
}
