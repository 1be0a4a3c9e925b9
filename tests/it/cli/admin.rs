//! `cancel`, `retry`, `redrive`, `move`, `pause`, `resume`, `why`.

use insta::assert_snapshot;

use crate::testkit::sandbox::{Running, Sandbox, text, words};
use crate::testkit::wait::eventually;

#[test]
fn cancel_voids_the_claim_and_records_who_cancelled() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let (_, token) = sandbox.claim("l");
    assert_eq!(sandbox.ok(&["cancel", &id, "--reason", "not needed"]), id);
    sandbox.run(&["renew", &id, "--claim-token", &token]).refused(1, "cancelled by tester: not needed");
    let task = sandbox.json(&["status", &id])["task"].clone();
    assert_eq!(text(&task["state"]), "failed");
    assert_eq!(text(&task["failure_class"]), "cancelled");
    // A second cancel changes nothing; a completed task cannot be cancelled.
    assert_eq!(sandbox.json(&["cancel", &id, "--by", "boss"])["changed"], false);
    let done = sandbox.answered("l", "completed", "x");
    sandbox.run(&["cancel", &done]).refused(1, "task is completed");
}

#[test]
fn retry_makes_a_new_task_once() {
    let sandbox = Sandbox::new();
    let failed = sandbox.answered("l", "failed", "no");
    let retried = sandbox.json(&["retry", &failed]);
    let new = text(&retried["task_id"]);
    assert_ne!(new, failed);
    assert_eq!(text(&retried["task"]["retry_of"]), failed);
    assert_eq!(text(&sandbox.json(&["status", &failed])["task"]["retried_as"]), new);
    let again = sandbox.run(&["retry", &failed]);
    assert_eq!(again.stdout.trim(), new);
    assert!(again.stderr.contains("before"), "{again}");
    sandbox.run(&["retry", &new]).refused(1, "cannot retry");
}

#[test]
fn redrive_takes_dead_tasks_only() {
    let sandbox = Sandbox::new();
    let dead = sandbox.submit("l", &["--max-attempts", "1"]);
    let (_, token) = sandbox.claim("l");
    sandbox.ok(&["release", &dead, "--claim-token", &token, "--spent"]);
    let failed = sandbox.answered("l", "failed", "no");
    sandbox.run(&["redrive", &failed]).refused(1, "lanes retry");
    let new = sandbox.ok(&["redrive", "--lane", "l"]);
    assert_eq!(text(&sandbox.json(&["status", &new])["task"]["retry_of"]), dead);
    let two = [sandbox.submit("m", &[]), sandbox.submit("m", &[])];
    let cancelled = sandbox.json(&["cancel", &two[0], &two[1]]);
    assert_eq!(cancelled["count"], 2);
    let again = sandbox.json(&["redrive", "--lane", "l"]);
    assert_eq!(again["results"], serde_json::json!([]));
    let nothing = sandbox.run(&["redrive", "--lane", "l"]);
    assert_eq!((nothing.code, nothing.stdout.as_str()), (0, ""), "{nothing}");
    assert_eq!(sandbox.run(&["redrive"]).code, 2);
}

#[test]
fn move_puts_a_waiting_task_elsewhere() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("from", &[]);
    let moved = sandbox.json(&["move", &id, "--to", "to"]);
    assert_eq!(text(&moved["lane"]), "to");
    assert_eq!(sandbox.run(&["claim", "--lane", "from"]).code, 4);
    assert_eq!(sandbox.claim("to").0, id);
    sandbox.run(&["move", &id, "--to", "from"]).refused(1, "holds it");
    for lane in ["", "..", "-x", "a\nb"] {
        let outcome = sandbox.run(&["move", &id, &format!("--to={lane}")]);
        outcome.refused(2, "lane");
    }
}

