//! Fills a store for measurements: `cargo bench --bench make_store -- DIR [TASKS]`; with `queue` at
//! the end all tasks are queued in one lane, otherwise 95 % have ended.

#![expect(clippy::print_stderr, reason = "a tool for developers, not a command")]

#[path = "support/store.rs"]
mod store;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let Some(root) = words.first() else {
        eprintln!("usage: cargo bench --bench make_store -- DIR [TASKS [queue]]");
        return;
    };
    let tasks = words.get(1).map_or(100_000, |word| word.parse().expect("TASKS is a number"));
    let root = std::path::absolute(root).expect("DIR is a path");
    let plan = match words.get(2).map(String::as_str) {
        Some("queue") => store::Plan::queue(tasks),
        _ => store::Plan::of(tasks),
    };
    store::make(&root, &plan);
}
