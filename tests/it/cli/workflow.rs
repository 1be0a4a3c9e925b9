//! Dependencies and groups from the command line.

use crate::testkit::sandbox::{Running, Sandbox, text};

fn submit(sandbox: &Sandbox, prompt: &str, flags: &[&str]) -> String {
    sandbox.ok(&[&["submit", "--lane", "l", "--prompt", prompt], flags].concat())
}

#[test]
fn a_dependent_can_be_claimed_when_the_last_of_its_dependencies_has_ended() {
    let sandbox = Sandbox::new();
    let (a, b) = (submit(&sandbox, "a", &[]), submit(&sandbox, "b", &[]));
    let c = submit(&sandbox, "c", &["--after", &format!("{a},{b}")]);
    let d = submit(&sandbox, "d", &["--after-ended", &a, "--after-ended", &c]);
    assert_eq!(sandbox.json(&["why", &c])["reason"], "blocked");
    let sentence = sandbox.ok(&["why", &c]);
    assert_eq!(sentence, format!("waiting for 2 of 2 dependencies: {a} (queued), {b} (queued)"));
    sandbox.run(&["claim", &c]).refused(1, "it waits for its dependencies");
    let listed = sandbox.json(&["list", "--state", "blocked"]);
    assert_eq!(listed["count"], 2);
    let after = &listed["tasks"][0]["after"];
    assert_eq!((&after[0]["task"], &after[1]["on"]), (&a.as_str().into(), &"completed".into()));
    assert_eq!(sandbox.json(&["status"])["lanes"]["l"]["blocked"], 2);
    sandbox.ok(&["respond", &a, "--body", "done"]);
    sandbox.ok(&["cancel", &b]);
    let failed = sandbox.json(&["show", &c]);
    assert_eq!(text(&failed["task"]["failure_class"]), "upstream");
    assert_eq!(text(&failed["task"]["failure_reason"]), format!("its dependency {b} was cancelled"));
    assert_eq!(sandbox.run(&["wait", &c, "--exit-status"]).code, 3);
    assert_eq!(sandbox.json(&["claim", "--lane", "l"])["task_id"], d.as_str());
    sandbox.ok(&["fsck"]);
}

#[test]
fn a_task_file_and_a_line_of_a_batch_name_dependencies() {
    let sandbox = Sandbox::new();
    let a = submit(&sandbox, "a", &[]);
    sandbox.write("task.yaml", format!("lane: l\nprompt: b\nafter:\n- {a}\n- {{task: {a}, on: ended}}\n"));
    let b = sandbox.ok(&["submit", "--task", "task.yaml"]);
    let line = format!("{{\"lane\": \"l\", \"prompt\": \"c\", \"after_ended\": [\"{b}\"]}}\n");
    sandbox.write("batch.jsonl", &line);
    let c = sandbox.ok(&["submit", "--batch", "batch.jsonl"]);
    for (id, on) in [(&b, "completed"), (&c, "ended")] {
        let task = &sandbox.json(&["show", id])["task"];
        assert_eq!((&task["state"], &task["after"][0]["on"]), (&"blocked".into(), &on.into()));
    }
    for (after, says) in [
        ("x", "'after' must be a list"),
        ("[7]", "'after' must be a list of ids, or of mappings"),
        ("[{task: x, on: later}]", "'after' must be a list of ids, or of mappings"),
        ("[{task: x, when: ended}]", "'after' must be a list of ids, or of mappings"),
        ("[{task: x, group: y}]", "'after' must be a list of ids, or of mappings"),
        ("[nobody]", "dependency 'nobody': unknown task: nobody"),
    ] {
        sandbox.write("task.yaml", format!("lane: l\nprompt: b\nafter: {after}\n"));
        sandbox.run(&["submit", "--task", "task.yaml"]).refused(1, says);
    }
    assert_eq!(sandbox.json(&["list"])["count"], 3);
}

