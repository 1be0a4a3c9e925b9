//! The routes that boards use.

use serde_json::{Value, json};

use crate::testkit::server::{Server, ask};
use crate::testkit::store::{lane_name, owner, task_file};

#[test]
fn a_card_is_a_task_in_both_shapes() {
    let server = Server::new();
    let card = json!({"queue_name": "Todo", "name": "Paint", "description": "the fence"});
    let created = server.post("/tasks", &card);
    assert_eq!(created.status, 201, "{}", created.text);
    let id = created.text_at("/id");
    assert_eq!(created.text_at("/task/prompt"), "the fence");

    let comment = server.post(&format!("/tasks/{id}/comments"), &json!({"comment": "red?", "author": "ann"}));
    assert_eq!((comment.status, comment.text_at("/comments/0/comment").as_str()), (201, "red?"));
    let patch =
        json!({"name": "Paint it", "description": "all of it", "labels": ["home"], "assignees": ["bob"]});
    assert_eq!(ask(&server, "PATCH", &format!("/tasks/{id}"), Some(patch)).status, 200);
    let moved = server.post(&format!("/tasks/{id}/move"), &json!({"target_queue": "Doing"}));
    assert_eq!(moved.status, 200, "{}", moved.text);

    let shown = server.get(&format!("/tasks/{id}"));
    for (pointer, value) in [
        ("/id", json!(id)),
        ("/name", json!("Paint it")),
        ("/description", json!("all of it")),
        ("/labels", json!(["home"])),
        ("/assignees", json!(["bob"])),
        ("/comments/0/author", json!("ann")),
        ("/queue", json!("Doing")),
        ("/retry_count", json!(0)),
        ("/task/lane", json!("Doing")),
        ("/task/prompt", json!("the fence")),
    ] {
        assert_eq!(shown.at(pointer), value, "{pointer}");
    }
    let labels = json!({"labels": ["a\u{7}"]});
    assert_eq!(ask(&server, "PATCH", &format!("/tasks/{id}"), Some(labels)).status, 400);
    server.claim(&id);
    assert_eq!(server.post(&format!("/tasks/{id}/move"), &json!({"lane": "Done"})).status, 409);
    assert_eq!(
        server.post(&format!("/tasks/{id}/move"), &json!({})).text_at("/error"),
        "missing field: lane"
    );
}

#[test]
fn a_queue_of_the_board_is_not_a_lane_for_the_task_of_a_card() {
    let server = Server::new();
    let card = json!({"lane": "work", "prompt": "x", "metadata": {"bridge": "team", "card": "7"}});
    let id = server.post("/tasks", &card).text_at("/id");
    server.claim(&id);
    let path = format!("/tasks/{id}/move");
    let moved = server.post(&path, &json!({"target_queue": "App.Work.In Review"}));
    assert_eq!((moved.status, moved.text_at("/queue").as_str()), (200, "work"), "{}", moved.text);
    let history = server.get(&format!("/tasks/{id}/history"));
    let events = history.at("/events");
    let asked = events.as_array().unwrap().iter().find(|event| event["type"] == "card_move");
    assert_eq!(asked.unwrap()["data"], json!({"queue": "App.Work.In Review"}));
    assert_eq!(server.post(&path, &json!({"target_queue": "a\u{7}"})).status, 400);
    assert_eq!(server.post(&path, &json!({"lane": "other"})).status, 409, "a lane is a lane; it is claimed");
    // A task of no card.
    let other = server.submit("work");
    let moved = server.post(&format!("/tasks/{other}/move"), &json!({"target_queue": "Doing"}));
    assert_eq!(moved.text_at("/queue"), "Doing");
}

