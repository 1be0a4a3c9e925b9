//! What a conversation has come to by the journal, and how much of that is already counted.
//!
//! A vendor that counts from the start of a conversation also counts what a run used that was cut short before it told
//! its total. The next run that tells one is charged with that remainder, so that the runs of a conversation add up
//! to the vendor's total.

use std::collections::HashSet;

use super::journal::{Record, by_model};
use super::stream::{AtLeast, Baseline, Tokens, Totals, Usage};

/// What the runs of `session` in the journal mean for its next run. Its totals are unknown as long as no run told them
/// and the run that began it is not on record.
pub fn baseline(journal: &str, session: &str) -> Baseline {
    let mut so_far = SoFar::default();
    let mut seen = HashSet::new();
    for record in journal.lines().filter(|line| line.contains(session)).filter_map(Record::from_line) {
        let is_other = record.session_id.as_deref() != Some(session) || record.not_started;
        if is_other || (!record.run.is_empty() && !seen.insert(record.run.clone())) {
            continue;
        }
        so_far.add(&record);
    }
    let SoFar { totals, counted, is_cut } = so_far;
    if is_cut { Baseline::AfterCut { totals, counted } } else { Baseline::Resumed(totals) }
}

/// The last totals that were told, and what is counted beyond them.
#[derive(Default)]
struct SoFar {
    totals: Totals,
    counted: AtLeast,
    /// What came after the last totals is not known in full.
    is_cut: bool,
}

impl SoFar {
    fn add(&mut self, record: &Record) {
        if record.begins_session {
            let nothing = Totals {
                cost_usd: Some(0.0),
                tokens: Some(Tokens::default()),
                usage: Some(Usage::default()),
            };
            *self = Self { totals: nothing, ..Self::default() };
        }
        self.add_cost(record);
        self.add_tokens(record);
        self.add_usage(record);
        let has_totals = record.session_cost_usd.is_some() || record.session_tokens.is_some();
        self.is_cut = !has_totals || record.at_least_tokens.is_some();
    }

    fn add_cost(&mut self, record: &Record) {
        let counted = self.counted.cost_usd.unwrap_or(0.0);
        let least = record.at_least_cost_usd.filter(|cost| cost.is_finite());
        let Some(total) = record.session_cost_usd.filter(|total| total.is_finite()) else {
            let spent = record.cost_usd.filter(|cost| cost.is_finite()).or(least);
            self.counted.cost_usd = Some(counted + spent.unwrap_or(0.0));
            return;
        };
        let before = self.totals.cost_usd.replace(total);
        self.counted.cost_usd = before.zip(least).map(|(before, least)| {
            // A total below the one before counts from this run on.
            let earlier = if total >= before { before + counted } else { 0.0 };
            (earlier + least - total).max(0.0)
        });
    }

    fn add_tokens(&mut self, record: &Record) {
        let Some(total) = record.session_tokens else {
            let spent = record.tokens.or(record.at_least_tokens).unwrap_or_default();
            self.counted.tokens = self.counted.tokens.plus(spent);
            return;
        };
        self.totals.tokens = Some(total);
        self.counted.tokens = Tokens::default();
    }

    fn add_usage(&mut self, record: &Record) {
        let mut spent = Usage::default();
        for (model, own) in by_model(record) {
            let tokens = own.tokens.or(own.at_least_tokens).unwrap_or_default();
            spent.add(&model, tokens, own.cost_usd.or(own.at_least_cost_usd));
        }
        let Some(total) = record.session_model_usage.clone() else {
            self.counted.usage.add_all(&spent);
            return;
        };
        let before = self.totals.usage.replace(total.clone());
        let counted = std::mem::take(&mut self.counted.usage);
        if let (Some(before), true) = (before, record.at_least_tokens.is_some()) {
            let mut all = spent;
            if total.reaches(&before) {
                all.add_all(&before);
                all.add_all(&counted);
            }
            self.counted.usage = all.without(&total);
        }
    }
}
