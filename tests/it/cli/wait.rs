//! `wait ID…`.

use std::time::{Duration, Instant};

use insta::assert_snapshot;

use crate::testkit::sandbox::{Running, Sandbox, text, words};
use crate::testkit::wait::eventually;

#[test]
fn an_answer_is_written_where_it_was_wanted() {
    let sandbox = Sandbox::new();
    sandbox.write("request.md", "x");
    let id = sandbox.ok(&words("submit --lane l --request-from request.md --response-to deep/out.md"));
    sandbox.ok(&["respond", &id, "--body", "fine", "--verdict", "accept"]);
    assert_snapshot!(sandbox.run(&["wait", &id, "--json"]), @r#"
        {
          "response": {
            "blocking_count": null,
            "body": "fine",
            "created_at": "2026-11-21T07:00:03.000000Z",
            "follow_up_required": false,
            "metadata": {},
            "nonblocking_count": null,
            "request_changed_before_response": false,
            "reviewed_request_sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
            "reviewer": "worker",
            "status": "completed",
            "task_id": "20261121T070002000000Z-l-2d711642b726-209633",
            "verdict": "accept"
          },
          "response_path": "$DIR/project/deep/out.md",
          "status": "completed",
          "task_id": "20261121T070002000000Z-l-2d711642b726-209633"
        }
        --- exit 0
    "#);
    assert_eq!(sandbox.read("deep/out.md"), "fine");
    assert_snapshot!(sandbox.run(&["wait", &id]), @r"
        20261121T070002000000Z-l-2d711642b726-209633
        --- exit 0
    ");
}

#[test]
fn an_answer_has_the_permissions_of_the_file_that_it_replaces_and_never_of_a_link() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let sandbox = Sandbox::new();
    let mode = |name: &str| sandbox.path(name).symlink_metadata().unwrap().permissions().mode() & 0o7777;
    let id = sandbox.submit("l", &["--response-to", "out.md"]);
    sandbox.ok(&["respond", &id, "--body", "fine"]);
    symlink("nowhere", sandbox.path("out.md")).unwrap();
    sandbox.ok(&["wait", &id]);
    assert_eq!((sandbox.read("out.md"), mode("out.md") & !0o666), ("fine".to_string(), 0));
    let old = std::fs::Permissions::from_mode(0o4750);
    std::fs::set_permissions(sandbox.path("out.md"), old).unwrap();
    sandbox.ok(&["wait", &id]);
    assert_eq!(mode("out.md"), 0o750);
}

#[test]
fn the_answer_to_a_prompt_is_printed() {
    let sandbox = Sandbox::new();
    let id = sandbox.answered("l", "completed", "because");
    assert_eq!(sandbox.run(&["wait", &id]).stdout, "because\n");
}

#[test]
fn a_failed_task_is_distinguished() {
    let sandbox = Sandbox::new();
    let id = sandbox.answered("l", "failed", "no");
    let waited = sandbox.json(&["wait", &id]);
    assert_eq!(text(&waited["status"]), "failed");
    assert_eq!(text(&waited["response"]["status"]), "failed");
    assert_eq!(sandbox.run(&["wait", &id, "--exit-status"]).code, 3);
    let good = sandbox.answered("l", "completed", "yes");
    assert_eq!(sandbox.run(&["wait", &good, "--exit-status"]).code, 0);
    assert_eq!(sandbox.run(&["wait", &good, &id, "--exit-status", "--json"]).code, 3);
}

#[test]
fn time_over_ends_with_2() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let outcome = sandbox.run(&["wait", &id, "--timeout", "0.1", "--heartbeat-seconds", "0", "--json"]);
    assert_eq!(outcome.code, 2, "{outcome}");
    assert_eq!(outcome.stdout, "");
    sandbox.run(&["wait", &id, "--timeout", "0", "--quiet"]).refused(2, "no answer");
}

#[test]
fn several_tasks() {
    let sandbox = Sandbox::new();
    let done = sandbox.answered("l", "completed", "one");
    let open = sandbox.submit("l", &[]);
    let any = sandbox.json(&["wait", &open, &done, "--any", "--timeout", "5"]);
    assert_eq!(text(&any["results"][0]["task_id"]), done);
    assert_eq!(any["pending"], serde_json::json!([open]));
    let all = sandbox.run(&["wait", &open, &done, "--all", "--timeout", "0.05", "--json"]);
    assert_eq!(all.code, 2);
    assert_eq!(all.json()["pending"], serde_json::json!([open]));
    assert_eq!(text(&all.json()["results"][0]["task_id"]), done);
    sandbox.ok(&["respond", &open, "--body", "two", "--status", "failed"]);
    let all = sandbox.json(&["wait", &open, &done]);
    let ids: Vec<String> =
        all["results"].as_array().unwrap().iter().map(|result| text(&result["task_id"])).collect();
    assert_eq!(ids, [open, done], "in the order of the arguments");
    assert_eq!(all["pending"], serde_json::json!([]));
}

