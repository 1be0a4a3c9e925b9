//! Everything that the command line can do to tasks and lanes also works over HTTP, with the same refusals.

use serde_json::{Value, json};

use crate::testkit::server::{Server, ask, program};
use crate::testkit::wait::eventually;

/// A task whose attempts are spent.
fn dead(server: &Server, lane: &str) -> String {
    let body = json!({"lane": lane, "prompt": "p", "max_attempts": 1});
    let id = server.post("/tasks", &body).text_at("/task/id");
    let token = server.claim(&id);
    let spent = json!({"claim_token": token, "failure_class": "error"});
    let released = server.post(&format!("/tasks/{id}/release"), &spent);
    assert_eq!(released.text_at("/task/failure_class"), "dead", "{}", released.text);
    id
}

#[test]
fn dead_tasks_are_redriven_one_by_one_or_by_lane() {
    let server = Server::new();
    let (first, second) = (dead(&server, "l"), dead(&server, "l"));
    let other = dead(&server, "other");
    let failed = server.submit("l");
    server.post(&format!("/tasks/{failed}/cancel"), &json!({}));
    let refused = server.post(&format!("/tasks/{failed}/redrive"), &json!({}));
    assert_eq!((refused.status, refused.code().as_str()), (409, "refused"));
    assert!(refused.text.contains("is not dead"), "{}", refused.text);

    let redriven = server.post(&format!("/tasks/{first}/redrive"), &json!({"by": "me"}));
    assert_eq!((redriven.status, redriven.text_at("/task/state").as_str()), (201, "queued"));
    assert_eq!(redriven.text_at("/retry_of"), first);
    let again = server.post(&format!("/tasks/{first}/redrive"), &json!({}));
    assert_eq!((again.status, again.text_at("/task_id")), (200, redriven.text_at("/task_id")));

    let lane = server.post("/lanes/l/redrive", &json!({}));
    assert_eq!((lane.status, lane.at("/count")), (200, json!(1)), "{}", lane.text);
    assert_eq!(lane.text_at("/results/0/retry_of"), second);
    assert_eq!(server.post("/lanes/l/redrive", &json!({})).at("/count"), json!(0));
    // The command line retries what is left: the task in the other lane.
    let left: Value = serde_json::from_str(&server.lanes(&["redrive", "--lane", "other", "--json"])).unwrap();
    assert_eq!((&left["count"], &left["results"][0]["retry_of"]), (&json!(1), &json!(other)));
}

#[test]
fn why_and_history_are_those_of_the_command_line() {
    let server = Server::new();
    let id = server.submit("l");
    let why = server.get(&format!("/tasks/{id}/why"));
    assert_eq!((why.status, why.text_at("/reason").as_str()), (200, "no_worker"), "{}", why.text);
    assert_eq!(why.text_at("/message"), server.lanes(&["why", &id]));
    let token = server.claim(&id);
    assert_eq!(server.get(&format!("/tasks/{id}/why")).text_at("/reason"), "claimed");
    server.lanes(&["event", &id, "--message", "half"]);
    server.post(&format!("/tasks/{id}/response"), &json!({"claim_token": token, "body": "done"}));
    let history = server.get(&format!("/tasks/{id}/history"));
    let shown: Value = serde_json::from_str(&server.lanes(&["show", &id, "--json"])).unwrap();
    assert_eq!(history.at("/events"), shown["events"]);
    assert_eq!(history.at("/response"), shown["response"]);
    assert_eq!(history.at("/task/claim_token"), Value::Null);
    for path in ["why", "history"] {
        assert_eq!(server.get(&format!("/tasks/20260101T000000000000Z-a-b/{path}")).status, 404);
    }
}

