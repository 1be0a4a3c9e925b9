//! Authentication, and the parsing of requests.

use std::io::Write;
use std::net::{Ipv4Addr, Shutdown};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::testkit::server::{Client, Server, failed_start, write_secret};

#[test]
fn a_page_of_another_site_reads_and_posts_nothing() {
    let server = Server::new();
    let own = format!("http://{}", server.address);
    let host = server.address.to_string();
    let body = json!({"lane": "l", "prompt": "x"});
    let ask = |headers: &[(&str, &str)], method: &str| {
        let body = (method == "POST").then_some(&body);
        server.client().ask(method, "/tasks", headers, body)
    };
    for method in ["GET", "POST"] {
        // A name that a stranger's DNS server answers with 127.0.0.1.
        let rebound = ask(&[("Host", "evil.test:8765"), ("Origin", "http://evil.test:8765")], method);
        assert_eq!((rebound.status, rebound.code().as_str()), (403, "host_refused"));
        let foreign = ask(&[("Host", &host), ("Origin", "http://evil.test")], method);
        assert_eq!((foreign.status, foreign.code().as_str()), (403, "origin_refused"));
        assert_eq!(foreign.header("access-control-allow-origin"), None);
        let image = ask(&[("Host", &host), ("Sec-Fetch-Site", "cross-site")], method);
        assert_eq!(image.status, 403);
        let ours = ask(&[("Host", &host), ("Origin", &own), ("Sec-Fetch-Site", "same-origin")], method);
        assert!(matches!(ours.status, 200 | 201), "{}", ours.text);
    }
    // What a form or a fetch without permission can send.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
        let simple = ask(&[("Host", &host), ("Origin", &own), ("Content-Type", kind)], "POST");
        assert_eq!((simple.status, simple.code().as_str()), (415, "content_type_refused"), "{kind}");
    }
    let charset = ask(
        &[("Host", &host), ("Origin", &own), ("Content-Type", "Application/JSON; charset=utf-8")],
        "POST",
    );
    assert_eq!(charset.status, 201);
    let preflight = server.client().ask(
        "OPTIONS",
        "/tasks",
        &[("Host", &host), ("Origin", "http://evil.test"), ("Access-Control-Request-Method", "POST")],
        None,
    );
    assert_eq!((preflight.status, preflight.header("access-control-allow-methods")), (403, None));
    assert_eq!(server.get("/tasks").at("/count"), json!(2), "only our own posts count");
}

#[test]
fn a_token_is_asked_for_when_there_is_one() {
    let secrets = tempfile::tempdir().unwrap();
    let path = secrets.path().join("token");
    write_secret(&path, "correct horse battery\n");
    let token = path.to_str().unwrap();
    let everywhere = ["--host", "0.0.0.0", "--token-file", token];
    let open = failed_start(secrets.path(), &everywhere[..2]);
    assert_eq!(open.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&open.stderr).contains("--token-file"), "{open:?}");
    // A token with spaces is invalid.
    let words = failed_start(secrets.path(), &everywhere);
    assert_eq!(words.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&words.stderr).contains("does not contain a token"), "{words:?}");

    write_secret(&path, "correct-horse-battery\n");
    let server = Server::with(&everywhere);
    assert!(server.stderr().contains("the connection is not encrypted"), "{}", server.stderr());
    let address = (Ipv4Addr::LOCALHOST, server.address.port()).into();
    let ask = |headers: &[(&str, &str)]| Client::to(address).ask("GET", "/tasks", headers, None);
    let without = ask(&[]);
    assert_eq!((without.status, without.code().as_str()), (401, "unauthorized"));
    assert!(without.header("www-authenticate").is_some());
    assert_eq!(ask(&[("Authorization", "Bearer correct-horse-batterx")]).status, 401);
    assert_eq!(ask(&[("Authorization", "Bearer correct-horse-battery")]).status, 200);
    assert_eq!(Client::to(address).ask("GET", "/healthz", &[], None).status, 200);
}

#[test]
fn a_taken_port_is_a_clear_error() {
    let server = Server::new();
    let dir = tempfile::tempdir().unwrap();
    let taken = failed_start(dir.path(), &["--port", &server.address.port().to_string()]);
    let printed = String::from_utf8(taken.stderr).unwrap();
    assert_eq!((taken.status.code(), printed.lines().count()), (Some(1), 1), "{printed}");
    assert!(printed.contains("Address already in use") && printed.contains("--port"), "{printed}");
}

#[test]
fn bodies_are_limited_and_the_client_gets_the_limit() {
    let server = Server::new();
    let mut declared = server.client();
    let head = "POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    declared.send(format!("{head}Content-Length: 9000000\r\n\r\n"));
    // Far more than the server reads, as from a client that ignores the response.
    let _ = declared.stream.write_all(&vec![b' '; 1_000_000]);
    let answer = declared.reply(false);
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    assert!(answer.head.contains("Connection: close"));

    let mut chunked = server.client();
    chunked.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n"));
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(0x10_0000));
    for _ in 0..9 {
        if chunked.stream.write_all(chunk.as_bytes()).is_err() {
            break;
        }
    }
    assert_eq!(chunked.reply(false).status, 413);

    let prompt = "x".repeat(7 * 1024 * 1024);
    let answer = server.post("/tasks", &json!({"lane": "l", "prompt": prompt}));
    assert_eq!(answer.status, 201, "{}", answer.text);
}

