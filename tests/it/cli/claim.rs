//! `claim`, `renew`, `release`, `next`, `watch`.

use insta::assert_snapshot;

use crate::testkit::sandbox::{Running, Sandbox, text, words};
use crate::testkit::wait::{eventually, until_a_lane_is_waited_for};

#[test]
fn claiming_by_id() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    assert_snapshot!(sandbox.run(&["claim", &id, "--owner", "me", "--lease-seconds", "60"]), @r"
        task_id=20261121T070002000000Z-l-f51c362d5cc7-209633
        claim_token=31953548767420a565a02cffac23eebe
        lane=l
        attempt=1
        fence=1
        lease_expires_at=2026-11-21T07:01:03.000000Z
        request_path=$DIR/project/handoff/state/tasks/20261121T070002000000Z-l-f51c362d5cc7-209633/request.md
        --- stderr
        lanes: next: `lanes respond 20261121T070002000000Z-l-f51c362d5cc7-209633 --claim-token TOKEN`; until then `renew` it every 20s, or `release` it
        --- exit 0
    ");
    sandbox.run(&["claim", &id]).refused(1, "active lease held by me");
    sandbox.pass(60);
    assert_snapshot!(sandbox.run(&["claim", &id, "--json", "-q"]), @r#"
        {
          "claim_token": "6a2b6ba36f83618d9f1d26fbf9edc226",
          "status": "claimed",
          "task": {
            "after": [],
            "attempt": 2,
            "claim_owner": "worker",
            "claim_token": "6a2b6ba36f83618d9f1d26fbf9edc226",
            "claimed_at": "2026-11-21T07:01:05.000000Z",
            "completed_at": null,
            "correlation_id": "l",
            "created_at": "2026-11-21T07:00:02.000000Z",
            "deadline": null,
            "exclusive": [],
            "expected_branch": null,
            "failed_at": null,
            "failure_class": null,
            "failure_reason": null,
            "fence": 2,
            "group": null,
            "id": "20261121T070002000000Z-l-f51c362d5cc7-209633",
            "idempotency_key": null,
            "labels": [],
            "lane": "l",
            "lease_expires_at": "2026-11-21T09:01:05.000000Z",
            "lease_seconds": 7200.0,
            "max_attempts": null,
            "metadata": {},
            "name": null,
            "not_before": null,
            "priority": 0,
            "prompt": "do it",
            "request_path": "$DIR/project/handoff/state/tasks/20261121T070002000000Z-l-f51c362d5cc7-209633/request.md",
            "request_sha256": "f51c362d5cc7defb17b2b1290bb8e9b5a4d7e1319f85b90741ff3f8578fc6bba",
            "response_path": "$DIR/project/handoff/state/tasks/20261121T070002000000Z-l-f51c362d5cc7-209633/response.md",
            "retried_as": null,
            "retry_of": null,
            "schema": null,
            "source_agent": "orchestrator",
            "state": "claimed",
            "supporting_paths": [],
            "timeout_seconds": null,
            "updated_at": "2026-11-21T07:01:05.000000Z",
            "verify": [],
            "workspace_id": "project",
            "workspace_root": "$DIR/project",
            "worktree_path": null
          },
          "task_id": "20261121T070002000000Z-l-f51c362d5cc7-209633"
        }
        --- exit 0
    "#);
}

#[test]
fn claiming_the_next_one() {
    let sandbox = Sandbox::new();
    let codex = sandbox.submit("l", &["--metadata", "required_vendor=codex"]);
    let anybody = sandbox.submit("l", &[]);
    let claude = sandbox.submit("l", &["--metadata", "required_vendor=claude", "--priority", "1"]);
    let other = sandbox.submit("second", &[]);
    let mut order = Vec::new();
    loop {
        let outcome = sandbox.run(&words("claim --lane l --lane second --match required_vendor=claude,any"));
        if outcome.code == 4 {
            break;
        }
        order.push(outcome.stdout.lines().next().unwrap().strip_prefix("task_id=").unwrap().to_string());
    }
    assert_eq!(order, [claude, anybody, other]);
    assert_eq!(sandbox.claim("l").0, codex);
}

#[test]
fn nothing_to_claim_ends_with_4() {
    let sandbox = Sandbox::new();
    assert_snapshot!(sandbox.run(&["claim", "--lane", "l"]), @r"
        --- stderr
        lanes: nothing was ever submitted to lane l
        --- exit 4
    ");
    sandbox.submit("l", &["--metadata", "k=v"]);
    assert_snapshot!(sandbox.run(&["claim", "--lane", "l", "--match", "k=other", "--json"]), @r#"
        {
          "lane": "l",
          "lanes": [
            "l"
          ],
          "message": "lane l has nothing to claim",
          "next_action": "monitor: wait again; worker: `lanes claim --lane l --wait`; submitter: submit",
          "paused": [],
          "reason": "no_queued_task",
          "status": "idle",
          "timeout_seconds": 0.0
        }
        --- exit 4
    "#);
    assert_eq!(
        sandbox.run(&["claim", "--lane", "l", "--match", "k=w", "--wait", "--timeout", "0.05"]).code,
        4
    );
}

#[test]
fn a_parked_claim_is_a_live_worker_and_gets_the_next_task() {
    let sandbox = Sandbox::new();
    let parked = Running::start(
        sandbox
            .live_command(&words("claim --lane l --match k=v,any --wait --timeout 20 --owner parked --json")),
    );
    eventually("the worker is known", || sandbox.peek(&["workers"])["count"] == 1);
    let worker = sandbox.json(&["workers"])["workers"][0].clone();
    assert_eq!(text(&worker["kind"]), "claim-wait");
    assert_eq!(text(&worker["owner"]), "parked");
    assert_eq!(worker["lanes"], serde_json::json!(["l"]));
    assert_eq!(worker["pid"], parked.id());
    let output = sandbox.live_command(&["submit", "--lane", "l", "--prompt", "x"]).output().unwrap();
    let id = String::from_utf8(output.stdout).unwrap();
    let outcome = parked.finish(&sandbox);
    assert_eq!(text(&outcome.json()["task_id"]), id.trim());
    assert_eq!(sandbox.json(&["workers"])["count"], 0);
}

#[test]
fn what_cannot_be_claimed() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    for lease in ["0", "-1", "nan", "inf", "2592001", "1e20"] {
        sandbox.run(&["claim", &id, "--lease-seconds", lease]).refused(2, "out of range");
    }
    sandbox.run(&["claim", &id, "--owner", ""]).refused(2, "the owner is empty");
    sandbox.run(&["claim", "--lane", "l", "--match", "novalue"]).refused(2, "--match");
    for args in [&["claim"][..], &["claim", &id, "--lane", "l"], &["claim", &id, "--lease-seconds", "soon"]] {
        assert_eq!(sandbox.run(args).code, 2, "{args:?}");
    }
    assert_eq!(text(&sandbox.json(&["status", &id])["task"]["state"]), "queued");
}

#[test]
fn a_changed_request_is_not_handed_out() {
    let sandbox = Sandbox::new();
    sandbox.write("request.md", "one");
    let id = sandbox.ok(&["submit", "--lane", "l", "--request-from", "request.md"]);
    let behind = sandbox.submit("l", &[]);
    sandbox.write("request.md", "two");
    sandbox.run(&["claim", &id]).refused(1, "has changed since submit");
    assert_eq!(sandbox.claim("l").0, behind, "the next one is offered");
    assert_eq!(sandbox.run(&["claim", "--lane", "l"]).code, 4);
    let kinds: Vec<String> = sandbox.json(&["events", &id])["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| text(&event["type"]))
        .collect();
    assert_eq!(kinds, ["created", "request_changed"]);
    sandbox.write("request.md", "one");
    assert_eq!(sandbox.claim("l").0, id);
    std::fs::remove_file(sandbox.path("request.md")).unwrap();
    sandbox.pass(8000);
    sandbox.run(&["claim", &id]).refused(1, "is missing");
}

#[test]
fn renew_keeps_the_claims_own_length() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let claim = sandbox.json(&["claim", &id, "--lease-seconds", "100"]);
    let token = text(&claim["claim_token"]);
    let renewed = sandbox.json(&["renew", &id, "--claim-token", &token]);
    assert_eq!(text(&renewed["status"]), "renewed");
    assert_eq!(text(&renewed["claim_token"]), token);
    assert_eq!(text(&renewed["task"]["lease_expires_at"]), "2026-11-21T07:01:44.000000Z");
    let longer = sandbox.json(&["renew", &id, "--claim-token", &token, "--lease-seconds", "600"]);
    assert_eq!(text(&longer["task"]["lease_expires_at"]), "2026-11-21T07:10:05.000000Z");
    assert_eq!(sandbox.ok(&["renew", &id, "--claim-token", &token]), id);
    sandbox.run(&["renew", &id, "--claim-token", "wrong"]).refused(1, "claim token");
    sandbox.run(&["renew", &id, "--claim-token", &token, "--lease-seconds", "-3"]).refused(2, "out of range");
    assert_eq!(sandbox.run(&["renew", &id]).code, 2);
}

#[test]
fn a_token_dies_with_its_claim() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let stale = text(&sandbox.json(&["claim", &id, "--lease-seconds", "10"])["claim_token"]);
    sandbox.pass(10);
    // Nobody has taken over yet: the lease may be renewed.
    sandbox.ok(&["renew", &id, "--claim-token", &stale]);
    sandbox.pass(10);
    let (_, fresh) = sandbox.claim("l");
    assert_ne!(stale, fresh);
    for verb in ["renew", "release", "respond", "event"] {
        let more: &[&str] = if verb == "respond" { &["--body", "late"] } else { &[] };
        sandbox.run(&[&[verb, &id, "--claim-token", &stale], more].concat()).refused(1, "claim token");
    }
    sandbox.ok(&["release", &id, "--claim-token", &fresh]);
    sandbox.run(&["respond", &id, "--claim-token", &fresh, "--body", "x"]).refused(1, "claim it again");
}

#[test]
fn release_gives_the_task_back() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &["--max-attempts", "1"]);
    let (_, token) = sandbox.claim("l");
    let released =
        sandbox.json(&["release", &id, "--claim-token", &token, "--reason", "not mine", "--delay", "30"]);
    assert_eq!(text(&released["status"]), "released");
    assert_eq!(text(&released["task"]["state"]), "scheduled");
    assert_eq!(released["task"]["attempt"], 0);
    sandbox.pass(30);
    let (_, token) = sandbox.claim("l");
    sandbox.ok(&["release", &id, "--claim-token", &token, "--spent", "--reason", "crashed"]);
    let task = sandbox.json(&["status", &id])["task"].clone();
    assert_eq!(text(&task["failure_class"]), "dead");
    assert!(text(&task["failure_reason"]).contains("crashed"));
    sandbox.run(&["release", &id, "--claim-token", &token]).refused(1, "cannot release");
}

