//! Budgets: how many runs start, what happens to the other tasks, and when they go on.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::testkit::command;
use crate::testkit::pool::Pool;

/// A Wednesday, far from both ends of its day.
const TODAY: &str = "2026-11-25T12:00:00Z";
const TOMORROW: &str = "2026-11-26T00:10:00Z";

/// A pool with this budget, whose claude is the scripted agent: each run costs 0.25 dollars and 12 tokens.
fn pool(budget: &str) -> Pool {
    Pool::scripted(&format!("  budget: {{timezone: UTC, {budget}}}\n"))
}

fn at(pool: &Pool, now: &str, words: &[&str]) -> Command {
    let mut command = pool.lanes(words);
    command.env("LANES_TEST_NOW", now);
    command
}

fn ok(pool: &Pool, now: &str, words: &[&str]) -> String {
    command::ok(&mut at(pool, now, words))
}

fn json(pool: &Pool, words: &[&str]) -> Value {
    command::parse(&ok(pool, TODAY, &[words, &["--json"]].concat()))
}

fn dispatch(pool: &Pool, now: &str) -> String {
    ok(pool, now, &["dispatch", "--once"])
}

/// Submits tasks, oldest first.
fn submit(pool: &Pool, count: usize) -> Vec<String> {
    let script = "DO: result fine\n";
    let submit = |n| {
        let now = format!("2026-11-25T11:{n:02}:00Z");
        ok(pool, &now, &["submit", "--lane", "work", "--prompt", script]).trim().to_string()
    };
    (0..count).map(submit).collect()
}

fn runs(pool: &Pool) -> usize {
    std::fs::read_to_string(pool.path("state/usage.jsonl")).map_or(0, |text| text.lines().count())
}

fn states(pool: &Pool, ids: &[String]) -> Vec<String> {
    ids.iter().map(|id| pool.state(id)).collect()
}

#[test]
fn a_lane_waits_for_the_next_day_and_its_tasks_keep_attempts_and_places() {
    let pool = pool("usd_per_day: 0.6");
    let ids = submit(&pool, 5);
    let printed = dispatch(&pool, TODAY);
    assert!(
        printed.contains(
            "lane work waits until 2026-11-26T00:00:00.000000Z: the store has spent $0.75 of $0.60"
        ),
        "{printed}"
    );
    assert_eq!(states(&pool, &ids), ["completed", "completed", "completed", "queued", "queued"]);
    assert_eq!(pool.task(&ids[3])["attempt"], 0);
    dispatch(&pool, TODAY);
    assert_eq!(runs(&pool), 3);
    let why = ok(&pool, TODAY, &["why", &ids[4]]);
    assert!(why.starts_with("waiting for a budget: the store has spent $0.75 of $0.60 for this day; lane work continues at 2026-11-26T00:00:00.000000Z"), "{why}");
    assert_eq!(json(&pool, &["why", &ids[4]])["reason"], "budget");
    for command in ["status", "workers"] {
        let shown = ok(&pool, TODAY, &[command]);
        assert!(
            shown.contains("lane work waits for a budget; continues in 12h: the store has spent $0.75"),
            "{shown}"
        );
        let over = json(&pool, &[command])["over_budget"]["work"].clone();
        assert_eq!(
            (&over["scope"], &over["measure"], &over["spent"]),
            (&"store".into(), &"usd_per_day".into(), &0.75.into())
        );
    }
    let used = json(&pool, &["budget"])["budgets"][0].clone();
    assert_eq!((&used["spent"], &used["limit"], &used["running"]), (&0.75.into(), &0.6.into(), &0.0.into()));
    dispatch(&pool, TOMORROW);
    assert_eq!(states(&pool, &ids), ["completed"; 5]);
    let status = ok(&pool, TOMORROW, &["status"]);
    assert!(!status.contains("budget"), "{status}");
}

