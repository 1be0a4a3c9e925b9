//! Proves what an agent calls done: its answer counts when it is valid against the schema of the task, and the commands of
//! `verify` succeed. Otherwise the agent gets the reason, with the output of the command, and continues in the same
//! conversation, a limited number of times in one attempt. Before that, it gets the messages that came while it worked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::AttemptContext;
use super::answer_check::schema_problem;
use super::context::{ClaimedTask, FinishedRun, RunContext};
use super::prepare::working_directory;
use super::resume::{self, ConversationToResume};
use super::rounds::Rounds;
use super::verification::{FailedCommand, Verification};
use crate::Result;
use crate::dispatch::config::served_lane::ServedLane;
use crate::dispatch::outcome::{Interruption, Proof, RunAnswer, RunFailure, RunOutcome};
use crate::dispatch::output::ClosingStatus;
use crate::dispatch::prompt::Rejection;
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{ClaimState, FailureClass};

/// How often an answer that is not valid against its schema is corrected in one attempt.
const MAX_REPAIRS: u32 = 1;

/// How often an agent was told to continue, by reason.
#[derive(Default)]
struct Rejections {
    by_commands: u32,
    by_schema: u32,
}

/// What a round of the agent was worth.
enum Judgement {
    /// It counts as it is.
    Accepted,
    /// The agent is to continue.
    Rejected(Rejection),
    /// It has another outcome.
    Ended(RunOutcome),
}

impl RunContext<'_> {
    /// Gives an agent that has answered its messages, verifies its work, and has it continue if that fails. Returns the last
    /// round, with the usage of all.
    ///
    /// # Errors
    /// When the store fails before an agent was started.
    pub(super) fn prove(
        &self,
        claimed: &ClaimedTask,
        attempt_context: &AttemptContext<'_>,
        first: FinishedRun,
    ) -> Result<FinishedRun> {
        let commands = claimed.served.route.verify.commands_for(&claimed.task);
        let (mut rounds, mut told) = (Rounds::new(first), 0);
        let mut proof = Proof { is_verified: false, duration: Duration::ZERO, rounds: 1 };
        let mut rejections = Rejections::default();
        loop {
            let Some(answer) = rounds.last().answer().cloned() else { return Ok(rounds.finish()) };
            // What a message asks for is verified too.
            if let Some(next) = self.continue_with_messages(claimed, attempt_context, &rounds, &mut told)? {
                rounds.add(next);
                proof.rounds += 1;
                continue;
            }
            if commands.is_empty() && claimed.task.spec.schema.is_none() {
                return Ok(rounds.finish());
            }
            if answer.closing == Some(ClosingStatus::NeedsInput) {
                return Ok(rounds.finish());
            }
            if self.is_answered(claimed) {
                break;
            }
            let begun = Instant::now();
            let judgement = self.judge(claimed, attempt_context, &answer, &commands);
            proof.duration += begun.elapsed();
            let rejection = match judgement {
                Judgement::Accepted => {
                    proof.is_verified = ClosingStatus::is_success(answer.closing);
                    if proof.is_verified && !commands.is_empty() {
                        self.note_verified(claimed, proof);
                    }
                    break;
                }
                Judgement::Ended(outcome @ RunOutcome::Stopped(_)) => {
                    rounds.end_with(outcome);
                    return Ok(rounds.finish());
                }
                Judgement::Ended(outcome) => {
                    rounds.end_with(outcome);
                    break;
                }
                Judgement::Rejected(rejection) => rejection,
            };
            self.note_rejected(claimed, proof, &rejection);
            let left = match self.room_for_another(claimed, &mut rejections, &rejection, &rounds) {
                Ok(left) => left,
                Err(why) => {
                    rounds.end_with(RunOutcome::Failed(unverified(&rejection, proof, why)));
                    break;
                }
            };
            let next = self.continue_after(claimed, attempt_context, &rejection, &rounds, left)?;
            rounds.add(next);
            proof.rounds += 1;
        }
        Ok(FinishedRun { proof: (!commands.is_empty()).then_some(proof), ..rounds.finish() })
    }

    /// Returns whether the agent has answered the task itself, so that nothing can be taken back.
    fn is_answered(&self, claimed: &ClaimedTask) -> bool {
        let current = self.store.task(&claimed.task.id);
        current.is_ok_and(|task| task.claim_state(&claimed.token) == ClaimState::Ended)
    }

    fn judge(
        &self,
        claimed: &ClaimedTask,
        attempt_context: &AttemptContext<'_>,
        answer: &RunAnswer,
        commands: &[Vec<String>],
    ) -> Judgement {
        if let Some(reason) = schema_problem(&claimed.task, answer) {
            return Judgement::Rejected(Rejection { reason, evidence: None });
        }
        if commands.is_empty() || !ClosingStatus::is_success(answer.closing) {
            return Judgement::Accepted;
        }
        let route = &claimed.served.route;
        let cwd = match self.directory_of(claimed, attempt_context) {
            Ok(cwd) => cwd,
            Err(failure) => return Judgement::Ended(RunOutcome::Failed(failure)),
        };
        match self.verify(claimed, attempt_context.attempt, &cwd, commands, route.verify.timeout) {
            Verification::Passed => Judgement::Accepted,
            Verification::Failed(FailedCommand { reason, output }) => {
                Judgement::Rejected(Rejection { reason, evidence: Some(output) })
            }
            Verification::Stopped(reason) => Judgement::Ended(RunOutcome::Stopped(reason)),
            Verification::Impossible(failure) => Judgement::Ended(RunOutcome::Failed(failure)),
        }
    }

    /// Returns the directory in which the agent has worked.
    fn directory_of(
        &self,
        claimed: &ClaimedTask,
        attempt_context: &AttemptContext<'_>,
    ) -> std::result::Result<PathBuf, RunFailure> {
        match attempt_context.cwd {
            Some(cwd) => Ok(Path::to_path_buf(cwd)),
            None => working_directory(&self.plan, &claimed.served.route, &claimed.task)
                .map_err(|error| RunFailure::permanent(error.to_string())),
        }
    }

    /// Returns what another round may cost, if that is limited.
    ///
    /// # Errors
    /// Why there is none.
    fn room_for_another(
        &self,
        claimed: &ClaimedTask,
        rejections: &mut Rejections,
        rejection: &Rejection,
        rounds: &Rounds,
    ) -> std::result::Result<Option<f64>, &'static str> {
        let route = &claimed.served.route;
        let (count, most) = match rejection.evidence {
            Some(_) => (&mut rejections.by_commands, route.verify.rounds),
            None => (&mut rejections.by_schema, MAX_REPAIRS),
        };
        *count += 1;
        if *count > most {
            return Err("");
        }
        let Some(limit) = route.max_budget_usd else { return Ok(None) };
        // An unknown cost counts as the limit, as in all budgets.
        let left = limit - rounds.cost_usd().unwrap_or(limit);
        if left > 0.0 { Ok(Some(left)) } else { Err("; its max_budget_usd is spent") }
    }

    /// Has the agent continue in its conversation, or in a new one if that is not possible.
    fn continue_after(
        &self,
        claimed: &ClaimedTask,
        attempt_context: &AttemptContext<'_>,
        rejection: &Rejection,
        rounds: &Rounds,
        budget: Option<f64>,
    ) -> Result<FinishedRun> {
        let usage_so_far = rounds.usage_lines(self, claimed);
        let next =
            AttemptContext { rejection: Some(rejection), usage_so_far: &usage_so_far, ..*attempt_context };
        let claimed = &with_budget(claimed, budget);
        let session = rounds.session_id().filter(|_| claimed.served.vendor.resume_args.is_some());
        let Some(session) = session else { return self.run_agent(claimed, &next, None) };
        let conversation = ConversationToResume { session, interruption: Interruption::Rejected };
        let resumed = self.run_agent(claimed, &next, Some(&conversation))?;
        if !resume::is_refused(&resumed, &conversation.session) || claimed.stop.reason().is_some() {
            return Ok(resumed);
        }
        self.note_resume_refused(claimed, &conversation.session);
        self.run_agent(claimed, &next, None)
    }

    fn note_verified(&self, claimed: &ClaimedTask, proof: Proof) {
        let message = format!("verified after {}", count_of(proof.rounds));
        let data =
            object([("rounds", proof.rounds.into()), ("seconds", proof.duration.as_secs_f64().into())]);
        self.note_if_possible(claimed, "verified", message, data);
    }

    fn note_rejected(&self, claimed: &ClaimedTask, proof: Proof, rejection: &Rejection) {
        let data = object([("round", proof.rounds.into())]);
        let kind = if rejection.evidence.is_some() { "verify_failed" } else { "schema_failed" };
        self.note_progress(claimed, format!("round {}: {}", proof.rounds, rejection.reason));
        self.note_if_possible(claimed, kind, rejection.reason.clone(), data);
    }

    /// Adds to the history that a conversation could not be continued.
    pub(super) fn note_resume_refused(&self, claimed: &ClaimedTask, session: &str) {
        let message = format!("its conversation {session} cannot be continued; a new one was started");
        self.note_if_possible(claimed, "resume_refused", message, Object::new());
    }
}