#[test]
fn bodies_of_several_tasks_come_under_their_names() {
    let sandbox = Sandbox::new();
    let (one, two) = (sandbox.submit("l", &[]), sandbox.submit("l", &[]));
    sandbox.ok(&["respond", &one, "--body", "first\n"]);
    sandbox.ok(&["respond", &two, "--body", "second", "--status", "failed"]);
    let several = sandbox.run(&["wait", &one, &two, "--body"]);
    let expected = format!("==> {one} completed <==\nfirst\n==> {two} failed <==\nsecond\n");
    assert_eq!(several.stdout, expected, "{several}");
    assert_eq!(sandbox.ok(&["wait", &one, "--body"]), "first");
    assert_eq!(sandbox.ok(&["wait", &one, &two]), format!("{one}\n{two}"));
}

#[test]
fn one_answer_that_cannot_be_delivered_does_not_hide_the_others() {
    let sandbox = Sandbox::new();
    sandbox.write("request.md", "x");
    let stuck = sandbox.ok(&words("submit --lane l --request-from request.md --response-to out/a.md"));
    let fine = sandbox.submit("l", &[]);
    for id in [&stuck, &fine] {
        sandbox.ok(&["respond", id, "--body", "x"]);
    }
    std::os::unix::fs::symlink(sandbox.root().parent().unwrap(), sandbox.path("out")).unwrap();
    let outcome = sandbox.run(&["wait", &stuck, &fine]);
    assert_eq!((outcome.code, outcome.stdout.trim()), (1, fine.as_str()), "{outcome}");
    assert!(outcome.stderr.contains("outside workspace_root"), "{outcome}");
}

#[test]
fn odd_times_are_refused() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    for bad in ["nan", "-1", "inf", "1e18"] {
        sandbox.run(&["wait", &id, "--timeout", bad]).refused(2, "--timeout");
        sandbox
            .run(&["wait", &id, "--timeout", "1", "--heartbeat-seconds", bad])
            .refused(2, "--heartbeat-seconds");
        sandbox.run(&["next", "--lane", "l", "--timeout", bad]).refused(2, "--timeout");
    }
    sandbox.run(&["wait", &id, "--timeout", "soon"]).refused(2, "15m");
    sandbox.ok(&["respond", &id, "--body", "x"]);
    assert_eq!(sandbox.run(&["wait", &id, "--timeout", "1h30m"]).code, 0);
    assert_eq!(sandbox.run(&["wait", "--timeout", "1"]).code, 2);
}

