//! The usage of a claude run.
//!
//! A result reports it by model, including sub-agents: for the whole conversation (`modelUsage`), and in recent
//! versions also since the previous result (`model_usage_since_last_result`). `usage` covers the main conversation
//! only. A run that is interrupted has no result; the messages of its stream, each with the usage known when it
//! began, then give a lower bound.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use super::json::{amount, count, text};
use super::report::{Baseline, RunReport, Totals};
use super::usage::{Cost, ReportedUsage, RunUsage, Tokens, Usage, UsageLowerBound, plus_cost};
use super::usage_so_far::UsageSoFar;

/// Number of messages for which further lines are expected. The lines of a message are close together.
const MAX_OPEN_MESSAGES: usize = 1000;

/// The usage of a run so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The sum of what the results report since their previous ones.
    reported: Option<Usage>,
    reported_cost: Option<f64>,
    /// The conversation's total before this run, from the first result that reports both figures.
    before: Option<Usage>,
    /// The conversation's total, from the last result.
    total: Option<Usage>,
    total_cost: Option<f64>,
    /// The sum of the main conversation's share.
    main: Option<Tokens>,
    /// Messages since the last result.
    since_result: Messages,
}

impl Tally {
    /// Reads a `result` line.
    pub(super) fn result(&mut self, value: &Value) {
        self.since_result = Messages::default();
        if let Some(usage) = value.get("usage") {
            self.main = Some(self.main.unwrap_or_default().plus(message_tokens(usage)));
        }
        let total = by_model(value, "modelUsage");
        if let Some((since, cost)) = by_model(value, "model_usage_since_last_result") {
            if let Some(cost) = cost {
                self.reported_cost = Some(plus_cost(self.reported_cost, cost));
            }
            if let Some(since) = since {
                self.reported.get_or_insert_default().add_all(&since);
                if let (None, Some((Some(total), _))) = (&self.before, &total) {
                    self.before = Some(total.since(&since));
                }
            }
        }
        if let Some((Some(usage), _)) = total {
            self.total = Some(usage);
        }
        self.total_cost = amount(value, "total_cost_usd").or(self.total_cost);
    }

    /// Reads the message of an `assistant` line.
    pub(super) fn message(&mut self, message: &Value) {
        let model = text(message, "model");
        if let Some(usage) = message.get("usage").filter(|_| !model.is_empty() && model != "<synthetic>") {
            self.since_result.add(text(message, "id"), model, message_tokens(usage));
        }
    }

    /// Returns the usage so far: what results have reported, and the messages since the last one.
    pub(super) fn so_far(&self) -> UsageSoFar {
        UsageSoFar {
            reported_usd: self.reported_cost.unwrap_or_default(),
            by_model: self.since_result.clone().usage(),
            ..UsageSoFar::default()
        }
    }

    /// Writes the usage of the run into `report` once the output has ended.
    pub(super) fn finish(self, report: &mut RunReport, baseline: &Baseline) {
        let cost_usd = run_cost(self.reported_cost, self.total_cost, baseline);
        let usage = self.run_usage(baseline);
        report.totals = Totals { cost_usd: self.total_cost, tokens: None, usage: self.total };
        let rest = self.since_result.usage();
        if rest.0.is_empty() {
            report.usage = RunUsage::Reported(ReportedUsage {
                cost: cost_usd.map(Cost::reported),
                tokens: usage.as_ref().map(Usage::tokens).or(self.main),
                by_model: usage.unwrap_or_default(),
            });
            return;
        }
        let reported = usage.as_ref().map(Usage::tokens).or(self.main).unwrap_or_default();
        let mut all = usage.unwrap_or_default();
        all.add_all(&rest);
        let tokens = reported.plus(rest.tokens());
        report.usage = RunUsage::AtLeast(UsageLowerBound { tokens, usage: all, unpriced: rest, cost_usd });
    }

    /// Returns the usage of this run alone by model, from its results.
    fn run_usage(&self, baseline: &Baseline) -> Option<Usage> {
        let of_total = |before: Option<&Usage>| Some(self.total.as_ref()?.since(before?));
        let after_cut = || match baseline {
            Baseline::AfterInterruption { totals, counted } => {
                let (total, before) = (self.total.as_ref()?, totals.usage.as_ref()?);
                let since = total.since(before);
                Some(if total.is_at_least(before) { since.without(&counted.usage) } else { since })
            }
            _ => None,
        };
        match (&self.reported, baseline) {
            // A later result may lack the difference to the previous one and report it only in the total.
            (Some(reported), _) => {
                let of_total = of_total(self.before.as_ref()).unwrap_or_default();
                Some(reported.clone().max(&of_total).max(&after_cut().unwrap_or_default()))
            }
            (None, Baseline::Fresh) => self.total.clone(),
            (None, Baseline::Resumed(before)) => of_total(before.usage.as_ref()),
            (None, Baseline::AfterInterruption { .. }) => after_cut(),
        }
    }
}

