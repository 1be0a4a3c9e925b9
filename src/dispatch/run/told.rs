//! Messages that come while an agent works. A hook brings them into its run, where its program has one. Once it has
//! answered, it gets the others as the next prompt of its conversation, and its next answer replaces the earlier one.

use super::AttemptContext;
use super::context::{ClaimedTask, FinishedRun, RunContext};
use super::proof::with_budget;
use super::resume::{self, ConversationToResume};
use super::rounds::Rounds;
use crate::Result;
use crate::dispatch::outcome::Interruption;
use crate::dispatch::output::ClosingStatus;
use crate::model::{ClaimState, Command};

impl RunContext<'_> {
    /// Records that the agent of a task has been given the messages up to the number `through`. If that fails, another
    /// run gets them again.
    pub(super) fn note_messages_read(&self, claimed: &ClaimedTask, through: u32) {
        if through > 0 {
            let read = Command::ReadMessages { token: claimed.token.clone(), through };
            if let Err(error) = self.store.apply(&claimed.task.id, &read) {
                self.warn(format!("{}: its messages are not marked as read: {error}", claimed.task.id));
            }
        }
    }

    /// Has an agent that has answered continue with the messages that it has not been given, and returns that round.
    /// `told` is the number of the last message that an earlier round of this kind had. Returns nothing when there is
    /// no message, or the agent cannot get it; it stays unread then.
    ///
    /// # Errors
    /// When the store fails before an agent was started.
    pub(super) fn continue_with_messages(
        &self,
        claimed: &ClaimedTask,
        attempt_context: &AttemptContext<'_>,
        rounds: &Rounds,
        told: &mut u32,
    ) -> Result<Option<FinishedRun>> {
        let answer = rounds.last().answer();
        let has_asked = answer.is_none_or(|answer| answer.closing == Some(ClosingStatus::NeedsInput));
        if has_asked || claimed.served.vendor.resume_args.is_none() || claimed.stop.reason().is_some() {
            return Ok(None);
        }
        let (Some(session), Ok(task)) = (rounds.session_id(), self.store.task(&claimed.task.id)) else {
            return Ok(None);
        };
        let last = task.unread_messages().last().map_or(0, |message| message.number);
        if last <= *told || task.claim_state(&claimed.token) != ClaimState::Held {
            return Ok(None);
        }
        // Each message is delivered once in this way, even if it cannot be marked as read.
        *told = last;
        let budget = match claimed.served.route.max_budget_usd {
            None => None,
            // An unknown cost counts as the limit, as in all budgets.
            Some(limit) => match limit - rounds.cost_usd().unwrap_or(limit) {
                left if left > 0.0 => Some(left),
                _ => return Ok(None),
            },
        };
        let usage_so_far = rounds.usage_lines(self, claimed);
        let next = AttemptContext { usage_so_far: &usage_so_far, ..*attempt_context };
        let conversation = ConversationToResume { session, interruption: Interruption::Told };
        let resumed = self.run_agent(&with_budget(claimed, budget), &next, Some(&conversation))?;
        if resume::is_refused(&resumed, &conversation.session) && claimed.stop.reason().is_none() {
            // The earlier answer counts.
            self.note_resume_refused(claimed, &conversation.session);
            return Ok(None);
        }
        Ok(Some(resumed))
    }
}