#[test]
fn a_failed_task_is_tried_again_once() {
    let server = Server::new();
    let id = server.submit("l");
    assert_eq!(server.post(&format!("/tasks/{id}/retry"), &json!({})).status, 409);
    server.post(&format!("/tasks/{id}/cancel"), &json!({}));
    let first = server.post(&format!("/tasks/{id}/retry"), &json!({}));
    let second = server.post(&format!("/tasks/{id}/retry"), &json!({}));
    assert_eq!((first.status, second.status), (201, 200));
    assert_eq!(first.text_at("/task/id"), second.text_at("/task/id"));
    assert_eq!(first.text_at("/task/retry_of"), id);
}

#[test]
fn pages_show_every_task_once() {
    let server = Server::new();
    let ids: Vec<String> = (0..7).map(|n| server.submit(if n % 2 == 0 { "even" } else { "odd" })).collect();
    server.claim(&ids[0]);
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server.get(&format!("/tasks?limit=3{cursor}"));
        seen.extend(page.at("/tasks").as_array().unwrap().iter().map(|task| task["id"].clone()));
        match page.at("/next_cursor") {
            Value::String(next) => cursor = format!("&cursor={next}"),
            _ => break,
        }
    }
    assert_eq!(seen, ids);
    assert_eq!(server.get("/tasks?lane=odd").at("/count"), json!(3));
    assert_eq!(server.get("/tasks?lane=even&state=queued").at("/count"), json!(3));
    assert_eq!(server.get("/tasks?state=claimed&state=completed").at("/count"), json!(1));
    std::fs::write(server.dir.path().join("state/tasks").join(&ids[3]).join("task.json"), "{").unwrap();
    let page = server.get("/tasks");
    assert_eq!((page.at("/count"), page.text_at("/unreadable/0/id")), (json!(6), ids[3].clone()));
    let broken = server.get(&format!("/tasks/{}", ids[3]));
    assert_eq!((broken.status, broken.code().as_str()), (500, "corrupt"));
}

#[test]
fn lanes_are_managed_only_when_that_is_switched_on() {
    let closed = Server::new();
    for (method, path) in [("POST", "/queues"), ("PATCH", "/lanes/a"), ("DELETE", "/queues/a")] {
        let body = (method != "DELETE").then(|| json!({"name": "a", "lane": "a"}));
        let answer = ask(&closed, method, path, body);
        assert_eq!((answer.status, answer.code().as_str()), (403, "management_disabled"), "{method} {path}");
    }

    let server = Server::with(&["--enable-queue-management"]);
    let created = server.post("/queues", &json!({"name": "a/b c", "description": "d"}));
    assert_eq!((created.status, created.text_at("/queue/name").as_str()), (201, "a/b c"));
    assert_eq!(server.post("/lanes", &json!({"name": "a/b c"})).status, 409);
    assert_eq!(server.get("/lanes/a%2Fb%20c").text_at("/lane/description"), "d");
    assert_eq!(server.get("/lanes/nowhere").status, 404);
    let change = json!({"name": "new", "description": "e", "paused": true, "reason": "lunch"});
    let renamed = ask(&server, "PATCH", "/lanes/a%2Fb%20c", Some(change));
    assert_eq!(renamed.text_at("/lane/name"), "new", "{}", renamed.text);
    assert_eq!(renamed.text_at("/lane/pause/reason"), "lunch");
    let id = server.submit("new");
    assert_eq!(server.post(&format!("/tasks/{id}/claim"), &json!({})).status, 409);
    assert_eq!(ask(&server, "DELETE", "/queues/new", None).status, 409);
    assert_eq!(
        ask(&server, "PATCH", "/lanes/new", Some(json!({"paused": false}))).at("/paused"),
        json!(false)
    );
    assert_eq!(ask(&server, "PATCH", "/lanes/new", Some(json!({"name": "other"}))).status, 409);
    server.post("/lanes", &json!({"name": "short"}));
    assert_eq!(ask(&server, "DELETE", "/queues/short", None).status, 204);
    assert_eq!(ask(&server, "DELETE", "/queues/short", None).status, 404);
    assert_eq!(ask(&server, "DELETE", "/queues/review", None).status, 409, "the configuration names it");
    let names: Vec<Value> = server
        .get("/queues")
        .at("/queues")
        .as_array()
        .unwrap()
        .iter()
        .map(|lane| lane["name"].clone())
        .collect();
    assert_eq!(names, ["new", "review"]);
}