/// Usage by message. Each line of a message repeats it, and a later line may be more complete.
#[derive(Clone, Debug, Default)]
struct Messages {
    open: BTreeMap<String, (String, Tokens)>,
    order: VecDeque<String>,
    closed: Usage,
}

impl Messages {
    fn add(&mut self, id: &str, model: &str, tokens: Tokens) {
        if let Some((_, known)) = self.open.get_mut(id) {
            *known = known.max(tokens);
            return;
        }
        self.open.insert(id.to_string(), (model.to_string(), tokens));
        self.order.push_back(id.to_string());
        if self.order.len() > MAX_OPEN_MESSAGES
            && let Some((model, tokens)) = self.order.pop_front().and_then(|id| self.open.remove(&id))
        {
            self.closed.add(&model, tokens, None);
        }
    }

    fn usage(self) -> Usage {
        let mut usage = self.closed;
        self.open.values().for_each(|(model, tokens)| usage.add(model, *tokens, None));
        // Nothing was used, or nothing is known: both are logged alike.
        usage.0.retain(|_, of_model| of_model.tokens.total() > 0);
        usage
    }
}

fn message_tokens(usage: &Value) -> Tokens {
    Tokens {
        input: count(usage, "input_tokens").unwrap_or(0),
        output: count(usage, "output_tokens").unwrap_or(0),
        cache_read: count(usage, "cache_read_input_tokens").unwrap_or(0),
        cache_write: count(usage, "cache_creation_input_tokens").unwrap_or(0),
    }
}

/// Returns the usage by model at `key` and its cost; old versions report only the cost.
fn by_model(value: &Value, key: &str) -> Option<(Option<Usage>, Option<f64>)> {
    let models = value.get(key)?.as_object()?;
    let (mut usage, mut cost, mut has_tokens) = (Usage::default(), None, true);
    for (model, of_model) in models {
        let number = |key: &str| count(of_model, key);
        has_tokens &= number("inputTokens").or(number("outputTokens")).is_some();
        let tokens = Tokens {
            input: number("inputTokens").unwrap_or(0),
            output: number("outputTokens").unwrap_or(0),
            cache_read: number("cacheReadInputTokens").unwrap_or(0),
            cache_write: number("cacheCreationInputTokens").unwrap_or(0),
        };
        let dollars = amount(of_model, "costUSD");
        usage.add(model, tokens, dollars);
        if let Some(dollars) = dollars {
            cost = Some(plus_cost(cost, dollars));
        }
    }
    Some((has_tokens.then_some(usage), cost))
}

