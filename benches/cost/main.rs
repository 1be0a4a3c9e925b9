//! Measures the cost of the queue, as ratios to what is measured in the same run: an empty store, the
//! floors that the machine sets, and agent-lanes if it is on PATH.
//!
//! `cargo bench --bench cost` runs everything (about a quarter of an hour); `cargo bench --bench cost -- wake lock`
//! only these parts. Nothing is asserted: on a busy machine the figures mean little.

#![expect(clippy::print_stdout, reason = "the figures are what a bench is for")]
#![expect(clippy::disallowed_methods, reason = "the floors are measured with bare calls")]

mod cycles;
mod fast;
mod flat;
mod floor;
mod linear;
mod lock;
mod many;
mod measure;
mod peer;
mod scene;
mod wake;

#[path = "../support/store.rs"]
mod support;

/// A part of the bench: its name and its function.
type Part = (&'static str, fn());

const PARTS: [Part; 7] = [
    ("fast", fast::run),
    ("cycles", cycles::run),
    ("wake", wake::run),
    ("lock", lock::run),
    ("many", many::run),
    ("flat", flat::run),
    ("linear", linear::run),
];

fn main() {
    if std::env::args().nth(1).is_some_and(|word| word == floor::NOTHING) {
        return;
    }
    // Cargo adds flags such as --bench.
    // ext4 takes many times as long to create a file for minutes after many were deleted: what was
    // measured in goes at the very end.
    let work = tempfile::tempdir().expect("a temporary directory");
    scene::WORK.set(work.path().to_path_buf()).expect("it is set once");
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    for (name, run) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            println!("\n{name}");
            run();
        }
    }
}
