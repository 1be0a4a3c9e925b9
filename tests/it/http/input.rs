//! Bad input of every kind.

use serde_json::json;

use crate::testkit::server::Server;

#[test]
fn bad_bodies_get_an_error_with_a_code() {
    let server = Server::new();
    let id = server.submit("l");
    let deep = format!("{{\"metadata\": {}1{}}}", "{\"a\":".repeat(100), "}".repeat(100));
    let mut client = server.client();
    for path in ["/tasks".to_string(), format!("/tasks/{id}/claim"), format!("/tasks/{id}/response")] {
        for body in [
            "x",
            "{",
            "[]",
            "null",
            "1",
            "\"text\"",
            "{\"a\": NaN}",
            "{\"a\": Infinity}",
            "{\"body\": \"\\ud800\"}",
            "{\"lane\": 1, \"owner\": 1, \"body\": 1}",
            "{\"lane\": [], \"owner\": {}, \"body\": true}",
            "{\"lane\": \"a\", \"lane\": \"b\"}",
            "{\"owner\": \"a\", \"body\": \"b\", \"owner\": \"a\"}",
            &deep,
            "{\"lane\": \"l\", \"prompt\": \"p\", \"lease_seconds\": \"1\", \"status\": 3, \"priority\": 1.5}",
            "\u{feff}{}",
            "{\"a\": 1} {}",
        ] {
            client.send(format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            ));
            let answer = client.reply(false);
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (400, "invalid"),
                "{path} {body}: {}",
                answer.text
            );
        }
    }
    client.send(
        "POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n",
    );
    client.send([0xff, 0xfe]);
    assert_eq!(client.reply(false).status, 400);
    assert_eq!(server.get(&format!("/tasks/{id}")).text_at("/task/state"), "queued");
}

