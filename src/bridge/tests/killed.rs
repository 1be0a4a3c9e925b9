//! A bridge that dies before or after any change of its board, and one that loses what it remembers.

use crate::bridge::settings::CardRetry;
use crate::bridge::testing::World;
use crate::model::FailureClass;

/// Makes rounds, started again after each death, until nothing changes any more.
fn rounds_until_quiet(world: &World) {
    for _ in 0..20 {
        let before = world.board().changes;
        let ended = world.try_round(false);
        if ended.is_ok() && world.board().changes == before {
            return;
        }
    }
    panic!("it does not come to rest");
}

/// Two cards, one of which fails at first; returns whether the bridge died.
fn life_of_two_cards(world: &World, death: Option<(usize, bool)>) -> bool {
    world.board().dies_at = death;
    world.board().add("1", "Todo");
    world.board().add("2", "Todo");
    rounds_until_quiet(world);
    assert_eq!(world.tasks().len(), 2, "{death:?}");
    let task = world.claim().unwrap();
    world.release(&task, "boom", Some(FailureClass::Error));
    rounds_until_quiet(world);
    world.answer_all();
    rounds_until_quiet(world);
    assert_eq!(world.tasks().len(), 2, "{death:?}");
    for id in ["1", "2"] {
        assert_eq!(world.board().queue_of(id), "Done", "{death:?}: card {id}");
    }
    let comments = || {
        let mut comments = world.board().comments("1");
        comments.retain(|text| text != "Taken.");
        comments
    };
    assert_eq!(comments(), ["Attempt 1 failed: boom; retrying now", "It works."], "{death:?}");
    let second = world.board().comments("2");
    assert_eq!(
        second.iter().filter(|text| *text != "Taken.").collect::<Vec<_>>(),
        ["It works."],
        "{death:?}"
    );
    // A second time, which must be a task of its own.
    world.board().put("1", "Todo");
    rounds_until_quiet(world);
    world.answer_all();
    rounds_until_quiet(world);
    assert_eq!(world.tasks().len(), 3, "{death:?}");
    assert_eq!(comments().iter().filter(|text| *text == "It works.").count(), 2, "{death:?}");
    assert_eq!(world.board().queue_of("1"), "Done", "{death:?}");
    death.is_some_and(|(at, _)| world.board().changes > at)
}

#[test]
fn nothing_is_lost_or_done_twice_wherever_a_bridge_dies() {
    let kinds = [
        (false, false, CardRetry::Comment),
        (false, true, CardRetry::Move),
        (true, false, CardRetry::Move),
        (true, true, CardRetry::Comment),
    ];
    for (has_generations, assigns_once, retry) in kinds {
        let mut deaths = 0;
        for at in 0.. {
            let mut died = false;
            for is_after in [false, true] {
                let mut world = World::new(has_generations);
                world.board().assigns_once = assigns_once;
                world.settings.queues[0].retry = retry;
                died |= life_of_two_cards(&world, Some((at, is_after)));
            }
            if !died {
                break;
            }
            deaths += 1;
        }
        assert!(deaths > 10, "only {deaths}");
    }
}

#[test]
fn what_a_bridge_remembers_is_worked_out_again_when_it_is_lost() {
    for has_generations in [false, true] {
        let world = World::new(has_generations);
        world.board().add("1", "Todo");
        world.round();
        world.forget();
        world.round();
        assert_eq!((world.board().queue_of("1"), world.tasks().len()), ("In Progress".to_string(), 1));
        world.answer_all();
        world.forget();
        world.round();
        world.forget();
        world.round();
        assert_eq!((world.board().queue_of("1"), world.tasks().len()), ("Done".to_string(), 1));
        assert_eq!(world.board().comments("1"), ["It works."]);
        // Whether it is new in the queue is known only if the board says so.
        world.forget();
        world.board().put("1", "Todo");
        for _ in 0..3 {
            world.round();
        }
        if has_generations {
            assert_eq!(world.tasks().len(), 2);
        } else {
            assert_eq!(world.tasks().len(), 1, "in doubt, it is not run");
            let comments = world.board().comments("1");
            assert_eq!(comments.len(), 2);
            assert!(comments[1].starts_with("This card was in this queue before"), "{comments:?}");
            world.board().put("1", "Review");
            world.round();
            world.board().put("1", "Todo");
            world.round();
            assert_eq!(world.tasks().len(), 2);
        }
    }
}
