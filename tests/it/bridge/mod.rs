//! Bridges: the built program with boards of tests.

mod adapter;
mod commands;
mod desk;
mod examples;
mod http;
mod killed;
mod many_kills;
#[cfg(feature = "planka")]
mod planka;
mod programs;
mod reload;
mod stop;
mod work;
