//! Too few descriptors, and slow clients.

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::json;

use crate::testkit::command::lanes_in_shell;
use crate::testkit::server::{Client, Server};
use crate::testkit::wait::eventually;

/// Lets the server have this many descriptors; `None` for as many as it had.
fn limit(server: &Server, most: Option<u64>) {
    // The server asks for all that may be had, which is what this process may have.
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: most.or(maximum), maximum };
    prlimit(Some(Pid::from_child(&server.child)), Resource::Nofile, limit).unwrap();
}

#[test]
fn a_server_without_descriptors_lives_on_and_recovers() {
    let server = Server::new();
    let id = server.submit("l");
    let mut before = server.client();
    assert_eq!(before.ask("GET", "/healthz", &[], None).status, 200);
    limit(&server, Some(8));

    // No file can be opened: connected clients get an error.
    let refused = before.ask("GET", &format!("/tasks/{id}"), &[], None);
    assert_eq!((refused.status, refused.code().as_str()), (500, "io"), "{}", refused.text);
    let submit = before.ask("POST", "/tasks", &[], Some(&json!({"lane": "l", "prompt": "p"})));
    assert_eq!(submit.status, 500, "{}", submit.text);
    // No client can connect, and none is refused.
    let mut waiting: Vec<Client> = (0..20).map(|_| server.client()).collect();
    for client in &mut waiting {
        client.request("GET", &format!("/tasks/{id}"), &[], None);
    }
    assert_eq!(before.ask("GET", "/openapi.json", &[], None).status, 200);

    limit(&server, None);
    for client in &mut waiting {
        assert_eq!(client.reply(false).status, 200);
    }
    assert_eq!(before.ask("GET", &format!("/tasks/{id}"), &[], None).status, 200);
    assert_eq!(server.get("/tasks").at("/count"), json!(1), "what was refused was not done");
}

#[test]
fn clients_beyond_the_descriptors_take_turns() {
    // Room for some forty connections.
    let server = Server::under("ulimit -n 168");
    assert!(server.stderr().contains("warning: only 40 clients"), "{}", server.stderr());
    let idle: Vec<Client> = (0..100)
        .map(|_| {
            // Idle connections are closed to make room.
            let mut client = server.client();
            assert_eq!(client.ask("GET", "/healthz", &[], None).status, 200);
            client
        })
        .collect();
    let mut half: Vec<Client> = (0..60).map(|_| server.client()).collect();
    for client in &mut half {
        // Some may have been let in only to be waited for.
        let _ = client.stream.write_all(b"GET /healthz HT");
    }
    drop((half, idle));
    eventually("others are served again", || server.get("/healthz").status == 200);
}

#[test]
fn a_server_asks_for_the_files_it_needs_and_refuses_too_few() {
    // The soft limit is raised by the server itself.
    let server = Server::under("ulimit -Sn 64");
    assert_eq!(server.stderr(), "");
    let mut many: Vec<Client> = (0..100).map(|_| server.client()).collect();
    for client in &mut many {
        client.request("GET", "/tasks/next?lane=l&wait_seconds=60", &[], None);
    }
    let waiting = "lanes_waiting_requests 100\n";
    eventually("all of them are served", || server.get("/metrics").text.contains(waiting));

    let dir = tempfile::tempdir().unwrap();
    let mut command = lanes_in_shell("ulimit -n 100 && exec \"$0\" --store state serve --port 0");
    let output = command.current_dir(dir.path()).output().unwrap();
    let printed = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), printed.lines().count()), (Some(1), 1), "{printed}");
    assert!(printed.contains("needs 160 open files, and only 100 are allowed"), "{printed}");
}

#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    // A pipe that is open and full: every writer would block.
    let mut server = Server::under("mkfifo pipe && exec 3<>pipe 2>pipe && set -- --log");
    let mut client = server.client();
    let path = format!("/{}", "x".repeat(4000));
    for _ in 0..5000 {
        assert_eq!(client.ask("GET", &path, &[], None).status, 404);
    }
    let metrics = server.get("/metrics").text;
    let dropped = metrics.lines().find_map(|line| line.strip_prefix("lanes_log_dropped_total "));
    // What fits into the pipe, or waits for it, is not dropped.
    assert!(dropped.unwrap().parse::<u64>().unwrap() > 500, "{dropped:?}");
    let start = Instant::now();
    server.signal(rustix::process::Signal::TERM);
    assert!(server.child.wait().unwrap().success());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_request_that_drips_in_is_ended() {
    let server = Server::new();
    let mut client = server.client();
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
    let server = Server::new();
    let requests = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(500);
    let deaf: Vec<Client> = (0..20)
        .map(|_| {
            let client = server.client();
            client.stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
            let _ = (&client.stream).write_all(requests.as_bytes());
            client
        })
        .collect();
    for _ in 0..50 {
        assert_eq!(server.get("/healthz").status, 200);
    }
    // All answers together would take several hundred megabytes.
    assert!(server.resident() < 100_000, "{} kB", server.resident());
    drop(deaf);
}

