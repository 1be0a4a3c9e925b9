//! Several stores that serve one board, which lets one of them assign a card.

use std::sync::Arc;
use std::time::Duration;

use crate::bridge::testing::{BoardKind, World};

#[test]
fn a_card_of_a_shared_board_becomes_one_task_in_all() {
    // The processes of one machine take turns with a file.
    for kind in BoardKind::ALL.iter().filter(|kind| **kind != BoardKind::File) {
        let mut first = World::of(*kind);
        first.board().assigns_once = true;
        let mut second = first.beside();
        for world in [&mut first, &mut second] {
            world.settings.take_assigned_after = Duration::from_secs(600);
        }
        let cards: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        cards.iter().for_each(|card| first.add(card, "Todo"));
        std::thread::scope(|scope| {
            for world in [&first, &second] {
                scope.spawn(|| (0..3).for_each(|_| world.round()));
            }
        });
        let both = [&first, &second];
        let tasks = || both.map(|world| world.tasks().len()).iter().sum::<usize>();
        assert_eq!(tasks(), 100, "{kind:?}");
        both.iter().for_each(|world| world.answer_all());
        both.iter().for_each(|world| world.round());
        both.iter().for_each(|world| world.round());
        for card in cards.iter().step_by(10) {
            assert_eq!(first.queue_of(card), "Done", "{kind:?}");
            assert_eq!(first.comments(card), ["It works."], "{kind:?}");
        }
        // Again: the one that has done it before is the one that takes it.
        first.put("7", "Todo");
        both.iter().for_each(|world| world.round());
        both.iter().for_each(|world| world.round());
        assert_eq!(tasks(), 101, "{kind:?}");
    }
}

#[test]
fn a_card_that_was_assigned_by_a_person_is_taken_by_one_bridge() {
    let first = World::new(true);
    first.board().assigns_once = true;
    let second = World::on(Arc::clone(&first.data));
    first.board().add("1", "Todo");
    first.board().card_mut("1").assignees = vec!["bot".to_string()];
    let both = [&first, &second];
    for _ in 0..3 {
        both.iter().for_each(|world| world.round());
    }
    assert_eq!(both.map(|world| world.tasks().len()).iter().sum::<usize>(), 1);
}