#[test]
fn a_lane_is_paused_and_resumed_by_those_who_may() {
    let closed = Server::new();
    for verb in ["pause", "resume"] {
        let refused = closed.post(&format!("/lanes/l/{verb}"), &json!({}));
        assert_eq!((refused.status, refused.code().as_str()), (403, "management_disabled"));
    }
    let server = Server::with(&["--enable-queue-management"]);
    // Also before its first use, as on the command line.
    let paused = server.post("/lanes/a%2Fb/pause", &json!({"reason": "lunch"}));
    assert_eq!(paused.json(), json!({"lane": "a/b", "paused": true, "changed": true}));
    assert_eq!(server.post("/lanes/a%2Fb/pause", &json!({"reason": "lunch"})).at("/changed"), json!(false));
    let id = server.submit("a/b");
    assert!(server.lanes(&["why", &id]).contains("lunch"));
    assert_eq!(server.post("/tasks/claim", &json!({"lane": "a/b"})).at("/task"), Value::Null);
    assert_eq!(server.post("/lanes/a%2Fb/resume", &json!({})).at("/changed"), json!(true));
    assert_eq!(server.post("/tasks/claim", &json!({"lane": "a/b"})).text_at("/task/id"), id);
    assert_eq!(server.post("/lanes/-rf/pause", &json!({})).status, 400);
}

#[test]
fn a_vendor_is_paused_and_resumed_by_those_who_may() {
    let closed = Server::new();
    let refused = closed.post("/vendors/claude/pause", &json!({}));
    assert_eq!((refused.status, refused.code().as_str()), (403, "management_disabled"));
    assert_eq!(closed.get("/vendors").json(), json!({"parked": {}, "count": 0}));
    let server = Server::with(&["--enable-queue-management"]);
    let wish = json!({"model": "Opus", "until": "2999-01-01T00:00:00Z", "reason": "dear"});
    let paused = server.post("/vendors/claude/pause", &wish);
    assert_eq!((paused.at("/paused"), paused.at("/changed")), (json!(true), json!(true)));
    let listed = server.get("/vendors");
    let expected = json!({
        "vendor": "claude", "model": "opus", "kind": "asked", "until": "2999-01-01T00:00:00.000000Z", "reason": "dear",
    });
    assert_eq!(listed.json()["parked"]["claude/opus"], expected);
    assert_eq!(server.get("/status").json()["parked"], json!([expected]));
    assert!(server.lanes(&["workers"]).contains("claude with model opus is paused"));
    // A program's name has slashes.
    assert_eq!(
        server.post("/vendors/command:%2Fbin%2Fsh/pause", &json!({})).text_at("/vendor"),
        "command:/bin/sh"
    );
    for wrong in [
        json!({"for_seconds": 0}),
        json!({"for_seconds": -1}),
        json!({"until": "2001-01-01T00:00:00Z"}),
        json!({"until": "tomorrow"}),
        json!({"model": ""}),
    ] {
        assert_eq!(server.post("/vendors/claude/pause", &wrong).status, 400, "{wrong}");
    }
    // For all models, the key is null and not omitted.
    let program = server.get("/vendors").json()["parked"]["command:/bin/sh"].clone();
    assert_eq!(program.get("model"), Some(&json!(null)), "{program}");
    let resumed = server.post("/vendors/claude/resume", &json!({}));
    assert_eq!((resumed.at("/changed"), resumed.at("/pauses/0/model")), (json!(true), json!("opus")));
    assert_eq!(server.post("/vendors/claude/resume", &json!({})).at("/changed"), json!(false));
    assert_eq!(server.get("/vendors").at("/count"), json!(1));
}