/// Returns the cost of one run in US dollars, from the amount reported for it alone, or from a total that may
/// count from the start of the conversation.
fn run_cost(reported: Option<f64>, total: Option<f64>, baseline: &Baseline) -> Option<f64> {
    // An amount below the earlier total cannot be cumulative: this version counts per run.
    let since = |before: f64, counted: f64| {
        let total = total?;
        Some(if total >= before { (total - before - counted).max(0.0) } else { total })
    };
    match baseline {
        Baseline::Fresh => reported.or(total),
        Baseline::Resumed(before) => reported.or_else(|| since(before.cost_usd?, 0.0)),
        Baseline::AfterInterruption { totals, counted } => {
            let since = totals.cost_usd.and_then(|before| since(before, counted.cost_usd.unwrap_or(0.0)));
            // Cost that earlier runs did not report is real too, and only part of the total.
            reported.zip(since).map(|(reported, since)| reported.max(since)).or(reported).or(since)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::output::{Format, StreamParser};

    const RESULT: &str = r#"{"type":"result","subtype":"success","is_error":false,"result":"x","session_id":"s","total_cost_usd":0.1,"usage":{"input_tokens":2000,"output_tokens":200},"modelUsage":{"opus":{"inputTokens":7000,"outputTokens":700,"cacheReadInputTokens":70,"cacheCreationInputTokens":100,"costUSD":0.1}}}"#;

    fn read(lines: &[&str], baseline: &Baseline) -> RunReport {
        let mut parser = StreamParser::new(Format::ClaudeStream);
        parser.feed(lines.join("\n").as_bytes(), &mut |_| {});
        parser.finish(baseline)
    }

    fn message(id: &str, model: &str, input: u64, output: u64) -> String {
        format!(
            r#"{{"type":"assistant","message":{{"id":"{id}","model":"{model}","content":[],"usage":{{"input_tokens":{input},"output_tokens":{output},"cache_read_input_tokens":1}}}},"session_id":"s"}}"#
        )
    }

    #[test]
    fn sub_agents_count_by_model() {
        let report = read(&[RESULT], &Baseline::Fresh);
        let tokens = Tokens { input: 7000, output: 700, cache_read: 70, cache_write: 100 };
        let of_opus = report.usage.by_model().expect("known").0["opus"];
        assert_eq!((report.usage.tokens(), of_opus.tokens), (Some(tokens), tokens));
        assert_eq!(of_opus.cost_usd, Some(0.1));
        assert_eq!((report.cost_usd(), report.usage.lower_bound()), (Some(0.1), None));
        // Only the usage of the main conversation is known.
        let plain = r#"{"type":"result","result":"x","usage":{"input_tokens":5,"output_tokens":1}}"#;
        assert_eq!(read(&[plain], &Baseline::Fresh).usage.tokens().map(Tokens::total), Some(6));
    }

    #[test]
    fn a_resumed_run_counts_the_difference() {
        let resumed = |input: Option<u64>| {
            let usage = input.map(|input| {
                let mut usage = Usage::default();
                usage.add("opus", Tokens { input, ..Tokens::default() }, None);
                usage
            });
            Baseline::Resumed(Totals { usage, ..Totals::default() })
        };
        let input =
            |lines: &[&str], baseline| read(lines, &baseline).usage.tokens().map(|tokens| tokens.input);
        assert_eq!(input(&[RESULT], resumed(Some(6000))), Some(1000));
        assert_eq!(input(&[RESULT], resumed(Some(8000))), Some(7000), "counted per run");
        assert_eq!(input(&[RESULT], resumed(None)), Some(2000), "the main conversation is all that is known");
        // The vendor's own difference takes precedence, also for a second result that lacks it.
        let since = RESULT.replace(
            r#""modelUsage""#,
            r#""model_usage_since_last_result":{"opus":{"inputTokens":3000,"outputTokens":1,"costUSD":0.01}},"modelUsage""#,
        );
        assert_eq!(input(&[&since], resumed(Some(1))), Some(3000));
        let second = RESULT.replace("7000", "7500");
        assert_eq!(input(&[&since, &second], resumed(Some(1))), Some(3500));
        let empty = second
            .replace("7500", "7000")
            .replace(r#""modelUsage""#, r#""model_usage_since_last_result":{},"modelUsage""#);
        assert_eq!(input(&[&since, &empty], resumed(None)), Some(3000));
    }

    #[test]
    fn messages_of_a_run_without_a_result_are_a_lower_bound() {
        let lines = [
            message("m1", "opus", 100, 1),
            message("m1", "opus", 100, 5),
            message("m2", "haiku", 30, 1),
            message("m3", "<synthetic>", 9, 9),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let report = read(&lines, &Baseline::Fresh);
        assert_eq!((report.usage.tokens(), report.cost_usd()), (None, None));
        let least = report.usage.lower_bound().expect("a lower bound");
        assert_eq!(
            least.usage.0["opus"].tokens,
            Tokens { input: 100, output: 5, cache_read: 1, cache_write: 0 }
        );
        assert_eq!((least.tokens.input, least.usage.0.len(), least.cost_usd), (130, 2, None));
        // A result includes everything before it; what comes after it is added.
        let report = read(&[lines[0], RESULT], &Baseline::Fresh);
        assert_eq!(
            (report.usage.lower_bound(), report.usage.tokens().map(|tokens| tokens.input)),
            (None, Some(7000))
        );
        let report = read(&[lines[0], RESULT, lines[2]], &Baseline::Fresh);
        let least = report.usage.lower_bound().expect("a lower bound");
        assert_eq!((least.tokens.input, least.cost_usd), (7030, Some(0.1)));
        assert_eq!((least.unpriced.tokens().input, report.usage.cost()), (30, None));
        assert_eq!(read(&[], &Baseline::Fresh).usage.lower_bound(), None);
    }

    #[test]
    fn many_messages_are_summed_up_within_bounds() {
        let mut messages = Messages::default();
        for n in 0..MAX_OPEN_MESSAGES * 3 {
            let tokens = Tokens { input: 1, ..Tokens::default() };
            messages.add(&n.to_string(), "m", tokens);
            messages.add(&n.to_string(), "m", tokens);
        }
        assert!(messages.open.len() <= MAX_OPEN_MESSAGES);
        assert_eq!(messages.usage().tokens().input, MAX_OPEN_MESSAGES as u64 * 3);
    }
}