#[test]
fn with_a_cap_for_each_run_a_budget_is_never_exceeded() {
    let pool = Pool::scripted(
        "  max_budget_usd: 0.25\n  budget: {timezone: UTC, lanes: {work: {usd_per_day: 0.7}}}\n",
    );
    let ids = submit(&pool, 4);
    let printed = dispatch(&pool, TODAY);
    assert_eq!(states(&pool, &ids), ["completed", "completed", "queued", "queued"], "{printed}");
    // What a person adds lifts it for the day.
    let added = ok(&pool, TODAY, &["budget", "add", "0.3", "--lane", "work"]);
    assert_eq!(
        added.trim(),
        "lane work has spent $0.50 of $1.00 for this day, until 2026-11-26T00:00:00.000000Z"
    );
    assert!(!ok(&pool, TODAY, &["why", &ids[2]]).contains("budget"));
    dispatch(&pool, TODAY);
    assert_eq!(runs(&pool), 4);
    let used = &json(&pool, &["budget"])["budgets"][0];
    assert_eq!((&used["limit"], &used["spent"]), (&1.0.into(), &1.0.into()));
    assert!((used["added"].as_f64().unwrap() - 0.3).abs() < 1e-9, "{used}");
}

#[test]
fn dispatchers_that_claim_at_once_do_not_exceed_a_budget_together() {
    let pool = pool("vendors: {claude: {runs_per_day: 5}}");
    submit(&pool, 12);
    let start = |_| {
        let mut command = at(&pool, TODAY, &["dispatch", "--once"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let dispatchers: Vec<_> = (0..3).map(start).collect();
    for mut dispatcher in dispatchers {
        assert!(dispatcher.wait().unwrap().success());
    }
    dispatch(&pool, TODAY);
    assert_eq!(runs(&pool), 5);
    assert_eq!(json(&pool, &["budget"])["budgets"][0]["spent"], 5.0);
}

#[test]
fn a_run_counts_between_the_end_of_its_claim_and_its_line_in_the_usage_log() {
    let pool = pool("runs_per_day: 1");
    let script = "DO: cp state/budget.json during.json\nresult fine\n";
    let id = ok(&pool, TODAY, &["submit", "--lane", "work", "--prompt", script]).trim().to_string();
    dispatch(&pool, TODAY);
    // As it is for a moment after every run: the task has ended, and its report is in the outbox.
    std::fs::copy(pool.path("during.json"), pool.path("state/budget.json")).unwrap();
    std::fs::remove_file(pool.path("state/usage.jsonl")).unwrap();
    let report = pool.path(&format!("state/outbox/1.{id}"));
    std::fs::write(&report, "").unwrap();
    let used = || {
        let shown = ok(&pool, "2026-11-25T12:10:00Z", &["budget", "--json"]);
        command::parse(&shown)["budgets"][0].clone()
    };
    assert_eq!((&used()["running"], &used()["spent"]), (&1.0.into(), &0.0.into()));
    std::fs::remove_file(report).unwrap();
    assert_eq!(used()["running"], 0.0);
}

#[test]
fn a_cost_that_nobody_knows_is_never_nothing() {
    let quiet = |budget: &str| {
        Pool::new(&format!(
            "dispatch:\n  command: /bin/echo\n  args: [done]\n  budget: {{timezone: UTC, {budget}}}\n"
        ))
    };
    let pool = quiet("usd_per_day: 100");
    submit(&pool, 3);
    dispatch(&pool, TODAY);
    assert_eq!(runs(&pool), 1, "one run of unknown cost counts as the whole budget");
    let used = &json(&pool, &["budget"])["budgets"][0];
    assert_eq!(used["spent"], 100.0, "{used}");
    // What a person adds is beyond what stands for that run.
    ok(&pool, TODAY, &["budget", "add", "50"]);
    dispatch(&pool, TODAY);
    assert_eq!(runs(&pool), 2, "the budget allowed another one");
    dispatch(&pool, TODAY);
    assert_eq!(runs(&pool), 2);
    let pool = quiet("tokens_per_day: 100, lanes: {other: {usd_per_day: 1}}");
    submit(&pool, 2);
    dispatch(&pool, TODAY);
    assert_eq!(runs(&pool), 1);
}

#[test]
fn a_record_that_is_lost_is_counted_again_and_a_broken_one_stops_claims() {
    let pool = pool("tokens_per_day: 30");
    let ids = submit(&pool, 4);
    dispatch(&pool, TODAY);
    assert_eq!(runs(&pool), 3, "12 tokens each, and the third begins below 30");
    let file = pool.path("state/budget.json");
    std::fs::remove_file(&file).unwrap();
    dispatch(&pool, TODAY);
    assert_eq!(runs(&pool), 3);
    std::fs::write(&file, "{\"spent\": []}").unwrap();
    let refused = |output: Output, words: &str| {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && errors.contains(words), "{errors}");
    };
    let words = "so nothing is claimed for a lane with a budget";
    refused(at(&pool, TOMORROW, &["dispatch", "--once"]).output().unwrap(), words);
    refused(at(&pool, TOMORROW, &["budget"]).output().unwrap(), words);
    assert_eq!(pool.state(&ids[3]), "queued");
    let found = at(&pool, TODAY, &["fsck"]).output().unwrap();
    assert!(String::from_utf8_lossy(&found.stdout).contains("budget-unreadable"), "{found:?}");
    ok(&pool, TODAY, &["fsck", "--repair"]);
    dispatch(&pool, TODAY);
    assert_eq!(runs(&pool), 3, "counted from the usage log");
    dispatch(&pool, TOMORROW);
    assert_eq!(pool.state(&ids[3]), "completed");
    ok(&pool, TODAY, &["fsck"]);
}

#[test]
fn the_notice_of_a_budget_comes_once() {
    let pool = pool("runs_per_day: 1");
    let file = pool.path("handoff.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}notify: [{{on: [budget], command: cat >> told}}]\n")).unwrap();
    dispatch(&pool, TODAY);
    submit(&pool, 2);
    dispatch(&pool, TODAY);
    dispatch(&pool, TODAY);
    let told = std::fs::read_to_string(pool.path("told")).unwrap();
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (&told[0]["notice"], &told[0]["lane"], &told[0]["scope"]),
        (&"budget".into(), &"work".into(), &"store".into())
    );
    assert!(
        told[0]["message"].as_str().unwrap().contains("the store has spent 1 run of 1 run for this day"),
        "{told:?}"
    );
}

