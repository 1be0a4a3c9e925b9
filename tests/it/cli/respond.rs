//! `respond` and `event`.

use insta::assert_snapshot;

use crate::testkit::sandbox::{Sandbox, text, words};

#[test]
fn an_answer() {
    let sandbox = Sandbox::new();
    sandbox.write("request.md", "x");
    let id =
        sandbox.ok(&["submit", "--lane", "l", "--request-from", "request.md", "--response-to", "out.md"]);
    sandbox.submit("l", &[]);
    let (_, token) = sandbox.claim("l");
    let mut respond = vec!["respond", &id, "--claim-token", &token, "--body", "fix it"];
    respond.extend(words("--verdict needs-revision --blocking-count 2 --nonblocking-count 1"));
    respond.extend(words("--follow-up-required --metadata model=m"));
    assert_snapshot!(sandbox.run(&[&respond[..], &["--json"]].concat()), @r#"
        {
          "blocking_count": 2,
          "correlation_id": "l",
          "lane": "l",
          "next_action": "submitter: `lanes wait 20261121T070002000000Z-l-2d711642b726-209633`; worker: claim the next task or stop",
          "nonblocking_count": 1,
          "queue_depth": 1,
          "response": {
            "blocking_count": 2,
            "body": "fix it",
            "created_at": "2026-11-21T07:00:05.000000Z",
            "follow_up_required": true,
            "metadata": {
              "model": "m"
            },
            "nonblocking_count": 1,
            "request_changed_before_response": false,
            "reviewed_request_sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
            "reviewer": "worker",
            "status": "completed",
            "task_id": "20261121T070002000000Z-l-2d711642b726-209633",
            "verdict": "needs-revision"
          },
          "response_path": "$DIR/project/out.md",
          "status": "completed",
          "task_id": "20261121T070002000000Z-l-2d711642b726-209633",
          "verdict": "needs-revision"
        }
        --- exit 0
    "#);
    // The same once more changes nothing.
    assert_snapshot!(sandbox.run(&respond), @r"
        status=completed
        task_id=20261121T070002000000Z-l-2d711642b726-209633
        verdict=needs-revision
        response_path=$DIR/project/out.md
        queue_depth=1
        --- exit 0
    ");
    sandbox.run(&["respond", &id, "--claim-token", &token, "--body", "else"]).refused(1, "task is completed");
    assert!(!sandbox.path("out.md").exists(), "only `wait` writes the response path");
}

#[test]
fn a_queued_task_may_be_answered_directly_but_not_with_a_token() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    sandbox.run(&["respond", &id, "--claim-token", "abc", "--body", "x"]).refused(1, "--claim-token");
    let answer = sandbox.json(&["respond", &id, "--body", "x", "--status", "failed"]);
    assert_eq!(text(&answer["status"]), "failed");
    let task = sandbox.json(&["status", &id])["task"].clone();
    assert_eq!(text(&task["failure_reason"]), "x");
}

#[test]
fn the_body_comes_from_a_file_or_standard_input() {
    let sandbox = Sandbox::new();
    sandbox.write("answer.md", "line\r\nüñí\u{2028}\n");
    for (args, input, expected) in [
        (&["--file", "answer.md"][..], "", "line\r\nüñí\u{2028}\n"),
        (&["--file", "-"], "dash", "dash"),
        (&[], "piped\n\n", "piped\n\n"),
        (&["--body", ""], "", ""),
        (&["--body", "-x"], "", "-x"),
    ] {
        let id = sandbox.submit("l", &[]);
        let outcome = sandbox.run_with(&[&["respond", &id, "--json"], args].concat(), input);
        assert_eq!(text(&outcome.json()["response"]["body"]), expected, "{args:?}");
        let waited = sandbox.json(&["wait", &id]);
        let written = std::fs::read(text(&waited["response_path"]).replace("$DIR", &dir(&sandbox))).unwrap();
        assert_eq!(written, expected.as_bytes(), "{args:?}");
    }
}

fn dir(sandbox: &Sandbox) -> String {
    sandbox.root().parent().unwrap().to_str().unwrap().to_string()
}

#[test]
fn bodies_that_are_refused() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let respond = ["respond", id.as_str()];
    sandbox.run_with(&respond, "").refused(1, "--body ''");
    sandbox.run_with(&respond, " \n\t\n").refused(1, "nothing but white space came from standard input");
    sandbox.write("empty.md", "");
    sandbox.run(&["respond", &id, "--file", "empty.md"]).refused(1, "empty.md");
    sandbox.run(&["respond", &id, "--file", "nowhere.md"]).refused(1, "nowhere.md");
    sandbox.run(&["respond", &id, "--file", "."]).refused(1, "directory");
    sandbox.run_with(&respond, b"ok \xc3\x28").refused(1, "offset 3");
    assert_eq!(sandbox.run(&["respond", &id, "--file", "empty.md", "--body", "x"]).code, 2);
    assert_eq!(text(&sandbox.json(&["status", &id])["task"]["state"]), "queued");
}

