//! A script that writes the whole board while a bridge changes it, and so undoes what the bridge has done.

use crate::bridge::board::{BoardError, BoardErrorCode};
use crate::bridge::testing::World;
use crate::model::FailureClass;

/// Makes rounds until nothing changes any more; all tasks are answered.
fn work_it_off(world: &World) {
    for _ in 0..50 {
        let before = world.board().changes;
        world.answer_all();
        // The board may fail in between.
        if world.try_round(false).is_ok() && world.board().changes == before {
            return;
        }
    }
    panic!("it does not come to rest");
}

fn each_card_is_done_once(world: &World, cards: usize) {
    let ids: Vec<String> = world.board().cards.iter().map(|card| card.id.clone()).collect();
    assert_eq!((ids.len(), world.tasks().len()), (cards, cards), "{ids:?}");
    for id in &ids {
        assert_eq!(
            (world.queue_of(id), world.comments(id).pop().as_deref()),
            ("Done".to_string(), Some("It works."))
        );
        assert_eq!(world.comments(id).iter().filter(|text| *text == "It works.").count(), 1, "{id}");
    }
}

#[test]
fn what_a_script_undoes_is_done_again_and_no_card_is_done_twice() {
    for scripts in (1..12).chain([30]) {
        let world = World::new(false);
        (0..3).for_each(|number| world.add(&number.to_string(), "Todo"));
        world.board().scripts = scripts;
        let failed = std::iter::repeat_with(|| (world.try_round(false).is_ok(), world.claim()))
            .find_map(|(_, claimed)| claimed)
            .unwrap();
        world.release(&failed, "boom", Some(FailureClass::Error));
        work_it_off(&world);
        assert_eq!(world.board().scripts, 0);
        each_card_is_done_once(&world, 3 + scripts);
        let card = failed.spec.metadata["card"].as_str().unwrap().to_string();
        assert_eq!(world.comments(&card), ["Attempt 1 failed: boom; retrying now", "It works."]);
        // What a person does is no such thing.
        world.put("1", "Todo");
        work_it_off(&world);
        assert_eq!(
            (world.tasks().len(), world.comments("1").len()),
            (4 + scripts, if card == "1" { 3 } else { 2 })
        );
    }
}

#[test]
fn what_cannot_be_looked_at_counts_as_undone() {
    let world = World::new(false);
    world.add("1", "Todo");
    world.round();
    world.answer_all();
    // Its change is the last request that works.
    world.board().scripts = 1;
    world.board().fails_after_script = Some(BoardError::new(BoardErrorCode::Unavailable, "away"));
    world.try_round(false).unwrap_err();
    assert_eq!((world.queue_of("1"), world.comments("1").len()), ("In Progress".to_string(), 0), "undone");
    world.board().failure = None;
    work_it_off(&world);
    each_card_is_done_once(&world, 2);
}