#[test]
fn what_cannot_be_added_or_used_is_refused_in_one_line() {
    let pool = pool("usd_per_day: 5");
    for (words, reason) in [
        (&["budget", "add", "0"][..], "the amount must be a number above 0"),
        (&["budget", "add", "-5"], "the amount must be a number above 0"),
        (&["budget", "add", "NaN"], "the amount must be a number above 0"),
        (&["budget", "add", "5", "--lane", "work"], "no budget in usd is set for lane work"),
        (&["budget", "add", "5", "--of", "runs"], "no budget in runs is set for the store"),
    ] {
        let refused = pool.refused(words);
        assert!(refused.contains(reason) && refused.trim_end().lines().count() == 1, "{words:?}: {refused}");
    }
    let bad = self::pool("usd_per_day: -5");
    let refused = bad.refused(&["dispatch", "--once"]);
    assert!(refused.contains("dispatch.budget.usd_per_day: expected a number above 0"), "{refused}");
}

/// The example of a nightly task: it runs once a night, and a night that fails stops at its budget.
#[test]
fn the_nightly_example_stops_at_its_budget() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["handoff.yaml", "agent.sh"] {
        let file = format!("{}/examples/nightly/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::copy(file, dir.path().join(name)).unwrap();
    }
    let lanes = |now: &str, words: &[&str]| {
        let mut command = command::lanes();
        command.current_dir(dir.path()).env("PATH", "/usr/bin:/bin").env("LANES_TEST_NOW", now);
        command::ok(command.args(["--config", "handoff.yaml"]).args(words))
    };
    let notices = || std::fs::read_to_string(dir.path().join("notices.txt")).unwrap_or_default();
    lanes("2026-11-21T07:00:00Z", &["dispatch", "--once"]);
    assert_eq!(notices(), "");
    lanes("2026-11-22T03:00:10Z", &["dispatch", "--once"]);
    assert!(notices().starts_with("completed: ") && notices().lines().count() == 1, "{}", notices());
    std::fs::write(dir.path().join("broken"), "").unwrap();
    // The clock of the test stands still, and a task that is retried at once is due after its release.
    for now in ["2026-11-23T03:00:10Z", "2026-11-23T03:00:20Z", "2026-11-23T03:00:30Z"] {
        lanes(now, &["dispatch", "--once"]);
    }
    let schedules = lanes("2026-11-23T03:00:30Z", &["schedules", "--json"]);
    let schedules: Value = serde_json::from_str(&schedules).unwrap();
    assert_eq!(schedules["schedules"][0]["last"], "2026-11-23T03:00:00.000000Z");
    let told = notices();
    assert!(
        told.contains(
            "budget: lane nights waits until 2026-11-24T00:00:00.000000Z: lane nights has spent 3 runs"
        ),
        "{told}"
    );
    std::fs::remove_file(dir.path().join("broken")).unwrap();
    lanes("2026-11-24T00:00:10Z", &["dispatch", "--once"]);
    assert!(notices().lines().last().unwrap().starts_with("completed: "), "{}", notices());
}