#[test]
fn next_shows_and_does_not_claim() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &["--metadata", "k=v"]);
    for verb in ["next", "watch", "wait"] {
        let shown = sandbox.json(&[verb, "--lane", "empty", "--lane", "l", "--timeout", "0"]);
        assert_eq!(text(&shown["status"]), "task_available");
        assert_eq!(text(&shown["lane"]), "l");
        assert_eq!(text(&shown["task"]["id"]), id);
        assert_eq!(text(&shown["task"]["state"]), "queued");
        let idle = sandbox.json(&[verb, "--lane", "l", "--match", "k=w", "--timeout", "0"]);
        assert_eq!(text(&idle["reason"]), "no_queued_task");
    }
    assert_snapshot!(sandbox.run(&["next", "--lane", "none", "--timeout", "0", "--json"]), @r#"
        {
          "lane": "none",
          "lanes": [
            "none"
          ],
          "message": "nothing was ever submitted to lane none",
          "next_action": "monitor: wait again; worker: `lanes claim --lane none --wait`; submitter: submit",
          "paused": [],
          "reason": "no_task_submitted",
          "status": "idle",
          "timeout_seconds": 0.0
        }
        --- exit 0
    "#);
    assert_snapshot!(sandbox.run(&["next", "--lane", "none", "--timeout", "0"]), @r"
        --- stderr
        lanes: nothing was ever submitted to lane none
        --- exit 0
    ");
    assert_ne!(sandbox.run(&["next"]).code, 0);
}

#[test]
fn next_wakes_for_a_submit_and_for_a_due_task() {
    let sandbox = Sandbox::new();
    let next = Running::start(sandbox.live_command(&["next", "--lane", "l", "--timeout", "20", "--json"]));
    until_a_lane_is_waited_for(&sandbox.path("handoff/state"));
    let submit = ["submit", "--lane", "l", "--prompt", "x", "--delay", "0.2"];
    let id = String::from_utf8(sandbox.live_command(&submit).output().unwrap().stdout).unwrap();
    assert_eq!(text(&next.finish(&sandbox).json()["task"]["id"]), id.trim());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the tasks are moved away")]
fn a_wait_in_a_removed_task_directory_ends_with_an_error() {
    let waits: [&[&str]; 3] = [
        &["claim", "--lane", "l", "--wait", "--timeout", "60"],
        &["next", "--lane", "l", "--timeout", "60"],
        &["wait", "--lane", "l", "--timeout", "60"],
    ];
    for wait in waits {
        for is_moved in [true, false] {
            let sandbox = Sandbox::new();
            sandbox.submit("other", &[]);
            let parked = Running::start(sandbox.live_command(wait));
            let bells = sandbox.path("handoff/state/bells");
            eventually("it waits", || std::fs::read_dir(&bells).is_ok_and(|bells| bells.count() > 0));
            let tasks = sandbox.path("handoff/state/tasks");
            if is_moved {
                std::fs::rename(&tasks, sandbox.path("moved")).unwrap();
                std::fs::create_dir(&tasks).unwrap();
            } else {
                std::fs::remove_dir_all(&tasks).unwrap();
            }
            sandbox.submit("l", &[]);
            parked.finish(&sandbox).refused(1, "was removed or replaced while this command waited");
        }
    }
}

#[test]
fn a_prompt_that_comes_with_its_claim_cannot_forge_a_line_of_it() {
    let sandbox = Sandbox::new();
    let prompt = "do it\ntask_id=other\r\nclaim_token=x\n\n\u{1b}[2Jend";
    let id = sandbox.ok(&["submit", "--lane", "l", "--prompt", prompt]);
    let claim = sandbox.run(&["claim", "--lane", "l", "--with-prompt"]);
    let (fields, rest) = claim.stdout.split_once("\n\n").unwrap();
    assert!(fields.starts_with(&format!("task_id={id}\nclaim_token=")), "{claim}");
    assert_eq!(rest, "prompt\n  do it\n  task_id=other\n  claim_token=x\n  \n  \\u{1b}[2Jend\n");
    assert!(
        claim.stderr.starts_with(&format!("lanes: next: `lanes respond {id} --claim-token TOKEN`")),
        "{claim}"
    );
    sandbox.pass(7200);
    let claim = sandbox.run(&["claim", "--lane", "l", "--with-prompt", "--json", "--quiet"]);
    assert_eq!(claim.json()["prompt"], prompt);
    assert_eq!(claim.stderr, "");
}

/// A chat pays for every byte that it reads, task after task.
#[test]
fn the_commands_of_a_worker_print_little() {
    let sandbox = Sandbox::new();
    let prompt = "x".repeat(1000);
    sandbox.ok(&["submit", "--lane", "l", "--prompt", &prompt]);
    let claim = sandbox.run(&words("claim --lane l --with-prompt"));
    let field = |name: &str| {
        let line = claim.stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("{claim}")).to_string()
    };
    let (id, token) = (field("task_id"), field("claim_token"));
    let renew = sandbox.run(&["renew", &id, "--claim-token", &token]);
    let respond = sandbox.run(&["respond", &id, "--claim-token", &token, "--body", "y"]);
    let printed: usize = [&claim, &renew, &respond]
        .map(|outcome| {
            assert_eq!(outcome.code, 0, "{outcome}");
            outcome.stdout.len() + outcome.stderr.len()
        })
        .iter()
        .sum();
    assert!(printed - prompt.len() <= 900, "{printed} bytes");
}