#[test]
fn many_tasks_are_submitted_at_once_each_for_itself() {
    let server = Server::new();
    std::fs::write(server.root().join("request.md"), "look").unwrap();
    let root = server.root();
    let batch = json!({"tasks": [
        {"lane": "l", "prompt": "one", "key": "k", "colour": "red"},
        {"lane": "l"},
        {"lane": "l", "prompt": "two", "priority": 1001},
        {"workspace_id": "w", "correlation_id": "c", "lane": "l", "workspace_root": root,
         "request_path": "request.md", "response_path": "out.md"},
        {"lane": "l", "prompt": "other", "key": "k"},
        {"queue_name": "l", "name": "Paint", "metadata": {"n": 1}},
    ]});
    let answer = server.post("/tasks/batch", &batch);
    assert_eq!(
        (answer.status, answer.text_at("/status").as_str()),
        (200, "partly_refused"),
        "{}",
        answer.text
    );
    let indexes = |list: &str| -> Vec<Value> {
        answer.at(list).as_array().unwrap().iter().map(|entry| entry["index"].clone()).collect()
    };
    assert_eq!(indexes("/tasks"), [json!(0), json!(3), json!(5)]);
    assert_eq!(indexes("/errors"), [json!(1), json!(2), json!(4)]);
    assert!(answer.text_at("/tasks/0/warnings/0").contains("unknown keys, which are ignored: colour"));
    assert!(answer.text_at("/errors/0/error").starts_with("missing field: prompt"));
    assert_eq!(answer.text_at("/errors/2/code"), "refused");
    let last = answer.text_at("/tasks/2/task_id");
    assert_eq!(server.get(&format!("/tasks/{last}")).at("/task/metadata/n"), json!(1));
    let again = server.post("/tasks/batch", &json!({"tasks": [{"lane": "l", "prompt": "one", "key": "k"}]}));
    assert_eq!((again.text_at("/status").as_str(), again.at("/tasks/0/existing")), ("ok", json!(true)));
    // A key for the whole batch gives each task a key of its own.
    let twins = json!({"tasks": [{"lane": "m", "prompt": "p"}, {"lane": "m", "prompt": "p"}]});
    let keyed =
        || server.client().ask("POST", "/tasks/batch", &[("Idempotency-Key", "b")], Some(&twins)).json();
    let long = "k".repeat(201);
    let refused = server.client().ask("POST", "/tasks/batch", &[("Idempotency-Key", &long)], Some(&twins));
    assert_eq!(refused.status, 400, "{}", refused.text);
    let (first, second) = (keyed(), keyed());
    for n in 0..2 {
        assert_eq!(
            (&first["tasks"][n]["existing"], &second["tasks"][n]["existing"]),
            (&json!(false), &json!(true))
        );
        assert_eq!(first["tasks"][n]["task_id"], second["tasks"][n]["task_id"]);
    }
    let one = json!({"lane": "m", "prompt": "p", "key": "b#1"});
    assert_eq!(server.post("/tasks", &one).json()["task_id"], first["tasks"][1]["task_id"]);
    for bad in [json!({}), json!({"tasks": []}), json!({"tasks": [1]}), json!({"tasks": {}})] {
        assert_eq!(server.post("/tasks/batch", &bad).status, 400, "{bad}");
    }
    assert_eq!(server.get("/tasks").at("/count"), json!(5));
}

#[test]
fn unknown_fields_are_reported() {
    let server = Server::new();
    let two = |description: &str| {
        let body = json!({"lane": "l", "prompt": "p", "description": description});
        server.post("/tasks", &body).at("/warnings")
    };
    assert_eq!(two("d"), json!(["the body has both prompt and description: the prompt is used"]));
    assert_eq!(two("p"), json!([]));
    let warned = server.post("/tasks", &json!({"lane": "l", "prompt": "p", "colour": "red", "size": null}));
    assert_eq!(warned.status, 201);
    let warning = warned.text_at("/warnings/0");
    assert_eq!(warning, "the body has unknown keys, which are ignored: colour, size");
    for body in
        [json!({"lane": "a"}), json!({"lane": "a", "prompt": " "}), json!({"queue_name": "a", "key": "k"})]
    {
        let text = server.post("/tasks", &body).text_at("/error");
        assert!(text.starts_with("missing field: prompt; besides the lane, give"), "{text}");
        assert!(text.contains("workspace_id"), "{text}");
    }
    assert_eq!(server.post("/tasks", &json!({})).text_at("/error"), "missing field: lane");
    let state = server.get("/tasks?state=bogus");
    assert_eq!((state.status, state.code().as_str()), (400, "invalid"));
    assert!(
        state
            .text_at("/error")
            .contains("queued, scheduled, blocked, claimed, input_required, completed, failed"),
        "{}",
        state.text
    );
    let whole = server.post("/tasks", &json!({"lane": "l", "prompt": "p", "priority": 2.0}));
    assert_eq!((whole.status, whole.at("/task/priority")), (201, json!(2)), "{}", whole.text);
}

