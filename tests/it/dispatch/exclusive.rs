//! Exclusive keys of tasks under dispatchers, and those that a route gives.

use crate::testkit::command::git;
use crate::testkit::pool::Pool;

/// Submits a task that runs until the file `go` exists.
fn submit_waiting(pool: &Pool, more: &[&str]) -> String {
    pool.submit("echo yes > runs; until [ -e go ]; do sleep 0.05; done; result one", more)
}

fn is_held(pool: &Pool, id: &str) -> bool {
    pool.json(&["why", id])["reason"] == "key_held"
}

#[test]
fn a_dispatcher_with_free_slots_passes_over_a_task_whose_key_is_held() {
    let pool = Pool::scripted("");
    let first = submit_waiting(&pool, &["--exclusive", "db"]);
    let second = pool.submit("result two", &["--exclusive", "db"]);
    let other = pool.submit("result three", &["--exclusive", "site"]);
    let dispatcher = pool.dispatcher(&["--once"]);
    pool.until_file("runs");
    pool.until("the other task is done", || pool.state(&other) == "completed");
    assert!(is_held(&pool, &second));
    assert_eq!(pool.task(&second)["fence"], 0);
    std::fs::write(pool.path("go"), "").unwrap();
    assert!(dispatcher.wait().success());
    assert_eq!([&first, &second].map(|id| pool.state(id)), ["completed", "completed"]);
}

#[test]
fn a_route_gives_keys_to_its_tasks() {
    let pool = Pool::scripted("  exclusive: [repository, \"lane {lane}\"]\n");
    git(&pool.path(""), &["init", "-q", "-b", "main"]);
    std::fs::create_dir(pool.path("below")).unwrap();
    let first = submit_waiting(&pool, &["--exclusive", "own"]);
    let below = pool.path("below");
    let second = pool.submit("result two", &["--worktree-path", below.to_str().unwrap()]);
    assert_eq!(pool.state(&second), "queued");
    let dispatcher = pool.dispatcher(&["--once"]);
    pool.until_file("runs");
    pool.until("the second has the keys of its route", || is_held(&pool, &second));
    let top = pool.path("").canonicalize().unwrap().display().to_string();
    assert_eq!(pool.task(&first)["exclusive"], serde_json::json!(["own", top, "lane work"]));
    assert_eq!(pool.task(&second)["exclusive"], serde_json::json!([top, "lane work"]));
    assert_eq!(pool.state(&second), "blocked");
    assert!(
        pool.events(&second).iter().any(|event| event.contains("exclusive")),
        "{:?}",
        pool.events(&second)
    );
    std::fs::write(pool.path("go"), "").unwrap();
    assert!(dispatcher.wait().success());
    assert_eq!(pool.state(&second), "completed");
}

#[test]
fn bad_keys_of_a_route_are_refused_at_the_start() {
    for (value, says) in [
        ("[\"{branch}\"]", "unknown placeholder {branch}"),
        ("[\"{lane\"]", "a single {"),
        ("{a: b}", "expected a text or a list of text"),
        ("[\"\"]", "the exclusive key is empty"),
        ("[a, b, c, d, e, f, g, h, i]", "9 exclusive keys are too many"),
    ] {
        let pool = Pool::scripted(&format!("  exclusive: {value}\n"));
        let refused = pool.refused(&["dispatch", "--once"]);
        assert!(refused.contains(says) && refused.contains("exclusive"), "{value}: {refused}");
    }
}