#[test]
fn a_line_of_a_batch_depends_on_earlier_ones() {
    let sandbox = Sandbox::new();
    let lines = [
        r#"{"lane": "l", "prompt": "a", "key": "first", "group": "g"}"#,
        r#"{"lane": "l", "prompt": "b", "after": [{"line": 1}], "group": "g"}"#,
        r#"{"lane": "l", "prompt": "c", "after": [{"key": "first"}, {"line": 2, "on": "ended"}]}"#,
        r#"{"lane": "l", "prompt": "d", "after_group": ["g"]}"#,
        r#"{"lane": "l", "prompt": "itself", "after": [{"line": 5}]}"#,
        r#"{"lane": "l", "prompt": "of a refused one", "after": [{"line": 5}]}"#,
        r#"{"lane": "l", "prompt": "no line", "after": [{"line": 0}]}"#,
        r#"{"lane": "l", "prompt": "no key", "after": [{"key": "nobody"}]}"#,
    ];
    sandbox.write("batch.jsonl", lines.join("\n"));
    let outcome = sandbox.run(&["submit", "--batch", "batch.jsonl"]);
    let ids: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!((outcome.code, ids.len()), (1, 4), "{outcome}");
    for says in [
        "line 5: it depends on line 5, which does not come before it",
        "line 6: it depends on line 5, which was not submitted",
        "line 7: it depends on line 0, which does not come before it",
        "line 8: no task has the key 'nobody'",
    ] {
        assert!(outcome.stderr.contains(says), "{outcome}");
    }
    for (id, after) in [(ids[1], &ids[..1]), (ids[2], &ids[..2]), (ids[3], &ids[..2])] {
        let task = sandbox.json(&["show", id])["task"].clone();
        let mut found: Vec<String> =
            task["after"].as_array().unwrap().iter().map(|it| text(&it["task"])).collect();
        // The clock of the test stands still, so the members of a group have no other order than that of their ids.
        found.sort();
        let mut after = after.to_vec();
        after.sort_unstable();
        assert_eq!(found, after);
    }
    sandbox.run(&["submit", "--lane", "l", "--prompt", "x", "--after", "{line: 1}"]).refused(1, "dependency");
    sandbox
        .run(&["submit", "--lane", "l", "--prompt", "x", "--after", ""])
        .refused(2, "a dependency without an id");
}

#[test]
fn dead_tasks_are_redriven_with_their_dependents() {
    let sandbox = Sandbox::new();
    let a = submit(&sandbox, "a", &["--max-attempts", "1"]);
    let b = submit(&sandbox, "b", &["--after", &a]);
    let claimed = sandbox.json(&["claim", "--lane", "l"]);
    let token = text(&claimed["task"]["claim_token"]);
    sandbox.ok(&["release", &a, "--claim-token", &token, "--spent", "--reason", "it crashed"]);
    assert_eq!(sandbox.json(&["show", &b])["task"]["failure_class"], "upstream");
    let redriven = sandbox.ok(&["redrive", "--lane", "l", "--with-dependents"]);
    let new: Vec<&str> = redriven.lines().collect();
    assert_eq!(new.len(), 2, "{redriven}");
    assert_eq!(sandbox.json(&["show", new[1]])["task"]["after"][0]["task"], new[0]);
    assert_eq!(sandbox.ok(&["redrive", &a, "--with-dependents"]), redriven);
    sandbox.run(&["redrive", &b, "--with-dependents"]).refused(1, "is not dead");
}

#[test]
fn a_failed_part_is_retried_as_a_whole() {
    let sandbox = Sandbox::new();
    let a = submit(&sandbox, "a", &[]);
    let b = submit(&sandbox, "b", &["--after", &a]);
    let c = submit(&sandbox, "c", &["--after", &format!("{a},{b}")]);
    sandbox.ok(&["respond", &a, "--status", "failed", "--body", "no"]);
    sandbox.run(&["retry", &c]).refused(1, &format!("cannot retry {c}; its dependency {a} failed"));
    let retried = sandbox.ok(&["retry", &a, "--with-dependents"]);
    let new: Vec<&str> = retried.lines().collect();
    assert_eq!(new.len(), 3);
    let dependencies = |id: &str| -> Vec<String> {
        let task = sandbox.json(&["show", id])["task"].clone();
        task["after"].as_array().unwrap().iter().map(|it| text(&it["task"])).collect()
    };
    assert_eq!(dependencies(new[1]), [new[0]]);
    assert_eq!(dependencies(new[2]), [new[0], new[1]]);
    assert_eq!(sandbox.ok(&["retry", &a, "--with-dependents"]), retried);
    let shown = sandbox.ok(&["graph", new[0]]);
    assert_eq!(shown.lines().count(), 4, "{shown}");
    sandbox.ok(&["respond", new[0], "--body", "an answer"]);
    let claimed = sandbox.json(&["claim", "--lane", "l"]);
    assert_eq!(text(&claimed["task_id"]), new[1]);
    assert_eq!(text(&claimed["dependencies"][0]["answer"]), "an answer");
    assert!(sandbox.ok(&["show", new[1]]).contains(&format!("after {} (completed)\n  an answer", new[0])));
    sandbox.ok(&["fsck"]);
}

