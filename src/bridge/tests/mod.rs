//! Rounds of a bridge between a board and a store. The bridge starts anew for each.

mod board_fails;
mod continued;
mod killed;
mod people;
mod rounds;
mod shared_board;
mod written_over;