#[test]
fn a_wait_wakes_at_once() {
    let sandbox = Sandbox::new();
    let mut took = Duration::ZERO;
    for _ in 0..4 {
        let id = sandbox.submit("l", &[]);
        let wait = Running::start(sandbox.live_command(&["wait", &id, "--timeout", "20"]));
        wait.until_it_watches(&sandbox.task_dir(&id));
        sandbox.ok(&["respond", &id, "--body", "now"]);
        let answered = Instant::now();
        let outcome = wait.finish(&sandbox);
        assert_eq!(outcome.stdout, "now\n");
        took += answered.elapsed();
    }
    // The periodic check, which replaces notifications that fail, comes two seconds after the last look. One of several
    // waits may take as long on a loaded machine.
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn signs_of_life_have_the_protocols_shape() {
    let sandbox = Sandbox::new();
    let mut id = String::new();
    for (lane, reason) in [
        ("l", "waiting for a worker: nobody serves lane l"),
        // As agent-lanes prints in every lane.
        ("review", "awaiting reviewer claim"),
    ] {
        id = sandbox.submit(lane, &[]);
        let wait = ["wait", &id, "--timeout", "0.25", "--heartbeat-seconds", "0.1"];
        let queued = sandbox.run(&wait).stderr;
        let expected = format!("lanes wait: task_id={id}; state=queued; {reason}");
        assert!(queued.lines().any(|line| line == expected), "{queued}");
    }
    let wait = ["wait", &id, "--timeout", "0.25", "--heartbeat-seconds", "0.1"];
    sandbox.claim("review");
    let claimed = sandbox.run(&wait).stderr;
    let line = claimed.lines().find(|line| line.contains("state=claimed")).unwrap();
    let line = line.replace(&id, "ID");
    assert_snapshot!(line, @"lanes wait: task_id=ID; state=claimed; claim_owner=worker; claimed_age_seconds=1; lease_expires_at=2026-11-21T09:00:06.000000Z; lease_expired=false; response_path=$DIR/project/handoff/state/tasks/ID/response.md; response_exists=false; last_event=claimed@2026-11-21T07:00:06.000000Z; next_action=claimed by worker until 2026-11-21T09:00:06.000000Z; last event: claimed");
    let quiet = sandbox.run(&[&wait[..], &["--quiet"]].concat()).stderr;
    assert_eq!(quiet.lines().count(), 1, "{quiet}");
    let silent = sandbox.run(&["wait", &id, "--timeout", "0.1", "--heartbeat-seconds", "0"]).stderr;
    assert!(!silent.contains("state="), "{silent}");
}

#[test]
fn a_lane_without_a_worker_is_reported_once() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("lonely", &[]);
    let wait = ["wait", &id, "--timeout", "0.3", "--heartbeat-seconds", "0.1"];
    let printed = |stderr: &str| stderr.lines().filter(|line| line.contains("no live worker serves")).count();
    assert_eq!(printed(&sandbox.run(&wait).stderr), 1);
    let _worker =
        Running::start(sandbox.live_command(&["claim", "--lane", "lonely", "--match", "k=never", "--wait"]));
    eventually("a worker is there", || sandbox.peek(&["workers"])["count"] == 1);
    assert_eq!(printed(&sandbox.run(&wait).stderr), 0);
}

#[test]
fn a_spent_task_ends_its_waits() {
    let sandbox = Sandbox::new();
    let output = sandbox
        .live_command(&["submit", "--lane", "l", "--prompt", "x", "--max-attempts", "1"])
        .output()
        .unwrap();
    let id = String::from_utf8(output.stdout).unwrap().trim().to_string();
    let claim = ["claim", "--lane", "l", "--lease-seconds", "0.3"];
    assert!(sandbox.live_command(&claim).status().unwrap().success());
    let outcome =
        Running::start(sandbox.live_command(&["wait", &id, "--timeout", "10", "--json"])).finish(&sandbox);
    assert_eq!(outcome.code, 0, "{outcome}");
    assert_eq!(text(&outcome.json()["status"]), "failed");
    assert!(text(&outcome.json()["response"]["body"]).contains("attempts"), "{outcome}");
}

#[test]
fn a_cancelled_task_ends_its_waits() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let wait =
        Running::start(sandbox.live_command(&["wait", &id, "--timeout", "20", "--json", "--exit-status"]));
    wait.until_it_watches(&sandbox.task_dir(&id));
    sandbox.ok(&["cancel", &id, "--reason", "changed our minds"]);
    let outcome = wait.finish(&sandbox);
    assert_eq!(outcome.code, 3, "{outcome}");
    assert!(text(&outcome.json()["response"]["body"]).contains("changed our minds"));
}

#[test]
fn a_wait_outside_the_workspace_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("request.md", "x");
    let id =
        sandbox.ok(&["submit", "--lane", "l", "--request-from", "request.md", "--response-to", "out/a.md"]);
    sandbox.ok(&["respond", &id, "--body", "secret"]);
    std::os::unix::fs::symlink(sandbox.root().parent().unwrap(), sandbox.path("out")).unwrap();
    let outcome = sandbox.run(&["wait", &id]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, "secret\n"), "{outcome}");
    assert!(outcome.stderr.contains("outside workspace_root"), "{outcome}");
    assert!(!sandbox.root().parent().unwrap().join("a.md").exists());
}

#[test]
fn the_permissions_of_the_output_stay() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new();
    sandbox.write("request.md", "x");
    // As on a file system that gives every file the right to be executed.
    for (name, wanted) in [("out.txt", 0o640), ("out.md", 0o755)] {
        sandbox.write(name, "old");
        std::fs::set_permissions(sandbox.path(name), PermissionsExt::from_mode(wanted)).unwrap();
        let id =
            sandbox.ok(&["submit", "--lane", "l", "--request-from", "request.md", "--response-to", name]);
        sandbox.ok(&["respond", &id, "--body", "new"]);
        sandbox.ok(&["wait", &id]);
        assert_eq!(sandbox.read(name), "new");
        let mode = std::fs::metadata(sandbox.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, wanted);
    }
}