#[test]
fn a_wait_for_many_tasks_prints_little_while_it_waits() {
    let sandbox = Sandbox::new();
    let lines: String =
        (0..30).map(|n| format!("{{\"lane\":\"l\",\"group\":\"g\",\"prompt\":\"{n}\"}}\n")).collect();
    std::fs::write(sandbox.path("tasks.jsonl"), lines).unwrap();
    sandbox.ok(&["submit", "--batch", "tasks.jsonl"]);
    let pending = sandbox.run(&["wait", "--group", "g", "--timeout", "0", "--heartbeat-seconds", "1"]);
    assert_eq!(pending.code, 2);
    let printed: Vec<&str> = pending.stderr.lines().collect();
    assert!(printed.contains(&"lanes wait: waiting for 30 tasks: 30 queued"), "{pending}");
    assert!(printed.last().unwrap().contains(" and 20 more; the tasks continue"), "{pending}");
    assert!(printed.len() <= 3, "{pending}");
}

#[test]
fn a_group_is_waited_for_listed_and_joined() {
    let sandbox = Sandbox::new();
    let members: Vec<String> =
        ["a", "b"].iter().map(|name| submit(&sandbox, name, &["--group", "g"])).collect();
    let other = submit(&sandbox, "other", &[]);
    let join = submit(&sandbox, "join", &["--after-group", "g"]);
    assert_eq!(sandbox.json(&["show", &join])["task"]["after"].as_array().unwrap().len(), 2);
    assert_eq!(sandbox.json(&["list", "--group", "g"])["count"], 2);
    assert_eq!(sandbox.json(&["status", "--all", "--group", "g"])["summary"]["queued"], 2);
    let pending = sandbox.run(&["wait", "--group", "g", "--timeout", "0"]);
    assert_eq!((pending.code, pending.stdout.as_str()), (2, ""));
    sandbox.ok(&["respond", &members[1], "--body", "second"]);
    let any = sandbox.ok(&["wait", "--group", "g", "--any"]);
    assert_eq!(any, format!("{} completed", members[1]));
    sandbox.ok(&["respond", &members[0], "--status", "failed", "--body", "first"]);
    let all = sandbox.run(&["wait", "--group", "g", "--body"]);
    let expected =
        format!("==> {} failed <==\nfirst\n==> {} completed <==\nsecond\n", members[0], members[1]);
    assert_eq!(all.stdout, expected);
    let results = sandbox.json(&["wait", "--group", "g"]);
    assert_eq!(
        (text(&results["status"]).as_str(), results["results"].as_array().unwrap().len()),
        ("answered", 2)
    );
    assert_eq!(sandbox.run(&["wait", "--group", "g", "--exit-status"]).code, 3);
    let events = sandbox.run(&["events", "--group", "g", "--json"]).stdout;
    assert!(events.lines().count() == 4 && !events.contains(&other), "{events}");
    let retried = sandbox.json(&["retry", "--group", "g"]);
    assert_eq!(retried["count"], 1);
    assert_eq!(retried["results"][0]["retry_of"], members[0].as_str());
    // The new task is in the group too.
    assert_eq!(sandbox.json(&["cancel", "--group", "g"])["count"], 1);
    assert_eq!(sandbox.json(&["cancel", "--group", "g"])["count"], 0);
    assert_eq!(sandbox.json(&["list", "--group", "g"])["count"], 3);
}

#[test]
fn a_group_is_done_when_its_failures_were_retried_with_success() {
    let sandbox = Sandbox::new();
    let [a, b] = ["a", "b"].map(|name| submit(&sandbox, name, &["--group", "g"]));
    sandbox.ok(&["respond", &a, "--body", "fine"]);
    sandbox.ok(&["respond", &b, "--status", "failed", "--body", "broken"]);
    let again = sandbox.ok(&["retry", "--group", "g"]);
    assert_eq!(sandbox.run(&["wait", "--group", "g", "--timeout", "0"]).code, 2, "the successor is open");
    let joins = ["--after-group=g", &format!("--after={b}"), &format!("--after-ended={b}")].map(|after| {
        let join = submit(&sandbox, "join", &[after]);
        assert_eq!(sandbox.json(&["why", &join])["reason"], "blocked", "{after}");
        let after = sandbox.json(&["show", &join])["task"]["after"].clone();
        assert_eq!(after.as_array().unwrap().last().unwrap()["task"], again.as_str(), "{after}");
        join
    });
    sandbox.ok(&["respond", &again, "--body", "fixed"]);
    for join in joins {
        assert_eq!(text(&sandbox.json(&["show", &join])["task"]["state"]), "queued");
    }
    let all = sandbox.run(&["wait", "--group", "g", "--exit-status", "--body"]);
    let expected = format!("==> {a} completed <==\nfine\n==> {again} completed <==\nfixed\n");
    assert_eq!((all.code, all.stdout), (0, expected));
    assert_eq!(
        text(&sandbox.json(&["show", &submit(&sandbox, "late", &["--after", &b])])["task"]["state"]),
        "queued"
    );
    // Who names the task itself has its answer.
    let one = sandbox.run(&["wait", &b, "--exit-status"]);
    assert_eq!((one.code, one.stdout.as_str()), (3, "broken\n"));
    sandbox.ok(&["fsck"]);
}