#[test]
fn a_large_body_arrives_whole_and_a_larger_one_is_refused() {
    let sandbox = Sandbox::new();
    let limit = 100 * 1024 * 1024;
    sandbox.write("fits", vec![b'x'; limit]);
    sandbox.write("too-large", vec![b'x'; limit + 1]);
    let id = sandbox.submit("l", &[]);
    sandbox.run(&["respond", &id, "--file", "too-large"]).refused(1, "104857600");
    sandbox.ok(&["respond", &id, "--file", "fits", "--quiet"]);
    let response_to = sandbox.task_dir(&id).join("response.md");
    sandbox.ok(&["wait", &id]);
    assert_eq!(std::fs::metadata(response_to).unwrap().len(), limit as u64);
}

#[test]
fn judgements_must_make_sense() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let respond = |more: &[&str]| sandbox.run(&[&["respond", &id, "--body", "x"], more].concat());
    respond(&["--verdict", "accept", "--blocking-count", "1"]).refused(2, "needs-revision");
    respond(&["--expect-sha256", "abc"]).refused(1, "sha256");
    respond(&["--metadata", "novalue"]).refused(2, "KEY=VALUE");
    for bad in [
        &["--verdict", "maybe"][..],
        &["--status", "done"],
        &["--blocking-count", "-1"],
        &["--nonblocking-count", "many"],
        &["--blocking-count", "99999999999999999999"],
    ] {
        assert_eq!(respond(bad).code, 2, "{bad:?}");
    }
    let sha256 = text(&sandbox.json(&["status", &id])["task"]["request_sha256"]);
    assert_eq!(
        respond(&["--verdict", "accept", "--blocking-count", "0", "--expect-sha256", &sha256]).code,
        0
    );
}

#[test]
fn a_changed_request_cannot_be_completed_only_failed() {
    let sandbox = Sandbox::new();
    sandbox.write("request.md", "one");
    let id = sandbox.ok(&["submit", "--lane", "l", "--request-from", "request.md"]);
    let (_, token) = sandbox.claim("l");
    sandbox.write("request.md", "two");
    let respond = ["respond", &id, "--claim-token", &token, "--body", "x"];
    sandbox.run(&respond).refused(1, "has changed since submit");
    let failed = sandbox.json(&[&respond[..], &["--status", "failed"]].concat());
    assert_eq!(failed["response"]["request_changed_before_response"], true);
}

#[test]
fn events_are_added_and_the_queues_own_words_are_kept() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let event = ["event", &id, "--type", "progress", "--message", "half\nway", "--data", "percent=50"];
    assert_snapshot!(sandbox.run(&[&event[..], &["--json"]].concat()), @r#"
        {
          "status": "ok",
          "task_id": "20261121T070002000000Z-l-f51c362d5cc7-209633"
        }
        --- exit 0
    "#);
    assert_eq!(sandbox.ok(&event), id);
    let events = sandbox.json(&["events", &id])["events"].clone();
    assert_eq!(events[1]["data"], serde_json::json!({"percent": "50"}));
    for word in ["claimed", "response", "created", ""] {
        sandbox.run(&["event", &id, "--type", word]).refused(2, "event type");
    }
    sandbox.run(&["event", &id, "--data", "novalue"]).refused(2, "--data expects KEY=VALUE");
    sandbox.run(&["event", &id, "--claim-token", "abc"]).refused(1, "claim it first");
}