#[test]
fn an_event_is_bounded_at_every_door() {
    let server = Server::new();
    let id = server.submit("l");
    let path = format!("/tasks/{id}/events");
    let large = server.post(&path, &json!({"message": "m", "data": {"a": "x".repeat(200_000)}}));
    assert_eq!((large.status, large.code().as_str()), (400, "invalid"));
    assert!(large.text_at("/error").contains("131072"), "{}", large.text);
    assert_eq!(server.post(&path, &json!({"data": {"a": "x".repeat(100_000)}})).status, 200);
    let half = "x".repeat(70_000);
    let output =
        program(server.dir.path(), &["event", &id, "--message", &half, "--data", &format!("a={half}")]);
    let output = { output }.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("at most 131072 are accepted"));
    assert_eq!(
        ask(&server, "GET", &format!("/tasks/{id}/history"), None).at("/events/1/data/a"),
        "x".repeat(100_000)
    );
}

#[test]
fn questions_are_asked_answered_and_listed() {
    let server = Server::new();
    let id = server.submit("l");
    let token = server.claim(&id);
    let questions = format!("/tasks/{id}/questions");
    let question = json!({"claim_token": token, "question": "Which one?", "choices": ["a", "b"]});
    let half = json!({"claim_token": token, "question": "q", "default": "a"});
    assert_eq!(server.post(&questions, &half).status, 400);
    assert_eq!(server.post(&questions, &json!({"claim_token": "x", "question": "q"})).status, 409);
    let asked = server.post(&questions, &question);
    assert_eq!((asked.status, asked.at("/question")), (201, json!(1)), "{}", asked.text);
    assert_eq!(asked.text_at("/task/state"), "input_required");
    let inbox = server.get("/inbox?lane=l");
    assert_eq!(
        (inbox.at("/count"), inbox.text_at("/items/0/task_id")),
        (json!(1), id.clone()),
        "{}",
        inbox.text
    );
    assert_eq!(server.get("/inbox?lane=m").at("/count"), json!(0));
    assert_eq!(server.post("/tasks/claim", &json!({"lane": "l"})).at("/task"), Value::Null);
    let answer = format!("/tasks/{id}/answer");
    assert_eq!(server.post(&answer, &json!({"answer": "c", "choice": true})).status, 400);
    assert_eq!(server.post(&answer, &json!({"answer": "c", "question": 7})).status, 409);
    let answered = server.post(&answer, &json!({"answer": "b", "choice": true, "by": "me"}));
    assert_eq!(
        (answered.status, answered.text_at("/task/state").as_str()),
        (200, "queued"),
        "{}",
        answered.text
    );
    assert_eq!(server.post(&answer, &json!({"answer": "b"})).at("/changed"), json!(false));
    assert_eq!(server.post(&answer, &json!({"answer": "a"})).status, 409);
    let claimed = server.post("/tasks/claim", &json!({"lane": "l"}));
    assert_eq!(claimed.text_at("/task/questions/0/answer"), "b");
}

#[test]
fn messages_reach_those_who_hold_the_task() {
    let server = Server::new();
    let id = server.submit("l");
    let messages = format!("/tasks/{id}/messages");
    assert_eq!(server.post(&messages, &json!({})).status, 400);
    assert_eq!(server.post(&messages, &json!({"message": " "})).status, 400);
    let told = server.post(&messages, &json!({"message": "first", "by": "eve"}));
    assert_eq!((told.status, told.text_at("/delivery").as_str()), (201, "claim"), "{}", told.text);
    assert_eq!((told.at("/message/n"), told.at("/message/read_by")), (json!(1), Value::Null));
    let claimed = server.post("/tasks/claim", &json!({"lane": "l", "owner": "ada"}));
    assert_eq!(claimed.text_at("/messages/0/message"), "first", "{}", claimed.text);
    let token = claimed.text_at("/claim_token");
    let reader = |n: usize| server.get(&format!("/tasks/{id}")).at(&format!("/task/messages/{n}/read_by"));
    assert_eq!(reader(0), json!("ada"));

    let told = server.post(&messages, &json!({"message": "second"}));
    assert_eq!(told.text_at("/delivery"), "holder");
    let events = format!("/tasks/{id}/events");
    assert_eq!(server.post(&events, &json!({"message": "from outside"})).json(), json!({"ok": true}));
    let renewed = server.post(&format!("/tasks/{id}/renew"), &json!({"claim_token": token}));
    assert_eq!(renewed.at("/messages").as_array().unwrap().len(), 1, "{}", renewed.text);
    assert_eq!((renewed.text_at("/messages/0/message"), reader(1)), ("second".to_string(), json!("ada")));

    server.post(&messages, &json!({"message": "third"}));
    let noted = server.post(&events, &json!({"message": "x", "claim_token": token}));
    assert_eq!((noted.text_at("/messages/0/message"), reader(2)), ("third".to_string(), json!("ada")));
    server.post(&messages, &json!({"message": "fourth"}));
    let ask = json!({"claim_token": token, "question": "Which one?", "keep_claim": true});
    let asked = server.post(&format!("/tasks/{id}/questions"), &ask);
    assert_eq!((asked.text_at("/messages/0/message"), reader(3)), ("fourth".to_string(), json!("ada")));
    server.post(&format!("/tasks/{id}/cancel"), &json!({}));
    assert_eq!(server.post(&messages, &json!({"message": "too late"})).status, 409);
}

