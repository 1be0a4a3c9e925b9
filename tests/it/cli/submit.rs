//! `submit` and `call`.

use insta::assert_snapshot;

use crate::testkit::sandbox::{Running, Sandbox, text, words};
use crate::testkit::wait::eventually;

#[test]
fn a_file_request() {
    let sandbox = Sandbox::new();
    sandbox.write("request.md", "review this\n");
    let mut args = words("submit --lane review --request-from request.md --response-to out/answer.md");
    args.extend(words("--prompt strictly --metadata required_vendor=claude --metadata note=a=b"));
    args.extend(["--task-id", "phase 1"]);
    assert_snapshot!(sandbox.run(&[&args[..], &["--json"]].concat()), @r#"
        {
          "existing": false,
          "task": {
            "after": [],
            "attempt": 0,
            "claim_owner": null,
            "claim_token": null,
            "claimed_at": null,
            "completed_at": null,
            "correlation_id": "phase 1",
            "created_at": "2026-11-21T07:00:02.000000Z",
            "deadline": null,
            "exclusive": [],
            "expected_branch": null,
            "failed_at": null,
            "failure_class": null,
            "failure_reason": null,
            "fence": 0,
            "group": null,
            "id": "20261121T070002000000Z-phase-1-3bc0a46a7983-209633",
            "idempotency_key": null,
            "labels": [],
            "lane": "review",
            "lease_expires_at": null,
            "lease_seconds": null,
            "max_attempts": null,
            "metadata": {
              "note": "a=b",
              "required_vendor": "claude"
            },
            "name": null,
            "not_before": null,
            "priority": 0,
            "prompt": "strictly",
            "request_path": "$DIR/project/request.md",
            "request_sha256": "3bc0a46a79838f14b0810bb9125521b3502588037b777f5c5cb5a4b44225db9a",
            "response_path": "$DIR/project/out/answer.md",
            "retried_as": null,
            "retry_of": null,
            "schema": null,
            "source_agent": "orchestrator",
            "state": "queued",
            "supporting_paths": [],
            "timeout_seconds": null,
            "updated_at": "2026-11-21T07:00:02.000000Z",
            "verify": [],
            "workspace_id": "project",
            "workspace_root": "$DIR/project",
            "worktree_path": null
          },
          "task_id": "20261121T070002000000Z-phase-1-3bc0a46a7983-209633"
        }
        --- exit 0
    "#);
    assert_snapshot!(sandbox.run(&args), @r"
        20261121T070003000000Z-phase-1-3bc0a46a7983-23eebe
        --- exit 0
    ");
}

#[test]
fn a_prompt_alone_is_a_request() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("ask", &[]);
    assert_eq!(std::fs::read_to_string(sandbox.task_dir(&id).join("request.md")).unwrap(), "do it");
    sandbox.write("prompt.md", "from a file");
    let submitted = sandbox.json(&["submit", "--lane", "ask", "--prompt-file", "prompt.md"]);
    assert_eq!(text(&submitted["task"]["prompt"]), "from a file");
}

#[test]
fn a_prompt_may_come_from_standard_input() {
    let sandbox = Sandbox::new();
    for flag in ["--prompt", "--prompt-file"] {
        let outcome = sandbox.run_with(&["submit", "--lane", "ask", flag, "-", "--json"], "piped\nlines\n");
        assert_eq!(text(&outcome.json()["task"]["prompt"]), "piped\nlines\n");
    }
    sandbox.run_with(&["submit", "--lane", "ask", "--prompt", "-"], "").refused(1, "nothing to do");
    sandbox.run_with(&["submit", "--lane", "ask", "--prompt", "-"], b"ab\xff").refused(1, "offset 2");
}

#[test]
fn a_task_file_and_the_flags_over_it() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "tasks/phase-2.yaml",
        "lane: build\nprompt: from the file\nmetadata: {effort: high}\ncolour: red\n",
    );
    let outcome = sandbox.run(&["submit", "--task", "tasks/phase-2.yaml", "--metadata", "k=v", "--json"]);
    assert_eq!(outcome.code, 0, "{outcome}");
    assert!(outcome.stderr.contains("unknown keys"), "{outcome}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
    let task = outcome.json()["task"].clone();
    assert_eq!(text(&task["lane"]), "build");
    assert_eq!(text(&task["correlation_id"]), "phase-2");
    assert_eq!(task["metadata"], serde_json::json!({"effort": "high", "k": "v"}));
    let lane = sandbox.json(&["submit", "--task", "tasks/phase-2.yaml", "--lane", "other"]);
    assert_eq!(text(&lane["task"]["lane"]), "other");
}

