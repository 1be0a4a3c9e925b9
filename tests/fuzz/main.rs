//! Arbitrary input for every reader of untrusted data: it must not panic or hang, and must agree with another
//! reader where there is one.
//!
//! `cargo test --test fuzz` tries a fixed number of inputs, the same in every run. For longer:
//! `LANES_FUZZ_SECONDS=3600 cargo test --release --test fuzz -- --nocapture`, which begins with another seed each
//! time unless `LANES_FUZZ_SEED` sets it. A failing input is minimized and printed with its seed; add it to the
//! `found` list of its target.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod http;
mod json;
mod noise;
mod reset;
mod run;
mod stream;
mod task;
mod yaml;