#[test]
fn a_task_of_a_batch_depends_on_earlier_ones() {
    let server = Server::new();
    let batch = json!({"tasks": [
        {"lane": "l", "prompt": "a", "key": "first"},
        {"lane": "l", "prompt": "b", "after": [{"line": 1}]},
        {"lane": "l"},
        {"lane": "l", "prompt": "c", "after": [{"line": 2, "on": "ended"}, {"key": "first"}]},
        {"lane": "l", "prompt": "of a refused one", "after": [{"line": 3}]},
        {"lane": "l", "prompt": "itself", "after": [{"line": 6}]},
        {"lane": "l", "prompt": "of a later one", "after_ended": [{"line": 8}]},
        {"lane": "l", "prompt": "d"},
    ]});
    let answer = server.post("/tasks/batch", &batch);
    assert_eq!(answer.status, 200, "{}", answer.text);
    let index_of = |list: &str, n: usize| answer.at(&format!("/{list}/{n}/index"));
    assert_eq!([0, 1, 2, 3].map(|n| index_of("tasks", n)), [0, 1, 3, 7].map(|n| json!(n)));
    assert_eq!([0, 1, 2, 3].map(|n| index_of("errors", n)), [2, 4, 5, 6].map(|n| json!(n)));
    assert_eq!(answer.text_at("/errors/1/error"), "it depends on line 3, which was not submitted");
    assert_eq!(answer.text_at("/errors/2/error"), "it depends on line 6, which does not come before it");
    assert_eq!(answer.text_at("/errors/3/code"), "invalid");
    let [a, b, c] = [0, 1, 2].map(|n| answer.text_at(&format!("/tasks/{n}/task_id")));
    let after = server.get(&format!("/tasks/{c}")).at("/task/after");
    assert_eq!(after, json!([{"on": "ended", "task": b}, {"on": "completed", "task": a}]));
    assert_eq!(server.get(&format!("/tasks/{b}")).text_at("/task/state"), "blocked");
    let alone = server.post("/tasks", &json!({"lane": "l", "prompt": "x", "after": [{"line": 1}]}));
    assert_eq!(alone.status, 400, "{}", alone.text);
    assert!(alone.text_at("/error").contains("only a line of a batch"), "{}", alone.text);
}