#[test]
fn the_same_key_submits_once() {
    let sandbox = Sandbox::new();
    let first = sandbox.submit("l", &["--key", "build-17"]);
    let again = sandbox.run(&["submit", "--lane", "l", "--prompt", "do it", "--key", "build-17"]);
    assert_eq!(again.stdout.trim(), first);
    assert!(again.stderr.contains("submitted before"), "{again}");
    let json = sandbox.json(&["submit", "--lane", "l", "--prompt", "do it", "--key", "build-17"]);
    assert_eq!(json["existing"], true);
    sandbox.run(&["submit", "--lane", "l", "--prompt", "else", "--key", "build-17"]).refused(1, "build-17");
}

#[test]
fn what_lanes_adds_is_shown() {
    let sandbox = Sandbox::new();
    let more =
        words("--priority 2 --delay 1h30m --max-attempts 3 --timeout 15m --name Title --label a --label b");
    let id = sandbox.submit("l", &more);
    let task = sandbox.json(&["status", &id])["task"].clone();
    assert_eq!(task["priority"], 2);
    assert_eq!(task["max_attempts"], 3);
    assert_eq!(task["timeout_seconds"], 900.0);
    assert_eq!(task["labels"], serde_json::json!(["a", "b"]));
    assert_eq!(text(&task["name"]), "Title");
    assert_eq!(text(&task["state"]), "scheduled");
    assert_eq!(text(&task["not_before"]), "2026-11-21T08:30:02.000000Z");
}

#[test]
fn a_delayed_task_comes_due() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &["--not-before", "2026-11-21T07:10:00Z"]);
    assert_eq!(sandbox.run(&["claim", "--lane", "l"]).code, 4);
    sandbox.run(&["claim", &id]).refused(1, "scheduled");
    sandbox.pass(600);
    assert_eq!(sandbox.claim("l").0, id);
}

#[test]
fn refusals_name_the_way_out() {
    let sandbox = Sandbox::new();
    sandbox.write("request.md", "x");
    let file = ["--request-from", "request.md"];
    let submit = |more: &[&str]| sandbox.run(&[&["submit", "--lane", "l"], more].concat());
    submit(&[]).refused(2, "--prompt");
    sandbox.run(&["submit", "--prompt", "x"]).refused(2, "--lane");
    submit(&["--request-from", "nowhere.md"]).refused(1, "does not exist");
    submit(&["--request-from", "/etc/hostname"]).refused(1, "is outside workspace_root");
    submit(&["--request-from", "."]).refused(1, "not a regular file");
    submit(&[&file[..], &["--response-to", "../out.md"]].concat()).refused(1, "is outside workspace_root");
    let settings = ["--response-to", "handoff/handoff.yaml"];
    submit(&[&file[..], &settings].concat()).refused(1, "is the workspace's configuration");
    submit(&[&file[..], &["--metadata", "novalue"]].concat()).refused(2, "KEY=VALUE");
    submit(&[&file[..], &["--priority", "1001"]].concat()).refused(2, "priority");
    submit(&[&file[..], &["--max-attempts", "0"]].concat()).refused(2, "attempts");
    submit(&[&file[..], &["--delay", "-5"]].concat()).refused(2, "delay of -5");
    submit(&[&file[..], &["--delay", "1e99"]].concat()).refused(2, "out of range");
    submit(&[&file[..], &["--timeout", "nan"]].concat()).refused(2, "timeout");
    submit(&[&file[..], &["--delay", "soon"]].concat()).refused(2, "15m");
    submit(&[&file[..], &["--not-before", "tomorrow"]].concat()).refused(2, "RFC 3339");
    submit(&["--task", "nowhere.yaml"]).refused(1, "nowhere.yaml");
    assert_eq!(sandbox.json(&["list"])["count"], 0, "nothing was stored by a refused submit");
}

#[test]
fn a_link_out_of_the_workspace_is_no_request() {
    let sandbox = Sandbox::new();
    std::os::unix::fs::symlink("/etc/hostname", sandbox.path("link.md")).unwrap();
    sandbox
        .run(&["submit", "--lane", "l", "--request-from", "link.md"])
        .refused(1, "is outside workspace_root");
}