/// Changes the paths in a task, as another implementation, an import or a copied store may.
fn say(sandbox: &Sandbox, id: &str, keys: &[(&str, &str)]) {
    let file = sandbox.path("handoff/state/tasks").join(id).join("task.json");
    let mut task: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    for (key, value) in keys {
        task[*key] = (*value).into();
    }
    std::fs::write(&file, task.to_string()).unwrap();
}

#[test]
fn answers_are_written_only_where_the_configuration_allows() {
    let sandbox = Sandbox::new();
    let outside = sandbox.root().parent().unwrap().join("planted.md");
    let hook = sandbox.path(".git/hooks/pre-commit");
    let other = sandbox.submit("other", &[]);
    let other = sandbox.path("handoff/state/tasks").join(other).join("task.json");
    let before = std::fs::read(&other).unwrap();
    for (place, expected) in [
        (&outside, "outside workspace_root"),
        (&hook, "execute"),
        (&other, "inside the state directory"),
        (&sandbox.path("handoff/handoff.yaml"), "configuration"),
        (&sandbox.path("handoff/dispatcher.sh"), "execute"),
    ] {
        let id = sandbox.submit("l", &[]);
        sandbox.ok(&["respond", &id, "--body", "the answer"]);
        say(&sandbox, &id, &[("workspace_root", "/"), ("response_path", place.to_str().unwrap())]);
        let outcome = sandbox.run(&["wait", &id]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (1, "the answer\n"), "{outcome}");
        assert!(outcome.stderr.contains(expected), "{outcome}");
        let name = place.file_name().unwrap().to_str().unwrap();
        assert!(outcome.stderr.contains(name), "{outcome}");
        assert!(outcome.stderr.contains("stays in the store"), "{outcome}");
        let json = sandbox.run(&["wait", &id, "--json"]);
        assert_eq!(json.code, 1);
        let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
        assert!(text(&json["undelivered"]).contains(expected), "{json}");
        assert_eq!(text(&json["response"]["body"]), "the answer");
    }
    assert!(!outside.exists() && !hook.exists());
    assert_eq!(std::fs::read(&other).unwrap(), before);
    assert!(!sandbox.read("handoff/dispatcher.sh").contains("the answer"));
    let found = sandbox.json(&["fsck"]);
    assert_eq!(found["counts"]["path-refused"], 1, "{found}");
    assert!(text(&found["findings"][0]["message"]).contains("planted.md"), "{found}");
    // The same answers come by an export, and then have no place of their own.
    let export = sandbox.ok(&["export"]);
    let export = export.replace("$DIR", sandbox.root().parent().unwrap().to_str().unwrap());
    sandbox.ok(&["gc", "--all-ended"]);
    let imported = sandbox.run_with(&["import", "-"], export.as_bytes());
    assert!(imported.stderr.contains("stays in the store: its response_path is outside"), "{imported}");
    let found = sandbox.json(&["fsck"]);
    assert_eq!(found["counts"].get("path-refused"), None, "{found}");
}

#[test]
fn sigterm_ends_a_wait() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let mut wait = Running::start(sandbox.live_command(&["wait", &id]));
    wait.until_it_watches(&sandbox.task_dir(&id));
    let pid = rustix::process::Pid::from_child(wait.child());
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let outcome = wait.finish(&sandbox);
    // Either the signal's own death, or the code a shell gives to it.
    assert!(matches!(outcome.code, -1 | 143), "{outcome}");
    assert!(!outcome.stderr.contains("panicked"), "{outcome}");
}

#[test]
fn a_wait_for_a_lane_refuses_what_is_about_answers() {
    let sandbox = Sandbox::new();
    for flag in ["--any", "--all", "--exit-status", "--or-question", "--body"] {
        let refused = sandbox.run(&["wait", "--lane", "l", flag, "--timeout", "0"]);
        refused.refused(2, flag);
        assert_eq!(refused.stderr.lines().count(), 1, "{refused}");
    }
    let id = sandbox.submit("l", &[]);
    sandbox.run(&["wait", &id, "--match", "a=b", "--timeout", "0"]).refused(2, "--match");
    assert_eq!(sandbox.ok(&["wait", "--lane", "l", "--match", "a=b,any", "--timeout", "0"]), id);
    assert!(sandbox.ok(&["wait", "--help"]).contains("also when none comes before the timeout"));
}