#[test]
fn values_out_of_range_are_refused() {
    let server = Server::new();
    let id = server.submit("l");
    for body in [
        json!({"lane": "l", "prompt": ""}),
        json!({"lane": "", "prompt": "p"}),
        json!({"lane": "-rf", "prompt": "p"}),
        json!({"lane": "a\nb", "prompt": "p"}),
        json!({"lane": "l".repeat(201), "prompt": "p"}),
        json!({"lane": "l", "prompt": "p", "priority": 1001}),
        json!({"lane": "l", "prompt": "p", "max_attempts": 0}),
        json!({"lane": "l", "prompt": "p", "delay_seconds": -1}),
        json!({"lane": "l", "prompt": "p", "delay_seconds": 1, "not_before": "2030-01-01T00:00:00Z"}),
        json!({"lane": "l", "prompt": "p", "not_before": "tomorrow"}),
        json!({"lane": "l", "prompt": "p", "timeout_seconds": 0}),
        json!({"lane": "l", "prompt": "p", "labels": ["a\u{7}"]}),
        json!({"lane": "l", "prompt": "p", "metadata": {"a": "x".repeat(2_000_000)}}),
        json!({"lane": "l", "request_from": "/etc/passwd"}),
        json!({"lane": "l", "request_from": "../x"}),
        json!({"lane": "l", "request_from": "handoff/handoff.yaml"}),
        json!({"lane": "l", "request_from": "handoff/state/format.json"}),
        json!({"lane": "l", "request_from": ".env"}),
        json!({"lane": "l", "prompt": "x", "supporting_paths": ["handoff/state/format.json"]}),
        json!({"lane": "l", "prompt": "x", "response_to": ".git/hooks/pre-commit"}),
        json!({"lane": "l", "request_from": "a\u{0}b"}),
        json!({"lane": "l", "request_from": "x".repeat(3000)}),
        json!({"lane": "l", "prompt": "p", "response_to": "state/x"}),
    ] {
        let answer = server.post("/tasks", &body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        assert_eq!(answer.code(), "invalid", "{body}");
    }
    for query in [
        "wait_seconds=nan",
        "wait_seconds=-1",
        "wait_seconds=1e9",
        "wait_seconds=",
        "wait_seconds=1&wait_seconds=2",
    ] {
        assert_eq!(server.get(&format!("/tasks/next?lane=l&{query}")).status, 400, "{query}");
        assert_eq!(server.get(&format!("/tasks/{id}/response?{query}")).status, 400, "{query}");
    }
    for query in ["limit=0", "limit=x", "limit=1001", "cursor=..%2f"] {
        assert_eq!(server.get(&format!("/tasks?{query}")).status, 400, "{query}");
    }
    let counts = json!({"body": "b", "verdict": "accept", "blocking_count": -1});
    assert_eq!(server.post(&format!("/tasks/{id}/response"), &counts).status, 400);
    let verdict = json!({"body": "b", "verdict": "accept", "blocking_count": 2});
    assert_eq!(server.post(&format!("/tasks/{id}/response"), &verdict).status, 400);
    let word = json!({"type": "claimed", "message": "m"});
    assert_eq!(server.post(&format!("/tasks/{id}/events"), &word).status, 400);
}

#[test]
fn methods_are_answered_for_every_path() {
    let server = Server::new();
    let id = server.submit("l");
    let mut client = server.client();
    for (path, allow) in [
        ("/tasks", "GET, POST, HEAD, OPTIONS"),
        ("/tasks/next", "GET, HEAD, OPTIONS"),
        ("/tasks/claim", "POST, OPTIONS"),
        (&format!("/tasks/{id}"), "GET, PATCH, HEAD, OPTIONS"),
        (&format!("/tasks/{id}/renew"), "POST, OPTIONS"),
    ] {
        for method in ["PUT", "TRACE", "BREW", "DELETE"] {
            let answer = client.ask(method, path, &[], None);
            assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method} {path}");
            assert_eq!(answer.code(), "method_not_allowed");
        }
        let options = client.ask("OPTIONS", path, &[], None);
        assert_eq!((options.status, options.header("allow")), (204, Some(allow)));
    }
    let head = client.ask("HEAD", &format!("/tasks/{id}"), &[], None);
    let get = client.ask("GET", &format!("/tasks/{id}"), &[], None);
    assert_eq!((head.status, head.header("content-length")), (200, get.header("content-length")));
    // A HEAD request does not wait.
    assert_eq!(client.ask("HEAD", "/tasks/next?lane=none", &[], None).status, 200);
    for path in ["/task", "/tasks/", "/tasks//claim", &format!("/tasks/{id}/"), "/TASKS", "/tasks/a/b/c"] {
        let answer = client.ask("GET", path, &[], None);
        assert_eq!((answer.status, answer.code().as_str()), (404, "unknown_route"), "{path}");
    }
}

#[test]
fn a_query_that_a_route_does_not_understand_is_refused_by_name() {
    let server = Server::with(&["--enable-queue-management"]);
    let id = server.submit("l");
    let document = server.get("/openapi.json").json();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let target = path.replace("{id}", &id).replace("{name}", "l").replace("{lane}", "l");
        for method in methods.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            let body = matches!(method.as_str(), "POST" | "PATCH").then(|| json!({}));
            let answer = server.client().ask(&method, &format!("{target}?zzz=1"), &[], body.as_ref());
            assert_eq!((answer.status, answer.code().as_str()), (400, "invalid"), "{method} {target}");
            assert!(answer.text_at("/error").contains("'zzz'"), "{}", answer.text);
        }
    }
    // The first would have listed every task; the second gives one parameter two values.
    assert_eq!(server.get("/tasks?keys=x").status, 400);
    assert_eq!(server.get("/tasks?limit=1&limit=2").text_at("/error"), "'limit' is given twice");
    assert_eq!(server.get("/tasks?lane=a&lane=b").status, 200);
    assert_eq!(server.get("/tasks?").status, 200);
}