/// A pool whose opencode spends a quarter of a dollar with each step.
fn spending(settings: &str, cost: &str) -> Pool {
    Pool::new(&format!(
        "dispatch:\n  vendor: opencode\n  grace: 0.5\n  max_retries: 3\n  env: {{COST: '{cost}'}}\n{settings}  vendors:\n    \
         opencode: {{command: {}}}\n",
        crate::testkit::pool::stand_in("spends.sh")
    ))
}

const QUARTER: &str = "\"cost\":0.25,";

#[test]
fn a_run_over_its_own_budget_is_ended_and_not_tried_again() {
    let pool = spending("  max_budget_usd: 0.6\n", QUARTER);
    let endless = pool.ok(&["submit", "--lane", "work", "--prompt", "go on"]);
    pool.dispatch_once(&[]);
    let task = pool.task(endless.trim());
    assert_eq!((&task["state"], &task["failure_class"]), (&"failed".into(), &"budget".into()), "{task}");
    assert_eq!(task["attempt"], 1);
    let body = pool.response(endless.trim())["body"].as_str().unwrap().to_string();
    assert!(body.starts_with("the agent was stopped: it has cost $"), "{body}");
    assert!(body.ends_with(", and max_budget_usd is $0.60"), "{body}");
    // One that ends within it, and one whose last step exceeds it, are answered.
    for steps in ["2", "3"] {
        let id = pool.ok(&["submit", "--lane", "work", "--prompt", &format!("STEPS {steps}\n")]);
        pool.dispatch_once(&[]);
        assert_eq!(pool.response(id.trim())["body"], format!("step {steps}"));
    }
}

#[test]
fn an_unknown_cost_counts_as_the_budget_of_a_run_unless_there_are_prices() {
    let pool = spending("  max_budget_usd: 5\n  model: m\n", "");
    let id = pool.ok(&["submit", "--lane", "work", "--prompt", "go on"]);
    pool.dispatch_once(&[]);
    let body = pool.response(id.trim())["body"].as_str().unwrap().to_string();
    assert!(body.contains("its cost is unknown"), "{body}");
    let pool = spending("  max_budget_usd: 5\n  model: m\n  prices: {m: {input: 10000, output: 0}}\n", "");
    let id = pool.ok(&["submit", "--lane", "work", "--prompt", "STEPS 3\n"]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.response(id.trim())["body"], "step 3");
    let id = pool.ok(&["submit", "--lane", "work", "--prompt", "go on"]);
    pool.dispatch_once(&[]);
    assert!(
        pool.response(id.trim())["body"]
            .as_str()
            .unwrap()
            .starts_with("the agent was stopped: it has cost $5")
    );
    assert_eq!(pool.task(id.trim())["failure_class"], "budget");
}
