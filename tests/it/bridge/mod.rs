//! Bridges: the built program with boards of tests.

mod adapter;
mod examples;
