//! The most that a run may cost, for vendors whose program has no such setting: the usage in the output is watched.

use std::fmt;
use std::sync::Arc;

use super::outcome::RunFailure;
use super::output::{Usage, UsageSoFar};
use crate::model::FailureClass;

/// Returns the cost of a usage in US dollars; `None` if a price is unknown.
pub(crate) type PriceOf = Arc<dyn Fn(&Usage) -> Option<f64> + Send + Sync>;

/// The most that a run may cost, and how its cost is computed.
#[derive(Clone)]
pub struct CostLimit {
    /// The most that it may cost, in US dollars.
    pub(crate) usd: f64,
    /// What tokens cost whose cost the vendor does not report.
    pub(crate) price_of: PriceOf,
    /// The requested model, for output that names none.
    pub(crate) model: Option<String>,
}

impl fmt::Debug for CostLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CostLimit")
            .field("usd", &self.usd)
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

impl CostLimit {
    /// Returns whether a run with this usage has cost as much as it may. A cost that nobody knows counts as the limit.
    pub(crate) fn is_reached(&self, usage: &UsageSoFar) -> bool {
        self.cost(usage).is_none_or(|usd| usd >= self.usd)
    }

    /// Returns the failure of a run that was ended with this usage.
    pub(crate) fn failure(&self, usage: &UsageSoFar) -> RunFailure {
        let limit = self.usd;
        let message = match self.cost(usage) {
            Some(usd) => {
                format!("the agent was stopped: it has cost ${usd:.2}, and max_budget_usd is ${limit:.2}")
            }
            None => format!(
                "the agent was stopped: its cost is unknown, which counts as its max_budget_usd (${limit:.2}); \
                 set `prices` under dispatch in handoff.yaml"
            ),
        };
        RunFailure::new(FailureClass::Budget, message)
    }

    fn cost(&self, usage: &UsageSoFar) -> Option<f64> {
        let unpriced = usage.unpriced(self.model.as_deref());
        let more = if unpriced.0.is_empty() { Some(0.0) } else { (self.price_of)(&unpriced) };
        Some(usage.reported_usd + more?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::output::{Format, StreamParser};

    /// A limit where each input token of the model m1 costs a dollar.
    fn limit(usd: f64) -> CostLimit {
        let price_of = |usage: &Usage| {
            let price = |(model, used): (&String, &crate::dispatch::output::ModelUsage)| {
                (model == "m1").then_some(used.tokens.input as f64)
            };
            usage.0.iter().map(price).sum()
        };
        CostLimit { usd, price_of: Arc::new(price_of), model: Some("m1".to_string()) }
    }

    fn usage(format: Format, output: &str) -> UsageSoFar {
        let mut parser = StreamParser::new(format);
        parser.feed(output.as_bytes(), &mut |_| {});
        parser.usage_so_far().expect("a format that tells usage as it goes")
    }

    fn step(cost: &str, input: u64) -> String {
        format!(
            "{{\"type\":\"step_finish\",\"sessionID\":\"s\",\"part\":{{\"reason\":\"tool-calls\",{cost}\"tokens\":{{\"input\":{input},\
             \"output\":0}}}}}}\n"
        )
    }

    #[test]
    fn the_cost_is_what_the_vendor_reports_and_else_what_the_tokens_cost() {
        let of = |output: &str| usage(Format::OpencodeJson, output);
        let reported = of(&(step("\"cost\":0.25,", 1) + &step("\"cost\":0.5,", 1)));
        assert!(limit(0.75).is_reached(&reported) && !limit(0.76).is_reached(&reported));
        let mixed = of(&(step("\"cost\":0.25,", 1) + &step("", 2)));
        assert!(limit(2.25).is_reached(&mixed) && !limit(2.3).is_reached(&mixed));
        assert!(
            !limit(0.1).is_reached(&of("{\"type\":\"step_start\",\"sessionID\":\"s\"}\n")),
            "nothing was used"
        );
        let message = limit(0.5).failure(&reported).message;
        assert_eq!(message, "the agent was stopped: it has cost $0.75, and max_budget_usd is $0.50");
    }

    #[test]
    fn an_unknown_cost_counts_as_the_limit() {
        let unknown = usage(Format::OpencodeJson, &step("", 1));
        let limit = CostLimit { model: Some("m2".to_string()), ..limit(1000.0) };
        assert!(limit.is_reached(&unknown));
        let failure = limit.failure(&unknown);
        assert_eq!(failure.class, FailureClass::Budget);
        assert!(failure.message.contains("its cost is unknown"), "{}", failure.message);
    }

    #[test]
    fn messages_of_a_claude_stream_count_by_their_models() {
        let message = |id: &str, input: u64| {
            format!(
                "{{\"type\":\"assistant\",\"session_id\":\"s\",\"message\":{{\"id\":\"{id}\",\"model\":\"m1\",\"content\":[],\
                 \"usage\":{{\"input_tokens\":{input},\"output_tokens\":0}}}}}}\n"
            )
        };
        let used = usage(Format::ClaudeStream, &(message("a", 1) + &message("a", 1) + &message("b", 2)));
        assert!(limit(3.0).is_reached(&used) && !limit(3.1).is_reached(&used));
    }
}
