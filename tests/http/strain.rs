//! Too few descriptors, and clients that take their time.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::json;

use super::{Client, Fixture, eventually};

/// Lets the server have this many descriptors; `None` for as many as it had.
fn limit(fixture: &Fixture, most: Option<u64>) {
    // The server asks for all that may be had, which is what this process may have.
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: most.or(maximum), maximum };
    prlimit(Some(Pid::from_child(&fixture.server)), Resource::Nofile, limit).unwrap();
}

#[test]
fn a_server_without_descriptors_lives_on_and_recovers() {
    let fixture = Fixture::new();
    let id = fixture.submit("l");
    let mut before = fixture.client();
    assert_eq!(before.ask("GET", "/healthz", &[], None).status, 200);
    limit(&fixture, Some(8));

    // No file can be opened: whoever is connected is told so.
    let refused = before.ask("GET", &format!("/tasks/{id}"), &[], None);
    assert_eq!((refused.status, refused.code().as_str()), (500, "io"), "{}", refused.text);
    let submit = before.ask("POST", "/tasks", &[], Some(&json!({"lane": "l", "prompt": "p"})));
    assert_eq!(submit.status, 500, "{}", submit.text);
    // Nobody can be let in, and nobody is turned away.
    let mut waiting: Vec<Client> = (0..20).map(|_| fixture.client()).collect();
    for client in &mut waiting {
        client.request("GET", &format!("/tasks/{id}"), &[], None);
    }
    assert_eq!(before.ask("GET", "/openapi.json", &[], None).status, 200);

    limit(&fixture, None);
    for client in &mut waiting {
        assert_eq!(client.answer(false).status, 200);
    }
    assert_eq!(before.ask("GET", &format!("/tasks/{id}"), &[], None).status, 200);
    assert_eq!(fixture.get("/tasks").at("/count"), json!(1), "what was refused was not done");
}

#[test]
fn clients_beyond_the_descriptors_take_turns() {
    // Room for some forty connections.
    let fixture = Fixture::under("ulimit -n 168");
    let idle: Vec<Client> = (0..100)
        .map(|_| {
            // Those that wait for nothing make room.
            let mut client = fixture.client();
            assert_eq!(client.ask("GET", "/healthz", &[], None).status, 200);
            client
        })
        .collect();
    let mut half: Vec<Client> = (0..60).map(|_| fixture.client()).collect();
    for client in &mut half {
        // Some may have been let in only to be waited for.
        let _ = client.stream.write_all(b"GET /healthz HT");
    }
    drop((half, idle));
    eventually("others are served again", || fixture.get("/healthz").status == 200);
}

#[test]
fn a_request_that_drips_in_is_ended() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    client.stream.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
    let start = Instant::now();
    let mut answer = Vec::new();
    let mut head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ".iter().chain(std::iter::repeat(&b'x'));
    while answer.is_empty() {
        assert!(start.elapsed() < Duration::from_secs(30), "bytes alone keep a connection open");
        let _ = client.stream.write_all(&[*head.next().unwrap()]);
        let mut buffer = [0; 1024];
        if let Ok(length) = client.stream.read(&mut buffer) {
            answer.extend_from_slice(&buffer[..length]);
        }
    }
    assert!(String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 408 "), "{answer:?}");
    assert!(start.elapsed() > Duration::from_secs(8), "{:?}", start.elapsed());
}

#[test]
fn clients_that_never_read_cost_a_bounded_buffer() {
    let fixture = Fixture::new();
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", fixture.server.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let requests = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(500);
    let deaf: Vec<Client> = (0..20)
        .map(|_| {
            let client = fixture.client();
            client.stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
            let _ = (&client.stream).write_all(requests.as_bytes());
            client
        })
        .collect();
    for _ in 0..50 {
        assert_eq!(fixture.get("/healthz").status, 200);
    }
    // All answers together would take several hundred megabytes.
    assert!(resident() < 100_000, "{} kB", resident());
    drop(deaf);
}

#[test]
fn a_locked_store_holds_up_nobody_who_reads() {
    let fixture = Fixture::new();
    let id = fixture.submit("l");
    let mut holder = Command::new("flock")
        .args(["state/lock", "sh", "-c", "echo held; cat"])
        .current_dir(fixture.dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    let mut writers: Vec<Client> = (0..30).map(|_| fixture.client()).collect();
    for writer in &mut writers {
        writer.request("POST", "/tasks", &[], Some(&json!({"lane": "l", "prompt": "p"})));
    }
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(fixture.get(&format!("/tasks/{id}")).status, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    for writer in &mut writers {
        let answer = writer.answer(false);
        assert_eq!(answer.status, 201, "{}", answer.text);
    }
    assert_eq!(fixture.get("/tasks").at("/count"), json!(31));
}
