//! Schedules: when they submit tasks, how often, and what is refused.

use std::process::Stdio;

use serde_json::Value;

use crate::testkit::sandbox::{Outcome, Running, Sandbox, text};
use crate::testkit::wait::eventually;

/// One hour, in seconds.
const HOUR: i64 = 3600;

/// A workspace with this `schedules:` section; it is 07:00 UTC on Saturday, 21 November 2026.
fn workspace(schedules: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    says(&sandbox, schedules);
    sandbox
}

fn says(sandbox: &Sandbox, schedules: &str) {
    sandbox.write("handoff/handoff.yaml", format!("workspace_id: w\nschedules:\n{schedules}"));
}

/// Runs a dispatcher that serves another lane until that lane is empty.
const DISPATCH: [&str; 7] = ["dispatch", "--once", "--lane", "elsewhere", "--command", "--", "/bin/true"];

fn scheduled(sandbox: &Sandbox) -> Vec<Value> {
    let mut tasks = sandbox.json(&["list", "--lane", "nights"])["tasks"].as_array().unwrap().clone();
    tasks.retain(|task| task["metadata"]["schedule"] == "nightly");
    tasks
}

fn times(sandbox: &Sandbox) -> Vec<String> {
    let tasks = scheduled(sandbox);
    let mut times: Vec<String> = tasks.iter().map(|task| text(&task["metadata"]["scheduled_for"])).collect();
    times.sort_unstable();
    times
}

const NIGHTLY: &str =
    "  nightly: {cron: '0 3 * * *', timezone: Europe/Berlin, lane: nights, prompt: Tidy up}\n";

#[test]
fn each_time_becomes_one_task_however_many_dispatchers_run() {
    let sandbox = workspace(NIGHTLY);
    sandbox.ok(&DISPATCH);
    assert!(scheduled(&sandbox).is_empty(), "the time of today was before the schedule was known");
    let before = &sandbox.json(&["schedules"])["schedules"][0];
    assert_eq!(before["next"], "2026-11-22T02:00:00.000000Z");
    assert_eq!((&before["last"], &before["last_task"]), (&Value::Null, &Value::Null));
    sandbox.pass(20 * HOUR);
    let children: Vec<_> = (0..6)
        .map(|seed: i32| {
            let mut command = sandbox.command(&DISPATCH);
            command.env("LANES_TEST_SEED", seed.to_string()).stdin(Stdio::null());
            command.spawn().unwrap()
        })
        .collect();
    for child in children {
        let outcome = sandbox.outcome(child.wait_with_output().unwrap());
        assert_eq!(outcome.code, 0, "{outcome}");
    }
    let tasks = scheduled(&sandbox);
    assert_eq!(tasks.len(), 1, "{tasks:?}");
    assert_eq!(tasks[0]["idempotency_key"], "schedule:nightly:2026-11-22T02:00:00Z");
    assert_eq!(tasks[0]["source_agent"], "schedule");
    assert_eq!(tasks[0]["correlation_id"], "nightly");
    // Once more, after the answer, and after everything about the task is gone.
    let (id, token) = sandbox.claim("nights");
    sandbox.ok(&["respond", &id, "--claim-token", &token, "--body", "tidy"]);
    let report = sandbox.json(&["schedules"])["schedules"][0].clone();
    assert_eq!(report["last"], "2026-11-22T02:00:00.000000Z");
    assert_eq!((text(&report["last_task"]), text(&report["last_state"])), (id, "completed".to_string()));
    sandbox.ok(&DISPATCH);
    sandbox.ok(&["gc", "--all-ended"]);
    sandbox.ok(&DISPATCH);
    assert!(scheduled(&sandbox).is_empty());
    assert_eq!(sandbox.json(&["schedules"])["schedules"][0]["last_state"], "removed");
    sandbox.ok(&["fsck"]);
}

#[test]
fn a_process_that_dies_before_it_records_a_time_submits_it_once() {
    let sandbox = workspace(NIGHTLY);
    sandbox.ok(&DISPATCH);
    let records = sandbox.path("handoff/state/schedules.json");
    let before = std::fs::read(&records).unwrap();
    sandbox.pass(20 * HOUR);
    sandbox.ok(&DISPATCH);
    std::fs::write(&records, before).unwrap();
    sandbox.ok(&DISPATCH);
    assert_eq!(times(&sandbox), ["2026-11-22T02:00:00Z"]);
    // A later prompt does not make another task of the same time.
    std::fs::remove_file(&records).unwrap();
    says(&sandbox, &NIGHTLY.replace("Tidy up", "Tidy up more"));
    sandbox.ok(&DISPATCH);
    assert_eq!(times(&sandbox), ["2026-11-22T02:00:00Z"]);
}

