//! The rounds of an agent in one attempt: the last one is the result, and the usage of all of them counts.

use super::context::{AgentRun, ClaimedTask, FinishedRun, RunContext, RunEnd};
use crate::dispatch::outcome::RunOutcome;
use crate::dispatch::output::RunReport;
use crate::dispatch::usage_record::{RecordedOutcome, UsageRecord};
use crate::model::RunId;

/// The rounds of an agent in one attempt.
pub(super) struct Rounds {
    /// The reports of all rounds but the last.
    earlier: Vec<RunReport>,
    last: FinishedRun,
}

impl Rounds {
    /// Begins with the first round.
    pub(super) fn new(first: FinishedRun) -> Self {
        Self { earlier: Vec::new(), last: first }
    }

    /// Returns the last round.
    pub(super) fn last(&self) -> &FinishedRun {
        &self.last
    }

    /// Adds a round. The time of all is that of the attempt.
    pub(super) fn add(&mut self, next: FinishedRun) {
        let before = std::mem::replace(&mut self.last, next);
        self.last.duration += before.duration;
        if let RunEnd::Ran(run) = before.end {
            self.earlier.push(run.report);
        }
    }

    /// Replaces the outcome of the last round.
    pub(super) fn end_with(&mut self, outcome: RunOutcome) {
        if let RunEnd::Ran(run) = &mut self.last.end {
            run.outcome = outcome;
        }
    }

    /// Returns the cost of all rounds in US dollars, if it is known.
    pub(super) fn cost_usd(&self) -> Option<f64> {
        let earlier: Option<f64> = self.earlier.iter().map(RunReport::cost_usd).sum();
        Some(earlier? + self.last.cost_usd()?)
    }

    /// Returns the id of the conversation of the last round.
    pub(super) fn session_id(&self) -> Option<String> {
        self.last.agent_run()?.report.session_id.clone()
    }

    /// Returns the usage of the rounds so far as lines of the usage log, from which the next round of their conversation
    /// counts. They are not written there.
    pub(super) fn usage_lines(&self, context: &RunContext<'_>, claimed: &ClaimedTask) -> String {
        let now = context.store.now().wall;
        let last = self.last.agent_run().map(|run| &run.report);
        let line = |report: &RunReport| {
            let run = RunId::from_random(context.store.random());
            let vendor = &claimed.served.vendor.name;
            let outcome = RecordedOutcome::Completed;
            let record = UsageRecord::new(&claimed.task, &run, vendor, outcome, (now, now));
            let record = UsageRecord { session_id: report.session_id.clone(), ..record };
            record.with_usage(report).to_line()
        };
        self.earlier.iter().chain(last).map(line).collect()
    }

    /// Returns the last round with the usage of all.
    pub(super) fn finish(self) -> FinishedRun {
        let Self { earlier, mut last } = self;
        if let RunEnd::Ran(AgentRun { report, .. }) = &mut last.end {
            for before in earlier.iter().rev() {
                add_earlier(report, before);
            }
        }
        last
    }
}

/// Adds what an earlier round has used and done to the report of a later one.
fn add_earlier(report: &mut RunReport, before: &RunReport) {
    report.usage = std::mem::take(&mut report.usage).plus(&before.usage);
    report.turns = report.turns.zip(before.turns).map(|(turns, earlier)| turns + earlier).or(report.turns);
    report.denials.splice(0..0, before.denials.iter().cloned());
    before.models.iter().for_each(|model| report.add_model(model));
    // The conversation began with the earlier round if both have the same one.
    if report.session_id == before.session_id {
        report.continues_session = before.continues_session;
    }
}