/// Returns the same claim with what is left of its budget as the budget of the run.
pub(super) fn with_budget(claimed: &ClaimedTask, budget: Option<f64>) -> ClaimedTask {
    let ClaimedTask { task, token, served, stop } = claimed;
    let served = match budget {
        None => Arc::clone(served),
        Some(_) => {
            let mut of_round = ServedLane::clone(served);
            of_round.route.max_budget_usd = budget;
            Arc::new(of_round)
        }
    };
    ClaimedTask { task: task.clone(), token: token.clone(), served, stop: stop.clone() }
}

fn count_of(rounds: u32) -> String {
    if rounds == 1 { "1 round".to_string() } else { format!("{rounds} rounds") }
}

/// Returns the failure of work that was rejected for the last time.
fn unverified(rejection: &Rejection, proof: Proof, why: &str) -> RunFailure {
    let Rejection { reason, evidence } = rejection;
    let rounds = count_of(proof.rounds);
    let message = match evidence.as_deref() {
        None => format!("the answer is not valid against the schema after {rounds}{why}: {reason}"),
        Some("") => format!("not verified after {rounds}{why}: {reason}"),
        Some(output) => format!("not verified after {rounds}{why}: {reason}\n\n{output}"),
    };
    RunFailure::new(FailureClass::Unverified, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failure_says_after_how_many_rounds_and_why() {
        let proof = |rounds| Proof { is_verified: false, duration: Duration::ZERO, rounds };
        let rejection = Rejection {
            reason: "`make test` exited with code 2".to_string(),
            evidence: Some("boom".to_string()),
        };
        let failure = unverified(&rejection, proof(1), "");
        assert_eq!(failure.message, "not verified after 1 round: `make test` exited with code 2\n\nboom");
        assert_eq!(failure.class, FailureClass::Unverified);
        let spent = unverified(
            &Rejection { evidence: Some(String::new()), ..rejection },
            proof(2),
            "; its max_budget_usd is spent",
        );
        assert_eq!(
            spent.message,
            "not verified after 2 rounds; its max_budget_usd is spent: `make test` exited with code 2"
        );
    }
}
