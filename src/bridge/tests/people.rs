//! What people do to cards whose tasks are queued, running or ended, on every kind of board.

use crate::bridge::settings::TaskFate;
use crate::bridge::testing::{BoardKind, World};
use crate::model::{AnswerOutcome, FailureClass, Status, Task};

/// How far a task is when a person does something to its card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Queued,
    Running,
    Ended,
}

const STAGES: [Stage; 3] = [Stage::Queued, Stage::Running, Stage::Ended];

/// A world with one card whose task is at `stage`.
fn at(stage: Stage, kind: BoardKind) -> (World, Option<Task>) {
    let world = World::of(kind);
    world.add("1", "Todo");
    world.round();
    let claimed = (stage != Stage::Queued).then(|| world.claim().unwrap());
    if stage == Stage::Ended {
        world.respond(claimed.as_ref().unwrap(), "It works.", AnswerOutcome::Completed);
    }
    world.round();
    (world, claimed)
}

fn finish(world: &World, claimed: Option<&Task>) {
    if let Some(task) = claimed {
        let is_open = !world.store.task(&task.id).unwrap().status.is_terminal();
        if is_open {
            world.respond(task, "It works.", AnswerOutcome::Completed);
        }
    }
}

fn each(check: impl Fn(Stage, World, Option<Task>)) {
    for kind in BoardKind::ALL {
        for stage in STAGES {
            let (world, claimed) = at(stage, *kind);
            check(stage, world, claimed);
        }
    }
}

#[test]
fn a_card_that_is_moved_in_again_is_done_again_after_its_task() {
    each(|stage, world, claimed| {
        world.put("1", "Todo");
        world.round();
        world.round();
        let expected = if stage == Stage::Ended { 2 } else { 1 };
        assert_eq!(world.tasks().len(), expected, "{stage:?}: one open task at most");
        finish(&world, claimed.as_ref());
        if stage == Stage::Queued {
            let task = world.claim().unwrap();
            world.respond(&task, "It works.", AnswerOutcome::Completed);
        }
        world.round();
        world.round();
        let tasks = world.tasks();
        assert_eq!(tasks.len(), 2, "{stage:?}");
        assert_eq!(tasks[1].spec.metadata["thread_id"], tasks[0].id.as_str());
        assert_eq!(world.queue_of("1"), "In Progress");
        world.answer_all();
        world.round();
        world.round();
        assert_eq!(world.comments("1"), ["It works.", "It works."]);
        assert_eq!((world.queue_of("1"), world.tasks().len()), ("Done".to_string(), 2));
    });
}

#[test]
fn an_edit_counts_for_the_next_task() {
    each(|stage, world, claimed| {
        world.rename("1", "Changed");
        world.round();
        assert_eq!(world.tasks()[0].spec.prompt, "Card 1");
        finish(&world, claimed.as_ref());
        world.answer_all();
        world.round();
        assert_eq!(world.card("1").name, "Changed", "{stage:?}");
        world.put("1", "Todo");
        world.round();
        let tasks = world.tasks();
        assert_eq!((tasks.len(), tasks[1].spec.prompt.as_str()), (2, "Changed"));
    });
}

#[test]
fn the_task_of_a_deleted_card_is_cancelled_or_goes_on() {
    for fate in [TaskFate::Cancel, TaskFate::Keep] {
        each(|stage, mut world, claimed| {
            world.settings.queues[0].gone = fate;
            world.remove("1");
            world.round();
            world.round();
            let task = &world.tasks()[0];
            let is_cancelled = matches!(task.status, Status::Failed { class: FailureClass::Cancelled, .. });
            assert_eq!(is_cancelled, fate == TaskFate::Cancel && stage != Stage::Ended, "{stage:?}");
            finish(&world, claimed.as_ref());
            world.round();
            assert_eq!(world.tasks().len(), 1);
        });
    }
}

#[test]
fn the_task_of_a_card_that_is_moved_away_goes_on_or_is_cancelled() {
    for fate in [TaskFate::Cancel, TaskFate::Keep] {
        each(|stage, mut world, claimed| {
            world.settings.queues[0].moved_away = fate;
            world.put("1", "Review");
            world.round();
            world.round();
            let task = &world.tasks()[0];
            let is_cancelled = matches!(task.status, Status::Failed { class: FailureClass::Cancelled, .. });
            assert_eq!(is_cancelled, fate == TaskFate::Cancel && stage != Stage::Ended, "{stage:?}");
            finish(&world, claimed.as_ref());
            world.answer_all();
            world.round();
            world.round();
            assert_eq!(world.queue_of("1"), "Review", "{stage:?}: where the person has put it");
            assert_eq!((world.comments("1").len(), world.tasks().len()), (1, 1), "{stage:?}");
        });
    }
}

#[test]
fn a_card_that_is_moved_back_into_work_is_served_again() {
    for kind in BoardKind::ALL {
        let (world, claimed) = at(Stage::Running, *kind);
        world.put("1", "Review");
        world.round();
        world.put("1", "In Progress");
        world.round();
        finish(&world, claimed.as_ref());
        world.round();
        assert_eq!(world.queue_of("1"), "Done", "{kind:?}");
    }
}
