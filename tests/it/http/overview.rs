//! What a board shows besides tasks: what needs a person, the attempts, outputs and changes of runs, and statistics.

use lanes::internals::model::TaskId;
use lanes::internals::store::{WorkerInfo, WorkerKind};
use serde_json::{Value, json};

use crate::testkit::server::{Client, Server};
use crate::testkit::store::{lane_name, owner, task_file};

fn dispatcher(server: &Server, lanes: &[&str], data: &Value) -> impl Sized {
    let store = server.store();
    let worker = WorkerInfo {
        kind: WorkerKind::Dispatcher,
        owner: owner("d"),
        pid: std::process::id(),
        lanes: lanes.iter().map(|lane| lane_name(lane)).collect(),
        filter: String::new(),
        since: store.now().wall,
        data: data.as_object().unwrap().clone(),
    };
    store.register(&worker).unwrap()
}

/// What needs a person, by kind.
fn needed(server: &Server, kind: &str) -> Vec<Value> {
    let status = server.get("/status").json();
    let items = status["attention"].as_array().unwrap().clone();
    items.into_iter().filter(|item| item["kind"] == kind).collect()
}

/// Returns the sentence of `lanes why`.
fn why(server: &Server, id: &str) -> String {
    server.get(&format!("/tasks/{id}/why")).text_at("/message")
}

#[test]
fn what_needs_a_person_is_told_in_the_words_of_why() {
    let server = Server::with(&["--enable-queue-management"]);
    let waiting = server.submit("nobody");
    let unserved = needed(&server, "unserved_lane");
    assert_eq!((&unserved[0]["text"], &unserved[0]["count"]), (&json!(why(&server, &waiting)), &json!(1)));
    assert_eq!(
        (&unserved[0]["lane"], &unserved[0]["command"], &unserved[0]["since"]),
        (
            &json!("nobody"),
            &json!("lanes claim --lane nobody --wait"),
            &server.get(&format!("/tasks/{waiting}")).at("/task/updated_at")
        )
    );

    let held = server.submit("held");
    server.post("/lanes/held/pause", &json!({"reason": "lunch"}));
    let paused = needed(&server, "paused_lane");
    assert_eq!((paused.len(), &paused[0]["text"]), (1, &json!(why(&server, &held))));
    assert_eq!((&paused[0]["command"], &paused[0]["count"]), (&json!("lanes resume held"), &json!(1)));

    let unready = server.submit("unready");
    let data = json!({
        "max_concurrent": 1, "unready": {"unready": "no program"},
        "serves": [{"lane": "unready", "vendor": "claude"}],
    });
    let registered = dispatcher(&server, &["unready"], &data);
    let item = needed(&server, "unready_program").remove(0);
    assert_eq!((&item["text"], &item["vendor"]), (&json!(why(&server, &unready)), &json!("claude")));
    let shown = server.get("/status").at("/dispatchers/0");
    assert_eq!(shown["unready"], json!([{"lane": "unready", "vendor": "claude", "text": "no program"}]));
    assert_eq!(shown["serves"][0]["lane"], "unready");
    server.post("/vendors/claude/pause", &json!({"reason": "dear"}));
    let parked = needed(&server, "cooldown").remove(0);
    assert_eq!(parked["text"], json!(why(&server, &unready)));
    assert_eq!(
        (&parked["command"], &parked["until"]),
        (&json!("lanes resume --vendor claude"), &Value::Null)
    );
    drop(registered);

    let asking = server.submit("ask");
    let token = server.claim(&asking);
    let question = json!({"claim_token": token, "question": "red?"});
    server.post(&format!("/tasks/{asking}/questions"), &question);
    let asked = needed(&server, "question").remove(0);
    assert_eq!((&asked["text"], &asked["task_id"]), (&json!(why(&server, &asking)), &json!(asking)));
    assert_eq!(asked["command"], json!(format!("lanes answer {asking}")));

    let dead = |lane: &str| {
        let body = json!({"lane": lane, "prompt": "x", "max_attempts": 1});
        let id = server.post("/tasks", &body).text_at("/task_id");
        let release = json!({"claim_token": server.claim(&id), "reason": "no", "failure_class": "error"});
        assert_eq!(server.post(&format!("/tasks/{id}/release"), &release).status, 200);
        id
    };
    let first = dead("grave");
    let letter = needed(&server, "dead_letter").remove(0);
    assert_eq!((&letter["text"], &letter["count"]), (&json!(why(&server, &first)), &json!(1)));
    dead("grave");
    let letters = needed(&server, "dead_letter");
    assert_eq!((letters.len(), &letters[0]["count"]), (1, &json!(2)));
    assert_eq!(letters[0]["command"], "lanes redrive --lane grave");
    server.post("/lanes/grave/redrive", &json!({}));
    assert!(needed(&server, "dead_letter").is_empty());

    for command in ["status", "workers"] {
        let shown: Value = serde_json::from_str(&server.lanes(&[command, "--json"])).unwrap();
        let kinds: Vec<&str> = shown["attention"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["kind"].as_str().unwrap())
            .collect();
        assert_eq!(kinds[..3], ["question", "cooldown", "paused_lane"], "{command}: {kinds:?}");
        assert!(shown["feed"].as_u64().unwrap() > 0 && shown["now"].is_string());
    }
    assert!(server.lanes(&["status"]).contains("needs you: waiting for an answer to question 1 of w: red?"));
}