#[test]
fn call_prints_the_answer() {
    let sandbox = Sandbox::new();
    let call = Running::start(sandbox.live_command(&words("call --lane ask --prompt why? --timeout 20")));
    eventually("the task is there", || sandbox.peek(&["list"])["count"] == 1);
    let claim = sandbox.live_command(&["claim", "--lane", "ask", "--json"]).output().unwrap();
    let claim: serde_json::Value = serde_json::from_slice(&claim.stdout).unwrap();
    let (id, token) = (text(&claim["task_id"]), text(&claim["claim_token"]));
    let respond = ["respond", &id, "--claim-token", &token, "--body", "because"];
    assert!(sandbox.live_command(&respond).status().unwrap().success());
    let outcome = call.finish(&sandbox);
    assert_eq!(outcome.stdout, "because\n");
    assert_eq!(outcome.code, 0);
}

#[test]
fn call_ends_with_3_when_the_task_failed_and_2_when_time_is_over() {
    let sandbox = Sandbox::new();
    let answered = sandbox.submit("ask", &["--key", "k"]);
    sandbox.ok(&["respond", &answered, "--status", "failed", "--body", "cannot"]);
    let call = ["call", "--lane", "ask", "--prompt", "do it", "--key", "k"];
    assert_snapshot!(sandbox.run(&call), @r"
        cannot
        --- stderr
        lanes: 20261121T070002000000Z-ask-f51c362d5cc7-209633 was submitted before with this key
        lanes call: 20261121T070002000000Z-ask-f51c362d5cc7-209633 failed
        --- exit 3
    ");
    let late = sandbox.run(&["call", "--lane", "ask", "--prompt", "x", "--timeout", "0.05", "--quiet"]);
    late.refused(2, "lanes wait");
}

#[test]
fn numbers_that_only_python_writes_are_taken_like_any_other() {
    let sandbox = Sandbox::new();
    let lines = "{\"lane\":\"a\",\"prompt\":\"good\"}\n\
                 {\"lane\":\"a\",\"prompt\":\"x\",\"key\":\"k\",\"metadata\":{\"t\":NaN,\"u\":[-Infinity]}}\n";
    let outcome = sandbox.run_with(&["submit", "--batch", "-"], lines);
    assert_eq!((outcome.code, outcome.stdout.lines().count()), (0, 2), "{outcome}");
    let id = outcome.stdout.lines().nth(1).unwrap();
    let again = sandbox.run_with(&["submit", "--batch", "-"], lines.lines().nth(1).unwrap());
    assert_eq!(again.stdout.trim_end(), id, "the same key and the same content");
    sandbox.write("t.json", "{\"lane\": \"b\", \"prompt\": \"x\", \"metadata\": {\"t\": Infinity}}");
    sandbox.ok(&["submit", "--task", "t.json"]);
    sandbox.ok(&["cancel", id]);
    let new = sandbox.ok(&["retry", id]);
    let stored = std::fs::read_to_string(sandbox.task_dir(&new).join("task.json")).unwrap();
    assert!(stored.contains("\"t\": NaN"), "{stored}");
}

#[test]
fn each_wrong_line_of_a_batch_has_one_code_its_number_and_what_to_do() {
    let sandbox = Sandbox::new();
    let lines = [
        ("{\"lane\": \"l\", \"prompt\": 5}", "'prompt' must be text; put it in quotes"),
        ("{\"lane\": 5, \"prompt\": \"x\"}", "'lane' must be text; put it in quotes"),
        ("{\"lane\": \"l\", \"prompt\": \"x\", \"labels\": [1]}", "'labels' must be a list of texts"),
        ("{\"lane\": \"l\", \"prompt\": \"x\", \"priority\": \"high\"}", "'priority' must be a whole number"),
        (
            "{\"lane\": \"l\", \"prompt\": \"x\", \"not_before\": \"soon\"}",
            "'not_before' must be a time such as",
        ),
        ("{\"lane\": \"l\", \"prompt\": \"x\", \"after\": [{\"foo\": 1}]}", "'after' must be a list of ids"),
        ("{\"lane\": \"l\", \"prompt\": \"x\", \"after\": [{\"line\": 99}]}", "it depends on line 99"),
        ("{\"lane\": \"l\", \"prompt\": \"x\", \"priority\": 5000}", "priority 5000 is out of range"),
        ("{\"lane\": \"l\"}", "there is nothing to do: no request file and no prompt"),
        ("nonsense", "not JSON: a value is a text in quotes, a number, true"),
        ("[1]", "not a JSON object"),
    ];
    let text: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
    let outcome = sandbox.run_with(&["submit", "--batch", "-", "--json"], text);
    assert_eq!(outcome.code, 1, "{outcome}");
    let reply = outcome.json();
    assert_eq!(reply["errors"].as_array().unwrap().len(), lines.len(), "{outcome}");
    for (at, (line, message)) in lines.iter().enumerate() {
        let error = &reply["errors"][at];
        assert_eq!((&error["line"], &error["code"]), (&(at + 1).into(), &"invalid".into()), "{line}");
        let found = error["error"].as_str().unwrap();
        assert!(found.starts_with(&format!("line {}: {message}", at + 1)), "{line}: {found}");
    }
    assert!(reply["errors"][8]["hint"].as_str().unwrap().starts_with("give --request-from"), "{outcome}");
}

#[test]
fn every_command_that_names_a_lane_reports_one_that_is_probably_misspelt() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("questions", &[]);
    let warning = "lane quesitons is not in handoff.yaml, and nothing was ever submitted to it; did you mean questions?";
    for (code, args) in [
        (4, &["claim", "--lane", "quesitons", "--wait", "--timeout", "0.1"][..]),
        (0, &["next", "--lane", "quesitons", "--timeout", "0.1"]),
        (0, &["wait", "--lane", "quesitons", "--timeout", "0.1"]),
        (0, &["resume", "quesitons"]),
        (0, &["pause", "quesitons"]),
        (0, &["move", &id, "--to", "quesitons"]),
    ] {
        let outcome = sandbox.run(args);
        assert_eq!(outcome.stderr.matches(warning).count(), 1, "{args:?}: {outcome}");
        assert_eq!(outcome.code, code, "{args:?}: {outcome}");
    }
    let outcome = sandbox.run(&["move", &id, "--to", "quesitons"]);
    assert_eq!(outcome.stderr, "", "it has a task now");
}