#[test]
fn agents_are_those_of_live_dispatchers() {
    let server = Server::new();
    let id = server.submit("l");
    server.claim(&id);
    let store = server.store();
    assert_eq!(server.get("/agents").at("/count"), json!(0));
    let data = json!({
        "max_concurrent": 3, "claims": "0123456789abcdef",
        "running": [{
            "task_id": id, "lane": "l", "vendor": "claude", "run": "0000000000000000000000000000471f",
            "started_at": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T00:01:00Z",
        }],
    });
    let worker = lanes::internals::store::WorkerInfo {
        kind: lanes::internals::store::WorkerKind::Dispatcher,
        owner: owner("d"),
        pid: 1,
        lanes: vec![lane_name("l")],
        filter: String::new(),
        since: store.now().wall,
        data: data.as_object().unwrap().clone(),
    };
    let card = store.register(&worker).unwrap();
    let status = server.get("/status");
    for (pointer, n) in [("/capacity", 3), ("/active_agents", 1), ("/free_slots", 2)] {
        assert_eq!(status.at(pointer), json!(n), "{pointer}");
    }
    let dispatcher = status.at("/dispatchers/0");
    assert_eq!(
        (&dispatcher["name"], &dispatcher["slots"], &dispatcher["pid"]),
        (&json!("d"), &json!(3), &json!(1))
    );
    let run = &dispatcher["running"][0];
    assert_eq!((&run["task_id"], &run["lane"], &run["attempt"]), (&json!(id), &json!("l"), &json!(1)));
    assert!(!status.text.contains("0123456789abcdef"), "{}", status.text);
    let agents = server.get("/agents");
    assert!(!agents.text.contains("471f"), "{}", agents.text);
    assert_eq!(
        (agents.text_at("/agents/0/task_id"), agents.at("/agents/0/timeout_seconds")),
        (id.clone(), json!(60.0))
    );
    let runs = task_file(&store, &lanes::internals::model::TaskId::parse(&id).unwrap(), "attempts/1");
    std::fs::create_dir_all(&runs).unwrap();
    std::fs::write(runs.join("stdout.log"), "thinking").unwrap();
    let agent = server.get(&format!("/agents/{id}"));
    assert_eq!(agent.text_at("/agent/recent_output"), "thinking");
    assert!(agent.at("/agent/runtime_seconds").as_f64().unwrap() >= 0.0);
    drop(card);
    assert_eq!(server.get(&format!("/agents/{id}")).status, 404);
}

#[test]
fn prompt_and_priority_are_edited_while_a_task_waits() {
    let server = Server::new();
    let id = server.submit("l");
    let path = format!("/tasks/{id}");
    let patch = json!({"prompt": "Do it well.", "priority": -3});
    let edited = ask(&server, "PATCH", &path, Some(patch.clone()));
    assert_eq!(edited.status, 200, "{}", edited.text);
    assert_eq!(
        (edited.text_at("/task/prompt"), edited.at("/task/priority")),
        ("Do it well.".to_string(), json!(-3))
    );
    for (bad, status) in
        [(json!({"priority": 1001}), 400), (json!({"prompt": 1}), 400), (json!({"prompt": " "}), 400)]
    {
        assert_eq!(ask(&server, "PATCH", &path, Some(bad)).status, status);
    }
    server.claim(&id);
    let refused = ask(&server, "PATCH", &path, Some(json!({"prompt": "No, this."})));
    assert_eq!((refused.status, refused.code().as_str()), (409, "refused"), "{}", refused.text);
    assert_eq!(ask(&server, "PATCH", &path, Some(json!({"name": "Named"}))).status, 200);
    assert_eq!(server.get(&path).text_at("/task/prompt"), "Do it well.");
}