#[test]
fn clients_that_hardly_read_are_ended_and_bounded() {
    let server = Server::new();
    let id = server.submit("l");
    server.respond(&id, &"x".repeat(8_000_000));
    let path = format!("/tasks/{id}/response");
    let mut deaf: Vec<Client> = (0..20).map(|_| server.client()).collect();
    for client in &mut deaf {
        client.request("GET", &path, &[], None);
    }
    let held = || {
        let metrics = server.get("/metrics").text;
        let line = metrics.lines().find_map(|line| line.strip_prefix("lanes_http_answer_bytes "));
        line.unwrap().parse::<usize>().unwrap()
    };
    // 128 MiB, of which an eighth is for small ones.
    eventually("many answers wait to be taken", || held() > 13 * 8_000_000);
    let refused = server.get(&path);
    assert_eq!((refused.status, refused.code().as_str()), (503, "too_many_answers"));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(server.get(&format!("/tasks/{id}")).status, 200, "small ones are given all the same");
    assert!(server.resident() < 300_000, "{} kB", server.resident());

    let start = Instant::now();
    let mut crumbs = [0; 512];
    while held() > 0 {
        assert!(start.elapsed() < Duration::from_secs(120), "they are waited for for ever");
        deaf[0].stream.read_exact(&mut crumbs).unwrap();
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(start.elapsed() > Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(server.get(&path).text_at("/response/body").len(), 8_000_000, "who reads gets all of it");
    eventually("their memory has gone back", || server.resident() < 60_000);
}

#[test]
fn a_body_of_many_small_values_costs_hardly_more_than_itself() {
    let server = Server::new();
    let zeros = format!("[{}0]", "0,".repeat(4_000_000));
    for body in [&zeros, &format!("{{\"lane\": \"l\", \"prompt\": \"p\", \"metadata\": {{\"a\": {zeros}}}}}")]
    {
        let mut clients: Vec<Client> = (0..8).map(|_| server.client()).collect();
        for client in &mut clients {
            client.send(format!(
                "POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            ));
        }
        for client in &mut clients {
            let answer = client.reply(false);
            assert_eq!((answer.status, answer.code().as_str()), (400, "invalid"));
        }
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 200_000, "{peak} kB");
    eventually("the memory has gone back", || server.resident() < 60_000);
}

#[test]
fn a_locked_store_holds_up_nobody_who_reads() {
    let server = Server::new();
    let id = server.submit("l");
    let holder = server.hold_lock();
    let mut writers: Vec<Client> = (0..30).map(|_| server.client()).collect();
    for writer in &mut writers {
        writer.request("POST", "/tasks", &[], Some(&json!({"lane": "l", "prompt": "p"})));
    }
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(server.get(&format!("/tasks/{id}")).status, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    drop(holder);
    for writer in &mut writers {
        let answer = writer.reply(false);
        assert_eq!(answer.status, 201, "{}", answer.text);
    }
    assert_eq!(server.get("/tasks").at("/count"), json!(31));
}

#[test]
fn health_is_reported_while_every_request_waits() {
    let server = Server::new();
    let ids: Vec<String> = (0..20).map(|_| server.submit("l")).collect();
    let holder = server.hold_lock();
    let staged = || std::fs::read_dir(server.dir.path().join("state/tmp")).unwrap().count();
    let before = staged();
    let mut writers: Vec<Client> = ids.iter().map(|_| server.client()).collect();
    for (writer, id) in writers.iter_mut().zip(&ids) {
        writer.request("POST", &format!("/tasks/{id}/cancel"), &[], Some(&json!({})));
    }
    eventually("all threads wait for the lock", || staged() >= before + 8);
    let start = Instant::now();
    for _ in 0..10 {
        assert_eq!(server.get("/healthz").status, 200);
        assert_eq!(server.get("/nowhere").status, 404);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    drop(holder);
    for writer in &mut writers {
        assert_eq!(writer.reply(false).status, 200);
    }
}

#[test]
fn large_files_hold_up_nobody_and_not_the_end() {
    let mut server = Server::new();
    let id = server.submit("l");
    let file = |name: &str, size: u64| {
        File::create(server.dir.path().join(name)).unwrap().set_len(size).unwrap();
    };
    file("small", 10);
    file("gigabyte", 1 << 30);
    let body = |files: &[&str]| json!({"lane": "l", "prompt": "p", "supporting_paths": files});
    let refused = server.post("/tasks", &body(&["gigabyte", "small"]));
    assert_eq!((refused.status, refused.code().as_str()), (413, "files_too_large"), "{}", refused.text);
    let batch = json!({"tasks": [body(&["gigabyte"]), body(&["small", "./small"])]});
    assert_eq!(server.post("/tasks/batch", &batch).status, 413);
    assert_eq!(server.post("/tasks", &body(&["small"; 12])).status, 201);
    file("large", 5 << 20);
    assert_eq!(server.post("/tasks", &body(&["large"; 500])).status, 201, "a file is read once");
    let batch = json!({"tasks": [body(&["large"]), body(&["none"])]});
    assert_eq!(server.post("/tasks/batch", &batch).at("/count"), json!(1));

    let mut writers: Vec<Client> = (0..8).map(|_| server.client()).collect();
    for writer in &mut writers {
        writer.request("POST", "/tasks", &[], Some(&body(&["gigabyte"; 12])));
    }
    let start = Instant::now();
    for path in ["/healthz", &format!("/tasks/{id}"), "/tasks"].repeat(10) {
        assert_eq!(server.get(path).status, 200);
    }
    server.stop();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    for writer in &mut writers {
        assert!([201, 503].contains(&writer.reply(false).status));
    }
}

#[test]
fn a_locked_store_does_not_keep_the_server_from_ending() {
    let mut server = Server::with(&["--lock-timeout", "60"]);
    let id = server.submit("l");
    let holder = server.hold_lock();
    let staged = || std::fs::read_dir(server.dir.path().join("state/tmp")).unwrap().count();
    let before = staged();
    let task = json!({"lane": "l", "prompt": "p"});
    let mut writers = Vec::new();
    for (path, body) in [
        ("/tasks".to_string(), task.clone()),
        ("/tasks/batch".to_string(), json!({"tasks": [task]})),
        (format!("/tasks/{id}/cancel"), json!({})),
    ] {
        let mut writer = server.client();
        writer.request("POST", &path, &[], Some(&body));
        writers.push(writer);
        eventually("it has come as far as the lock", || staged() >= before + writers.len());
    }
    // Queued behind the one that the submit thread is working on.
    let mut last = server.client();
    assert_eq!(last.ask("GET", "/healthz", &[], None).status, 200);
    last.request("POST", "/tasks", &[], Some(&task));
    assert_eq!(server.get("/healthz").status, 200);
    writers.push(last);

    let start = Instant::now();
    server.stop();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    for (n, writer) in writers.iter_mut().enumerate() {
        let answer = writer.reply(false);
        // A batch reports the result of each task.
        let is_batch = n == 1;
        assert_eq!(answer.status, if is_batch { 200 } else { 503 }, "{}", answer.text);
        let code = if is_batch { answer.text_at("/errors/0/code") } else { answer.code() };
        assert!(["locked", "stopping"].contains(&code.as_str()), "{}", answer.text);
    }
    drop(holder);
    let tasks = std::fs::read_dir(server.dir.path().join("state/tasks")).unwrap();
    assert_eq!(tasks.count(), 1, "what was refused was not done");
    assert!(server.lanes(&["show", &id]).contains("queued"));
}

#[test]
fn the_kernel_watches_over_silent_clients() {
    let server = Server::new();
    let mut client = server.client();
    client.request("GET", "/tasks/next?lane=l&wait_seconds=60", &[], None);
    // Of the server's end: the timer that runs is the one for probes.
    let port = client.stream.local_addr().unwrap().port();
    let end = format!(":{:04X} 0100007F:{port:04X} 01 ", server.address.port());
    let is_watched = || {
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        sockets
            .lines()
            .any(|line| line.contains(&end) && line.split_whitespace().nth(5).unwrap().starts_with("02:"))
    };
    eventually("probes are set up", is_watched);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a person moves the store")]
fn a_server_whose_store_is_gone_reports_it() {
    let server = Server::new();
    server.submit("l");
    let (state, aside) = (server.dir.path().join("state"), server.dir.path().join("aside"));
    std::fs::rename(&state, &aside).unwrap();
    for path in ["/healthz", "/status", "/tasks", "/lanes/l", "/events"] {
        let gone = server.get(path);
        assert_eq!((gone.status, gone.code().as_str()), (503, "store_gone"), "{path}");
    }
    std::fs::create_dir_all(state.join("tasks")).unwrap();
    assert_eq!(server.get("/healthz").status, 503, "another store is not ours");
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::rename(&aside, &state).unwrap();
    assert_eq!(server.get("/healthz").status, 200);
}