#[test]
fn a_wait_for_a_group_follows_a_retry_that_comes_meanwhile() {
    let sandbox = Sandbox::new();
    let [a, b] = ["a", "b"].map(|name| submit(&sandbox, name, &["--group", "g"]));
    let wait = Running::start(sandbox.live_command(&["wait", "--group", "g", "--exit-status"]));
    wait.until_it_watches(&sandbox.task_dir(&a));
    sandbox.ok(&["respond", &b, "--status", "failed", "--body", "broken"]);
    let again = sandbox.ok(&["retry", &b]);
    sandbox.ok(&["respond", &a, "--body", "fine"]);
    wait.until_it_watches(&sandbox.task_dir(&again));
    sandbox.ok(&["respond", &again, "--body", "fixed"]);
    let outcome = wait.finish(&sandbox);
    assert_eq!((outcome.code, outcome.stdout), (0, format!("{a} completed\n{again} completed\n")));
}

#[test]
fn a_group_without_tasks_is_an_error_where_its_tasks_matter() {
    let sandbox = Sandbox::new();
    submit(&sandbox, "x", &[]);
    for args in [
        &["wait", "--group", "nobody"][..],
        &["cancel", "--group", "nobody"],
        &["retry", "--group", "nobody"],
        &["submit", "--lane", "l", "--prompt", "x", "--after-group", "nobody"],
    ] {
        sandbox.run(args).refused(1, "there is no task in group 'nobody'");
    }
    for name in ["", " ", "-x", "a\u{200b}", &"x".repeat(201)] {
        let submitted = sandbox.run(&["submit", "--lane", "l", "--prompt", "x", &format!("--group={name}")]);
        assert_eq!(submitted.code, 2, "{name}: {submitted}");
        assert!(submitted.stderr.contains("the group"), "{}", submitted.stderr);
    }
    assert_eq!(sandbox.json(&["list", "--group", "nobody"])["count"], 0);
    assert_eq!(sandbox.json(&["list"])["count"], 1);
}

#[test]
fn a_wait_ends_what_is_overdue_in_a_lane_where_nobody_looks() {
    let sandbox = Sandbox::new();
    let late = submit(&sandbox, "late", &["--lane", "nobody", "--deadline", "2020-01-01T00:00:00Z"]);
    let middle = submit(&sandbox, "middle", &["--after", &late]);
    let last = submit(&sandbox, "last", &["--after", &middle]);
    assert_eq!(sandbox.json(&["show", &last])["task"]["state"], "blocked");
    assert_eq!(sandbox.run(&["wait", &last, "--timeout", "30", "--exit-status"]).code, 3);
    for (id, class) in [(&late, "expired"), (&middle, "upstream"), (&last, "upstream")] {
        assert_eq!(sandbox.json(&["show", id])["task"]["failure_class"], class);
    }
}

#[test]
fn a_deadline_is_a_duration_or_a_time() {
    let sandbox = Sandbox::new();
    let id = submit(&sandbox, "soon", &["--deadline", "2h"]);
    assert!(text(&sandbox.json(&["show", &id])["task"]["deadline"]).starts_with("2026-11-21T09:00:"));
    let words = ["submit", "--lane", "l", "--prompt", "x", "--delay", "2h", "--deadline", "1h"];
    assert!(sandbox.run(&words).stderr.contains("no worker can start this task before its deadline"));
    let cancel = ["cancel", &id, "--by", "x\u{1b}[31m\nclaim_token=1"];
    sandbox.run(&cancel).refused(2, "the name of the person who cancels");
    let late = submit(&sandbox, "late", &["--deadline", "2020-01-01T00:00:00Z"]);
    assert_eq!(sandbox.json(&["why", &late])["reason"], "expired");
    assert_eq!(sandbox.run(&["wait", &late, "--exit-status"]).code, 3);
    assert_eq!(text(&sandbox.json(&["show", &late])["task"]["failure_class"]), "expired");
    for bad in ["soon", "-5", "1e99", "2020-13-01T00:00:00Z"] {
        let flag = format!("--deadline={bad}");
        sandbox.run(&["submit", "--lane", "l", "--prompt", "x", &flag]).refused(2, "");
    }
}
