//! Cards whose tasks are continued by others.

use crate::bridge::settings::{CardRetry, MoveOn};
use crate::bridge::testing::World;
use crate::model::{AnswerOutcome, FailureClass, Task};

/// A world with a card whose task was answered and is continued by another one.
fn continued(world: &World) -> (Task, Task) {
    world.board().add("1", "Todo");
    world.round();
    let first = world.claim().unwrap();
    world.respond(&first, "Built.", AnswerOutcome::Completed);
    let second = world.continue_task(&first, "work");
    (first, second)
}

#[test]
fn a_card_stays_in_progress_until_the_last_task_has_ended() {
    for has_generations in [false, true] {
        for (move_on, retry) in [
            (MoveOn::Submit, CardRetry::Comment),
            (MoveOn::Claim, CardRetry::Move),
            (MoveOn::Claim, CardRetry::Comment),
        ] {
            let mut world = World::new(has_generations);
            (world.settings.queues[0].move_on, world.settings.queues[0].retry) = (move_on, retry);
            let (_, second) = continued(&world);
            world.round();
            assert_eq!(world.board().queue_of("1"), "In Progress");
            assert_eq!(world.board().comments("1"), ["Built."]);
            let claimed = world.claim().unwrap();
            assert_eq!(claimed.id, second.id);
            world.release(&claimed, "boom", Some(FailureClass::Error));
            world.round();
            assert_eq!(world.board().queue_of("1"), "In Progress");
            let claimed = world.claim().unwrap();
            world.respond(&claimed, "Reviewed.", AnswerOutcome::Completed);
            let third = world.continue_task(&claimed, "work");
            let claimed = world.claim().unwrap();
            assert_eq!(claimed.id, third.id);
            world.respond(&claimed, "Shipped.", AnswerOutcome::Completed);
            world.round();
            let changes = world.board().changes;
            world.round();
            assert_eq!(world.board().changes, changes, "there is nothing more to do");
            assert_eq!(world.board().queue_of("1"), "Done");
            let expected = ["Built.", "Attempt 1 failed: boom; retrying now", "Reviewed.", "Shipped."];
            assert_eq!(world.board().comments("1"), expected);
            assert_eq!(world.tasks().len(), 3);
        }
    }
}

#[test]
fn the_last_task_decides_and_may_be_redriven() {
    let world = World::new(true);
    let (_, second) = continued(&world);
    let claimed = world.claim().unwrap();
    world.respond(&claimed, "boom", AnswerOutcome::Failed(FailureClass::Dead));
    world.round();
    assert_eq!(world.board().queue_of("1"), "Attic");
    world.store.retry(&second.id, "me").unwrap();
    world.round();
    assert_eq!(world.board().queue_of("1"), "In Progress");
    world.answer_all();
    world.round();
    assert_eq!(world.board().queue_of("1"), "Done");
    assert_eq!(world.board().comments("1"), ["Built.", "Gave up after 1 attempt: boom", "It works."]);
}

#[test]
fn a_card_is_not_taken_again_while_a_task_of_it_is_open() {
    for has_generations in [false, true] {
        let world = World::new(has_generations);
        continued(&world);
        world.round();
        world.board().put("1", "Review");
        world.round();
        world.board().put("1", "Todo");
        world.round();
        world.round();
        assert_eq!(world.tasks().len(), 2, "the second is open");
        world.answer_all();
        world.round();
        world.round();
        let tasks = world.tasks();
        assert_eq!(tasks.len(), 3);
        assert_eq!(tasks[2].spec.metadata["parent_task_id"], tasks[1].id.as_str());
        assert_eq!(tasks[2].spec.metadata["thread_id"], tasks[0].id.as_str());
    }
}

#[test]
fn a_task_that_follows_late_brings_the_card_back() {
    let world = World::new(true);
    world.board().add("1", "Todo");
    world.round();
    let first = world.claim().unwrap();
    world.respond(&first, "Built.", AnswerOutcome::Completed);
    world.round();
    assert_eq!(world.board().queue_of("1"), "Done");
    world.continue_task(&first, "work");
    world.round();
    assert_eq!(world.board().queue_of("1"), "In Progress");
    world.answer_all();
    world.round();
    assert_eq!(world.board().queue_of("1"), "Done");
    assert_eq!(world.board().comments("1"), ["Built.", "It works."]);
}

#[test]
fn a_card_waits_for_a_report_that_is_not_delivered() {
    let world = World::new(true);
    world.board().add("1", "Todo");
    world.round();
    let first = world.claim().unwrap();
    world.respond(&first, "Built.", AnswerOutcome::Completed);
    world.store.spool().add_to_outbox(&first.id, 1).unwrap();
    world.round();
    assert_eq!(world.board().queue_of("1"), "In Progress", "a task may follow");
    assert_eq!(world.board().comments("1"), ["Built."]);
    world.store.spool().remove_from_outbox(&first.id, 1).unwrap();
    world.round();
    assert_eq!(world.board().queue_of("1"), "Done");
}

#[test]
fn the_tasks_of_a_card_are_found_again_when_the_bridge_has_lost_its_memory() {
    for has_generations in [false, true] {
        let world = World::new(has_generations);
        continued(&world);
        world.round();
        world.forget();
        world.round();
        assert_eq!(world.board().queue_of("1"), "In Progress");
        world.answer_all();
        world.forget();
        world.round();
        world.forget();
        world.round();
        assert_eq!(world.board().queue_of("1"), "Done");
        assert_eq!(world.board().comments("1"), ["Built.", "It works."]);
        assert_eq!(world.tasks().len(), 2);
    }
}

#[test]
fn a_deleted_card_cancels_the_task_that_is_open() {
    let world = World::new(true);
    let (_, second) = continued(&world);
    world.round();
    world.board().remove("1");
    world.round();
    let second = world.store.task(&second.id).unwrap();
    assert!(second.status.is_terminal(), "{:?}", second.status);
}