#[test]
fn a_graph_has_the_tasks_that_wait_for_each_other() {
    let server = Server::new();
    let submit = |body: Value| server.post("/tasks", &body).text_at("/task_id");
    let build = submit(json!({"lane": "l", "prompt": "\n  Build it.\nAll of it.", "group": "night"}));
    let test = submit(json!({"lane": "m", "prompt": "x", "name": "Test it", "after": [build]}));
    let clean = submit(json!({"lane": "l", "prompt": "y".repeat(100), "after_ended": [test]}));
    let other = submit(json!({"lane": "l", "prompt": "Alone.", "group": "day"}));
    let graph = server.get(&format!("/graph?task={clean}"));
    let nodes = graph.at("/nodes");
    let node = |id: &str| nodes.as_array().unwrap().iter().find(|node| node["id"] == id).unwrap().clone();
    assert_eq!(nodes.as_array().unwrap().len(), 3, "{}", graph.text);
    assert_eq!(
        node(&build),
        json!({"id": build, "title": "Build it.", "lane": "l", "state": "queued", "group": "night", "failure_class": null})
    );
    assert_eq!(
        (node(&test)["title"].clone(), node(&test)["state"].clone()),
        (json!("Test it"), json!("blocked"))
    );
    assert_eq!(node(&clean)["title"], json!(format!("{}…", "y".repeat(79))));
    let edges = graph.at("/edges");
    assert_eq!(edges.as_array().unwrap().len(), 2);
    for edge in [
        json!({"from": build, "to": test, "on": "completed"}),
        json!({"from": test, "to": clean, "on": "ended"}),
    ] {
        assert!(edges.as_array().unwrap().contains(&edge), "{edges}");
    }
    server.post(&format!("/tasks/{build}/cancel"), &json!({}));
    let graph = server.get("/graph?group=night");
    let classes = |id: &str| {
        let nodes = graph.at("/nodes");
        nodes.as_array().unwrap().iter().find(|node| node["id"] == id).unwrap()["failure_class"].clone()
    };
    assert_eq!((classes(&build), classes(&test)), (json!("cancelled"), json!("upstream")));
    assert_eq!(server.get("/graph?group=day").at("/nodes/0/id"), json!(other));
    assert_eq!(server.get("/graph?group=day").at("/edges"), json!([]));
    assert_eq!(server.get("/graph").at("/nodes").as_array().unwrap().len(), 3);
    for (query, status) in [
        ("group=nobody", 404),
        ("task=20261121T070000000000Z-l-0123456789ab-cdef01", 404),
        ("task=a&group=b", 400),
        ("id=x", 400),
        ("task=../x", 400),
    ] {
        let refused = server.get(&format!("/graph?{query}"));
        assert_eq!(refused.status, status, "{query}: {}", refused.text);
    }
}

#[test]
fn a_task_whose_keys_are_free_is_shown_as_queued() {
    let server = Server::new();
    let submit = |key: &str| server.post("/tasks", &json!({"lane": "l", "prompt": "x", "exclusive": [key]}));
    let first = submit("db");
    assert_eq!(first.text_at("/task/state"), "queued", "{}", first.text);
    let (first, second) = (first.text_at("/task_id"), submit("db").text_at("/task_id"));
    let state = |id: &str| server.get(&format!("/tasks/{id}")).text_at("/task/state");
    let listed = |state: &str| server.get(&format!("/tasks?state={state}")).at("/count");
    assert_eq!((listed("queued"), listed("blocked")), (json!(2), json!(0)));
    assert_eq!(server.get("/lanes/l").at("/lane/tasks_by_state/queued"), json!(2));
    let claim = server.post(&format!("/tasks/{first}/claim"), &json!({}));
    assert_eq!((state(&first), state(&second)), ("claimed".to_string(), "blocked".to_string()));
    assert_eq!((listed("queued"), listed("blocked")), (json!(0), json!(1)));
    assert_eq!(server.get(&format!("/tasks/{second}/why")).text_at("/state"), "blocked");
    let token = json!({"claim_token": claim.text_at("/claim_token"), "body": "done"});
    server.post(&format!("/tasks/{first}/response"), &token);
    assert_eq!(state(&second), "queued");
    assert_eq!(server.get(&format!("/tasks/{second}/history")).text_at("/task/state"), "queued");
}

