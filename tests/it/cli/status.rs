//! `status`, `list`, `workers`.

use insta::assert_snapshot;

use crate::testkit::sandbox::{Sandbox, text};

/// A queue with one task in each state.
fn busy() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.answered("review", "completed", "fine");
    sandbox.answered("review", "failed", "no such file");
    sandbox.submit("review", &["--name", "Check the parser"]);
    sandbox.claim("review");
    sandbox.submit("review", &["--delay", "2h"]);
    sandbox.submit("build", &["--priority", "3"]);
    sandbox.pass(150);
    sandbox
}

#[test]
fn list_shows_a_table() {
    let sandbox = busy();
    assert_snapshot!(sandbox.run(&["list"]), @r"
        ID                                                 LANE    STATE              AGE     WHAT
        20261121T070002000000Z-review-f51c362d5cc7-209633  review  completed          2m ago  do it
        20261121T070005000000Z-review-f51c362d5cc7-8aa04b  review  failed             2m ago  do it · no such file
        20261121T070008000000Z-review-f51c362d5cc7-20bee8  review  claimed            2m ago  Check the parser · held by worker
        20261121T070010000000Z-review-f51c362d5cc7-89e119  review  scheduled in 117m  2m ago  do it
        20261121T070011000000Z-build-f51c362d5cc7-230a79   build   queued             2m ago  do it
        --- exit 0
    ");
    assert_snapshot!(sandbox.run(&["list", "--state", "claimed,scheduled", "--lane", "review"]), @r"
        ID                                                 LANE    STATE              AGE     WHAT
        20261121T070008000000Z-review-f51c362d5cc7-20bee8  review  claimed            2m ago  Check the parser · held by worker
        20261121T070010000000Z-review-f51c362d5cc7-89e119  review  scheduled in 117m  2m ago  do it
        --- exit 0
    ");
}

#[test]
fn list_selects() {
    let sandbox = busy();
    let count = |more: &[&str]| sandbox.json(&[&["list"], more].concat())["count"].as_u64().unwrap();
    assert_eq!(count(&[]), 5);
    assert_eq!(count(&["--active-only"]), 3);
    assert_eq!(count(&["--lane", "build"]), 1);
    assert_eq!(count(&["--state", "completed,failed"]), 2);
    assert_eq!(count(&["--state", "failed", "--state", "queued"]), 2);
    assert_eq!(count(&["--limit", "2"]), 2);
    assert_eq!(count(&["--lane", "nowhere"]), 0);
    sandbox.run(&["list", "--state", "lost"]).refused(2, "queued");
}

#[test]
fn a_narrow_list_reads_no_more_than_it_must() {
    let sandbox = Sandbox::new();
    let old = sandbox.answered("review", "completed", "fine");
    sandbox.pass(2 * 3600);
    let ids: Vec<String> = (0..3).map(|_| sandbox.submit("review", &[])).collect();
    std::fs::write(sandbox.task_dir(&old).join("task.json"), "{").unwrap();
    let listed = |flags: &[&str]| {
        let outcome = sandbox.run(&[&["list", "--json"], flags].concat());
        let tasks =
            outcome.json()["tasks"].as_array().unwrap().iter().map(|task| text(&task["id"])).collect();
        (tasks, outcome.stderr.contains(&old))
    };
    assert_eq!(listed(&[]), (ids.clone(), true));
    assert_eq!(listed(&["--limit", "2"]), (ids[1..].to_vec(), false));
    assert_eq!(listed(&["--limit", "3"]), (ids.clone(), false));
    assert_eq!(listed(&["--limit", "9"]), (ids.clone(), true));
    assert_eq!(listed(&["--limit", "0"]), (Vec::new(), false));
    assert_eq!(listed(&["--state", "queued,claimed"]), (ids.clone(), false));
    assert_eq!(listed(&["--state", "queued", "--lane", "review"]), (ids.clone(), false));
    assert_eq!(listed(&["--state", "queued", "--lane", "build"]), (Vec::new(), false));
    std::fs::remove_dir_all(sandbox.path("handoff/state/indexes")).unwrap();
    assert_eq!(listed(&["--state", "queued,claimed"]), (ids, true), "without an index all is read");
}

#[test]
fn status_of_one_task() {
    let sandbox = busy();
    let id = text(&sandbox.json(&["list", "--state", "claimed"])["tasks"][0]["id"]);
    assert_snapshot!(sandbox.run(&["status", &id, "--json"]), @r#"
        {
          "status": "ok",
          "task": {
            "after": [],
            "attempt": 1,
            "claim_owner": "worker",
            "claim_token": null,
            "claimed_age_seconds": 154,
            "claimed_at": "2026-11-21T07:00:09.000000Z",
            "completed_at": null,
            "correlation_id": "review",
            "created_at": "2026-11-21T07:00:08.000000Z",
            "deadline": null,
            "exclusive": [],
            "expected_branch": null,
            "failed_at": null,
            "failure_class": null,
            "failure_reason": null,
            "fence": 1,
            "group": null,
            "id": "20261121T070008000000Z-review-f51c362d5cc7-20bee8",
            "idempotency_key": null,
            "labels": [],
            "lane": "review",
            "last_event": {
              "created_at": "2026-11-21T07:00:09.000000Z",
              "data": {
                "attempt": 1,
                "fence": 1,
                "lease_seconds": 7200.0,
                "owner": "worker"
              },
              "message": "claimed by worker",
              "n": 2,
              "type": "claimed"
            },
            "last_event_age_seconds": 154,
            "lease_expired": false,
            "lease_expires_at": "2026-11-21T09:00:09.000000Z",
            "lease_seconds": 7200.0,
            "max_attempts": null,
            "metadata": {},
            "missing_response": false,
            "name": "Check the parser",
            "navigation": {
              "expected_branch": null,
              "request_path": "$DIR/project/handoff/state/tasks/20261121T070008000000Z-review-f51c362d5cc7-20bee8/request.md",
              "response_path": "$DIR/project/handoff/state/tasks/20261121T070008000000Z-review-f51c362d5cc7-20bee8/response.md",
              "review_scope": "request_path is what to work on; the worktree is context unless the prompt says otherwise",
              "workspace_root": "$DIR/project",
              "worktree_path": null
            },
            "next_action": "claimed by worker until 2026-11-21T09:00:09.000000Z; last event: claimed",
            "not_before": null,
            "priority": 0,
            "prompt": "do it",
            "request_path": "$DIR/project/handoff/state/tasks/20261121T070008000000Z-review-f51c362d5cc7-20bee8/request.md",
            "request_sha256": "f51c362d5cc7defb17b2b1290bb8e9b5a4d7e1319f85b90741ff3f8578fc6bba",
            "response_exists": false,
            "response_path": "$DIR/project/handoff/state/tasks/20261121T070008000000Z-review-f51c362d5cc7-20bee8/response.md",
            "retried_as": null,
            "retry_of": null,
            "schema": null,
            "seconds_until_lease_expiry": 7046,
            "source_agent": "orchestrator",
            "state": "claimed",
            "supporting_paths": [],
            "timeout_seconds": null,
            "updated_at": "2026-11-21T07:00:09.000000Z",
            "verify": [],
            "workspace_id": "project",
            "workspace_root": "$DIR/project",
            "worktree_path": null
          }
        }
        --- exit 0
    "#);
    assert_snapshot!(sandbox.run(&["status", &id]), @r"
        task        20261121T070008000000Z-review-f51c362d5cc7-20bee8
        name        Check the parser
        lane        review
        state       claimed
        submitted   2026-11-21T07:00:08.000000Z (2m ago) by orchestrator
        attempts    1
        claimed by  worker since 2026-11-21T07:00:09.000000Z, lease ends in 117m
        workspace   $DIR/project
        request     $DIR/project/handoff/state/tasks/20261121T070008000000Z-review-f51c362d5cc7-20bee8/request.md
        answer to   $DIR/project/handoff/state/tasks/20261121T070008000000Z-review-f51c362d5cc7-20bee8/response.md
        next        claimed by worker until 2026-11-21T09:00:09.000000Z; last event: claimed
        --- exit 0
    ");
}

#[test]
fn status_of_all_tasks() {
    let sandbox = busy();
    let all = sandbox.json(&["status", "--all"]);
    assert_eq!(all["count"], 5);
    assert_eq!(
        all["summary"],
        serde_json::json!({
            "queued": 1, "scheduled": 1, "blocked": 0, "claimed": 1, "completed": 1, "failed": 1,
            "input_required": 0, "cancelled": 0, "stale_claims": 0, "missing_response": 0,
        })
    );
    assert!(all["next_action"].is_string());
    assert_eq!(sandbox.json(&["status", "--all", "--active-only", "--lane", "review"])["count"], 2);
    sandbox.pass(7200);
    assert_eq!(sandbox.json(&["status", "--all"])["summary"]["stale_claims"], 1);
    let rack = sandbox.run(&["status", "--rack", "--json"]);
    assert!(rack.stderr.contains("--all"), "{rack}");
    assert_eq!(rack.json()["count"], 5);
}

#[test]
fn status_at_a_glance() {
    let sandbox = busy();
    sandbox.ok(&["pause", "build", "--reason", "disk full"]);
    assert_snapshot!(sandbox.run(&["status"]), @r"
        LANE    QUEUED  SCHEDULED  CLAIMED  COMPLETED  FAILED  CANCELLED  WORKERS  OLDEST  NOTE
        build   1       0          0        0          0       0          0        2m ago  paused, no live worker
        review  0       1          1        1          1       0          0
        --- exit 0
    ");
    assert_snapshot!(sandbox.run(&["status", "--json"]), @r#"
        {
          "attention": [
            {
              "command": "lanes resume build",
              "count": 1,
              "group": null,
              "kind": "paused_lane",
              "lane": "build",
              "since": "2026-11-21T07:02:42.000000Z",
              "task_id": null,
              "text": "lane build has been paused since 2026-11-21T07:02:42.000000Z (disk full); run `lanes resume build` to reopen it",
              "until": null,
              "vendor": null
            }
          ],
          "bridges": {
            "failing": 0,
            "running": 0,
            "stopped": 0
          },
          "dispatchers": [],
          "feed": 10,
          "lanes": {
            "build": {
              "blocked": 0,
              "cancelled": 0,
              "claimed": 0,
              "completed": 0,
              "failed": 0,
              "input_required": 0,
              "oldest_queued_at": "2026-11-21T07:00:11.000000Z",
              "paused": true,
              "queued": 1,
              "scheduled": 0,
              "stale_claims": 0,
              "workers": 0
            },
            "review": {
              "blocked": 0,
              "cancelled": 0,
              "claimed": 1,
              "completed": 1,
              "failed": 1,
              "input_required": 0,
              "oldest_queued_at": null,
              "paused": false,
              "queued": 0,
              "scheduled": 1,
              "stale_claims": 0,
              "workers": 0
            }
          },
          "now": "2026-11-21T07:02:44.000000Z",
          "over_budget": {},
          "parked": {},
          "status": "ok",
          "summary": {
            "blocked": 0,
            "cancelled": 0,
            "claimed": 1,
            "completed": 1,
            "failed": 1,
            "input_required": 0,
            "missing_response": 0,
            "queued": 1,
            "scheduled": 1,
            "stale_claims": 0
          },
          "workers": []
        }
        --- exit 0
    "#);
    assert_snapshot!(Sandbox::new().run(&["status"]), @r"
        nothing was ever submitted here; `lanes submit` adds the first task
        --- exit 0
    ");
}

#[test]
fn ids_may_be_shortened() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let tail = &id[id.len() - 6..];
    assert_eq!(text(&sandbox.json(&["status", tail])["task"]["id"]), id);
    assert_eq!(text(&sandbox.json(&["status", &id[..24]])["task"]["id"]), id);
    sandbox.submit("l", &[]);
    let ambiguous = sandbox.run(&["status", "2026"]);
    ambiguous.refused(1, "matches 2 tasks");
    assert!(ambiguous.stderr.contains(&id), "{ambiguous}");
}

#[test]
fn nobody_at_work() {
    let sandbox = Sandbox::new();
    assert_snapshot!(sandbox.run(&["workers"]), @r"
        --- stderr
        lanes: no workers running
        --- exit 0
    ");
    assert_snapshot!(sandbox.run(&["workers", "--json"]), @r#"
        {
          "attention": [],
          "count": 0,
          "dispatchers": [],
          "feed": 0,
          "now": "2026-11-21T07:00:03.000000Z",
          "over_budget": {},
          "parked": {},
          "status": "ok",
          "workers": []
        }
        --- exit 0
    "#);
}

#[test]
fn what_time_has_ended_is_shown_as_ended_before_it_is_recorded() {
    let sandbox = Sandbox::new();
    let late = sandbox.submit("late", &["--deadline", "1m"]);
    let spent = sandbox.submit("spent", &["--max-attempts", "1"]);
    sandbox.ok(&["claim", &spent, "--lease-seconds", "60"]);
    let lost = sandbox.submit("lost", &[]);
    sandbox.ok(&["claim", &lost, "--lease-seconds", "60"]);
    let files: Vec<String> =
        [&late, &spent, &lost].map(|id| sandbox.read(sandbox.task_dir(id).join("task.json"))).into();
    sandbox.pass(600);
    for (id, state, class) in [(&late, "failed", "expired"), (&spent, "failed", "dead")] {
        let task = &sandbox.json(&["show", id])["task"];
        assert_eq!((&task["state"], &task["failure_class"]), (&state.into(), &class.into()), "{task}");
        assert!(text(&task["failed_at"]).starts_with("2026-11-21T07:01:"), "{task}");
        assert!(sandbox.ok(&["show", id]).contains(&format!("failed ({class})")));
    }
    assert_eq!(sandbox.json(&["list", "--state", "failed"])["count"], 2);
    assert_eq!(sandbox.json(&["list", "--state", "dead"])["tasks"][0]["id"], spent.as_str());
    // Its worker may still answer.
    let active = sandbox.json(&["list", "--active-only"]);
    assert_eq!(
        (&active["count"], &active["tasks"][0]["lease_expired"]),
        (&1.into(), &true.into()),
        "{active}"
    );
    assert!(sandbox.ok(&["list", "--state", "claimed"]).contains("claimed (lease over)"));
    let lanes = &sandbox.json(&["status"])["lanes"];
    let counts = |lane: &str, state: &str| lanes[lane][state].clone();
    assert_eq!((counts("late", "failed"), counts("late", "queued")), (1.into(), 0.into()), "{lanes}");
    assert_eq!((counts("spent", "failed"), counts("spent", "claimed")), (1.into(), 0.into()), "{lanes}");
    assert_eq!((counts("lost", "claimed"), counts("lost", "stale_claims")), (1.into(), 1.into()), "{lanes}");
    let frame = sandbox.ok(&["top", "--once", "--height", "40"]);
    assert!(frame.contains("failed (expired)") && frame.contains("failed (dead)"), "{frame}");
    // Reading has written nothing, and `why` says what comes next.
    let now: Vec<String> =
        [&late, &spent, &lost].map(|id| sandbox.read(sandbox.task_dir(id).join("task.json"))).into();
    assert_eq!(now, files);
    assert_eq!(sandbox.json(&["why", &late])["reason"], "expired");
    let inbox = &sandbox.json(&["inbox"])["items"][0];
    assert_eq!((&inbox["kind"], &inbox["task_id"]), (&"dead".into(), &spent.as_str().into()), "{inbox}");
    let needed = sandbox.json(&["status"])["attention"].clone();
    let kinds: Vec<&str> =
        needed.as_array().unwrap().iter().filter_map(|item| item["kind"].as_str()).collect();
    assert!(kinds.contains(&"dead_letter") && kinds.contains(&"expired_wait"), "{needed}");
    assert_ne!(sandbox.ok(&["retry", &late]), late);
    assert_eq!(sandbox.json(&["redrive", "--lane", "spent"])["count"], 1);
}

#[test]
fn work_that_has_come_back_by_itself_needs_a_worker_as_queued_work_does() {
    let sandbox = Sandbox::new();
    let due = sandbox.submit("review", &["--delay", "60"]);
    sandbox.submit("work", &[]);
    let (left, _) = sandbox.claim("work");
    sandbox.submit("questions", &[]);
    let (asked, token) = sandbox.claim("questions");
    sandbox.ok(&["ask", &asked, "--claim-token", &token, "-m", "go?", "--default", "no", "--expires", "60"]);
    assert_eq!(sandbox.json(&["status"])["attention"].as_array().unwrap().len(), 1, "only the question");
    sandbox.pass(8000);
    let lanes = ["questions", "review", "work"];
    for (id, lane) in [&asked, &due, &left].into_iter().zip(lanes) {
        assert_eq!(sandbox.json(&["why", id])["reason"], "no_worker");
        let listed = sandbox.json(&["lanes"]);
        let row = listed["lanes"].as_array().unwrap().iter().find(|row| row["lane"] == lane).unwrap().clone();
        assert_eq!((&row["ready"], &row["running"]), (&1.into(), &0.into()), "{row}");
    }
    let status = sandbox.json(&["status"]);
    let needed: Vec<_> =
        status["attention"].as_array().unwrap().iter().map(|it| (&it["kind"], &it["lane"])).collect();
    let expected = lanes.map(|lane| ("unserved_lane", lane));
    let expected: Vec<_> =
        expected.iter().map(|(kind, lane)| (serde_json::json!(kind), serde_json::json!(lane))).collect();
    assert!(
        expected.iter().all(|(kind, lane)| needed.contains(&(kind, lane))) && needed.len() == 3,
        "{needed:?}"
    );
    assert!(lanes.iter().all(|lane| status["lanes"][lane]["oldest_queued_at"].is_string()), "{status}");
    let shown = sandbox.run(&["status"]).stdout;
    let is_noted =
        |lane: &&str| shown.lines().any(|row| row.starts_with(*lane) && row.contains("no live worker"));
    assert!(lanes.iter().all(is_noted), "{shown}");
    let doctor = sandbox.json(&["doctor"]);
    let unserved = doctor["checks"].as_array().unwrap().iter().filter(|check| check["code"] == "unserved");
    assert_eq!(unserved.count(), 3, "{doctor}");
    for id in [&asked, &due, &left] {
        let wait = sandbox.run(&["wait", id, "--timeout", "0"]);
        assert!(wait.stderr.contains("no live worker serves lane"), "{wait}");
    }
}
