//! Admission by the head before any of the body is kept, and the memory limit of all bodies together.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use crate::testkit::server::{Client, Server, TOKEN};
use crate::testkit::wait::eventually;

/// The largest body that a request may have.
const LARGEST: usize = 8 * 1024 * 1024;

/// A head that announces a body and waits for `100 Continue`.
fn head(method: &str, path: &str, headers: &[(&str, &str)], length: usize) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\n{headers}Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n")
}

#[test]
fn a_head_that_is_refused_is_refused_before_its_body() {
    let server = Server::with(&["--token-file", "token"]);
    let bearer = format!("Bearer {TOKEN}");
    let host = ("Host", "localhost");
    let token = ("Authorization", bearer.as_str());
    let kind = ("Content-Type", "application/json");
    for (method, path, headers, length, status, code) in [
        ("POST", "/tasks", vec![("Host", "evil.test"), token, kind], LARGEST, 403, "host_refused"),
        (
            "POST",
            "/tasks",
            vec![host, token, kind, ("Origin", "http://a.test")],
            LARGEST,
            403,
            "origin_refused",
        ),
        ("POST", "/tasks", vec![host, kind], LARGEST, 401, "unauthorized"),
        ("POST", "/tasks", vec![host, kind], 2 * LARGEST, 401, "unauthorized"),
        ("POST", "/nowhere", vec![host, token, kind], LARGEST, 404, "unknown_route"),
        ("PUT", "/tasks", vec![host, token, kind], LARGEST, 405, "method_not_allowed"),
        ("POST", "/lanes", vec![host, token, kind], LARGEST, 403, "management_disabled"),
        (
            "POST",
            "/tasks",
            vec![host, token, ("Content-Type", "text/plain"), ("Origin", "http://localhost")],
            LARGEST,
            415,
            "content_type_refused",
        ),
        ("POST", "/tasks", vec![host, token, kind], LARGEST + 1, 413, "body_too_large"),
        ("GET", "/tasks", vec![host, token, kind], 1, 400, "invalid"),
    ] {
        let mut client = server.client();
        client.send(head(method, path, &headers, length));
        let answer = client.reply(false);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path} {headers:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{method} {path} {headers:?}");
        assert!(client.is_closed(), "nothing follows it: {method} {path}");
    }
    // Without a body there is nothing that could be taken for the next request.
    let mut client = server.client();
    for path in ["/nowhere", "/tasks"] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert_eq!(client.reply(false).status, 401);
    }
}

#[test]
fn the_rest_of_a_refused_request_is_read_away_for_a_while() {
    let server = Server::new();
    let mut client = server.client();
    client.send(format!("POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LARGEST}\r\n\r\n"));
    client.send(vec![b' '; LARGEST]);
    assert_eq!(client.reply(false).status, 404, "also a client that looks afterwards is told");

    let mut endless = server.client();
    endless.stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    endless.send("POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    let piece = vec![b'x'; 1024 * 1024];
    let taken = (0..200).take_while(|_| endless.stream.write_all(&piece).is_ok()).count();
    assert!(taken < 100, "{taken} MiB were read for nothing");
}

#[test]
fn strangers_cost_no_more_than_their_heads() {
    let server = Server::with(&["--token-file", "token"]);
    let piece = vec![b' '; LARGEST - 1024];
    let strangers: Vec<Client> = (0..60)
        .map(|n| {
            let mut client = Client::to(server.address);
            client.stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
            client.send("POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n");
            match n % 3 {
                0 => client.send(format!("Content-Length: {LARGEST}\r\n\r\n")),
                1 => client.send("Transfer-Encoding: chunked\r\n\r\n7ffc00\r\n"),
                // A head that never ends.
                _ => client.send("X: "),
            }
            let _ = client.stream.write_all(&piece);
            client
        })
        .collect();
    assert_eq!(server.get("/tasks").status, 200);
    assert!(server.resident() < 60_000, "{} kB", server.resident());
    drop(strangers);
}

#[test]
fn all_bodies_together_have_a_bound() {
    let server = Server::new();
    let headers = [("Host", "localhost"), ("Content-Type", "application/json")];
    let mut waiting = Vec::new();
    let mut refused = 0;
    for _ in 0..40 {
        let mut client = server.client();
        client.send(head("POST", "/tasks", &headers, LARGEST));
        let start = client.until("\r\n\r\n");
        if start == "HTTP/1.1 100 Continue\r\n\r\n" {
            waiting.push(client);
        } else {
            assert!(start.starts_with("HTTP/1.1 503 ") && start.contains("\r\nRetry-After: "), "{start}");
            refused += 1;
        }
    }
    // 256 MiB, of which an eighth is for small ones.
    assert_eq!((waiting.len(), refused), (28, 12));
    server.submit("l");
    let holds = |bytes: usize| {
        let line = format!("lanes_http_body_bytes {bytes}\n");
        eventually(&line, || server.get("/metrics").text.contains(&line));
    };
    holds(28 * LARGEST);

    let prompt = "x".repeat(LARGEST - 100);
    let large = json!({"lane": "l", "prompt": prompt});
    let answer = server.post("/tasks", &large);
    assert_eq!((answer.status, answer.code().as_str()), (503, "too_many_bodies"));
    drop(waiting);
    eventually("there is room again", || server.post("/tasks", &large).status == 201);
    holds(0);
}
