//! The routes of agent-lanes.

use serde_json::{Value, json};

use crate::testkit::server::Server;

/// A body as agent-lanes' own clients send it.
fn full(server: &Server, correlation: &str) -> Value {
    let root = server.root();
    std::fs::write(root.join("request.md"), "please look").unwrap();
    json!({
        "workspace_id": "w", "correlation_id": correlation, "lane": "review",
        "workspace_root": root, "request_path": root.join("request.md"), "response_path": root.join("out.md"),
    })
}

#[test]
fn a_task_goes_its_way() {
    let server = Server::new();
    let mut body = full(&server, "c");
    body["metadata"] = json!({"required_vendor": "claude", "n": 1});
    let created = server.post("/tasks", &body);
    assert_eq!(created.status, 201, "{}", created.text);
    let id = created.text_at("/task/id");
    assert_eq!(created.text_at("/task/state"), "queued");
    assert_eq!(created.at("/task/metadata"), json!({"required_vendor": "claude", "n": 1}));
    assert_eq!(created.text_at("/task/source_agent"), "api");
    assert_eq!(created.header("location"), Some(format!("/tasks/{id}").as_str()));

    assert_eq!(server.get("/tasks/next?lane=review&wait_seconds=0").text_at("/task/id"), id);
    assert_eq!(server.get("/tasks/next?lane=other&wait_seconds=0").at("/task"), Value::Null);

    let claimed = server.post(&format!("/tasks/{id}/claim"), &json!({"owner": "me", "lease_seconds": 60}));
    let token = claimed.text_at("/task/claim_token");
    assert_eq!(token.len(), 32);
    assert_eq!(claimed.text_at("/task/claim_owner"), "me");

    let event = json!({"type": "note", "message": "half", "data": {"a": "b"}});
    assert_eq!(server.post(&format!("/tasks/{id}/events"), &event).json(), json!({"ok": true}));

    let released =
        server.post(&format!("/tasks/{id}/release"), &json!({"claim_token": token, "reason": "later"}));
    assert_eq!(released.text_at("/task/state"), "queued");

    let token = server.claim(&id);
    let renewed =
        server.post(&format!("/tasks/{id}/renew"), &json!({"claim_token": token, "lease_seconds": 99}));
    assert_eq!(renewed.text_at("/claim_token"), token);
    let answer = json!({"claim_token": token, "body": "fine", "verdict": "accept", "reviewer": "r"});
    let responded = server.post(&format!("/tasks/{id}/response"), &answer);
    assert_eq!(responded.text_at("/response/body"), "fine", "{}", responded.text);
    let again = server.post(&format!("/tasks/{id}/response"), &answer);
    assert_eq!(again.at("/response"), responded.at("/response"));

    let response = server.get(&format!("/tasks/{id}/response?wait_seconds=5"));
    assert_eq!(response.text_at("/response/verdict"), "accept");
    assert_eq!(server.get(&format!("/tasks/{id}")).text_at("/task/state"), "completed");
}

#[test]
fn missing_fields_are_named() {
    let server = Server::new();
    for name in ["workspace_id", "correlation_id", "lane", "workspace_root", "request_path", "response_path"]
    {
        for null in [false, true] {
            let mut body = full(&server, "c");
            if null {
                body[name] = Value::Null;
            } else {
                body.as_object_mut().unwrap().remove(name);
            }
            let answer = server.post("/tasks", &body);
            assert_eq!(answer.status, 400, "{}", answer.text);
            assert_eq!(answer.text_at("/error"), format!("missing field: {name}"));
        }
    }
    assert_eq!(server.get("/tasks/next").text_at("/error"), "missing field: lane");
    let mut legacy = full(&server, "c");
    legacy["checkpoint_id"] = legacy["correlation_id"].take();
    assert_eq!(server.post("/tasks", &legacy).text_at("/task/correlation_id"), "c");
}

