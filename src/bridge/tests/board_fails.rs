//! A board that cannot be reached, or refuses.

use crate::bridge::board::{BoardError, BoardErrorCode};
use crate::bridge::engine::BridgeFailure;
use crate::bridge::testing::World;

#[test]
fn tasks_go_on_while_the_board_is_away_and_it_agrees_afterwards() {
    for code in [BoardErrorCode::Unavailable, BoardErrorCode::Auth, BoardErrorCode::RateLimited] {
        let world = World::new(true);
        world.board().add("1", "Todo");
        world.round();
        world.board().failure = Some(BoardError::new(code, "away"));
        world.answer_all();
        for _ in 0..3 {
            let failed = world.try_round(false);
            assert!(matches!(failed, Err(BridgeFailure::Board(error)) if error.code == code));
        }
        world.board().failure = None;
        world.round();
        assert_eq!((world.board().queue_of("1"), world.tasks().len()), ("Done".to_string(), 1));
        assert_eq!(world.board().comments("1"), ["It works."]);
    }
}
