//! Cards become tasks, and tasks tell their cards what became of them.

use crate::bridge::board::QueueRef;
use crate::bridge::engine::BridgeFailure;
use crate::bridge::settings::{CardRetry, MoveOn};
use crate::bridge::testing::{BoardKind, World, queue, watched};
use crate::model::bridge::{CARD, GENERATION, metadata_text};
use crate::model::{AnswerOutcome, Command, FailureClass, ListEdit, TaskEdit};

#[test]
fn three_cards_become_three_tasks_once_and_are_answered() {
    for has_generations in [false, true] {
        let world = World::new(has_generations);
        for id in ["7", "abc", "19"] {
            world.board().add(id, "Todo");
        }
        world.board().add("other", "Review");
        world.round();
        world.round();
        let tasks = world.tasks();
        let cards: Vec<&str> =
            tasks.iter().map(|task| metadata_text(&task.spec.metadata, CARD).unwrap()).collect();
        assert_eq!(cards, ["7", "abc", "19"], "in the order of the board");
        let key = tasks[0].spec.key.as_ref().unwrap();
        let generation = metadata_text(&tasks[0].spec.metadata, GENERATION).unwrap();
        assert_eq!(*key, format!("bridge:team:7:{generation}").as_str());
        assert_eq!(tasks[0].spec.prompt, "Card 7");
        assert_eq!(tasks[0].spec.name.as_deref(), Some("Card 7"));
        for id in ["7", "abc", "19"] {
            assert_eq!(world.board().queue_of(id), "In Progress");
            assert_eq!(world.board().card(id).assignees, ["bot"]);
        }
        world.answer_all();
        world.round();
        let changes = world.board().changes;
        world.round();
        world.round();
        assert_eq!(world.board().changes, changes, "there is nothing more to do");
        for id in ["7", "abc", "19"] {
            assert_eq!(world.board().queue_of(id), "Done");
            assert_eq!(world.board().comments(id), ["It works."]);
        }
        assert_eq!(world.tasks().len(), 3);
        assert_eq!(world.board().queue_of("other"), "Review");
    }
}

#[test]
fn two_hundred_cards_become_tasks_in_the_order_of_the_board() {
    for kind in BoardKind::ALL.iter().filter(|kind| **kind != BoardKind::Counted) {
        let world = World::of(*kind);
        // On a server, ids have 19 digits, more than a number of JSON keeps everywhere.
        let names: Vec<String> =
            (0..200u64).map(|n| (1_918_352_417_262_601_222 - 3 * n).to_string()).collect();
        names.iter().for_each(|name| world.add(name, "Todo"));
        world.round();
        world.round();
        let cards: Vec<String> = names.iter().map(|name| world.id(name)).collect();
        let tasks = world.tasks();
        let taken: Vec<&str> =
            tasks.iter().map(|task| metadata_text(&task.spec.metadata, CARD).unwrap()).collect();
        assert_eq!(taken, cards, "{kind:?}");
        assert!(cards.iter().all(|card| card.len() == 19), "{cards:?}");
        let claimed: Vec<_> = std::iter::from_fn(|| world.claim()).collect();
        let order: Vec<&str> =
            claimed.iter().map(|task| metadata_text(&task.spec.metadata, CARD).unwrap()).collect();
        assert_eq!(order, cards, "{kind:?}: worked on in that order");
        claimed.iter().for_each(|task| world.respond(task, "It works.", AnswerOutcome::Completed));
        world.round();
        for name in names.iter().step_by(20) {
            assert_eq!(
                (world.queue_of(name), world.comments(name)),
                ("Done".to_string(), vec!["It works.".to_string()])
            );
        }
        world.round();
        assert_eq!(world.tasks().len(), 200, "{kind:?}");
    }
}

#[test]
fn a_card_may_wait_for_a_worker_in_its_queue() {
    for kind in BoardKind::ALL {
        let mut world = World::of(*kind);
        world.settings.queues[0].move_on = MoveOn::Claim;
        world.add("1", "Todo");
        world.round();
        assert_eq!(world.queue_of("1"), "Todo");
        let task = world.claim().unwrap();
        world.round();
        assert_eq!(world.queue_of("1"), "In Progress");
        world.respond(&task, "x", AnswerOutcome::Completed);
        world.round();
        assert_eq!((world.queue_of("1"), world.tasks().len()), ("Done".to_string(), 1), "{kind:?}");
    }
}