#[test]
fn refusals_have_their_codes() {
    let server = Server::new();
    let id = server.submit("l");
    let unknown = server.get("/tasks/20260101T000000000000Z-a-b");
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "not_found"));
    for bad in ["..", "a..b", "%2e%2e%2fetc", "-x", "a%00"] {
        let answer = server.get(&format!("/tasks/{bad}"));
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid"), "{bad}");
    }
    // A part of an id is enough on the command line, never here.
    assert_eq!(server.get(&format!("/tasks/{}", &id[..20])).status, 404);
    server.claim(&id);
    let twice = server.post(&format!("/tasks/{id}/claim"), &json!({}));
    assert_eq!((twice.status, twice.code().as_str()), (409, "refused"));
    let wrong = server.post(&format!("/tasks/{id}/response"), &json!({"body": "x", "claim_token": "0"}));
    assert_eq!(wrong.status, 409);
    let lease = server.post(&format!("/tasks/{id}/claim"), &json!({"lease_seconds": 1e20}));
    assert_eq!(lease.status, 400);
    let pending = server.get(&format!("/tasks/{id}/response?wait_seconds=0"));
    assert_eq!((pending.status, pending.code().as_str()), (408, "timed_out"));
}

#[test]
fn nobody_but_the_holder_sees_the_token() {
    let server = Server::new();
    let id = server.submit("l");
    let token = server.claim(&id);
    for path in [format!("/tasks/{id}"), "/tasks".to_string(), "/status".to_string(), "/lanes".to_string()] {
        let answer = server.get(&path);
        assert_eq!(answer.status, 200);
        assert!(!answer.text.contains(&token), "{path}");
    }
    let edited = server.client().ask("PATCH", &format!("/tasks/{id}"), &[], Some(&json!({"name": "n"})));
    assert!(!edited.text.contains(&token));
    let mut stream = server.client();
    stream.request("GET", "/events?since=0", &[], None);
    stream.until("retry");
    let event = stream.until("\"type\":\"edited\"");
    assert!(event.contains("\"type\":\"claimed\"") && !event.contains(&token), "{event}");
    let answer = json!({"claim_token": token, "body": "done"});
    assert!(!server.post(&format!("/tasks/{id}/response"), &answer).text.contains(&token));
    assert!(!server.get(&format!("/tasks/{id}")).text.contains(&token));
}

#[test]
fn workspaces_are_limited() {
    let elsewhere = tempfile::tempdir().unwrap();
    let allowed = elsewhere.path().join("allowed");
    std::fs::create_dir_all(allowed.join("inner")).unwrap();
    std::fs::write(elsewhere.path().join("secret"), "s").unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), allowed.join("link")).unwrap();
    let server = Server::with(&["--allow-root", allowed.to_str().unwrap()]);
    for (root, request, status) in [
        (allowed.join("inner"), allowed.join("inner/request"), 201),
        (elsewhere.path().to_path_buf(), elsewhere.path().join("secret"), 400),
        (allowed.join("link"), elsewhere.path().join("secret"), 400),
        (allowed.join(".."), elsewhere.path().join("secret"), 400),
        (allowed.join("gone"), elsewhere.path().join("secret"), 400),
        ("/".into(), "/etc/passwd".into(), 400),
        (allowed.clone(), elsewhere.path().join("secret"), 400),
        (allowed.clone(), allowed.join("link/secret"), 400),
    ] {
        std::fs::write(allowed.join("inner/request"), "r").unwrap();
        let mut body = full(&server, "c");
        body["workspace_root"] = json!(root);
        body["request_path"] = json!(request);
        body["response_path"] = json!(root.join("out"));
        let answer = server.post("/tasks", &body);
        assert_eq!(answer.status, status, "{}: {}", root.display(), answer.text);
    }
}

#[test]
fn answers_keep_away_from_what_decides_over_tasks() {
    let server = Server::new();
    let mut body = full(&server, "c");
    for (path, status) in [
        ("handoff/handoff.yaml", 400),
        ("handoff/../handoff/handoff.yaml", 400),
        (".agent-lanes-queue/handoff.yaml", 400),
        ("state/format.json", 400),
        ("state/tasks/new/response.md", 400),
        ("handoff/responses/c.md", 201),
        ("handoff/responses/handoff.yaml", 201),
    ] {
        body["response_path"] = json!(path);
        let full = server.post("/tasks", &body);
        assert_eq!(full.status, status, "{path}: {}", full.text);
        let short = server.post("/tasks", &json!({"lane": "l", "prompt": "p", "response_to": path}));
        assert_eq!(short.status, status, "{path}: {}", short.text);
    }
}