#[test]
fn an_event_tells_the_state_and_attempt_after_it() {
    let server = Server::new();
    let start = server.get("/status").at("/feed").as_u64().unwrap();
    let id = server.post("/tasks", &json!({"lane": "l", "name": "Paint", "prompt": "x"})).text_at("/task_id");
    let answer = json!({"claim_token": server.claim(&id), "body": "done"});
    assert_eq!(server.post(&format!("/tasks/{id}/response"), &answer).status, 200);
    let mut client = server.client();
    client.request("GET", &format!("/events?since={start}"), &[], None);
    let text = client.until("\"response\"}");
    let data: Vec<Value> =
        text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
    let brief: Vec<_> =
        data.iter().map(|event| (&event["type"], &event["state"], &event["attempt"])).collect();
    let (created, claimed, response) = (json!("created"), json!("claimed"), json!("response"));
    let (queued, completed) = (json!("queued"), json!("completed"));
    assert_eq!(
        brief,
        [(&created, &queued, &json!(0)), (&claimed, &claimed, &json!(1)), (&response, &completed, &json!(1))]
    );
    assert_eq!((&data[0]["title"], data[1].get("title")), (&json!("Paint"), None));
}

/// The directory of a run of a task, which is made.
fn run_dir(server: &Server, id: &str, attempt: u32) -> std::path::PathBuf {
    let dir = task_file(&server.store(), &TaskId::parse(id).unwrap(), "attempts").join(attempt.to_string());
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn both_outputs_are_shown_as_lines_and_followed_from_any_of_them() {
    let server = Server::new();
    let id = server.submit("l");
    let path = format!("/tasks/{id}/log");
    assert_eq!(server.get(&format!("{path}?stream=all")).status, 404);
    let token = server.claim(&id);
    let run = run_dir(&server, &id, 1);
    std::fs::write(run.join("stdout.log"), "one\ntwo\nhal").unwrap();
    std::fs::write(run.join("stderr.log"), format!("warn \u{1b}[1m\n{}\n", "x".repeat(70_000))).unwrap();
    let shown = server.get(&format!("{path}?stream=all"));
    assert_eq!(shown.header("content-type"), Some("application/x-ndjson"));
    let lines = objects(&shown.text);
    let texts: Vec<&str> = lines.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(texts[..3], ["one", "two", "warn \u{1b}[1m"], "half a line is not complete");
    assert_eq!((texts[3].len(), &lines[3]["cut"]), (65_536, &json!(true)));
    assert_eq!(
        (&lines[0]["n"], &lines[0]["t"], &lines[0]["stream"]),
        (&json!(1), &Value::Null, &json!("stdout"))
    );
    assert_eq!((&lines[3]["n"], &lines[3]["stream"]), (&json!(4), &json!("stderr")));

    for (number, line) in lines.iter().enumerate() {
        let since = line["pos"].as_str().unwrap();
        let rest = objects(&server.get(&format!("{path}?stream=all&since={since}")).text);
        assert_eq!(rest, lines[number + 1..], "nothing is repeated or left out after line {number}");
    }
    let tail = objects(&server.get(&format!("{path}?stream=all&tail=1")).text);
    assert_eq!(tail.len(), 1, "stdout ends in half a line: {tail:?}");
    let last = lines[3]["pos"].as_str().unwrap();
    let follow = |client: &mut Client| {
        client.request("GET", &format!("{path}?stream=all&follow=1&since={last}"), &[], None);
    };
    let mut client = server.client();
    follow(&mut client);
    client.until("\r\n\r\n");
    std::fs::write(run.join("stdout.log"), "one\ntwo\nhalf\nend").unwrap();
    client.until("\"half\"");
    let release = json!({"claim_token": token, "reason": "again"});
    assert_eq!(server.post(&format!("/tasks/{id}/release"), &release).status, 200);
    while client.more() {}
    assert!(
        String::from_utf8_lossy(&client.rest).contains("\"end\""),
        "the run has ended, and so does the stream"
    );

    for wrong in ["stream=all&since=7", "stream=all&since=1.2.3.4&tail=2", "since=x", "tail=0", "since=-1"] {
        assert_eq!(server.get(&format!("{path}?{wrong}")).status, 400, "{wrong}");
    }
    assert_eq!(server.get(&format!("{path}?since=4")).text, "two\nhalf\nend");
    assert_eq!(server.get(&format!("{path}?tail=2")).text, "half\nend");
    assert_eq!(server.get(&format!("{path}?since=999")).text, "");
}

#[test]
fn attempts_tell_what_became_of_each_claim() {
    let server = Server::new();
    let body = json!({"lane": "l", "prompt": "x", "max_attempts": 3});
    let id = server.post("/tasks", &body).text_at("/task_id");
    assert_eq!(server.get(&format!("/tasks/{id}/history")).at("/attempts"), json!([]));
    let token = server.claim(&id);
    let run = "0000000000000000000000000000471f";
    let event =
        json!({"type": "headless_started", "data": {"vendor": "claude", "run": run}, "claim_token": token});
    server.post(&format!("/tasks/{id}/events"), &event);
    let record = json!({
        "started_at": "2026-11-21T07:00:00Z", "ended_at": "2026-11-21T07:01:00Z", "task_id": id, "run": run,
        "attempt": 1, "lane": "l", "vendor": "claude", "outcome": "error", "seconds": 60.0, "model": "opus",
        "session_id": "s1", "cost_usd": 0.5, "tokens": {"input": 1, "output": 2},
    });
    std::fs::write(server.dir.path().join("state/usage.jsonl"), format!("{record}\n")).unwrap();
    let release = json!({"claim_token": token, "reason": "it broke", "failure_class": "error"});
    assert_eq!(server.post(&format!("/tasks/{id}/release"), &release).status, 200);
    let patch = "diff --git a/x b/x\n";
    std::fs::write(run_dir(&server, &id, 1).join("diff.patch"), patch).unwrap();
    server.claim(&id);
    let attempts = server.get(&format!("/tasks/{id}/history")).at("/attempts");
    for (pointer, value) in [
        ("/0/n", json!(1)),
        ("/0/owner", json!("w")),
        ("/0/vendor", json!("claude")),
        ("/0/model", json!("opus")),
        ("/0/outcome", json!("failed")),
        ("/0/failure_class", json!("error")),
        ("/0/message", json!("it broke")),
        ("/0/cost_usd", json!(0.5)),
        ("/0/session_id", json!("s1")),
        ("/0/tokens/output", json!(2)),
        ("/0/has_diff", json!(true)),
        ("/1/n", json!(2)),
        ("/1/ended_at", Value::Null),
        ("/1/outcome", Value::Null),
        ("/1/has_diff", json!(false)),
    ] {
        assert_eq!(attempts.pointer(pointer), Some(&value), "{pointer}");
    }
    for query in ["", "?attempt=1"] {
        let diff = server.get(&format!("/tasks/{id}/diff{query}"));
        assert_eq!((diff.status, diff.text.as_str()), (200, patch));
        assert_eq!(diff.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    let none = server.get(&format!("/tasks/{id}/diff?attempt=2"));
    assert_eq!((none.status, none.code().as_str()), (404, "not_found"));
    assert!(none.text_at("/error").contains("worktree"), "{}", none.text);

    let stats = server.get("/stats");
    for (pointer, value) in [
        ("/stats/all/runs", json!(1)),
        ("/stats/all/failed", json!(1)),
        ("/stats/vendors/claude/cost_usd", json!(0.5)),
        ("/stats/lanes/l/median_usd", json!(0.5)),
        ("/stats/models/opus/runs_without_cost", json!(0)),
        ("/series/0/day", json!("2026-11-21")),
        ("/series/0/cost_usd", json!(0.5)),
    ] {
        assert_eq!(stats.at(pointer), value, "{pointer}");
    }
    let printed: Value = serde_json::from_str(&server.lanes(&["stats", "--json"])).unwrap();
    assert_eq!(printed["stats"], stats.at("/stats"));
    let week = server.get("/stats?days=7");
    assert_eq!((week.at("/series").as_array().unwrap().len(), week.at("/days")), (8, json!(7)));
    assert_eq!(server.get("/stats?days=0").status, 400);
}

#[test]
fn many_tasks_are_changed_if_they_are_as_many_as_expected() {
    let server = Server::new();
    let ids: Vec<String> = (0..3).map(|_| server.submit("work")).collect();
    server.submit("other");
    server.claim(&ids[0]);
    let filter = json!({"lane": "work", "state": ["queued"]});
    let cancel = |expected: u64, key: &str| {
        let body = json!({"action": "cancel", "filter": filter, "expect_count": expected, "key": key});
        server.post("/tasks/bulk", &body)
    };
    let refused = cancel(3, "a");
    assert_eq!((refused.status, refused.code().as_str()), (409, "count_differs"));
    assert!(refused.text_at("/error").contains("selects 2 tasks now, not 3"), "{}", refused.text);
    assert_eq!(server.get("/tasks?state=failed").at("/total"), json!(0));
    let done = cancel(2, "a");
    assert_eq!((done.status, done.at("/matched"), done.at("/changed")), (200, json!(2), json!(2)));
    assert_eq!(done.text_at("/results/0/task_id"), ids[1]);
    assert_eq!(cancel(2, "a").json(), done.json(), "the first answer again");
    assert_eq!(cancel(1, "a").status, 409, "the key belongs to another request");
    assert_eq!(cancel(2, "b").code(), "count_differs");

    let failed = json!({"state": "failed"});
    let retry =
        |by: &str| server.post("/tasks/bulk", &json!({"action": "retry", "filter": failed, "by": by}));
    let (first, again) = (retry("x"), retry("y"));
    assert_eq!((first.at("/changed"), again.at("/changed")), (json!(2), json!(0)));
    assert_eq!(first.at("/results"), again.at("/results"), "a task is retried once");
    let redrive = server.post("/tasks/bulk", &json!({"action": "redrive", "filter": failed}));
    assert_eq!((redrive.at("/changed"), redrive.at("/refused/1/code")), (json!(0), json!("refused")));

    let all = json!({"lane": ["work", "other"]});
    let moved = server.post("/tasks/bulk", &json!({"action": "move", "filter": all, "lane": "later"}));
    // One is claimed, two have ended, three can be moved.
    assert_eq!((moved.at("/matched"), moved.at("/changed")), (json!(6), json!(3)));
    assert_eq!(moved.at("/refused").as_array().unwrap().len(), 3);
    assert_eq!(server.get("/tasks?lane=later").at("/total"), json!(3));
    for wrong in [
        json!({"action": "forget", "filter": {}}),
        json!({"action": "cancel"}),
        json!({"action": "move", "filter": {}}),
        json!({"action": "cancel", "filter": {"lanes": "work"}}),
        json!({"action": "cancel", "filter": {"state": "done"}}),
        json!({"action": "cancel", "filter": {}, "expect_count": -1}),
    ] {
        assert_eq!(server.post("/tasks/bulk", &wrong).status, 400, "{wrong}");
    }
    assert_eq!(server.get("/tasks?state=queued").at("/total"), json!(3), "nothing else was changed");
}

#[test]
fn more_tasks_than_one_request_changes_are_refused() {
    let server = Server::new();
    for count in [1000, 1] {
        let tasks: Vec<Value> = (0..count).map(|_| json!({"lane": "work", "prompt": "x"})).collect();
        assert_eq!(server.post("/tasks/batch", &json!({"tasks": tasks})).at("/count"), json!(count));
    }
    let refused =
        server.post("/tasks/bulk", &json!({"action": "cancel", "filter": {}, "expect_count": 1001}));
    assert_eq!((refused.status, refused.code().as_str()), (400, "invalid"));
    assert_eq!(server.get("/tasks?state=failed").at("/total"), json!(0));
}
