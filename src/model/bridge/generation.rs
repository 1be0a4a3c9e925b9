//! Decides which cards in a watched queue become tasks.
//!
//! A card becomes a task once in each *generation*: each time that somebody puts it into the queue. A board may number
//! the generations itself. For other boards they are counted: a card that its task has left behind begins a new one if it
//! has been outside of the queue in between.

use super::record::CardRecord;

/// The newest task of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastTask {
    /// There is none: it was never submitted, or was removed long after its end.
    Absent,
    /// It has not ended.
    Open,
    /// It has ended.
    Ended,
}

/// What to do with a card that lies in a watched queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CardDecision {
    /// Submit a task for this generation of it.
    Take(String),
    /// Nothing.
    Leave,
    /// Ask a person to move it out of the queue and in again, since a task for it might be the second one.
    Ask,
}

/// Decides about a card in the watched queue with the id `queue`. `generation` is that of the board, if it has any;
/// `record` is what is remembered of the card.
pub(crate) fn decide(
    queue: &str,
    generation: Option<&str>,
    record: Option<&CardRecord>,
    last: LastTask,
) -> CardDecision {
    let Some(record) = record else {
        return CardDecision::Take(generation.unwrap_or("1").to_string());
    };
    let was_submitted = record.task.is_some();
    match (last, generation) {
        (_, Some(generation)) if record.foreign && record.generation == generation => CardDecision::Leave,
        (_, None) if record.foreign && !record.left => CardDecision::Leave,
        (_, None) if record.foreign => CardDecision::Take(next(&record.generation)),
        (LastTask::Open, _) => CardDecision::Leave,
        (LastTask::Absent, None) if !was_submitted => CardDecision::Take(record.generation.clone()),
        (LastTask::Absent, Some(generation)) if !was_submitted => CardDecision::Take(generation.to_string()),
        // What the card tells of its last task is not complete: first that.
        _ if !record.settled => CardDecision::Leave,
        (_, Some(generation)) => {
            let own = [Some(record.generation.as_str()), record.returned_generation.as_deref()];
            match own.contains(&Some(generation)) {
                true => CardDecision::Leave,
                false => CardDecision::Take(generation.to_string()),
            }
        }
        (_, None) if record.queue != queue || record.left => CardDecision::Take(next(&record.generation)),
        (_, None) if record.doubtful => CardDecision::Ask,
        (_, None) => CardDecision::Leave,
    }
}

/// Returns the generation after a counted one.
fn next(generation: &str) -> String {
    // A board that had generations of its own, and has none any more, begins to count.
    generation.parse::<u64>().map_or(1, |number| number.saturating_add(1)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(change: impl FnOnce(&mut CardRecord)) -> CardRecord {
        let mut record = CardRecord {
            queue: "todo".to_string(),
            generation: "3".to_string(),
            task: Some("t-1".to_string()),
            ..CardRecord::default()
        };
        change(&mut record);
        record
    }

    fn take(generation: &str) -> CardDecision {
        CardDecision::Take(generation.to_string())
    }

    #[test]
    fn a_card_is_taken_once_for_each_time_that_it_is_put_into_the_queue() {
        use CardDecision::{Ask, Leave};
        use LastTask::{Absent, Ended, Open};
        let new = |_: &mut CardRecord| {};
        let done = |record: &mut CardRecord| record.settled = true;
        let out = |record: &mut CardRecord| (record.settled, record.left) = (true, true);
        let doubtful = |record: &mut CardRecord| (record.settled, record.doubtful) = (true, true);
        let unsubmitted = |record: &mut CardRecord| record.task = None;
        let returned = |record: &mut CardRecord| {
            (record.settled, record.returned_generation) = (true, Some("4".to_string()));
        };
        type Change = fn(&mut CardRecord);
        let rows: [(&str, Option<&str>, Change, LastTask, CardDecision); 17] = [
            ("todo", None, new, Open, Leave),
            ("todo", None, out, Open, Leave),
            ("todo", Some("9"), out, Open, Leave),
            ("todo", None, new, Ended, Leave),
            ("todo", Some("9"), new, Ended, Leave),
            ("todo", None, done, Ended, Leave),
            ("todo", None, out, Ended, take("4")),
            ("todo", None, out, Absent, take("4")),
            ("review", None, done, Ended, take("4")),
            ("todo", None, doubtful, Ended, Ask),
            ("todo", Some("3"), done, Ended, Leave),
            ("todo", Some("3"), out, Absent, Leave),
            ("todo", Some("4"), returned, Ended, Leave),
            ("todo", Some("5"), returned, Ended, take("5")),
            ("todo", None, unsubmitted, Absent, take("3")),
            ("todo", Some("5"), unsubmitted, Absent, take("5")),
            ("todo", Some("3"), unsubmitted, Ended, Leave),
        ];
        for (number, (queue, generation, change, last, expected)) in rows.into_iter().enumerate() {
            let decision = decide(queue, generation, Some(&record(change)), last);
            assert_eq!(decision, expected, "row {number}");
        }
        assert_eq!(decide("todo", None, None, Absent), take("1"));
        assert_eq!(decide("todo", Some("2026"), None, Absent), take("2026"));
    }

    #[test]
    fn counting_goes_on_from_what_is_there() {
        for (generation, expected) in
            [("1", "2"), ("x", "1"), ("18446744073709551615", "18446744073709551615")]
        {
            assert_eq!(next(generation), expected);
        }
    }
}
