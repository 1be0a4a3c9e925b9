//! A round of a bridge: first what the tasks have to tell their cards, then what new cards there are.

use std::time::Instant;

use super::engine::{Bridge, BridgeFailure, StepResult};

impl Bridge<'_> {
    /// Brings cards up to date and reads the queues that are due; `cards` and `queues` say which. The failure of one
    /// queue does not keep the others from being read; it is left in `problem`.
    ///
    /// # Errors
    /// When the board or the store fails; what was done is remembered.
    pub(crate) fn round(&mut self, cards: &[String], queues: &[usize]) -> StepResult<()> {
        let done = self.work(cards, queues);
        // Whatever has failed, what was done before is not done again.
        let saved = self.save();
        done.and(saved)
    }

    fn work(&mut self, cards: &[String], queues: &[usize]) -> StepResult<()> {
        if queues.is_empty() {
            self.update_cards(cards)?;
            return self.confirm_changes();
        }
        let mut all = self.unsettled();
        all.extend(cards.iter().filter(|card| !all.contains(card)).cloned().collect::<Vec<_>>());
        self.update_cards(&all)?;
        // Before the queues are read: a card that is back in its queue was put there by a person then.
        self.confirm_changes()?;
        for at in queues {
            let read = self.read_queue(*at);
            self.queues[*at].next_poll = Some(Instant::now() + self.queues[*at].settings.poll_interval);
            match read {
                Err(BridgeFailure::Board(error)) if !error.code.concerns_whole_board() => {
                    self.problem.get_or_insert(error);
                }
                read => read?,
            }
        }
        self.confirm_changes()
    }

    /// Returns the watched queues that are due.
    pub(crate) fn due_queues(&self, now: Instant) -> Vec<usize> {
        let is_due = |at: &usize| self.queues[*at].next_poll.is_none_or(|next| next <= now);
        (0..self.queues.len()).filter(is_due).collect()
    }

    /// Returns when the next queue is due.
    pub(crate) fn next_poll(&self) -> Instant {
        let now = Instant::now();
        self.queues.iter().map(|queue| queue.next_poll.unwrap_or(now)).min().unwrap_or(now)
    }

    /// Makes all queues due.
    pub(crate) fn poll_now(&mut self) {
        self.queues.iter_mut().for_each(|queue| queue.next_poll = None);
    }

    /// Returns all cards of which something is remembered.
    pub(crate) fn all_cards(&self) -> Vec<String> {
        self.records.cards.keys().cloned().collect()
    }

    /// Returns what a bridge says when it has connected.
    pub(crate) fn greeting(&self) -> String {
        let identity = self.board.identity();
        let queues: Vec<&str> = self.queues.iter().map(|queue| queue.source.name.as_str()).collect();
        let user = identity.user.as_ref().map(|user| format!(" as {}", user.name)).unwrap_or_default();
        format!("connected to {} {}{user}; watching {}", identity.name, identity.version, queues.join(", "))
    }
}