#[test]
fn a_lane_that_is_probably_misspelt_is_reported() {
    let sandbox = Sandbox::new();
    let told = |lane: &str, more: &[&str]| {
        let outcome = sandbox.run(&[&["submit", "--lane", lane, "--prompt", "x"], more].concat());
        assert_eq!((outcome.code, outcome.stdout.lines().count()), (0, 1), "{outcome}");
        outcome.stderr
    };
    let of_questions = "lanes: lane quesitons is not in handoff.yaml, and nothing was ever submitted to it; \
                        did you mean questions?\n";
    assert_eq!(told("quesitons", &[]), of_questions);
    assert_eq!(told("quesitons", &[]), "", "it has a task now");
    assert_eq!(told("reveiw", &["--quiet"]), "");
    for lane in ["questions", "translate", "shard-1", "shard-2"] {
        assert_eq!(told(lane, &[]), "", "{lane}");
    }
    assert!(told("trnaslate", &[]).contains("did you mean translate?"));
    let line = |lane: &str| format!("{{\"lane\": \"{lane}\", \"prompt\": \"x\"}}\n");
    let lines = [line("work"), line("wrok"), line("wrok")].concat();
    let outcome = sandbox.run_with(&["submit", "--batch", "-"], lines);
    assert_eq!((outcome.code, outcome.stdout.lines().count()), (0, 3), "{outcome}");
    assert!(outcome.stderr.starts_with("lanes: line 2: lane wrok is not in handoff.yaml"), "{outcome}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
    // A route makes a lane known, and so does an agent.
    let file = std::fs::read_to_string(sandbox.path("handoff/handoff.yaml")).unwrap();
    let more = "dispatch:\n  routes:\n    reviews: {vendor: claude}\nagents:\n  worker: {directory: .}\n";
    sandbox.write("handoff/handoff.yaml", format!("{file}\n{more}"));
    assert_eq!(told("reviews", &[]), "");
    assert!(told("worek", &[]).contains("did you mean work?"));
}

#[test]
fn a_directory_to_work_in_that_is_missing_is_reported() {
    let sandbox = Sandbox::new();
    let submit = ["submit", "--lane", "l", "--prompt", "x", "--worktree-path", "tree"];
    let outcome = sandbox.run(&submit);
    assert_eq!(outcome.code, 0, "{outcome}");
    assert!(outcome.stderr.starts_with("lanes: warning: worktree_path does not exist: "), "{outcome}");
    std::fs::create_dir(sandbox.path("tree")).unwrap();
    assert_eq!(sandbox.run(&submit).stderr, "");
}

#[test]
fn words_name_the_lane_and_the_text() {
    let sandbox = Sandbox::new();
    let task = |words: &[&str]| {
        let id = sandbox.ok(words);
        let task = sandbox.json(&["status", &id])["task"].clone();
        (text(&task["lane"]), text(&task["prompt"]))
    };
    let expected = |lane: &str, prompt: &str| (lane.to_string(), prompt.to_string());
    assert_eq!(task(&["submit", "review", "Is it fair?"]), expected("review", "Is it fair?"));
    assert_eq!(task(&["add", "-l", "other", "Fix it"]), expected("other", "Fix it"));
    assert_eq!(task(&["add", "Fix it", "--lane", "other"]), expected("other", "Fix it"));
    assert_eq!(task(&["submit", "-l", "other", "-p", "Fix it"]), expected("other", "Fix it"));
    assert_eq!(task(&["submit", "other", "--priority", "2", "Again"]), expected("other", "Again"));
    assert_eq!(task(&["add", "-lother", "--", "-x"]), expected("other", "-x"));
    assert_eq!(task(&["submit", "other", "-p", "Fix it"]), expected("other", "Fix it"));
    sandbox.write("prompt.md", "From a file");
    assert_eq!(task(&["submit", "other", "--prompt-file", "prompt.md"]), expected("other", "From a file"));
    for words in [&["submit", "review", "-"][..], &["submit", "review", "--prompt-file", "-"]] {
        let outcome = sandbox.run_with(words, "from standard input");
        assert_eq!(outcome.code, 0, "{outcome}");
    }
    // The text of a task file is replaced.
    sandbox.write("t.yaml", "lane: review\nprompt: old\n");
    assert_eq!(task(&["submit", "--task", "t.yaml", "new"]), expected("review", "new"));
    let count = sandbox.json(&["list"])["count"].clone();
    for (words, code, expected) in [
        (&["add", "fix", "bug"][..], 1, "lane fix is new; if that is intended, use --lane"),
        (&["add", "reveiw", "bug"], 1, "did you mean review?"),
        (&["call", "fix", "bug"], 1, "quote a text of several words"),
        (&["add", "fix", "this", "bug"], 2, "quote a text of several words; `lanes help submit`"),
        (&["submit", "review", "x", "-l", "work"], 2, "cannot be used with"),
        (&["submit", "-l", "work", "x", "-p", "y"], 2, "'x' is one word too many"),
        (&["submit", "review", "x", "-p", "y"], 2, "cannot be used with"),
        (&["submit", "new", "-p", "y"], 1, "lane new is new"),
        (
            &["submit", "review"],
            2,
            "review is a lane, and there is no text for it; give the text after the lane, or `-`",
        ),
        (&["call", "other"], 2, "other is a lane, and there is no text for it"),
        (&["submit", "x", "--batch", "-"], 2, "cannot be used with"),
    ] {
        sandbox.run(words).refused(code, expected);
    }
    assert_eq!(sandbox.json(&["list"])["count"], count, "nothing was submitted");
}

#[test]
fn the_only_lane_is_used_when_none_is_named() {
    let sandbox = Sandbox::new();
    sandbox.run(&["add", "Fix it"]).refused(2, "this queue has questions, review, work");
    sandbox.write(
        "handoff/handoff.yaml",
        "workspace_id: demo\nworkspace_root: ..\nqueue_root: state\nlanes: {work: Anything}\n",
    );
    let id = sandbox.ok(&["add", "Fix it"]);
    assert_eq!(sandbox.json(&["status", &id])["task"]["lane"], "work");
    // The text on standard input would be lost.
    sandbox
        .run_with(&["add", "work"], "A long plan")
        .refused(2, "work is a lane, and there is no text for it");
    assert_eq!(sandbox.json(&["list"])["count"], 1);
}

#[test]
fn the_time_limit_of_a_run_has_one_name_in_submit_and_call() {
    let sandbox = Sandbox::new();
    for flag in ["--run-timeout", "--timeout"] {
        let id = sandbox.submit("l", &[flag, "90"]);
        assert_eq!(sandbox.json(&["status", &id])["task"]["timeout_seconds"], 90.0, "{flag}");
    }
    let call = ["call", "-l", "l", "x", "--run-timeout", "90", "--timeout", "0", "--quiet"];
    assert_eq!(sandbox.run(&call).code, 2);
    assert_eq!(sandbox.json(&["list"])["tasks"][2]["timeout_seconds"], 90.0);
}