#[test]
fn a_change_with_an_unknown_key_is_refused_as_a_whole() {
    let server = Server::configured("", &["--enable-queue-management"]);
    let created = server.post("/tasks", &json!({"lane": "l", "prompt": "p"}));
    let id = created.text_at("/task/id");
    let path = |action: &str| format!("/tasks/{id}{action}");
    for (method, path, body, key) in [
        ("PATCH", path(""), json!({"name": "n", "after": ["x"]}), "after"),
        ("POST", path("/claim"), json!({"owner": "o", "lease": 5}), "lease"),
        ("POST", path("/cancel"), json!({"why": "no"}), "why"),
        ("POST", path("/move"), json!({"lane": "m", "priority": 1}), "priority"),
        ("POST", path("/messages"), json!({"message": "m", "to": "o"}), "to"),
        ("POST", path("/response"), json!({"body": "b", "text": "t"}), "text"),
        ("POST", "/tasks/claim".to_string(), json!({"lanes": ["l"], "filter": "a=b"}), "filter"),
        (
            "POST",
            "/tasks/batch".to_string(),
            json!({"tasks": [{"lane": "l", "prompt": "p"}], "lane": "l"}),
            "lane",
        ),
        ("PATCH", "/lanes/l".to_string(), json!({"pause": true}), "pause"),
        ("POST", "/lanes/l/pause".to_string(), json!({"until": "x"}), "until"),
    ] {
        let answer = server.client().ask(method, &path, &[], Some(&body));
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid"), "{path}: {}", answer.text);
        assert!(answer.text.contains(&format!("the body has unknown key {key};")), "{path}: {}", answer.text);
    }
    let task = server.get(&path("")).json();
    assert_eq!((&task["task"]["state"], &task["task"]["name"]), (&json!("queued"), &json!(null)), "{task}");
    assert_eq!(server.get("/tasks").at("/count"), json!(1));
}

#[test]
fn the_status_counts_cancelled_tasks() {
    let server = Server::new();
    for name in ["a", "b"] {
        let created = server.post("/tasks", &json!({"lane": "l", "prompt": name}));
        if name == "a" {
            server.post(&format!("/tasks/{}/cancel", created.text_at("/task/id")), &json!({}));
        }
    }
    let lane = server.get("/status").at("/lanes/0");
    assert_eq!(
        (&lane["name"], &lane["cancelled"], &lane["task_count"]),
        (&json!("l"), &json!(1), &json!(2)),
        "{lane}"
    );
    assert_eq!(lane["tasks_by_state"], json!({"failed": 1, "queued": 1}));
    assert_eq!(server.get("/lanes/l").at("/lane/cancelled"), json!(1));
}

#[test]
fn unknown_keys_of_the_configuration_are_reported() {
    let server = Server::configured("no_such_key: 1\n", &[]);
    assert!(server.stderr().contains("no_such_key"), "{}", server.stderr());
}

#[test]
fn a_list_shows_what_time_has_ended() {
    let server = Server::new();
    let deadline = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2);
    let body = json!({"lane": "l", "prompt": "p", "deadline": deadline.to_string()});
    let id = server.post("/tasks", &body).text_at("/task/id");
    let queued = "/tasks?state=queued&fields=summary";
    assert_eq!(server.get(queued).at("/count"), json!(1));
    eventually("the list follows the time", || server.get(queued).at("/count") == json!(0));
    let failed = server.get("/tasks?state=failed&fields=summary");
    assert_eq!(
        (failed.text_at("/tasks/0/id"), failed.text_at("/tasks/0/failure_class")),
        (id.clone(), "expired".into())
    );
    assert_eq!(server.get("/tasks").text_at("/tasks/0/state"), "failed");
    assert_eq!(server.get(&format!("/tasks/{id}")).text_at("/task/state"), "failed");
    // A question outlives the claim of the worker that waits for its answer.
    let asking = server.post("/tasks", &json!({"lane": "l", "prompt": "q"})).text_at("/task/id");
    let claimed = server.post(&format!("/tasks/{asking}/claim"), &json!({"lease_seconds": 1}));
    let question =
        json!({"claim_token": claimed.at("/claim_token"), "question": "Which?", "keep_claim": true});
    assert_eq!(server.post(&format!("/tasks/{asking}/questions"), &question).status, 201);
    let asks = "/tasks?state=input_required&fields=summary";
    eventually("the list follows the lease", || server.get(asks).at("/count") == json!(1));
    // Nobody has recorded it.
    let events = server.get(&format!("/tasks/{id}/history")).at("/events");
    assert_eq!(events.as_array().unwrap().len(), 1, "{events}");
}