#[test]
fn a_key_makes_a_submit_repeatable() {
    let server = Server::new();
    let body = json!({"lane": "l", "prompt": "once"});
    let mut client = server.client();
    let mut submit = |body: &Value| client.ask("POST", "/tasks", &[("Idempotency-Key", "k")], Some(body));
    let first = submit(&body);
    let second = submit(&body);
    assert_eq!((first.status, second.status), (201, 200));
    assert_eq!(first.text_at("/task/id"), second.text_at("/task/id"));
    assert_eq!(second.at("/existing"), json!(true));
    assert_eq!(submit(&json!({"lane": "l", "prompt": "other"})).status, 409);
    assert_eq!(submit(&json!({"lane": "l", "prompt": "once", "key": "j"})).status, 400);
    let by_field = server.post("/tasks", &json!({"lane": "l", "prompt": "once", "key": "k"}));
    assert_eq!(by_field.text_at("/task/id"), first.text_at("/task/id"));
}

#[test]
fn a_path_that_leads_outside_is_refused_in_the_same_words_whatever_is_there() {
    let elsewhere = tempfile::tempdir().unwrap();
    let outside = elsewhere.path().canonicalize().unwrap();
    let allowed = outside.join("allowed");
    std::fs::create_dir_all(allowed.join("tree")).unwrap();
    std::fs::create_dir(outside.join("closed")).unwrap();
    std::fs::write(outside.join("file"), "s").unwrap();
    let server = Server::with(&["--allow-root", allowed.to_str().unwrap()]);
    let root = server.root();
    std::fs::create_dir_all(root.join("tree")).unwrap();
    std::fs::write(root.join("plain"), "p").unwrap();
    std::os::unix::fs::symlink(&outside, root.join("out")).unwrap();
    std::os::unix::fs::symlink("round", root.join("round")).unwrap();
    let submit = |name: &str, value: Value| {
        let mut body = json!({"lane": "l", "prompt": "p"});
        body[name] = value;
        server.post("/tasks", &body)
    };
    for good in [json!("tree"), json!(root.join("tree")), json!("tree/later"), json!(allowed.join("tree"))] {
        let answer = submit("worktree_path", good.clone());
        assert_eq!(answer.status, 201, "{good}: {}", answer.text);
    }
    // A directory of credentials would make its files those of the task's workspace.
    std::fs::create_dir_all(root.join("tree/.aws")).unwrap();
    std::fs::create_dir_all(root.join(".git")).unwrap();
    for place in ["tree/.aws", ".git"] {
        for name in ["workspace_root", "worktree_path"] {
            let answer = submit(name, json!(root.join(place)));
            assert_eq!(
                (answer.status, answer.at("/code")),
                (400, json!("invalid")),
                "{place}: {}",
                answer.text
            );
        }
    }
    let nowhere = |path: &str| outside.join(path).to_str().unwrap().to_string();
    let elsewhere = [
        nowhere(""),
        nowhere("file"),
        nowhere("missing"),
        nowhere("file/below"),
        nowhere("closed/below"),
        "/proc/self/fd/0".to_string(),
        "/proc/1/root".to_string(),
        "/".to_string(),
        "..".to_string(),
        "tree/../../x".to_string(),
        "out".to_string(),
        "out/missing".to_string(),
        "round".to_string(),
        "plain/below".to_string(),
        "~nobody/x".to_string(),
        "~".to_string(),
        "x".repeat(300),
    ];
    for name in ["worktree_path", "request_from", "response_to"] {
        let mut words = std::collections::BTreeSet::new();
        for path in &elsewhere {
            let answer = submit(name, json!(path));
            assert_eq!((answer.status, answer.code().as_str()), (400, "invalid"), "{name} {path}");
            words.insert(answer.text);
        }
        assert_eq!(words.len(), 1, "{name}: {words:?}");
        let words = words.pop_first().unwrap();
        assert!(words.contains(name) && !words.contains(outside.to_str().unwrap()), "{words}");
    }
    for store in ["state", "state/tasks/new", "/proc/self/fd/3"] {
        assert_eq!(submit("worktree_path", json!(store)).status, 400, "{store}");
    }
    for path in &elsewhere {
        let answer = submit("supporting_paths", json!([path]));
        assert_eq!(answer.status, 400, "{path}");
        assert!(
            answer.text_at("/error").starts_with("supporting_paths[0] is not a path in"),
            "{}",
            answer.text
        );
        let batch = server
            .post("/tasks/batch", &json!({"tasks": [{"lane": "l", "prompt": "p", "worktree_path": path}]}));
        assert_eq!(batch.at("/count"), json!(0), "{path}: {}", batch.text);
    }
}