#[test]
fn a_client_that_asks_before_sending_is_answered() {
    let server = Server::new();
    let body = json!({"lane": "l", "prompt": "x"}).to_string();
    let mut client = server.client();
    client.send(format!(
        "POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    assert_eq!(client.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send(body);
    assert_eq!(client.reply(false).status, 201);
}

#[test]
fn pipelined_and_chunked_requests_are_answered_in_order() {
    let server = Server::new();
    let mut client = server.client();
    let body = json!({"lane": "l", "prompt": "x"}).to_string();
    client.send(format!(
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n\
         POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n\
         GET /tasks/next?lane=none&wait_seconds=0.2 HTTP/1.1\r\nHost: localhost\r\n\r\n\
         GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n\
         HEAD /tasks HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n\
         GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        body.len()
    ));
    let statuses: Vec<u16> = (0..4).map(|_| client.reply(false).status).collect();
    assert_eq!(statuses, [200, 201, 200, 404]);
    let head = client.reply(true);
    assert_eq!(head.status, 200);
    assert!(client.is_closed(), "what follows a last request is not answered");
}

#[test]
fn nonsense_is_refused_and_others_are_served() {
    let server = Server::new();
    for (bytes, status) in [
        ("\x16\x03\x01\x02\x00\x01\x00\x01\u{0}\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: localhost\n\n", 400),
        ("GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("GET /tasks/%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nExpect: tea\r\n\r\n", 417),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        ("PRI * HTTP/2.0\r\n\r\n", 505),
    ] {
        let mut client = server.client();
        client.send(bytes);
        let answer = client.reply(false);
        assert_eq!(answer.status, status, "{bytes:?}: {}", answer.text);
        answer.code();
        let listed = &lanes::internals::http::document()["paths"]["/tasks/{id}"]["get"]["responses"];
        assert!(listed.get(status.to_string()).is_some(), "{status} is not in the document");
        assert_eq!(server.get("/healthz").status, 200);
    }
    let mut long = server.client();
    let _ = long.stream.write_all(format!("GET /{}", "a".repeat(1 << 20)).as_bytes());
    assert_eq!(long.reply(false).status, 414);
}

#[test]
fn an_answer_repeats_nothing_into_its_headers() {
    let server = Server::new();
    for path in ["/tasks/a%0d%0aSet-Cookie:%20x=y", "/tasks?lane=a%0d%0aX:%20y", "/lanes/a%0d%0aX:%20y"] {
        let answer = server.get(path);
        assert!(!answer.head.contains("Set-Cookie") && !answer.head.contains("\r\nX:"), "{}", answer.head);
    }
}

#[test]
fn half_requests_hold_nobody_up() {
    let server = Server::new();
    let half: Vec<Client> = (0..300)
        .map(|n| {
            let mut client = server.client();
            let begin = if n % 2 == 0 {
                "GET /healthz HT"
            } else {
                "POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"
            };
            client.send(begin);
            client
        })
        .collect();
    let start = Instant::now();
    for _ in 0..50 {
        assert_eq!(server.get("/healthz").status, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    drop(half);
    // A client that sends its request and ends its side still gets the answer.
    let mut client = server.client();
    client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.reply(false).status, 200);
}

#[test]
fn a_request_that_stops_on_its_way_is_ended() {
    let server = Server::new();
    let mut client = server.client();
    let start = Instant::now();
    client.send("GET /healthz HT");
    let answer = client.reply(false);
    assert_eq!((answer.status, answer.code().as_str()), (408, "request_timeout"));
    assert!(start.elapsed() > Duration::from_secs(8), "{:?}", start.elapsed());
}

#[test]
fn many_clients_that_keep_their_connections_are_all_served() {
    let server = Server::new();
    let mut clients: Vec<Client> = (0..200).map(|_| server.client()).collect();
    for _ in 0..5 {
        for client in &mut clients {
            client.request("GET", "/healthz", &[], None);
        }
        for client in &mut clients {
            assert_eq!(client.reply(false).status, 200);
        }
    }
}

#[test]
fn an_old_client_gets_keep_alive_for_a_connection_that_stays() {
    let server = Server::new();
    let mut client = server.client();
    for says in ["keep-alive", "close"] {
        client.send(format!("GET /healthz HTTP/1.0\r\nHost: localhost\r\nConnection: {says}\r\n\r\n"));
        assert_eq!(client.reply(false).header("connection"), Some(says));
    }
    assert!(client.is_closed());
}