#[test]
fn without_other_queues_a_card_stays_and_is_not_taken_again() {
    for kind in BoardKind::ALL {
        let mut world = World::of(*kind);
        let settings = &mut world.settings.queues[0];
        (settings.in_progress, settings.done) = (None, None);
        world.add("1", "Todo");
        world.round();
        world.answer_all();
        for _ in 0..3 {
            world.round();
        }
        assert_eq!((world.queue_of("1"), world.tasks().len()), ("Todo".to_string(), 1));
        assert_eq!(world.comments("1"), ["It works."]);
    }
}

#[test]
fn a_failed_attempt_is_told_and_the_card_stays_or_goes_back() {
    for kind in BoardKind::ALL {
        for (retry, between) in [(CardRetry::Comment, "In Progress"), (CardRetry::Move, "Todo")] {
            let mut world = World::of(*kind);
            world.settings.queues[0].retry = retry;
            world.add("1", "Todo");
            world.round();
            let task = world.claim().unwrap();
            world.release(&task, "timeout after 30m", Some(FailureClass::Timeout));
            world.round();
            world.round();
            assert_eq!(world.queue_of("1"), between);
            let task = world.claim().unwrap();
            world.round();
            assert_eq!(world.queue_of("1"), "In Progress");
            world.release(&task, "the vendor's usage limit is reached: resets at 5", None);
            world.round();
            assert_eq!(world.queue_of("1"), "In Progress", "it is parked");
            world.answer_all();
            world.round();
            world.round();
            let expected = [
                "Attempt 1 failed: timeout after 30m; retrying now",
                "Waiting: the vendor's usage limit is reached: resets at 5. The attempt does not count.",
                "It works.",
            ];
            assert_eq!(world.comments("1"), expected);
            assert_eq!((world.queue_of("1"), world.tasks().len()), ("Done".to_string(), 1));
        }
    }
}

#[test]
fn a_task_that_dies_in_its_queue_does_not_begin_a_new_one() {
    for kind in BoardKind::ALL {
        let mut world = World::of(*kind);
        let settings = &mut world.settings.queues[0];
        (settings.retry, settings.failed, settings.dead_letter) = (CardRetry::Move, None, None);
        world.add("1", "Todo");
        world.round();
        let task = world.claim().unwrap();
        world.release(&task, "boom", Some(FailureClass::Error));
        world.round();
        assert_eq!(world.queue_of("1"), "Todo", "the bridge has put it back");
        let cancel = Command::Cancel { reason: None, by: "me".to_string() };
        world.store.apply(&task.id, &cancel).unwrap();
        for _ in 0..3 {
            world.round();
        }
        assert_eq!((world.queue_of("1"), world.tasks().len()), ("Todo".to_string(), 1));
        world.put("1", "Review");
        world.round();
        world.put("1", "Todo");
        world.round();
        assert_eq!(world.tasks().len(), 2, "a person has put it back");
    }
}

#[test]
fn a_dead_card_goes_to_the_attic_and_comes_back_when_it_is_redriven() {
    let attic = || Some(queue("Attic"));
    let rows = BoardKind::ALL.iter().flat_map(|kind| [(*kind, attic(), "Attic"), (*kind, None, "Failed")]);
    for (kind, attic, expected) in rows {
        let mut world = World::of(kind);
        world.settings.queues[0].dead_letter = attic;
        world.add("1", "Todo");
        world.round();
        let task = world.claim().unwrap();
        world.respond(&task, "boom", AnswerOutcome::Failed(FailureClass::Dead));
        world.round();
        assert_eq!(world.queue_of("1"), expected);
        assert_eq!(world.comments("1"), ["Gave up after 1 attempt: boom"]);
        world.store.retry(&task.id, "me").unwrap();
        world.round();
        assert_eq!(world.queue_of("1"), "In Progress");
        world.answer_all();
        world.round();
        world.round();
        assert_eq!(world.queue_of("1"), "Done");
        assert_eq!(world.comments("1"), ["Gave up after 1 attempt: boom", "It works."]);
        assert_eq!(world.tasks().len(), 2);
    }
}

#[test]
fn without_a_queue_for_it_a_failed_card_stays_with_a_comment() {
    let outcomes = [
        (FailureClass::Error, "Attempt 1 failed: boom"),
        (FailureClass::Dead, "Gave up after 1 attempt: boom"),
    ];
    for (kind, (class, expected)) in
        BoardKind::ALL.iter().flat_map(|kind| outcomes.clone().map(|row| (*kind, row)))
    {
        let mut world = World::of(kind);
        let settings = &mut world.settings.queues[0];
        (settings.failed, settings.dead_letter) = (None, None);
        world.add("1", "Todo");
        world.round();
        let task = world.claim().unwrap();
        world.respond(&task, "boom", AnswerOutcome::Failed(class));
        world.round();
        world.round();
        assert_eq!(world.queue_of("1"), "In Progress", "{kind:?}");
        assert_eq!(world.comments("1"), [expected], "{kind:?}");
    }
}