#[test]
fn missed_times_are_caught_up_as_the_schedule_says() {
    for (catch_up, expected) in [
        ("", &["2026-11-24T02:00:00Z"][..]),
        (", catch_up: one", &["2026-11-24T02:00:00Z"]),
        (", catch_up: all", &["2026-11-22T02:00:00Z", "2026-11-23T02:00:00Z", "2026-11-24T02:00:00Z"]),
        (", catch_up: none", &[]),
    ] {
        let sandbox = workspace(&NIGHTLY.replace(", lane", &format!("{catch_up}, lane")));
        sandbox.ok(&DISPATCH);
        sandbox.pass(72 * HOUR);
        sandbox.ok(&DISPATCH);
        sandbox.ok(&DISPATCH);
        assert_eq!(times(&sandbox), expected, "{catch_up}");
    }
}

#[test]
fn another_expression_begins_anew_and_a_task_has_what_the_schedule_says() {
    let sandbox = workspace(NIGHTLY);
    sandbox.ok(&DISPATCH);
    sandbox.write("handoff/nightly.md", "Look at the logs.\n");
    let hourly = "  nightly:\n    cron: '@hourly'\n    timezone: UTC\n    lane: nights\n    prompt_file: nightly.md\n    \
                  priority: 3\n    labels: [night]\n    metadata: {size: small}\n";
    says(&sandbox, hourly);
    sandbox.pass(72 * HOUR);
    sandbox.ok(&DISPATCH);
    assert!(times(&sandbox).is_empty());
    sandbox.pass(HOUR);
    sandbox.ok(&DISPATCH);
    let tasks = scheduled(&sandbox);
    assert_eq!(tasks.len(), 1);
    assert_eq!((&tasks[0]["priority"], &tasks[0]["labels"][0]), (&3.into(), &"night".into()));
    assert_eq!(tasks[0]["metadata"]["size"], "small");
    let (id, _) = sandbox.claim("nights");
    let request = sandbox.read(sandbox.task_dir(&id).join("request.md"));
    assert!(request.contains("Look at the logs."), "{request}");
}

#[test]
fn what_prevents_a_task_is_reported_and_the_time_stays_due() {
    let sandbox = workspace(&NIGHTLY.replace("prompt: Tidy up", "prompt_file: missing.md"));
    sandbox.ok(&DISPATCH);
    sandbox.pass(20 * HOUR);
    let outcome = sandbox.run(&DISPATCH);
    assert_eq!(outcome.code, 0, "{outcome}");
    assert!(
        outcome.stderr.contains("schedule nightly cannot submit its task: ")
            && outcome.stderr.contains("missing.md"),
        "{outcome}"
    );
    sandbox.write("handoff/missing.md", "here now");
    sandbox.ok(&DISPATCH);
    assert_eq!(times(&sandbox), ["2026-11-22T02:00:00Z"]);
    sandbox.write("handoff/state/schedules.json", "{\"workspaces\": 1}");
    let outcome = sandbox.run(&DISPATCH);
    assert!(
        outcome.code == 0 && outcome.stderr.contains("so no schedule submits anything; remove the file"),
        "{outcome}"
    );
    sandbox.run(&["schedules"]).refused(1, "schedules.json cannot be read");
    let found = sandbox.run(&["fsck", "--json"]).json();
    assert!(
        found["findings"].as_array().unwrap().iter().any(|one| one["code"] == "schedules-unreadable"),
        "{found}"
    );
    sandbox.ok(&["fsck", "--repair"]);
    sandbox.ok(&["schedules"]);
}

