//! Arbitrary input for every reader of what strangers write: it must not panic, not hang, and say the
//! same as another reader where there is one.
//!
//! `cargo test --test fuzz` tries a fixed number of inputs, the same in every run. For longer:
//! `LANES_FUZZ_SECONDS=3600 cargo test --release --test fuzz -- --nocapture`, which begins somewhere else each
//! time unless `LANES_FUZZ_SEED` says where. What fails is made small and printed with the seed that
//! finds it at once; put it into the `found` list of its target.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod http;
mod json;
mod noise;
mod reset;
mod run;
mod stream;
mod task;
mod yaml;