#[test]
fn what_an_agent_does_reaches_the_card() {
    let world = World::new(true);
    world.board().add("1", "Todo");
    world.round();
    let task = world.claim().unwrap();
    world.note(&task.id, "comment", "Half of it works.", "{}");
    let edit = Command::Edit(TaskEdit {
        name: Some("Better".to_string()),
        labels: Some(ListEdit::Replace(vec!["done".to_string()])),
        ..TaskEdit::default()
    });
    world.store.apply(&task.id, &edit).unwrap();
    world.note(&task.id, "card_move", "to Nowhere", r#"{"queue": "Nowhere"}"#);
    world.round();
    assert_eq!(world.board().queue_of("1"), "In Progress", "there is no such queue");
    world.note(&task.id, "card_move", "to Review", r#"{"queue": "Review"}"#);
    world.round();
    assert_eq!(world.board().queue_of("1"), "Review");
    assert_eq!(world.board().card("1").name, "Better");
    assert_eq!(world.board().card("1").labels, ["done"]);
    world.respond(&task, "It works.", AnswerOutcome::Completed);
    world.round();
    world.round();
    assert_eq!(world.board().queue_of("1"), "Review", "the agent has the last word");
    assert_eq!(world.board().comments("1"), ["Half of it works.", "It works."]);
}

#[test]
fn one_queue_may_lead_to_the_next() {
    for has_generations in [false, true] {
        let mut world = World::new(has_generations);
        world.settings.queues[0].done = Some(queue("Review"));
        world.settings.queues.push(watched("Review"));
        world.board().add("1", "Todo");
        world.round();
        world.answer_all();
        world.round();
        assert_eq!(world.board().queue_of("1"), "In Progress", "again, for the review");
        world.answer_all();
        world.round();
        world.round();
        assert_eq!((world.board().queue_of("1"), world.tasks().len()), ("Done".to_string(), 2));
        let review = &world.tasks()[1].spec.metadata;
        assert_eq!(review["thread_id"], world.tasks()[0].id.as_str());
        assert_eq!(review["parent_task_id"], world.tasks()[0].id.as_str());
    }
}

#[test]
fn queues_that_lead_round_in_a_circle_are_refused_however_they_are_named() {
    let mut world = World::new(true);
    world.settings.queues[0].done = Some(QueueRef::Id { id: "Review".to_string() });
    world.settings.queues.push(watched("Review"));
    world.board().add("1", "Todo");
    world.round();
    world.settings.queues[1].failed = Some(queue("Todo"));
    let refused = world.try_round(false);
    let Err(BridgeFailure::Board(error)) = refused else { panic!("it is refused: {refused:?}") };
    assert!(error.message.starts_with("queue Todo: done leads back to this queue: "), "{}", error.message);
}

#[test]
fn a_dry_run_changes_nothing() {
    let world = World::new(true);
    world.board().add("1", "Todo");
    world.try_round(true).unwrap();
    assert_eq!((world.tasks().len(), world.board().changes), (0, 0));
    world.round();
    world.answer_all();
    let changes = world.board().changes;
    world.events.lock().unwrap().clear();
    world.try_round(true).unwrap();
    assert_eq!(world.board().changes, changes);
    let lines: Vec<String> = world.events.lock().unwrap().iter().map(|event| event.line()).collect();
    assert_eq!(lines, ["card 1: would be commented: It works.", "card 1: would be moved to Done"]);
}

#[test]
fn a_card_that_cannot_be_a_task_says_so_once() {
    let world = World::new(true);
    world.board().add("1", "Todo");
    world.board().card_mut("1").name = String::new();
    for _ in 0..3 {
        world.round();
    }
    let comments = world.board().card("1").comments.clone();
    assert_eq!((comments.len(), world.tasks().len()), (1, 0));
    assert!(
        comments[0].text.starts_with("This card cannot be taken: there is nothing to do"),
        "{comments:?}"
    );
    world.board().card_mut("1").name = "Do it".to_string();
    world.board().put("1", "Review");
    world.round();
    world.board().put("1", "Todo");
    world.round();
    assert_eq!(world.tasks().len(), 1);
}
