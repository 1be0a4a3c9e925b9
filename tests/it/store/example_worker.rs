//! `examples/worker.rs`, a program that links the library.

use std::path::Path;

use crate::testkit::command::clean_with_path;
use crate::testkit::sandbox::Sandbox;

#[test]
fn the_example_worker_answers_the_tasks_of_a_lane() {
    let sandbox = Sandbox::new();
    let fine = sandbox.submit("shout", &["--prompt", "hello"]);
    let state = sandbox.task_dir(&fine).join("../..");
    let program = Path::new(env!("CARGO_BIN_EXE_lanes")).with_file_name("examples").join("worker");
    let run =
        |command: &str| clean_with_path(&program).arg(&state).args(["shout", command]).output().unwrap();
    let output = run("tr a-z A-Z");
    assert!(output.status.success(), "{output:?}");
    let shown = sandbox.json(&["show", &fine, "--json"]);
    assert_eq!(shown["task"]["state"], "completed", "{shown}");
    assert_eq!(shown["response"]["body"], "HELLO", "{shown}");
    let failing = sandbox.submit("shout", &["--prompt", "hello"]);
    assert!(run("exit 3").status.success());
    assert_eq!(sandbox.json(&["show", &failing, "--json"])["task"]["state"], "failed");
    // Without arguments it prints its usage.
    let usage = clean_with_path(&program).output().unwrap();
    assert!(!usage.status.success() && String::from_utf8_lossy(&usage.stderr).contains("usage: worker"));
}