#[test]
fn a_schedule_that_cannot_be_used_is_refused_in_one_line() {
    for (schedules, reason) in [
        ("  x: {lane: l, prompt: p}\n", "schedules.x.cron: is missing"),
        (
            "  x: {cron: daily, lane: l, prompt: p}\n",
            "schedules.x.cron: not a cron expression (it has 1 field, not 5); give minute, hour",
        ),
        (
            "  x: {cron: '*/61 * * * *', lane: l, prompt: p}\n",
            "schedules.x.cron: the step of */61 is 61, but there are only 60 minutes",
        ),
        (
            "  x: {cron: '@daily', lane: l, prompt: p, prompt_file: f}\n",
            "schedules.x.prompt_file: give either a file or `prompt`",
        ),
        ("  x: {cron: '0 0 30 2 *', lane: l, prompt: p}\n", "schedules.x.cron: this time never comes"),
        (
            "  x: {cron: '@daily', timezone: Mars/Base, lane: l, prompt: p}\n",
            "schedules.x.timezone: unknown time zone Mars/Base",
        ),
        (
            "  x: {cron: '@daily', catch_up: two, lane: l, prompt: p}\n",
            "schedules.x.catch_up: expected one, all or none",
        ),
        ("  x: {cron: '@daily', prompt: p}\n", "schedules.x.lane: is missing"),
        ("  x: {cron: '@daily', lane: l}\n", "schedules.x has nothing to do: give prompt, prompt_file or"),
        ("  x: {cron: '@daily', lane: ../l, prompt: p}\n", "schedules.x.lane: "),
        ("  x: {cron: '@daily', lane: l, promt: p}\n", "schedules.x has unknown keys: promt"),
        ("  x: {cron: '@daily', lane: l, prompt: p, key: k}\n", "schedules.x.key: a schedule sets it"),
        ("  x y: {cron: '@daily', lane: l, prompt: p}\n", "invalid name of a schedule 'x y'"),
        ("  x: [1]\n", "schedules.x must be a mapping"),
        ("  - x\n", "schedules must be a mapping"),
    ] {
        let sandbox = workspace(schedules);
        for words in [&DISPATCH[..], &["schedules"]] {
            let outcome = sandbox.run(words);
            outcome.refused(1, reason);
            assert_eq!(outcome.stderr.trim_end().lines().count(), 1, "{outcome}");
            assert!(outcome.stderr.contains("handoff.yaml line "), "{outcome}");
        }
        let doctor = sandbox.run(&["doctor"]);
        sandbox.submit("l", &[]);
        let doctor = if doctor.stdout.contains(reason) { doctor } else { sandbox.run(&["doctor"]) };
        assert!(doctor.code == 1 && doctor.stdout.contains(reason), "{doctor}");
    }
}

#[test]
fn a_schedule_of_a_repository_needs_consent() {
    let sandbox = Sandbox::empty();
    std::fs::create_dir(sandbox.path(".git")).unwrap();
    sandbox.ok(&["init"]);
    says(&sandbox, NIGHTLY);
    let run = |words: &[&str]| -> Outcome {
        sandbox.outcome(sandbox.command(words).env("HOME", sandbox.root()).output().unwrap())
    };
    run(&DISPATCH).refused(1, "which you have not agreed to: schedules.nightly: ");
    assert_eq!(run(&["trust", "handoff/handoff.yaml", "--yes"]).code, 0);
    assert_eq!(run(&DISPATCH).code, 0);
    says(&sandbox, &NIGHTLY.replace("0 3", "* *"));
    run(&DISPATCH).refused(1, "has changed what runs since you agreed to it: schedules.nightly: ");
}

#[test]
fn a_server_runs_schedules_too() {
    let sandbox = workspace(NIGHTLY);
    let serve = |sandbox: &Sandbox, is_done: &dyn Fn() -> bool| {
        let mut command = sandbox.command(&["serve", "--socket", "s"]);
        command.stdin(Stdio::null());
        let mut server = Running::start(command);
        eventually("the server has run the schedules", is_done);
        let pid = rustix::process::Pid::from_child(server.child());
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        server.finish(sandbox);
    };
    serve(&sandbox, &|| sandbox.path("handoff/state/schedules.json").exists());
    sandbox.pass(20 * HOUR);
    serve(&sandbox, &|| !times(&sandbox).is_empty());
    assert_eq!(times(&sandbox), ["2026-11-22T02:00:00Z"]);
}

#[test]
fn dispatchers_and_servers_that_run_at_once_submit_each_time_once() {
    let sandbox = workspace(&NIGHTLY.replace(", lane", ", catch_up: all, lane"));
    sandbox.ok(&DISPATCH);
    sandbox.pass(72 * HOUR);
    let start = |words: &[&str], seed: i32| {
        let mut command = sandbox.command(words);
        command.env("LANES_TEST_SEED", seed.to_string()).stdin(Stdio::null());
        Running::start(command)
    };
    let servers: Vec<_> = ["s1", "s2"]
        .iter()
        .zip(0..)
        .map(|(socket, seed)| start(&["serve", "--socket", socket], seed))
        .collect();
    let dispatchers: Vec<_> = (2..4).map(|seed| start(&DISPATCH, seed)).collect();
    for dispatcher in dispatchers {
        let outcome = dispatcher.finish(&sandbox);
        assert_eq!(outcome.code, 0, "{outcome}");
    }
    // A dispatcher may have been told that the time is done with before the other process had submitted its task.
    eventually("the tasks of three nights", || times(&sandbox).len() >= 3);
    for mut server in servers {
        let pid = rustix::process::Pid::from_child(server.child());
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        server.finish(&sandbox);
    }
    let expected = ["2026-11-22T02:00:00Z", "2026-11-23T02:00:00Z", "2026-11-24T02:00:00Z"];
    assert_eq!(times(&sandbox), expected);
    sandbox.ok(&["fsck"]);
}