#[test]
fn a_paused_lane_hands_out_nothing() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    assert_eq!(sandbox.ok(&["pause", "l", "--reason", "upgrade"]), "l paused");
    assert_eq!(sandbox.json(&["pause", "l"])["changed"], false);
    assert_eq!(sandbox.run(&["claim", "--lane", "l"]).code, 4);
    sandbox.run(&["claim", &id]).refused(1, "`lanes resume l`");
    let parked = Running::start(sandbox.live_command(&words("claim --lane l --wait --timeout 20 --json")));
    eventually("the claim is parked", || sandbox.peek(&["workers"])["count"] == 1);
    assert_eq!(sandbox.ok(&["resume", "l"]), "l resumed");
    assert_eq!(text(&parked.finish(&sandbox).json()["task_id"]), id);
    assert_eq!(sandbox.json(&["resume", "l"])["changed"], false);
    assert!(sandbox.run(&["pause", "l"]).stderr.is_empty());
    assert!(
        sandbox.run(&["pause", "mistyped"]).stderr.contains("nothing was ever submitted to lane mistyped")
    );
}

#[test]
fn a_dispatcher_that_has_nowhere_to_work_claims_nothing() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let dispatch = ["dispatch", "--lane", "l", "--once", "--command", "--cwd", "nowhere", "--", "/bin/cat"];
    sandbox.run(&dispatch).refused(1, "--cwd: directory ");
    assert_eq!(sandbox.json(&["status", &id])["task"]["state"], "queued");
}

#[test]
fn a_hint_can_be_copied_whatever_the_lane_is_called() {
    let sandbox = Sandbox::new();
    let lane = "$(touch owned); two words";
    let id = sandbox.submit(lane, &[]);
    let next = text(&sandbox.json(&["status", &id])["task"]["next_action"]);
    assert!(next.ends_with("`lanes claim --lane '$(touch owned); two words'`"), "{next}");
    sandbox.ok(&["pause", lane]);
    let hint = "`lanes resume '$(touch owned); two words'`";
    sandbox.run(&["claim", &id]).refused(1, hint);
    assert!(sandbox.ok(&["why", &id]).contains(hint));
    assert!(sandbox.run(&["claim", "--lane", lane]).stderr.contains(hint));
    assert!(sandbox.run(&["doctor"]).stdout.contains(hint));
}

#[test]
fn why_prints_the_one_reason() {
    let sandbox = Sandbox::new();
    sandbox.write("request.md", "one");
    let id = sandbox.ok(&["submit", "--lane", "l", "--request-from", "request.md", "--delay", "60"]);
    let why = || sandbox.ok(&["why", &id]);
    assert_snapshot!(why(), @"waiting for its time: scheduled for 2026-11-21T07:01:02.000000Z");
    sandbox.pass(60);
    assert_snapshot!(why(), @"waiting for a worker: nobody serves lane l");
    sandbox.ok(&["pause", "l", "--reason", "upgrade"]);
    assert_snapshot!(why(), @"lane l has been paused since 2026-11-21T07:01:05.000000Z (upgrade); run `lanes resume l` to reopen it");
    sandbox.ok(&["resume", "l"]);
    sandbox.write("request.md", "two");
    assert_snapshot!(why(), @"its request file is not the submitted one: $DIR/project/request.md; restore it or cancel the task");
    std::fs::remove_file(sandbox.path("request.md")).unwrap();
    assert_snapshot!(why(), @"its request file is missing: $DIR/project/request.md");
    sandbox.write("request.md", "one");
    let _ahead = sandbox.submit("l", &["--priority", "1"]);
    let _worker =
        Running::start(sandbox.live_command(&["claim", "--lane", "l", "--match", "k=never", "--wait"]));
    eventually("a worker is there", || sandbox.peek(&["workers"])["count"] == 1);
    assert_snapshot!(why(), @"waiting for a free worker in lane l: 1 task is ahead of it");
    assert_eq!(text(&sandbox.json(&["why", &id])["reason"]), "queued");
    let token = text(&sandbox.json(&["claim", &id, "--owner", "me"])["claim_token"]);
    assert_snapshot!(why(), @"me is working on it, under a lease until 2026-11-21T09:01:13.000000Z");
    sandbox.ok(&["respond", &id, "--claim-token", &token, "--body", "x"]);
    assert_snapshot!(sandbox.run(&["why", &id, "--json"]), @r#"
        {
          "message": "done: answered at 2026-11-21T07:01:15.000000Z",
          "reason": "completed",
          "state": "completed",
          "status": "ok",
          "task_id": "20261121T070002000000Z-l-7692c3ad3540-209633"
        }
        --- exit 0
    "#);
}
